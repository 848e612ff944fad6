"""Release a finished run as a model package: validate, calibrate, choose thresholds, export, describe.

Knows:   the rules by which probabilities are calibrated and thresholds and smallest areas are chosen, which
         functions choose the rest, and what a package records.
Ignores: how the network was trained.

A model is validated on photographs that it was not trained on. These are the ones that its own run held back
or, if it was trained on all, those that other runs of the recipe held back from equal networks
(cross-validation).
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64

from foveate import evaluation, metrics, models, nets, photographs
from foveate.choices import LastStage, ReducedEffort
from foveate.datasets import Case, checks, digest, dr_grades, truth
from foveate.datasets.layouts import Layout
from foveate.engines import Engine
from foveate.errors import DatasetError, TrainingError
from foveate.evaluation import CaseHistogram, LesionScore, effort_cutoffs, evidence_cuts
from foveate.evaluation.evidence_cuts import EvidenceCut
from foveate.evaluation.networks import ROW_ENGINES, Row
from foveate.inference.prepared_canvas import find_frame, prepare_canvas
from foveate.metrics.calibration import PlattScaling
from foveate.models import Manifest, TrainingData
from foveate.nets import LocalGlobalUNet
from foveate.paths import display_path, nfc
from foveate.training import export, quantisation, run_recipe, run_record, run_split, trainer
from foveate.training import recipe as recipes
from foveate.training.recipe import REFINE, Recipe
from foveate.training.run_folder import RunFolder
from foveate.training.run_record import AveragedRun, ContinuedRun, StartPackage
from foveate.types import Decision, SelectionRule
from foveate.wording import quantity

SMALLEST_SHARE = 0.05
"""The smallest area of a region is the largest one that excludes at most this share of the annotated
lesions."""

LOWEST_THRESHOLD = 1e-4
"""Thresholds have four decimals; at 0 every pixel would be lesion."""

NOT_A_DEVICE = "Not a medical device: it must not be used to diagnose, to screen, or to decide on treatment."

Scalings = Mapping[str, PlattScaling]
"""Lesion -> the calibration of its probabilities; lesions without one are not calibrated."""

CALIBRATED_ROWS: tuple[Row, ...] = ("GlobalNet", "fused")
"""Maps that a package produces: where LocalNet processes no window, GlobalNet's map is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRun:
    """A finished run: its recipe, its folder, and the photographs on both sides of its split."""

    recipe: Recipe
    folder: Path
    """Folder of the run."""
    stage: LastStage
    """The last stage whose weights are used."""
    training_cases: Sequence[Case]
    """Photographs that were trained on."""
    held_back: Sequence[Case]
    """Photographs that were held back."""
    layout: Layout
    """Layout of the data set: the names of its lesions, its licence and attribution."""
    healthy: Sequence[str] = ()
    """Names of the healthy eyes that were trained on as well."""
    start: StartPackage | None = None
    """The package that the run started from."""
    averaged: Sequence[AveragedRun] = ()
    """The runs that the weights are the mean of, if they are."""
    continued: ContinuedRun | None = None
    """The run whose joint stage it continued, if it did."""

    @property
    def trained_photographs(self) -> tuple[str, ...]:
        """Return the names, in NFC, of all training photographs, with those of the package at the start."""
        earlier = () if self.start is None else self.start.photographs
        names = (*earlier, *(case.name for case in self.training_cases))
        return tuple(sorted({nfc(name) for name in names}))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseInputs:
    """The run whose model is released, and the runs whose held-back photographs validate it."""

    shipped: FinishedRun
    validation_runs: Sequence[FinishedRun]
    """The same run, or other runs of the recipe."""

    def __post_init__(self) -> None:
        """Check that the runs belong together and have all that a release needs, before the hours of work.

        Raises:
            TrainingError: no photograph was held back, one was held back twice, the networks or the last
                stages differ, or the weights of a run are missing or damaged.
            DatasetError: a lesion is missing on one side of the split, or a mask is refused.
            PhotographError: a photograph cannot be read.
        """
        names = self.held_back
        if not names:
            raise TrainingError(
                f"{display_path(self.shipped.folder)}: no photograph was held back to choose thresholds on; "
                "train with --fold, or name runs that held a fold back with --judged-by"
            )
        if duplicates := [name for name, count in Counter(names).items() if count > 1]:
            raise TrainingError(
                f"photograph {duplicates[0]} was held back in two of the runs; name runs with different folds"
            )
        for run in self.validation_runs:
            if _network_numbers(run.recipe) != _network_numbers(self.shipped.recipe):
                raise TrainingError(
                    f"{display_path(run.folder)}: its network or contract differs from that of "
                    f"{display_path(self.shipped.folder)}; name runs of one recipe, with the same --set"
                )
            if run.stage != self.shipped.stage:
                raise TrainingError(
                    f"{display_path(run.folder)}: its last stage is '{run.stage}', that of "
                    f"{display_path(self.shipped.folder)} is '{self.shipped.stage}', so that it would "
                    "validate another network; finish both runs, or name a stage that both have with --stage"
                )
        for run in (self.shipped, *self.validation_runs):
            build_network(run)
        _require_lesions(self.shipped, self.held_back_cases, "held-back", "threshold")
        _require_lesions(self.shipped, self.shipped.training_cases, "training", "smallest area")

    @property
    def held_back_cases(self) -> tuple[Case, ...]:
        """Return all photographs that validate the model."""
        return tuple(case for run in self.validation_runs for case in run.held_back)

    @property
    def held_back(self) -> tuple[str, ...]:
        """Return the names of all photographs that validate the model."""
        return tuple(case.name for case in self.held_back_cases)

    def check_files(self, progress: checks.CheckProgress = lambda done, total, name: None) -> str:
        """Read all photographs that validate the model, and their masks, before the hours of work.

        Returns a line of doubt, and raises, as `checks.check_files`.
        """
        contract = self.shipped.recipe.contract
        return checks.check_files(
            self.held_back_cases,
            contract.lesions,
            progress,
            lambda photograph: find_frame(photograph, contract),
        )


def _require_lesions(run: FinishedRun, cases: Sequence[Case], part: str, choice: str) -> None:
    """Raise DatasetError unless each lesion occurs in one of the photographs, on which `choice` is made.

    Masks are read until each lesion has been found, mostly those of a few photographs.
    """
    missing = list(run.recipe.contract.lesions)
    for case in cases:
        if not missing:
            return
        shape = photographs.read(case.photograph).shape
        planes = truth(case, tuple(missing), shape)
        missing = [lesion for lesion, plane in zip(missing, planes, strict=True) if not plane.any()]
    if missing:
        raise DatasetError(
            f"no {part} photograph has lesion {missing[0]}, so its {choice} cannot be chosen; hold back "
            "another fold, name a set that has it, or a recipe without it"
        )


def load_run(
    recipe: Recipe, folder: Path, cases: Sequence[Case], layout: Layout, stage: LastStage | None = None
) -> FinishedRun:
    """Return a finished run from the records in its folder.

    Args:
        recipe: the published recipe of the run's name.
        folder: of the run.
        cases: all photographs of its data set.
        layout: of the data set.
        stage: the last stage whose weights are used; None for 'refine' if the run has finished it, or else
            'joint'.

    Raises:
        TrainingError, SettingError: as `run_recipe.load_recipe`; or the run was trained on another set, or
            the stage is that of a run that it continued.
        DatasetError: as `run_split.split_cases`; or a photograph cannot be read.
    """
    trained_recipe = run_recipe.load_recipe(recipe, folder)
    run = RunFolder(folder)
    annotated = run_split.require_annotated(trained_recipe, cases)
    _require_same_set(run, trained_recipe, annotated, cases)
    training_cases, held_back = run_split.split_cases(trained_recipe, annotated)
    settings = run.read_settings()
    stage = stage or (REFINE if run.is_finished(REFINE) else "joint")
    if settings is not None and settings.continued is not None and stage != REFINE:
        raise TrainingError(
            f"{display_path(folder)}: its stage 'joint' is that of {display_path(settings.continued.name)}, "
            f"which was trained on fewer photographs; finish stage '{REFINE}', or release that run"
        )
    return FinishedRun(
        recipe=trained_recipe,
        folder=folder,
        stage=stage,
        training_cases=training_cases,
        held_back=held_back,
        layout=layout,
        healthy=run_record.healthy_names(run.read_digests(), cases),
        start=None if settings is None else settings.start,
        averaged=() if settings is None else settings.averaged,
        continued=None if settings is None else settings.continued,
    )


def _require_same_set(
    run: RunFolder, recipe: Recipe, annotated: Sequence[Case], cases: Sequence[Case]
) -> None:
    """Raise TrainingError if the set has other photographs or masks than those that a run has recorded.

    The package would name photographs that it was not trained on, or lack some that it was; and a lesion
    whose mask is missing would count as absent. Runs from before there were records are accepted.

    Args:
        run: folder of the run.
        recipe: recipe of the run.
        annotated: the photographs of the set that can be used.
        cases: all photographs of the set.
    """
    digests = run.read_digests()
    healthy = {f"{dr_grades.PREFIX}{name}" for name in run_record.healthy_names(digests, cases)}
    recorded, present = set(digests) - healthy, {nfc(case.name) for case in annotated}
    if digests and recorded != present:
        name = min(recorded ^ present)
        difference = "which the set lacks" if name in recorded else "which the run has not seen"
        raise TrainingError(
            f"{display_path(run.path)}: was trained on another set; they differ in "
            f"{quantity(len(recorded ^ present), 'photograph')}, such as {name}, {difference}; name the set "
            "of the run with --data"
        )
    for case in annotated if digests else ():
        _require_same_files(run, case, digests[nfc(case.name)], recipe.contract.lesions)


def _require_same_files(
    run: RunFolder, case: Case, record: Mapping[str, Any], lesions: Sequence[str]
) -> None:
    """Raise TrainingError if a photograph is not the recorded one, or has masks of other lesions.

    The content of masks may differ: a copy of the set may hold them in another file format.

    Args:
        run: folder of the run.
        case: the photograph and its masks.
        record: its entry in the run's record (`run_record.file_digests`).
        lesions: lesions of the run's recipe; masks of others do not matter.
    """
    for lesion in lesions:
        has_mask = lesion in case.masks
        if has_mask != (lesion in record["masks"]):
            difference = f"has a mask of {lesion}, without" if has_mask else f"has no mask of {lesion}, with"
            raise TrainingError(
                f"{display_path(case.photograph)}: {difference} which {display_path(run.path)} was trained; "
                "unpack the whole set of the run, or name it with --data"
            )
    if record["photograph"] != digest(case.photograph):
        raise TrainingError(
            f"{display_path(case.photograph)}: is not the photograph that {display_path(run.path)} was "
            "trained with, although it has the same name; restore it, or name the set of the run with --data"
        )


def _network_numbers(recipe: Recipe) -> tuple[object, ...]:
    """Return the numbers that must be equal in two runs, if one is to validate the network of the other."""
    return recipe.network, recipe.contract, recipe.global_shares if any(recipe.global_shares) else ()


def build_network(run: FinishedRun) -> LocalGlobalUNet:
    """Return a run's network with its final weights.

    Raises:
        TrainingError: a stage is not finished.
    """
    return trainer.finished_network(run.recipe, RunFolder(run.folder), run.stage)


def validate(inputs: ReleaseInputs, row: Row = "fused") -> list[CaseHistogram]:
    """Count the pixels of all held-back photographs in the maps of a Table 1 row, weights as released.

    The fused maps have GlobalNet's shares, as those of the released network.
    """
    histograms: list[CaseHistogram] = []
    for run in inputs.validation_runs:
        network = build_network(run)
        if row == "fused":
            network = nets.blend(network, run.recipe.global_shares)
        engine = ROW_ENGINES[row](network=export.round_to_half(network))
        package = models.unsaved_package(run.recipe.name, run.recipe.contract)
        histograms += evaluation.count_pixels(run.held_back, package, engine)
    return histograms


def fit_calibration(histograms: Sequence[CaseHistogram]) -> dict[str, PlattScaling]:
    """Return each lesion's calibration with the highest likelihood on the held-back photographs."""
    fitted = {
        lesion: metrics.calibration.fit(metrics.pool([case.counts[lesion] for case in histograms]))
        for lesion in histograms[0].counts
    }
    return {lesion: scaling for lesion, scaling in fitted.items() if scaling is not None}


def choose_decisions(
    run: FinishedRun, scores: Mapping[str, LesionScore], scalings: Scalings
) -> dict[str, Decision]:
    """Choose the threshold and the smallest area by which each lesion's map becomes regions.

    The threshold maximises Dice, pooled over the held-back photographs, on the calibrated maps. The smallest
    area excludes 5 % of the regions annotated in the training photographs, measured in canvas px. Both are
    our choice.
    """
    areas = _annotated_areas(run)
    decisions = {}
    for lesion in run.recipe.contract.lesions:
        threshold = scores[lesion].threshold
        assert threshold is not None  # ReleaseInputs checked that both sides have the lesion
        if lesion in scalings:
            threshold = float(scalings[lesion](np.array([threshold]))[0])
        smallest = max(1, int(np.quantile(areas[lesion], SMALLEST_SHARE)))
        threshold = max(LOWEST_THRESHOLD, round(threshold, 4))
        decisions[lesion] = Decision(threshold=threshold, minimum_area=smallest)
    return decisions


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseChoices:
    """Everything that is chosen on photographs held back, and the manifest's statement about them."""

    scalings: Mapping[Row, Scalings]
    """Row of `CALIBRATED_ROWS` -> the calibration of its maps."""
    global_shares: tuple[float, ...]
    """GlobalNet's shares in the fused logits that the other choices belong to (`Recipe.global_shares`)."""
    decisions: Mapping[str, Decision]
    """Lesion -> threshold on calibrated maps, smallest area and least evidence."""
    selection_rules: Mapping[ReducedEffort, SelectionRule]
    """Effort below full -> how windows are selected; empty if the network has windows of one size only."""
    validation: Mapping[str, object]
    """Scores, calibration and evidence cuts, as JSON values."""


def choose(inputs: ReleaseInputs, histograms: Mapping[Row, Sequence[CaseHistogram]]) -> ReleaseChoices:
    """Choose calibration, thresholds, evidence cuts and selection rules on the photographs held back.

    Args:
        inputs: the run, and those that validate it.
        histograms: row of Table 1 -> the result of `validate`; 'fused' decides on thresholds.
    """
    run = inputs.shipped
    scalings: dict[Row, Scalings] = {row: fit_calibration(histograms[row]) for row in CALIBRATED_ROWS}
    scores = {row: evaluation.score(cases) for row, cases in histograms.items()}
    decisions = choose_decisions(run, scores["fused"], scalings["fused"])
    cuts = choose_evidence_cuts(inputs, decisions, scalings)
    return ReleaseChoices(
        scalings=scalings,
        global_shares=run.recipe.global_shares,
        decisions={
            lesion: dataclasses.replace(decision, minimum_evidence=cuts[lesion].minimum_evidence)
            for lesion, decision in decisions.items()
        },
        selection_rules=choose_selection_rules(inputs, scalings),
        validation={
            "photographs": list(inputs.held_back),
            "learned_from_them": sorted(set(inputs.held_back) & set(run.trained_photographs)),
            "pixels": "all of each photograph, native resolution, pooled",
            "rows": {
                row: {lesion: dataclasses.asdict(score) for lesion, score in table.items()}
                for row, table in scores.items()
            },
            "calibration": {
                row: describe_calibration(histograms[row], scalings[row]) for row in CALIBRATED_ROWS
            },
            "evidence": {lesion: dataclasses.asdict(cut) for lesion, cut in cuts.items()},
        },
    )


def write_package(run: FinishedRun, choices: ReleaseChoices, version: str, folder: Path) -> None:
    """Write the model package of a run.

    Args:
        run: the run.
        choices: from `choose`, or from `inherited_choices.inherit`.
        version: version of the weights.
        folder: folder of the package.

    Raises:
        ExportError: torch and ONNX Runtime disagree.
    """
    recipe, layout = run.recipe, run.layout
    manifest = Manifest(
        name=recipe.name,
        version=version,
        licence=layout.licence,
        intended_use=(
            f"Research on {_lesion_names(run)} in photographs like those that it was trained on. "
            f"{NOT_A_DEVICE}"
        ),
        contract=recipe.contract,
        decisions=choices.decisions,
        selection_rules=choices.selection_rules,
        data=TrainingData(
            name=layout.title or layout.name, licence=layout.licence, attribution=layout.attribution
        ),
        training={
            "recipe": _stated_recipe(run, choices),
            "stage": run.stage,
            "start": None if run.start is None else run.start.to_json(),
            **({"averaged": [averaged.to_json() for averaged in run.averaged]} if run.averaged else {}),
            **({} if run.continued is None else {"continued": run.continued.to_json()}),
            "photographs": list(run.trained_photographs),
            "healthy": list(run.healthy),
            "validation": choices.validation,
        },
    )
    network = _calibrated_network(run, choices.scalings, choices.global_shares)
    export.export(network, manifest, folder)


def _stated_recipe(run: FinishedRun, choices: ReleaseChoices) -> dict[str, object]:
    """Return the recipe that a manifest states: the one that the run was begun with, whatever it is today."""
    stated = RunFolder(run.folder).read_recipe() or recipes.describe(run.recipe)
    stated.pop("global_shares", None)
    return stated | ({"global_shares": choices.global_shares} if any(choices.global_shares) else {})


def add_int8(run: FinishedRun, folder: Path, tell: Callable[[str], None] = lambda line: None) -> None:
    """Add int8 networks to a run's package; ranges are measured on photographs that the run was trained on.

    Raises: as `quantisation.quantise`.
    """
    cases = sorted(run.training_cases, key=lambda case: case.name)
    quantisation.quantise(models.load(folder), [case.photograph for case in cases], tell)


def choose_evidence_cuts(
    inputs: ReleaseInputs, decisions: Mapping[str, Decision], scalings: Mapping[Row, Scalings]
) -> dict[str, EvidenceCut]:
    """Choose the least evidence of regions, on the held-back photographs (`evaluation.evidence_cuts`)."""
    recipe = inputs.shipped.recipe
    package = models.unsaved_package(recipe.name, recipe.contract, decisions)
    regions: list[Mapping[str, evidence_cuts.CaseRegions]] = []
    for run in inputs.validation_runs:
        engine = _calibrated_engine(run, scalings)
        regions += evidence_cuts.list_regions(package, engine, run.held_back)
    return evidence_cuts.choose_all(regions, decisions)


def choose_selection_rules(
    inputs: ReleaseInputs, scalings: Mapping[Row, Scalings]
) -> Mapping[ReducedEffort, SelectionRule]:
    """Choose how windows are selected below full effort, on the held-back photographs.

    `evaluation.effort_cutoffs` makes the choice. There are no rules if the network takes only windows of the
    training size.
    """
    recipe = inputs.shipped.recipe
    if recipe.contract.step is None:
        return {}
    package = models.unsaved_package(recipe.name, recipe.contract)
    results: list[effort_cutoffs.CoarseResult] = []
    for run in inputs.validation_runs:
        engine = _calibrated_engine(run, scalings)
        results += effort_cutoffs.coarse_results(package, engine, run.held_back)
    return effort_cutoffs.choose(results, effort_cutoffs.reduced_tta_views(package))


def _calibrated_engine(run: FinishedRun, scalings: Mapping[Row, Scalings]) -> Engine:
    """Return an engine for a validation run's network as it would be released: calibrated and rounded."""
    network = _calibrated_network(run, scalings, run.recipe.global_shares)
    return ROW_ENGINES["fused"](network=export.round_to_half(network))


def _calibrated_network(
    run: FinishedRun, scalings: Mapping[Row, Scalings], shares: Sequence[float]
) -> LocalGlobalUNet:
    """Return a run's network with GlobalNet's shares in its fused maps, and calibrated."""
    lesions = run.recipe.contract.lesions
    fused, coarse = (_logit_lines(lesions, scalings[row]) for row in ("fused", "GlobalNet"))
    return nets.calibrate(nets.blend(build_network(run), shares), fused=fused, coarse=coarse)


def describe_calibration(
    histograms: Sequence[CaseHistogram], scalings: Scalings
) -> dict[str, dict[str, float | None]]:
    """Return, for each lesion, its calibration and the calibration error before and after.

    For the error after calibration, each photograph is calibrated on the other photographs. Both errors are
    those of the pixels with a probability of at least .1.
    """
    record = {}
    for lesion in histograms[0].counts:
        counts = [case.counts[lesion] for case in histograms]
        scaling = scalings.get(lesion)
        before = np.sum([metrics.calibration.table_row(case_counts) for case_counts in counts], axis=0)
        after = metrics.calibration.leave_one_out(counts).sum(axis=0)
        record[lesion] = {
            "slope": None if scaling is None else scaling.slope,
            "shift": None if scaling is None else scaling.shift,
            "error_before": _calibration_error(before),
            "error_after": _calibration_error(after),
        }
    return record


def _calibration_error(row: Float64[np.ndarray, " C"]) -> float | None:
    error = float(metrics.calibration.expected_errors_above_lowest(row[np.newaxis])[0])
    return error if math.isfinite(error) else None


def _logit_lines(lesions: Sequence[str], scalings: Scalings) -> list[nets.LogitLine]:
    """Return slope and shift of each lesion, in their order."""
    ordered = [scalings.get(lesion) for lesion in lesions]
    return [nets.IDENTITY if scaling is None else (scaling.slope, scaling.shift) for scaling in ordered]


def _lesion_names(run: FinishedRun) -> str:
    """Return the names that the data set's layout gives to the recipe's lesions."""
    names = {kind.code: kind.name for kind in run.layout.kinds}
    return ", ".join(names.get(code, code) for code in run.recipe.contract.lesions)


def _annotated_areas(run: FinishedRun) -> dict[str, np.ndarray]:
    """Return the areas of all regions annotated in the training photographs, canvas px."""
    lesions = run.recipe.contract.lesions
    areas: dict[str, list[np.ndarray]] = {lesion: [] for lesion in lesions}
    for case in run.training_cases:
        photograph = photographs.read(case.photograph)
        rows, columns = prepare_canvas(photograph, run.recipe.contract).frame.scale
        for lesion, plane in zip(lesions, truth(case, lesions, photograph.shape), strict=True):
            _, _, stats, _ = cv2.connectedComponentsWithStats(plane.astype(np.uint8), connectivity=8)
            areas[lesion].append(stats[1:, cv2.CC_STAT_AREA] * (rows * columns))
    return {lesion: np.concatenate(arrays) for lesion, arrays in areas.items()}
