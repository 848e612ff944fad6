"""`foveate models`: which model packages there are, and what each says about itself.

Knows:   how a package is shown.
Ignores: what it is good for; its manifest says so.
"""

import json
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from foveate.models import Package

models = App(name="models", help="List the model packages that come with Foveate.")


@models.default
def print_shipped() -> None:
    """List the model packages that come with Foveate."""
    # What computes is imported here, so that --help need not wait for it.
    from foveate.models import DEFAULT, load, shipped  # noqa: PLC0415

    names = shipped()
    if not names:
        print("no model package comes with this copy of Foveate; give one's folder by --model")
    for name in names:
        package = load(name)
        used = " (used unless --model names another)" if name == DEFAULT else ""
        thresholds = ", ".join(
            f"{code} from {decision.threshold:g}" for code, decision in package.decisions.items()
        )
        print(f"{name} {package.version}: {thresholds}; {_megabytes(package):.1f} MB{used}")


@models.command
def show(name: Annotated[str, Parameter(metavar="NAME|FOLDER")], /) -> None:
    """Print what a model package says about itself: what it is for, what it learned from, what it decides.

    Parameters
    ----------
    name
        A model package that comes with Foveate, a package's folder or a zip of one.
    """
    from foveate.models import load  # noqa: PLC0415

    package = load(name)
    manifest = package.manifest
    contract = package.contract
    print(f"{package.name} {package.version} ({manifest['licence']}, {_megabytes(package):.1f} MB)")
    print(manifest["intended_use"])
    print(f"manifest SHA-256: {package.digest}")
    for code, decision in package.decisions.items():
        print(f"{code}: from probability {decision.threshold:g}, regions from {decision.minimum_area} px")
    print(
        f"looks at a view of {contract.view_side} px and windows of {contract.window_side} px "
        f"that share {contract.overlap} px, where the field is {contract.field_diameter:g} px wide"
    )
    print(f"data: {json.dumps(manifest['data'], ensure_ascii=False, indent=2)}")
    print(f"training: {json.dumps(manifest['training'], ensure_ascii=False, indent=2)}")


def _megabytes(package: "Package") -> float:
    """What the package's files take, in millions of bytes."""
    return sum(path.stat().st_size for path in package.folder.iterdir() if path.is_file()) / 1e6
