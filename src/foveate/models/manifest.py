"""Encode and decode manifest.json, in which a model package describes itself.

Knows:   the keys, types and ranges of format 1.
Ignores: where a package is stored, and whether its other files are intact.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar, get_args

from foveate import lesions
from foveate.choices import Part, ReducedEffort
from foveate.errors import LesionError, PackageError
from foveate.models.file_names import MANIFEST
from foveate.types import (
    BlobPolarity,
    Decision,
    FieldRule,
    LesionCriterion,
    ModelContract,
    SelectionRule,
    TtaViews,
)

FORMAT = 1
"""It is increased when an older Foveate would misread a newer manifest; other numbers are refused."""

CONNECTIVITY = 8
"""Pixels that touch at a corner belong to one region: the only rule that `regions` has."""

T = TypeVar("T")

TYPE_NAMES: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
}
"""Type -> its name in messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """The photographs that a network was trained on, named as their licence requires."""

    name: str
    """Name of the data set or sets."""
    licence: str
    """Licence of the photographs."""
    attribution: str
    """The authors, and where the photographs come from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything that a package states about itself, except the digests of its files."""

    name: str
    """Letters, digits, '.', '_' and '-'; the name that `--model` takes."""
    version: str
    """Version of the weights."""
    licence: str
    """Licence of the weights, as an SPDX identifier."""
    intended_use: str
    """What it is for, and what it must not be used for, in a sentence or two."""
    contract: ModelContract
    """The input that the network was trained on and needs."""
    decisions: Mapping[str, Decision]
    """One for each lesion of the contract."""
    data: TrainingData
    """What it was trained on."""
    training: Mapping[str, object]
    """How it was trained and its scores, as JSON values in the recipe's own format (`training_statement`)."""
    selection_rules: Mapping[ReducedEffort, SelectionRule] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Effort -> the windows that LocalNet processes; empty if no rules were fitted."""


def encode(manifest: Manifest, files: Mapping[str, str]) -> bytes:
    """Return manifest.json for a package with these files (name -> SHA-256), the same bytes each time.

    Raises:
        PackageError: a value is out of range.
    """
    contract = manifest.contract
    record = {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "licence": manifest.licence,
        "intended_use": manifest.intended_use,
        "lesions": list(contract.lesions),
        "decisions": {code: _encode_decision(decision) for code, decision in manifest.decisions.items()},
        "connectivity": CONNECTIVITY,
        "normalisation": {"mean": list(contract.mean), "std": list(contract.std)},
        "views": {
            "view_side": contract.view_side,
            "window_side": contract.window_side,
            "overlap": contract.overlap,
            "step": contract.step,
            "part": contract.part,
            "glances": contract.tta_views,
        },
        "field": {
            "rule": contract.field,
            "diameter_px": contract.field_diameter,
            "scale_tolerance": contract.scale_tolerance,
        },
        **_encode_rules(manifest.selection_rules),
        "data": {
            "name": manifest.data.name,
            "licence": manifest.data.licence,
            "attribution": manifest.data.attribution,
        },
        "training": dict(manifest.training),
        "files": dict(sorted(files.items())),
    }
    # names of photographs may have bytes that are no UTF-8: JSON holds them as escapes
    text = (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
    decode(text, f"manifest of {manifest.name!r}")
    return text


def decode(text: bytes, source: str) -> tuple[Manifest, Mapping[str, str]]:
    """Return the manifest and the digests of the package's files: the inverse of `encode`.

    Args:
        text: the file's bytes.
        source: its path, for messages.

    Raises:
        PackageError: it is not a JSON object, it has another format, a key is missing, or a value has another
            type or is out of range. The message names the manifest and the key.
    """
    reader = _Reader(source, _parse(text, source))
    if (number := reader.value("format", int)) != FORMAT:
        raise reader.error(
            "format",
            f"is {number}, but this version of Foveate reads only format {FORMAT}; install one that reads it",
        )
    reader.require(
        "connectivity", reader.value("connectivity", int) == CONNECTIVITY, f"must be {CONNECTIVITY}"
    )
    name = reader.value("name", str)
    reader.require(
        "name", re.fullmatch(r"[\w.-]+", name, re.ASCII) is not None, "must consist of letters, digits, . _ -"
    )
    contract = _contract(reader)
    manifest = Manifest(
        name=name,
        version=reader.value("version", str),
        licence=reader.value("licence", str),
        intended_use=reader.value("intended_use", str),
        contract=contract,
        decisions=_decisions(reader, contract.lesions),
        data=TrainingData(
            name=reader.value("data.name", str),
            licence=reader.value("data.licence", str),
            attribution=reader.value("data.attribution", str),
        ),
        training=MappingProxyType(reader.value("training", dict)),
        selection_rules=_rules(reader, contract.lesions),
    )
    return manifest, _files(reader)


def _parse(text: bytes, source: str) -> dict[str, object]:
    """Return the JSON object of a manifest, unchecked.

    Raises:
        PackageError: it is not a JSON object.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        raise PackageError(f"{source}: not valid JSON ({error}); export the package again") from None
    if not isinstance(content, dict):
        type_name = TYPE_NAMES.get(type(content), "a value")
        raise PackageError(f"{source}: is {type_name}, not an object; export the package again")
    return content


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the values of a manifest by their keys ('views.overlap'), and checks them."""

    source: str
    """Path, for messages."""
    content: dict[str, object]

    def value(self, key: str, kind: type[T]) -> T:
        """Return the value of a key, which must exist and have a type; a whole number is also a number."""
        value: object = self.content
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise self.error(key, "is missing; export the package again")
            value = value[part]
        return self.typed(key, value, kind)

    def choice_or(self, key: str, choices: tuple[T, ...], default: T) -> T:
        """Return one of some words or numbers, or a default.

        Args:
            key: name of the value; packages that are older than this choice lack it.
            choices: the allowed values.
            default: the value for those packages.
        """
        section, _, name = key.partition(".")
        if name not in self.value(section, dict):
            return default
        return self.choice(key, choices)

    def choice(self, key: str, choices: tuple[T, ...]) -> T:
        """Return the value of a key, which must be one of some words or numbers."""
        value = self.value(key, type(choices[0]))
        self.require(key, value in choices, f"must be one of {', '.join(map(str, choices))}")
        return value

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """Return a list of `count` numbers."""
        values = self.value(key, list)
        self.require(key, len(values) == count, f"must have {count} numbers")
        return tuple(self.typed(key, value, float) for value in values)

    def typed(self, key: str, value: object, kind: type[T]) -> T:
        """Return a value, which must have a type."""
        if kind is float and type(value) is int and abs(value) < 1 << 63:  # larger ones may be no floats
            value = float(value)
        is_valid = type(value) is kind and not (isinstance(value, float) and not math.isfinite(value))
        if not is_valid or not isinstance(value, kind):  # True is an int for Python, but no whole number
            raise self.error(key, f"is {_short(value)}, not {TYPE_NAMES[kind]}; export the package again")
        return value

    def require(self, key: str, is_valid: bool, rule: str) -> None:
        """Raise an error unless a value is valid."""
        if not is_valid:
            value: object = self.content
            for part in key.split("."):
                value = value[part]  # type: ignore[index]  # it was read before, so it exists
            raise self.error(key, f"is {_short(value)}, but {rule}; export the package again")

    def error(self, key: str, problem: str) -> PackageError:
        """Return an error that names the manifest and the key."""
        return PackageError(f"{self.source}: {key!r} {problem}")


def _short(value: object) -> str:
    """Return a value as JSON, shortened if a line would become too long to read."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _contract(reader: _Reader) -> ModelContract:
    """Return the contract."""
    codes = [reader.typed("lesions", code, str) for code in reader.value("lesions", list)]
    reader.require("lesions", bool(codes), "must name at least one")
    try:
        lesions.of(codes)
    except LesionError as error:
        raise reader.error("lesions", f"contains a {error}; export the package again") from None
    mean, std = (reader.numbers(f"normalisation.{key}", 3) for key in ("mean", "std"))
    reader.require("normalisation.std", min(std) > 0, "must be above 0")
    view, window, overlap = (
        reader.value(f"views.{key}", int) for key in ("view_side", "window_side", "overlap")
    )
    reader.require("views.view_side", view >= 2, "must be at least 2 px")
    reader.require("views.window_side", window >= 1, "must be at least 1 px")
    reader.require("views.overlap", 0 <= overlap < window, f"must be 0 to {window - 1} px")
    diameter, tolerance = (
        reader.value("field.diameter_px", float),
        reader.value("field.scale_tolerance", float),
    )
    reader.require("field.diameter_px", diameter >= window, f"must be at least a window of {window} px")
    reader.require("field.scale_tolerance", tolerance >= 0, "must not be negative")
    return ModelContract(
        lesions=tuple(codes),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        view_side=view,
        window_side=window,
        overlap=overlap,
        field_diameter=diameter,
        scale_tolerance=tolerance,
        field=reader.choice_or("field.rule", get_args(FieldRule), "find"),
        part=reader.choice_or("views.part", get_args(Part), "field"),
        step=_step(reader, window),
        tta_views=reader.choice_or("views.glances", get_args(TtaViews), 1),
    )


def _step(reader: _Reader, window: int) -> int | None:
    """Return the step that divides the sides of windows; older packages have none, and one size of window."""
    if reader.value("views", dict).get("step") is None:
        return None
    step = reader.value("views.step", int)
    reader.require("views.step", step >= 1 and window % step == 0, f"must divide a window of {window} px")
    return step


def _decisions(reader: _Reader, codes: tuple[str, ...]) -> Mapping[str, Decision]:
    """Return threshold, minimum area and minimum evidence of each lesion; older packages have no evidence."""
    entries = reader.value("decisions", dict)
    reader.require("decisions", set(entries) == set(codes), f"must name {', '.join(codes)} and nothing else")
    decisions = {}
    for code in codes:
        threshold = reader.value(f"decisions.{code}.threshold", float)
        area = reader.value(f"decisions.{code}.minimum_area", int)
        reader.require(f"decisions.{code}.threshold", 0 < threshold <= 1, "must be above 0 and at most 1")
        reader.require(f"decisions.{code}.minimum_area", area >= 1, "must be at least 1 px")
        evidence = 0.0
        if "minimum_evidence" in reader.value(f"decisions.{code}", dict):
            evidence = reader.value(f"decisions.{code}.minimum_evidence", float)
            reader.require(f"decisions.{code}.minimum_evidence", evidence >= 0, "must not be negative")
        decisions[code] = Decision(threshold=threshold, minimum_area=area, minimum_evidence=evidence)
    return MappingProxyType(decisions)


def _encode_decision(decision: Decision) -> dict[str, float]:
    """Return a decision as JSON values; a minimum evidence of 0 is left out, as in older packages."""
    evidence = {"minimum_evidence": decision.minimum_evidence} if decision.minimum_evidence else {}
    return {"threshold": decision.threshold, "minimum_area": decision.minimum_area, **evidence}


def _encode_rules(rules: Mapping[ReducedEffort, SelectionRule]) -> dict[str, object]:
    """Return selection rules as JSON values under the key 'gaze'; nothing if there are none."""
    efforts = {
        effort: {
            "glances": rule.tta_views,
            "interests": {
                code: {"cutoff": criterion.cutoff, "spots": criterion.blobs}
                for code, criterion in rule.criteria.items()
            },
        }
        for effort, rule in rules.items()
    }
    return {"gaze": efforts} if efforts else {}


def _rules(reader: _Reader, codes: tuple[str, ...]) -> Mapping[ReducedEffort, SelectionRule]:
    """Return the selection rules by effort; older packages have none."""
    if "gaze" not in reader.content:
        return MappingProxyType({})
    efforts: tuple[ReducedEffort, ...] = get_args(ReducedEffort)
    content = reader.value("gaze", dict)
    reader.require("gaze", set(content) <= set(efforts), f"may name {', '.join(efforts)} and nothing else")
    return MappingProxyType(
        {effort: _rule(reader, f"gaze.{effort}", codes) for effort in efforts if effort in content}
    )


def _rule(reader: _Reader, key: str, codes: tuple[str, ...]) -> SelectionRule:
    """Return the selection rule of one effort."""
    entries = reader.value(f"{key}.interests", dict)
    reader.require(
        f"{key}.interests", set(entries) == set(codes), f"must name {', '.join(codes)} and nothing else"
    )
    criteria = {
        code: LesionCriterion(
            cutoff=reader.value(f"{key}.interests.{code}.cutoff", float),
            blobs=reader.choice(f"{key}.interests.{code}.spots", get_args(BlobPolarity)),
        )
        for code in codes
    }
    tta_views = reader.choice(f"{key}.glances", get_args(TtaViews))
    return SelectionRule(tta_views=tta_views, criteria=MappingProxyType(criteria))


def _files(reader: _Reader) -> Mapping[str, str]:
    """Return the digest of each file of the package; names must be plain, without a folder."""
    digests = {}
    for name, value in reader.value("files", dict).items():
        is_safe = re.fullmatch(r"[\w-][\w.-]*", name, re.ASCII) and name != MANIFEST
        reader.require("files", bool(is_safe), f"must contain only names of files beside {MANIFEST}")
        digest = reader.typed("files", value, str)
        reader.require(
            "files", bool(re.fullmatch("[0-9a-f]{64}", digest)), "must contain a SHA-256 for each file"
        )
        digests[name] = digest
    return MappingProxyType(digests)
