"""`foveate predict`.

Knows:   the options of predict, and which call they become.
Ignores: how a run is done, and how it is shown.
"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foveate.cli import cluster, options
from foveate.errors import FoveateError

MOST_WORKERS = 4
"""Unless more are asked for: each takes memory of its own."""


def predict(
    *paths: Annotated[str, Parameter(metavar="PATH", negative="")],
    out: Annotated[str, Parameter(metavar="DIR")],
    model: Annotated[str | None, Parameter(metavar="NAME|FOLDER")] = None,
    lesions: Annotated[str | None, Parameter(metavar="EX,MA")] = None,
    threshold: Annotated[str | None, Parameter(metavar="EX=0.4,...")] = None,
    format: Literal["png", "png16", "tiff", "npz"] = "png",
    region: Literal["field", "paper", "whole"] | None = None,
    field: Annotated[str, Parameter(metavar="auto|full|ROW,COL,RADIUS")] = "auto",
    resume: Annotated[bool, Parameter(negative="")] = False,
    effort: Literal["full", "balanced", "fast"] = "full",
    engine: Literal["onnx", "openvino", "torch"] | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    precision: Literal["float32", "bf16", "float16"] | None = None,
    threads: Annotated[int | None, Parameter(metavar="N")] = None,
    workers: Annotated[int | None, Parameter(metavar="N")] = None,
    dicom: Annotated[str | None, Parameter(metavar="seg,sr,prob")] = None,
    deidentify: Annotated[Path | None, Parameter(metavar="KEY")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    on: Annotated[str | None, Parameter(metavar="local|ray://HOST")] = None,
    shard: Annotated[str | None, Parameter(metavar="I/N")] = None,
    tries: Annotated[int | None, Parameter(metavar="N")] = None,
    log: Annotated[str | None, Parameter(metavar="FILE")] = None,
    plan: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Find the lesions of photographs and write maps, masks, overlays and tables.

    Parameters
    ----------
    paths
        JPEG, PNG, TIFF and DICOM files, folders (with all folders below them) and globs.
    out
        Folder of the results: maps/, masks/, overlays/, regions/, summary.csv, run.json, index.html.
    model
        A model package that comes with Foveate (see `foveate models`), a package's folder, or a zip of one.
    lesions
        Lesions to report; all that the model knows, if not given.
    threshold
        Probabilities from which a pixel is lesion; the model's own, if not given.
    format
        Of the probability maps: 8-bit PNG, 16-bit PNG, 16-bit TIFF, NumPy.
    region
        Part of the photograph that is looked at: the field of view, the paper's centre crop, or all of it;
        what the model was trained on, if not given.
    field
        Where the field of view is: found, the whole photograph, or a disc in pixels of the photograph.
    resume
        Go on with the run in --out: what is complete and would come out the same is kept, the rest is done.
    effort
        How much of a photograph is looked at closely: all of it, or only where a glance at the whole calls
        for it, as far as the model says where. What each costs in average precision stands in its card.
    engine
        What computes: ONNX Runtime, OpenVINO (pip install 'foveate[openvino]') or PyTorch (pip install
        'foveate[train]'). If not given: OpenVINO in bf16 where it is installed and the processor has bf16,
        ONNX Runtime otherwise; PyTorch on CUDA.
    device
        Where it computes: the processor, or the first CUDA device, by PyTorch.
    precision
        In which the network computes. bf16 needs a processor that has it, and OpenVINO or PyTorch; float16 is
        for CUDA, and what is taken there if not given.
    threads
        To compute with; as many as there are processors, if not given.
    workers
        Photographs that are looked at side by side; they share the threads. If not given: one for each
        processor, at most 4. Each takes some 0.5 GB for 12 megapixels.
    dicom
        DICOM objects to write as well, of photographs that are DICOM: `seg` the masks as a Segmentation, `sr`
        a report that measures them, `prob` the probabilities as a Segmentation.
    deidentify
        Write these objects without anything that names the patient; UIDs are replaced through the secret in
        this file (made by `foveate dicom key`). Text in the pictures is not looked for.
    as_json
        Print the result as one JSON object on stdout, and everything else on stderr.
    on
        Have workers do it, for folders and buckets of any size: local (threads of this process), ray://local
        (processes of this machine), ray://auto (the Ray cluster that this machine is a node of) or
        ray://HOST[:PORT] (a Ray Client server). PATH is then one folder or one s3://BUCKET/PREFIX, --out the
        same, and --threads are those of each worker, 1 if not given. Needs pip install 'foveate[cluster]'.
    shard
        With --on: do the I-th of N parts only, and write no tables; so an array of jobs shares the work.
    tries
        With --on: so often a photograph is tried before it is set aside with its error; 3, if not given.
    log
        With --on: add what happens to a file, as JSON lines without names of photographs, or to stderr.
    plan
        Only say how many photographs there are, and how long workers would take, by measuring a few.
    """
    if not paths:
        raise options.UsageError("predict: name at least one photograph, folder or glob.")
    wishes = cluster.Wishes(
        on=on, shard=shard, tries=tries, log=log, plan=plan, workers=workers, as_json=as_json
    )
    codes, thresholds = options.codes(lesions), options.thresholds(threshold)
    where = options.field(field)
    if deidentify is not None and dicom is None:
        raise options.UsageError("--deidentify: is about DICOM objects; name them by --dicom.")
    if dicom is not None and wishes.any:
        raise options.UsageError("--dicom: workers write no DICOM objects; leave --on out.")
    objects = None if dicom is None else options.objects(dicom, deidentify)
    wishes.require_sense(paths, resume=resume)
    # What computes is imported here, so that --help need not wait for it.
    from foveate import models  # noqa: PLC0415
    from foveate.cli import progress, report  # noqa: PLC0415
    from foveate.engines import processors  # noqa: PLC0415
    from foveate.engines.choice import Choice  # noqa: PLC0415
    from foveate.inference.api import load  # noqa: PLC0415
    from foveate.inference.pipeline import Settings  # noqa: PLC0415

    settings = Settings(part=region, field=where, lesions=codes, thresholds=thresholds, effort=effort)
    try:
        chosen = models.DEFAULT if model is None else model
        if wishes.any:
            if engine == "torch" or device == "cuda" or precision == "float16":
                raise options.UsageError(
                    "--engine torch, --device cuda: workers have no torch; leave --on out."
                )
            return cluster.run(
                wishes,
                paths=paths,
                out=out,
                package=models.load(chosen),
                choice=Choice(engine=engine, precision=precision, threads=threads),
                settings=settings,
                format=format,
                resume=resume,
            )
        if device == "cuda" and engine not in (None, "torch"):
            raise options.UsageError(f"--engine {engine} computes on the processor; leave out --device cuda.")
        opened = load(chosen, engine=engine, device=device, precision=precision, threads=threads)
        with progress.shown() as tell:
            done = opened.predict(
                paths,
                Path(out),
                settings=settings,
                format=format,
                resume=resume,
                workers=min(MOST_WORKERS, processors()) if workers is None else workers,
                objects=objects,
                tell=tell,
            )
    except FoveateError as error:
        if as_json:
            report.print_error(error)
        raise
    if as_json:
        report.print_json(done, Path(out))
    else:
        report.print_table(done, Path(out))
    return 1 if done.failures else 0
