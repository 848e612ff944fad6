"""`foveate models`: which model packages there are, and what each says about itself.

Knows:   how a package is shown.
Ignores: what it is good for; its manifest says so.
"""

import json

from foveate.models import DEFAULT, Package, load, shipped


def print_shipped_models() -> None:
    """Print a line for each model package that comes with Foveate."""
    names = shipped()
    if not names:
        print("no model package comes with this copy of Foveate; give the folder of one with --model")
    for name in names:
        package = load(name)
        note = " (the default)" if name == DEFAULT else ""
        thresholds = ", ".join(
            f"{code} from {decision.threshold:g}" for code, decision in package.decisions.items()
        )
        print(f"{name} {package.version}: {thresholds}; {_megabytes(package):.1f} MB{note}")


def print_model(name: str) -> None:
    """Print what a model package says about itself.

    Raises:
        PackageError: there is no such package, or it is altered.
    """
    package = load(name)
    manifest, contract = package.manifest, package.contract
    print(f"{package.name} {package.version} ({manifest['licence']}, {_megabytes(package):.1f} MB)")
    print(manifest["intended_use"])
    print(f"manifest SHA-256: {package.digest}")
    for code, decision in package.decisions.items():
        evidence = (
            f" and an evidence of at least {decision.minimum_evidence:g} px"
            if decision.minimum_evidence
            else ""
        )
        print(
            f"{code}: from probability {decision.threshold:g}, "
            f"regions of at least {decision.minimum_area} px{evidence}"
        )
    print(
        f"input: a global view of {contract.view_side} px, and windows of {contract.window_side} px that "
        f"overlap by {contract.overlap} px, at the scale where the field of view is "
        f"{contract.field_diameter:g} px wide"
    )
    for key in ("data", "training"):
        print(f"{key}: {json.dumps(manifest[key], ensure_ascii=False, indent=2)}")


def _megabytes(package: Package) -> float:
    """Return the size of the package's files, in millions of bytes."""
    return sum(path.stat().st_size for path in package.folder.iterdir() if path.is_file()) / 1e6
