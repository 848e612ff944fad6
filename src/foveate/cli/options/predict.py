"""Options of `foveate predict`.

Knows:   their names, help and defaults, and which of them contradict each other.
Ignores: how a run is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foveate.choices import Device, Effort, EngineName, MapFormat, Part, Precision
from foveate.cli.options import (
    Codes,
    Count,
    FieldOption,
    Flag,
    InputFile,
    ModelOption,
    ObjectKinds,
    Threads,
    Thresholds,
    UsageError,
    require_named,
)
from foveate.paths import exists, is_folder


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceOptions:
    """What computes, and on which device."""

    engine: EngineName | None = None
    """Library that runs the network: ONNX Runtime, OpenVINO (pip install 'foveate[openvino]') or PyTorch (pip
    install 'foveate[train]'). By default OpenVINO if it is installed and the processor has AVX2 or computes
    in bf16, ONNX Runtime otherwise; on CUDA PyTorch."""
    device: Device = "cpu"
    """Device to compute on: the processor, or the first CUDA device, which needs PyTorch."""
    precision: Precision | None = None
    """Number type of the network's arithmetic. By default the fastest: with OpenVINO int8 if the model holds
    int8 networks and the processor has AVX2, else bf16 if the processor computes in it, else float32; on
    CUDA float16."""
    threads: Threads = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class DicomOptions:
    """DICOM objects to write."""

    dicom: ObjectKinds | None = None
    """DICOM objects to write as well, for photographs that are DICOM files: the masks as a Segmentation
    (seg), a report of their measurements (sr), the probabilities as a Segmentation (prob)."""
    deidentify: Annotated[InputFile | None, Parameter(metavar="KEY")] = None
    """Write the DICOM objects without anything that identifies the patient. UIDs, and the names of these
    files, are replaced by means of the secret in this file, which `foveate dicom key` makes. Text in the
    pixels is not removed."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterOptions:
    """Options of a run by workers."""

    on: Annotated[str | None, Parameter(metavar="local|ray://HOST")] = None
    """Let workers process folders and buckets of any size: local (threads of this process), ray://local
    (processes on this machine), ray://auto (the Ray cluster that this machine belongs to) or
    ray://HOST[:PORT] (a Ray Client server). PATH is then one folder or one s3://BUCKET/PREFIX, and so is
    --out. --workers is the number of workers, as many as the processors allow by default; --threads are those
    of each worker, 1 by default. Needs pip install 'foveate[cluster]'."""
    shard: Annotated[str | None, Parameter(metavar="I/N")] = None
    """With --on and --resume: process only the I-th of N parts of the photographs, and write no tables, so
    that N jobs share the work."""
    tries: Count = None
    """With --on: number of attempts before a photograph is recorded as failed; 3 by default."""
    log: Annotated[str | None, Parameter(metavar="FILE")] = None
    """With --on: file to append events to, as JSON lines without the names of photographs; 'stderr' prints
    them."""
    plan: Flag = False
    """Only print how many photographs there are, and how long workers would take, estimated from a few of
    them."""

    @property
    def is_requested(self) -> bool:
        """Whether a run by workers, or its estimate, is asked for."""
        return self.on is not None or self.plan


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class PredictOptions:
    """Options of `foveate predict`."""

    out: Annotated[str, Parameter(metavar="DIR")]
    """Folder to write results to: maps/, masks/, overlays/, regions/, summary.csv, run.json and index.html.
    It must not hold results yet, unless --resume is given."""
    model: ModelOption = None
    lesions: Codes = None
    """Lesions to report, by their codes, such as EX,MA (hard exudates, microaneurysms); all lesions of the
    model by default."""
    threshold: Thresholds = None
    """Probability from which a pixel belongs to the lesion, above 0 and at most 1; the model's own by
    default."""
    format: MapFormat = "png"
    """File format of the probability maps: 8-bit PNG (png), 16-bit PNG (png16), 16-bit TIFF (tiff) or NumPy
    (npz)."""
    region: Part | None = None
    """Part of the photograph to process: the field of view (field), the paper's centre crop of 2816 x 3328 px
    (paper), or all of it (whole). By default what the model was trained on."""
    field: FieldOption = "auto"
    resume: Flag = False
    """Continue the run in --out: a result is kept if its photograph, the model, the settings, the engine, the
    precision and the version of Foveate are unchanged; the rest is computed."""
    effort: Effort = "full"
    """How much the second network (LocalNet) computes: every window (full); every window in four rotations,
    averaged (best; about three times as long); or only windows that the first network (GlobalNet) selects
    (balanced; fast selects fewer), if the model has rules for it."""
    device: DeviceOptions = DeviceOptions()
    workers: Count = None
    """Number of photographs to process at the same time; they share the threads, and each needs 0.6 to 0.8
    GB of memory for 12 megapixels. One for each available processor by default, at most 4."""
    dicom: DicomOptions = DicomOptions()
    as_json: Annotated[Flag, Parameter(name="--json")] = False
    """Print the result as one JSON object on stdout; everything else goes to stderr."""
    cluster: ClusterOptions = ClusterOptions()

    def require_consistent(self, paths: Sequence[str]) -> None:
        """Check that the options make sense together, before anything that takes time.

        Args:
            paths: the photographs, as they are named on the command line.

        Raises:
            UsageError: they do not.
        """
        if not paths:
            raise UsageError("predict: name at least one photograph, folder or glob.")
        require_named("--out", self.out)
        for path in paths:
            require_named("PATH", path)
        if self.dicom.deidentify is not None and self.dicom.dicom is None:
            raise UsageError(
                "--deidentify applies only to DICOM objects; give --dicom seg,sr as well, or leave it out."
            )
        if self.cluster.is_requested:
            self._require_consistent_cluster(paths)
        else:
            self._require_single_machine(paths)

    def _require_consistent_cluster(self, paths: Sequence[str]) -> None:
        if self.dicom.dicom is not None:
            raise UsageError("--dicom: workers write no DICOM objects; leave --on out.")
        _require_single_source(paths)
        parse_shard(self.cluster.shard)
        if self.cluster.shard is not None and not (self.resume or self.cluster.plan):
            raise UsageError("--shard needs --resume: each part continues what others have begun.")
        device = self.device
        if device.engine == "torch" or device.device == "cuda" or device.precision == "float16":
            raise UsageError(
                "workers compute on the processor, with ONNX Runtime or OpenVINO; leave out --engine torch, "
                "--device cuda and --precision float16, or leave out --on."
            )

    def _require_single_machine(self, paths: Sequence[str]) -> None:
        if "://" in self.out:
            raise UsageError(f"--out {self.out}: {_address_remedy(self.out)}")
        for path in paths:
            if "://" in path and not exists(Path(path)):
                raise UsageError(f"{path}: {_address_remedy(path)}")
        cluster = self.cluster
        cluster_options = {"--shard": cluster.shard, "--tries": cluster.tries, "--log": cluster.log}
        for name, value in cluster_options.items():
            if value is not None:
                raise UsageError(f"{name} is for a run by workers; give --on local or --on ray://HOST.")
        if self.device.device == "cuda" and self.device.engine not in (None, "torch"):
            raise UsageError(
                f"--engine {self.device.engine} computes on the processor; leave out --device cuda."
            )


def parse_shard(text: str | None) -> tuple[int, int]:
    """Parse '2/8' into (2, 8), the second of eight parts, and None into (1, 1), all photographs.

    Raises:
        UsageError: it is not spelt like this.
    """
    index, slash, of = ("1/1" if text is None else text).partition("/")
    if not (slash and index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
        raise UsageError(f"--shard {text!r}: give I/N with I from 1 to N, such as 3/16.")
    return int(index), int(of)


def _address_remedy(address: str) -> str:
    """Return what to do about an address where a path is expected."""
    if address.startswith("s3://"):
        return "buckets need workers; give --on local or --on ray://HOST as well."
    return "is not on this machine; give a path, or s3://BUCKET/PREFIX with --on local."


def _require_single_source(paths: Sequence[str]) -> None:
    if len(paths) != 1:
        raise UsageError(f"--on: {len(paths)} paths; give one folder or one s3://BUCKET/PREFIX.")
    if "://" not in paths[0] and not is_folder(Path(paths[0])):
        raise UsageError(f"--on: {paths[0]} is no folder; give one folder or one s3://BUCKET/PREFIX.")
