"""`foveate models`: which model packages there are, and what each says about itself.

Knows:   how a package is shown.
Ignores: what it is good for; its manifest says so.
"""

import json

from rich.console import Console
from rich.table import Table

from foveate import lesions
from foveate.models import DEFAULT, MANIFEST, Package, TrainingData, load, shipped
from foveate.models.training_statement import StatedScore, TrainingStatement
from foveate.wording import quantity


def print_shipped_models() -> None:
    """Print a table of the model packages that come with Foveate."""
    names = shipped()
    if not names:
        print("no model package comes with this copy of Foveate; give the folder of one with --model")
        return
    table = _table("model", "version", "MB", "average precision")
    for name in names:
        package = load(name)
        scores = package.training.scores
        table.add_row(
            f"{name} (default)" if name == DEFAULT else name,
            package.version,
            f"{_megabytes(package):.1f}",
            ", ".join(f"{code} {_figure(scores.get(code))}" for code in package.decisions),
        )
    _print(table)
    _print("Scored on photographs held back from training. More about a model: foveate models show MODEL")


def print_model(name: str, *, as_json: bool = False) -> None:
    """Print what a model package says about itself.

    Args:
        name: name of a shipped package, the folder of a package, or a zip file of it.
        as_json: print its whole manifest as JSON.

    Raises:
        PackageError: there is no such package, or it is altered.
    """
    package = load(name)
    if as_json:
        print(json.dumps(json.loads((package.folder / MANIFEST).read_bytes()), ensure_ascii=False, indent=2))
        return
    manifest, contract, stated = package.manifest, package.contract, package.training
    _print(f"{package.name} {package.version} ({manifest.licence}, {_megabytes(package):.1f} MB)")
    _print(f"{manifest.intended_use}\n")
    _print(_lesion_table(package, stated))
    _print(
        "Regions below the least area are not counted, and those below the least evidence are removed from "
        "the map; both are in px at the model's scale."
    )
    _print(f"{_scored(stated)}\n")
    _print(f"Trained on: {_trained(stated)}")
    _print(f"Data: {_data(manifest.data)}")
    _print(
        f"Input: a global view of {contract.view_side} px, and windows of {contract.window_side} px that "
        f"overlap by {contract.overlap} px, at the scale where the field of view is "
        f"{contract.field_diameter:g} px wide"
    )
    _print(f"Efforts: {', '.join(['best', 'full', *package.selection_rules])}")
    _print(f"SHA-256 of the manifest: {package.digest}")
    _print(f"All of the manifest: foveate models show {name} --json")


def _lesion_table(package: Package, stated: TrainingStatement) -> Table:
    """Return how each lesion's map becomes regions, and its score."""
    table = _table("lesion", "threshold", "least area", "least evidence", "average precision")
    for lesion in lesions.of(tuple(package.decisions)):
        decision, score = package.decisions[lesion.code], stated.scores.get(lesion.code)
        interval = (
            "" if score is None or score.interval is None else " ({:.3f} to {:.3f})".format(*score.interval)
        )
        table.add_row(
            lesion.code if lesion.name == lesion.code else f"{lesion.code} {lesion.name}",
            f"{decision.threshold:g}",
            f"{decision.minimum_area}",
            f"{decision.minimum_evidence:g}",
            f"{_figure(score)}{interval}",
        )
    return table


def _figure(score: StatedScore | None) -> str:
    return "not stated" if score is None else f"{score.average_precision:.3f}"


def _scored(stated: TrainingStatement) -> str:
    """Return on which photographs the scores were measured."""
    if not stated.scores:
        return "The package states no scores."
    scored = (
        f"The scores are those that {stated.scored_package} states," if stated.scored_package else "Scored"
    )
    photographs = quantity(len(stated.scored), "photograph")
    text = f"{scored} on {photographs} held back from training; 95 % intervals."
    if not stated.scored_and_learned:
        return text
    learned, total = len(stated.scored_and_learned), len(stated.scored)
    share = "all" if learned == total else str(learned)
    return f"{text} The network was then trained on {share} of them as well."


def _trained(stated: TrainingStatement) -> str:
    """Return what the network was trained on, and how."""
    parts = [
        quantity(len(stated.photographs), "photograph")
        if stated.photographs
        else "photographs that it does not name"
    ]
    if stated.healthy:
        parts.append(quantity(len(stated.healthy), "healthy eye"))
    text = " and ".join(parts)
    text += f", recipe {stated.recipe}" if stated.recipe else ""
    return text + (f", starting from {stated.start}" if stated.start else "")


def _data(data: TrainingData) -> str:
    """Return which data set a package was trained on, under which licence, and where it comes from."""
    return f"{data.name}, {data.licence}, {data.attribution}"


def _table(*heads: str) -> Table:
    return Table(*heads, box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _print(content: Table | str) -> None:
    Console(highlight=False, markup=False).print(content, soft_wrap=isinstance(content, str))


def _megabytes(package: Package) -> float:
    """Return the size of the package's files, in millions of bytes."""
    return sum(path.stat().st_size for path in package.folder.iterdir() if path.is_file()) / 1e6
