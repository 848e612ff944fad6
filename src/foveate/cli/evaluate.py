"""`foveate evaluate`.

Knows:   which calls its options become, and how figures are shown on a terminal.
Ignores: how anything is scored.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from foveate import atomic_files, models
from foveate.cli import progress
from foveate.cli.engine_hint import print_hint
from foveate.cli.options import parse_codes, parse_field, parse_thresholds
from foveate.cli.options.evaluate import EvaluateOptions
from foveate.datasets import checks, layouts
from foveate.engines.choice import EngineChoice
from foveate.evaluation import LesionOutcome, maps_from_folder, maps_from_model, results, selection
from foveate.evaluation import evaluate as evaluate_cases
from foveate.evaluation.evaluate import EvaluationSpec
from foveate.evaluation.sources import require_maps, require_usable
from foveate.evaluation.tables import EvaluationInfo, headline
from foveate.inference.api import Model, load
from foveate.inference.settings import Settings
from foveate.models import Package
from foveate.writers import Provenance


def evaluate(options: EvaluateOptions) -> None:
    """Score photographs, write the results and print the main figures.

    Raises:
        UsageError: an option is misspelt.
        FoveateError: the evaluation cannot be done.
    """
    lesions = selection.Selection(
        lesions=parse_codes(options.lesions), thresholds=parse_thresholds(options.threshold)
    )
    field = parse_field(options.field)
    layout = layouts.named(options.layout)
    cases = selection.select_cases(options.data, layout, options.split)
    model = _load_model(options)
    package = model.package if model else None
    scored = selection.select_lesions(layout, cases, package, lesions)
    for line in selection.warnings(options.data, layout, options.split, tuple(scored.thresholds)):
        print(f"foveate: {line}", file=sys.stderr)
    if model is None and options.predictions is not None:
        require_maps(options.predictions, cases, tuple(scored.thresholds))  # before the work
        source = maps_from_folder(options.predictions, field, layout.field)
    elif model is not None:
        settings = Settings(field=field, lesions=tuple(scored.thresholds), effort=options.effort)
        source = maps_from_model(model.package, model.engine, settings)
    overlap = selection.previously_seen(cases, package)
    if overlap and (warning := overlap.warning(len(cases))):
        print(f"foveate: {warning}", file=sys.stderr)
    spec = EvaluationSpec(source=source, cases=cases, thresholds=scored.thresholds, region=options.region)
    info = EvaluationInfo(
        provenance=_provenance(package) if package else None,
        layout=layout.name,
        split=Path(options.split).name,
        left_out=scored.left_out,
        lesions=layout.kinds,
        previously_seen=overlap,
        engine=model.engine.label if model else None,
        effort=options.effort if model else None,
    )
    contract = package.contract if package else None
    with atomic_files.reserve(options.out):
        results.prepare(options.out, replace=options.replace)
        with progress.reading_bar() as show_reading:
            doubt = checks.check_files(  # before the work
                cases,
                tuple(scored.thresholds),
                show_reading,
                lambda photograph: require_usable(photograph, contract, options.region, field, layout.field),
            )
        if doubt:
            print(f"foveate: {doubt}", file=sys.stderr)
        with progress.case_display(len(cases)) as show:
            outcomes = evaluate_cases(spec, show)
        _print_outcomes(outcomes)  # first: they are not lost if the disk is full
        results.write(outcomes, spec, info, options.out)
    _print(f"Split {info.split}; 95 % intervals. Look at {options.out / 'report.html'}")


def _load_model(options: EvaluateOptions) -> Model | None:
    """Return the model to evaluate, None where maps are scored."""
    if options.predictions is not None:
        return None
    engine = options.engine
    print_hint(EngineChoice(engine=engine.engine, precision=engine.precision))
    return load(
        options.model or models.DEFAULT,
        engine=engine.engine,
        precision=engine.precision,
        threads=engine.threads,
    )


def _provenance(package: Package) -> Provenance:
    return Provenance(name=package.name, version=package.version, digest=package.digest)


def _print_outcomes(outcomes: Mapping[str, LesionOutcome]) -> None:
    """Print the main figures."""
    rows = [(lesion, headline(outcome)) for lesion, outcome in outcomes.items()]
    table = Table("lesion", *rows[0][1], show_lines=True)
    for lesion, cells in rows:
        table.add_row(lesion, *cells.values())
    _print(table)


def _print(content: Table | str) -> None:
    Console(highlight=False, markup=False).print(content, soft_wrap=isinstance(content, str))
