"""`foveate predict`.

Knows:   the options of predict, and which call they become.
Ignores: how a run is done, and how it is shown.
"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from foveate.cli import options
from foveate.errors import FoveateError

MOST_WORKERS = 4
"""Unless more are asked for: each takes memory of its own."""


def predict(
    *paths: Annotated[str, Parameter(metavar="PATH", negative="")],
    out: Annotated[Path, Parameter(metavar="DIR")],
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
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Find the lesions of photographs and write maps, masks, overlays and tables.

    Parameters
    ----------
    paths
        JPEG, PNG and TIFF files, folders (with all folders below them) and globs.
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
    as_json
        Print the result as one JSON object on stdout, and everything else on stderr.
    """
    if not paths:
        raise options.UsageError("predict: name at least one photograph, folder or glob.")
    codes, thresholds = options.codes(lesions), options.thresholds(threshold)
    where = options.field(field)
    # What computes is imported here, so that --help need not wait for it.
    from foveate import models  # noqa: PLC0415
    from foveate.cli import progress, report  # noqa: PLC0415
    from foveate.engines import processors  # noqa: PLC0415
    from foveate.library import load  # noqa: PLC0415
    from foveate.segment import Settings  # noqa: PLC0415

    settings = Settings(part=region, field=where, lesions=codes, thresholds=thresholds, effort=effort)
    try:
        chosen = models.DEFAULT if model is None else model
        if engine == "torch" or device == "cuda":
            if engine not in (None, "torch"):
                raise options.UsageError(
                    f"--engine {engine} computes on the processor; leave out --device cuda."
                )
            opened = options.torch_engine().load(chosen, device=device, precision=precision, threads=threads)
        else:
            opened = load(chosen, engine=engine, precision=precision, threads=threads)
        with progress.shown() as tell:
            done = opened.predict(
                paths,
                out,
                settings=settings,
                format=format,
                resume=resume,
                workers=min(MOST_WORKERS, processors()) if workers is None else workers,
                tell=tell,
            )
    except FoveateError as error:
        if as_json:
            report.print_error(error)
        raise
    if as_json:
        report.print_json(done, out)
    else:
        report.print_table(done, out)
    return 1 if done.failures else 0
