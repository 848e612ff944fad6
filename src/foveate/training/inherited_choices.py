"""Release a run with the calibration and the thresholds of the package that it started from.

Knows:   what such a package's manifest holds of its release, and when it may be kept.
Ignores: how calibration, thresholds and selection rules were chosen (`release`).

A run on all photographs leaves none to choose thresholds on. If it continues the training of a package, and
no other runs held photographs back, the package's own choices are the best that there are.
"""

import json
from collections.abc import Mapping
from typing import Any

from foveate.errors import TrainingError
from foveate.evaluation.networks import Row
from foveate.metrics.calibration import PlattScaling
from foveate.models import Package
from foveate.paths import display_path
from foveate.training import recipe as recipes
from foveate.training import warm_start
from foveate.training.release import CALIBRATED_ROWS, FinishedRun, ReleaseChoices, Scalings


def inherit(run: FinishedRun, package: Package) -> ReleaseChoices:
    """Return the choices of the package that a run started from.

    Nothing is validated: the scores are those of the package's network, on photographs that the new one may
    have been trained on since. The statement names that network under 'network', and the photographs under
    'learned_from_them'.

    Args:
        run: the finished run.
        package: the package that it started from, bit for bit.

    Raises:
        TrainingError: the run started from another package or from none, its network or contract differs, or
            the package's manifest does not state its calibration, or states no numbers.
    """
    _require_start(run, package)
    stated = package.training
    if stated.calibration is None:
        raise TrainingError(
            f"package {package.name}: its manifest does not state its calibration, so its thresholds do not "
            "fit other weights; name runs that held photographs back with --judged-by"
        )
    return ReleaseChoices(
        scalings={row: _scalings(package, row) for row in CALIBRATED_ROWS},
        global_shares=warm_start.stated_global_shares(package),
        decisions=package.decisions,
        selection_rules=package.selection_rules,
        validation={
            **stated.validation,
            "network": stated.validation.get("network", _identity(package)),
            "learned_from_them": sorted(set(stated.scored) & set(run.trained_photographs)),
        },
    )


def _require_start(run: FinishedRun, package: Package) -> None:
    """Raise TrainingError unless the run continues the package's training, network and contract unchanged."""
    if run.start is None:
        raise TrainingError(
            f"{display_path(run.folder)}: did not start from a package, so there are no thresholds to keep; "
            "leave out --thresholds-of"
        )
    if run.start.digest != package.digest:
        raise TrainingError(
            f"{display_path(run.folder)}: started from {run.start.name} {run.start.version} (digest "
            f"{run.start.digest[:8]}), not from this {package.name} {package.version} "
            f"({package.digest[:8]}); name that package with --thresholds-of"
        )
    if run.recipe.contract != package.contract or _has_other_network(run, package):
        raise TrainingError(
            f"{display_path(run.folder)}: its network or contract differs from that of {package.name} "
            f"{package.version}, so its thresholds do not fit; name runs that held photographs back with "
            "--judged-by"
        )


def _has_other_network(run: FinishedRun, package: Package) -> bool:
    """Return whether a run's network is not the one that the package's manifest states, if it states any."""
    network = package.training.network
    return bool(network) and network != json.loads(json.dumps(recipes.describe(run.recipe)["network"]))


def _scalings(package: Package, row: Row) -> Scalings:
    """Return the calibration of a row's maps, as the manifest states it."""
    return {
        lesion: PlattScaling(slope=slope, shift=shift)
        for lesion, (slope, shift) in warm_start.stated_calibration(package, row).items()
    }


def _identity(package: Package) -> Mapping[str, Any]:
    return {"name": package.name, "version": package.version, "digest": package.digest}
