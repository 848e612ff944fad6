"""Options of `foveate predict`.

Knows:   their names, help and defaults, and which of them contradict each other.
Ignores: how a run is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foveate.choices import Device, EngineName, Precision
from foveate.cli.options import Count, Flag, ModelName, UsageError


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceOptions:
    """What computes, and on which device."""

    engine: EngineName | None = None
    """What computes: ONNX Runtime, OpenVINO (pip install 'foveate[openvino]') or PyTorch (pip install
    'foveate[train]'). If not given: OpenVINO in bf16 where it is installed and the processor has bf16, ONNX
    Runtime otherwise; PyTorch on CUDA."""
    device: Device = "cpu"
    """Where it computes: the processor, or the first CUDA device, by PyTorch."""
    precision: Precision | None = None
    """Precision of the network's arithmetic. bf16 needs a processor that has it, and OpenVINO or PyTorch;
    int8 a model with quantised networks, and OpenVINO; float16 is for CUDA, and the default there."""
    threads: Count = None
    """Threads to compute with; as many as there are processors, if not given."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class DicomOptions:
    """DICOM objects to write."""

    dicom: Annotated[str | None, Parameter(metavar="seg,sr,prob")] = None
    """DICOM objects to write as well, for photographs that are DICOM: `seg` the masks as a Segmentation, `sr`
    a report with their measurements, `prob` the probabilities as a Segmentation."""
    deidentify: Annotated[Path | None, Parameter(metavar="KEY")] = None
    """Write these objects without anything that names the patient; UIDs are replaced by means of the secret
    in this file (made by `foveate dicom key`). Text in the pixels is not removed."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterOptions:
    """Options of a run by workers."""

    on: Annotated[str | None, Parameter(metavar="local|ray://HOST")] = None
    """Run on workers, for folders and buckets of any size: local (threads of this process), ray://local
    (processes of this machine), ray://auto (the Ray cluster that this machine is a node of) or
    ray://HOST[:PORT] (a Ray Client server). PATH is then one folder or one s3://BUCKET/PREFIX, --out is
    likewise, and --threads are those of each worker, 1 if not given. Needs pip install 'foveate[cluster]'."""
    shard: Annotated[str | None, Parameter(metavar="I/N")] = None
    """With --on: process the I-th of N parts only, without tables; an array of jobs can share the parts."""
    tries: Count = None
    """With --on: attempts at a photograph before it is recorded as failed; 3, if not given."""
    log: Annotated[str | None, Parameter(metavar="FILE")] = None
    """With --on: append events to a file, as JSON lines without names of photographs, or to stderr."""
    plan: Flag = False
    """Only print how many photographs there are, and how long workers would take, by measuring a few."""

    @property
    def is_requested(self) -> bool:
        """Whether a run by workers, or its estimate, is asked for."""
        return self.on is not None or self.plan


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class PredictOptions:
    """Options of `foveate predict`."""

    out: Annotated[str, Parameter(metavar="DIR")]
    """Folder of the results: maps/, masks/, overlays/, regions/, summary.csv, run.json, index.html."""
    model: ModelName = None
    """A model package that comes with Foveate (see `foveate models`), a package's folder, or a zip of one."""
    lesions: Annotated[str | None, Parameter(metavar="EX,MA")] = None
    """Lesions to report; all that the model knows, if not given."""
    threshold: Annotated[str | None, Parameter(metavar="EX=0.4,...")] = None
    """Probabilities from which a pixel is lesion; the model's own, if not given."""
    format: Literal["png", "png16", "tiff", "npz"] = "png"
    """Format of the probability maps: 8-bit PNG, 16-bit PNG, 16-bit TIFF, NumPy."""
    region: Literal["field", "paper", "whole"] | None = None
    """Part of the photograph to process: the field of view, the paper's centre crop, or all of it; what the
    model was trained on, if not given."""
    field: Annotated[str, Parameter(metavar="auto|full|ROW,COL,RADIUS")] = "auto"
    """The field of view: detected, the whole photograph, or a disc in pixels of the photograph."""
    resume: Flag = False
    """Continue the run in --out: results that are complete and would come out the same are kept, the rest is
    computed."""
    effort: Literal["full", "balanced", "fast"] = "full"
    """How much of a photograph is examined closely: all of it, or only the windows that the global view
    selects, where the model has rules for it. Its card says what each costs in average precision."""
    device: DeviceOptions = DeviceOptions()
    workers: Count = None
    """Photographs to process side by side; they share the threads. If not given: one for each processor, at
    most 4. Each takes some 0.5 GB for 12 megapixels."""
    dicom: DicomOptions = DicomOptions()
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False
    """Print the result as one JSON object on stdout, and everything else on stderr."""
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
        if self.dicom.deidentify is not None and self.dicom.dicom is None:
            raise UsageError("--deidentify is about DICOM objects; choose them with --dicom.")
        if self.cluster.is_requested:
            self._require_consistent_cluster(paths)
        else:
            self._require_single_machine()

    def _require_consistent_cluster(self, paths: Sequence[str]) -> None:
        if self.dicom.dicom is not None:
            raise UsageError("--dicom: workers write no DICOM objects; leave --on out.")
        _require_single_source(paths)
        parse_share(self.cluster.shard)
        if self.cluster.shard is not None and not (self.resume or self.cluster.plan):
            raise UsageError("--shard needs --resume: each part continues what others have begun.")
        device = self.device
        if device.engine == "torch" or device.device == "cuda" or device.precision == "float16":
            raise UsageError("--engine torch, --device cuda: workers have no torch; leave --on out.")

    def _require_single_machine(self) -> None:
        cluster = self.cluster
        given = {"--shard": cluster.shard, "--tries": cluster.tries, "--log": cluster.log}
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"{name} is for a run by workers; give --on local or --on ray://HOST.")
        if self.device.device == "cuda" and self.device.engine not in (None, "torch"):
            raise UsageError(
                f"--engine {self.device.engine} computes on the processor; leave out --device cuda."
            )


def parse_share(text: str | None) -> tuple[int, int]:
    """Parse '2/8' into (2, 8), the second of eight parts, and None into (1, 1), all photographs.

    Raises:
        UsageError: it is not spelt like this.
    """
    index, slash, of = ("1/1" if text is None else text).partition("/")
    if not (slash and index.isdecimal() and of.isdecimal() and 1 <= int(index) <= int(of)):
        raise UsageError(f"--shard {text!r}: give I/N with I from 1 to N, such as 3/16.")
    return int(index), int(of)


def _require_single_source(paths: Sequence[str]) -> None:
    if len(paths) != 1:
        raise UsageError(f"--on: {len(paths)} paths; give one folder or one s3://BUCKET/PREFIX.")
    if "://" not in paths[0] and not Path(paths[0]).is_dir():
        raise UsageError(f"--on: {paths[0]} is no folder; give one folder or one s3://BUCKET/PREFIX.")
