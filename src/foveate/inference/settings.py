"""The settings that a user may choose for a photograph, and the check that they fit the model.

Knows:   the settings, and which of them a model package allows.
Ignores: what they do to a photograph.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

from foveate import lesions
from foveate.choices import Effort, Part, require_choice
from foveate.errors import LesionError, SettingError
from foveate.models import Package
from foveate.types import Decision, SelectionRule, TtaViews

FieldChoice = Literal["auto", "full"] | tuple[float, float, float]
"""'auto' (as in training), 'full' (the whole photograph), or a disc: (row, column, radius), photograph px."""


def _plain_field(field: FieldChoice) -> FieldChoice:
    """Return a choice of the field, with numbers of Python's own type.

    Raises:
        SettingError: it is no such choice.
    """
    if isinstance(field, str):
        require_choice("field", field, ("auto", "full"))
        return field
    try:
        row, column, radius = field
    except (TypeError, ValueError):
        raise SettingError(f"field is {field!r}; give 'auto', 'full' or (row, column, radius)") from None
    return _plain_number("field", row), _plain_number("field", column), _plain_number("field", radius)


def _plain_number(name: str, value: float) -> float:
    """Return a number as Python's own type.

    Raises:
        SettingError: it is no finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, str) or not math.isfinite(number):
        raise SettingError(f"{name} is {value!r}; give a finite number")
    return number


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings that a user may choose; the model package decides everything else.

    Numbers may be of any type, such as NumPy's; they are kept as Python's own, which files of results can
    hold.

    Raises:
        SettingError: a part, field or effort is none of those that there are, or a threshold is no number.
    """

    part: Part | None = None
    """Which part of the photograph is analysed; None for the part that the model was trained on."""
    field: FieldChoice = "auto"
    """Where the field of view is."""
    lesions: str | Sequence[str] | None = None
    """Codes of the lesions to report, or a single one, kept as a tuple; None for all lesions of the model."""
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    """Lesion code -> probability in (0, 1] that replaces the package's own threshold."""
    effort: Effort = "full"
    """Which windows LocalNet processes, and whether each in four rotations."""

    def __post_init__(self) -> None:
        if self.part is not None:
            require_choice("part", self.part, get_args(Part))
        require_choice("effort", self.effort, get_args(Effort))
        if self.lesions is not None:
            codes = (self.lesions,) if isinstance(self.lesions, str) else tuple(self.lesions)
            object.__setattr__(self, "lesions", codes)
        object.__setattr__(self, "field", _plain_field(self.field))
        if not isinstance(self.thresholds, Mapping):
            raise SettingError(f"thresholds is {self.thresholds!r}; give a mapping such as {{'EX': 0.4}}")
        thresholds = {code: _plain_number(f"threshold {code}", p) for code, p in self.thresholds.items()}
        object.__setattr__(self, "thresholds", thresholds)


DEFAULTS = Settings()
"""The settings of a user who chooses nothing."""


def check_settings(package: Package, settings: Settings) -> None:
    """Raise an error unless the settings fit the model.

    Raises:
        LesionError, SettingError: the settings do not fit.
    """
    lesion_decisions(package, settings)
    selection_rule(package, settings.effort)


def lesion_decisions(package: Package, settings: Settings) -> Mapping[str, Decision]:
    """Return the decision of each reported lesion: the package's own, with the user's thresholds.

    Raises:
        LesionError: the model does not know a lesion, or no lesion is left.
        SettingError: a threshold is out of range, or belongs to a lesion that is not reported.
    """
    available = package.contract.lesions
    codes = available if settings.lesions is None else lesions.select(settings.lesions, available)
    if not codes:
        raise LesionError(f"no lesion is selected; choose from {', '.join(available)}")
    lesions.select(tuple(settings.thresholds), available)
    for code, threshold in settings.thresholds.items():
        if code not in codes:
            raise SettingError(
                f"a threshold is given for {code}, which is not among the selected lesions: "
                f"{', '.join(codes)}"
            )
        if not 0 < threshold <= 1:
            raise SettingError(f"threshold {code}={threshold:g}; give a probability above 0 and at most 1")
    own = package.decisions
    return MappingProxyType(
        {
            code: replace(own[code], threshold=settings.thresholds.get(code, own[code].threshold))
            for code in codes
        }
    )


def selection_rule(package: Package, effort: Effort) -> SelectionRule | None:
    """Return the rule that selects the windows at an effort; None if all windows are processed.

    Raises:
        SettingError: the package has no rule for this effort.
    """
    match effort:  # mypy then knows that the others are reduced efforts
        case "best" | "full":
            return None
    if effort not in package.selection_rules:
        efforts = ", ".join(("full", *package.selection_rules, "best"))
        raise SettingError(
            f"model {package.name} {package.version} cannot select windows for effort {effort}; choose "
            f"--effort {efforts}"
        )
    return package.selection_rules[effort]


def window_views(effort: Effort) -> TtaViews:
    """Return the number of rotations in which LocalNet sees each window at an effort.

    Mirrored windows as well would be twice the work and gain nothing (docs/decisions/0027-effort-best.md).
    """
    return 4 if effort == "best" else 1
