"""`foveate evaluate`.

Knows:   its options, which calls they become, and how figures are shown on a terminal.
Ignores: how anything is scored.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from foveate.cli import options

if TYPE_CHECKING:
    from foveate.evaluation import LesionOutcome


def evaluate(
    *,
    data: Annotated[Path, Parameter(metavar="DIR")],
    out: Annotated[Path, Parameter(metavar="DIR")],
    layout: Annotated[str, Parameter(metavar="NAME|FILE.toml")] = "idrid",
    split: Annotated[str, Parameter(metavar="test|train|FILE[:FOLD]")] = "test",
    model: Annotated[str | None, Parameter(metavar="NAME|FOLDER")] = None,
    predictions: Annotated[Path | None, Parameter(metavar="DIR")] = None,
    region: Literal["whole", "paper", "field"] = "whole",
    lesions: Annotated[str | None, Parameter(metavar="EX,MA")] = None,
    threshold: Annotated[str | None, Parameter(metavar="EX=0.4,...")] = None,
    field: Annotated[str, Parameter(metavar="auto|full|ROW,COL,RADIUS")] = "auto",
    effort: Literal["full", "balanced", "fast"] = "full",
    engine: Literal["onnx", "openvino"] | None = None,
    precision: Literal["float32", "bf16"] | None = None,
    threads: Annotated[int | None, Parameter(metavar="N")] = None,
) -> None:
    """Score a model, or maps that any other system wrote, on photographs with known lesions.

    Parameters
    ----------
    data
        Folder that the set was unpacked to.
    out
        Folder of the results: metrics.json, metrics.csv, report.html. They replace earlier ones.
    layout
        How the set lies on disk: the name of a layout, or a TOML file that describes one.
    split
        Photographs that are scored: a split of the layout, or a JSON file of folds and the number of one.
    model
        A model package that comes with Foveate (see `foveate models`), a package's folder, or a zip of one.
    predictions
        Score maps in this folder in place of a model: <photograph>_<LESION>.png, .tif, .tiff, .npy or .npz.
    region
        Pixels that are scored: the whole photograph, the paper's centre crop, or the field of view.
    lesions
        Lesions to score; all that the set and the model have in common, if not given.
    threshold
        Probabilities from which a pixel is lesion; the model's own, 0.5 for --predictions, if not given.
    field
        Where the field of view is: found, the whole photograph, or a disc in pixels of the photograph.
    effort
        How much of a photograph the model looks at closely: all of it, or where a glance calls for it.
    engine
        What computes; chosen by the rule of `foveate predict`, if not given.
    precision
        In which the network computes; chosen by the same rule.
    threads
        To compute with; as many as there are processors, if not given.
    """
    if model is not None and predictions is not None:
        raise options.UsageError("evaluate: give --model or --predictions, not both.")
    wanted, thresholds, where = options.codes(lesions), options.thresholds(threshold), options.field(field)
    # What computes is imported here, so that --help need not wait for it.
    from foveate import models  # noqa: PLC0415
    from foveate.datasets import layouts  # noqa: PLC0415
    from foveate.evaluation import evaluate, of_folder, of_model, operating_points, results  # noqa: PLC0415
    from foveate.evaluation.evaluate import Trial  # noqa: PLC0415
    from foveate.evaluation.tables import About  # noqa: PLC0415
    from foveate.inference.api import load  # noqa: PLC0415
    from foveate.inference.pipeline import Settings  # noqa: PLC0415
    from foveate.writers import Maker  # noqa: PLC0415

    known = layouts.named(layout)
    cases = operating_points.cases(data, known, split)
    opened = None
    if not predictions:
        opened = load(model or models.DEFAULT, engine=engine, precision=precision, threads=threads)
    package = opened.package if opened else None
    chosen = operating_points.choose(
        known, cases, package, operating_points.Wish(lesions=wanted, thresholds=thresholds)
    )
    if opened:
        settings = Settings(field=where, lesions=tuple(chosen.thresholds), effort=effort)
        source = of_model(opened.package, opened.engine, settings)
    elif predictions:
        source = of_folder(predictions, where, known.field)
    maker = Maker(name=package.name, version=package.version, digest=package.digest) if package else None
    met = operating_points.familiar(cases, package)
    about = About(
        maker=maker,
        layout=known.name,
        split=Path(split).name,
        left_out=chosen.left_out,
        familiar=met,
        engine=opened.engine.label if opened else None,
        effort=effort if opened else None,
    )
    if met and (told := met.told(len(cases))):
        print(f"foveate: {told}", file=sys.stderr)
    trial = Trial(source=source, cases=cases, thresholds=chosen.thresholds, region=region)
    results.prepare(out)
    with _shown(len(cases)) as tell:
        outcomes = evaluate(trial, tell)
    results.write(outcomes, trial, about, out)
    _print(outcomes, about.split, out)


@contextmanager
def _shown(total: int) -> Iterator[Callable[[int, str], None]]:
    """Yield what is told of each photograph that is done: a bar on a terminal, lines elsewhere; on stderr."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    if not sys.stderr.isatty():
        yield lambda done, name: print(f"[{done}/{total}] {name}", file=sys.stderr, flush=True)
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("photographs", total=total)
        yield lambda done, name: bar.update(task, completed=done, description=name)


def _print(outcomes: Mapping[str, "LesionOutcome"], split: str, out: Path) -> None:
    """Print the figures that are asked for first, and where to look."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from foveate.evaluation.tables import brief  # noqa: PLC0415

    rows = [brief(lesion, outcome) for lesion, outcome in outcomes.items()]
    table = Table("lesion", *rows[0][1], show_lines=True)
    for lesion, cells in rows:
        table.add_row(lesion, *cells.values())
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"Split {split}; 95 % intervals. Look at {out / 'report.html'}", soft_wrap=True)
