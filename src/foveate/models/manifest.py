"""manifest.json <-> values: what a model package says about itself.

Knows:   the keys, kinds and ranges of format 1.
Ignores: where a package lies, and whether its other files are whole.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar, get_args

from foveate import lesions
from foveate.errors import LesionError, PackageError
from foveate.types import Contract, Decision, Effort, FieldRule, Gaze, Glances, Interest, Part, Spots

FORMAT = 1
"""Raised when an older Foveate would misread a newer manifest; another number is refused."""

CONNECTIVITY = 8
"""Pixels that touch at a corner are one region: the only rule that `regions` knows."""

T = TypeVar("T")

KINDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
}
"""What each kind of value is called in messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """The photographs a network learned from, as their licence wants them named."""

    name: str
    """Of the data set or sets."""
    licence: str
    """Under which they were given."""
    attribution: str
    """Whom to name, and where they are from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """All that a package says about itself, but for the digests of its files."""

    name: str
    """Letters, digits, '.', '_' and '-'; what `--model` takes."""
    version: str
    """Of the weights."""
    licence: str
    """Of the weights, as an SPDX identifier."""
    intended_use: str
    """What it is for and what it must not be used for, in a sentence or two."""
    contract: Contract
    """What it must be fed."""
    decisions: Mapping[str, Decision]
    """One a lesion of the contract."""
    data: TrainingData
    """What it learned from."""
    training: Mapping[str, object]
    """How it was trained and what it scored: a record of the recipe's own."""
    gazes: Mapping[Effort, Gaze] = field(default_factory=lambda: MappingProxyType({}))
    """Where LocalNet looks at less than full effort; none where that was never worked out."""


def encode(manifest: Manifest, files: Mapping[str, str]) -> bytes:
    """Return manifest.json for a package with these files (name -> SHA-256), the same bytes each time.

    Raises:
        PackageError: a value is out of its range.
    """
    contract = manifest.contract
    record = {
        "format": FORMAT,
        "name": manifest.name,
        "version": manifest.version,
        "licence": manifest.licence,
        "intended_use": manifest.intended_use,
        "lesions": list(contract.lesions),
        "decisions": {
            code: {"threshold": decision.threshold, "minimum_area": decision.minimum_area}
            for code, decision in manifest.decisions.items()
        },
        "connectivity": CONNECTIVITY,
        "normalisation": {"mean": list(contract.mean), "std": list(contract.std)},
        "views": {
            "view_side": contract.view_side,
            "window_side": contract.window_side,
            "overlap": contract.overlap,
            "step": contract.step,
            "part": contract.part,
            "glances": contract.glances,
        },
        "field": {
            "rule": contract.field,
            "diameter_px": contract.field_diameter,
            "scale_tolerance": contract.scale_tolerance,
        },
        **_gaze_record(manifest.gazes),
        "data": {
            "name": manifest.data.name,
            "licence": manifest.data.licence,
            "attribution": manifest.data.attribution,
        },
        "training": dict(manifest.training),
        "files": dict(sorted(files.items())),
    }
    text = (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode()
    decode(text, f"manifest of {manifest.name!r}")
    return text


def decode(text: bytes, where: str) -> tuple[Manifest, Mapping[str, str]]:
    """Return what manifest.json says, and the digests of the package's files: the inverse of `encode`.

    Args:
        text: the file's bytes.
        where: its path, for messages.

    Raises:
        PackageError: it is no JSON object, of another format, a key is missing, or a value is of another kind
            or out of its range. The message names the manifest and the key.
    """
    page = _Page(where, record(text, where))
    if (number := page.take("format", int)) != FORMAT:
        raise page.error(
            "format", f"is {number}; this Foveate reads format {FORMAT}: install the one that fits it"
        )
    page.require("connectivity", page.take("connectivity", int) == CONNECTIVITY, f"must be {CONNECTIVITY}")
    name = page.take("name", str)
    page.require(
        "name", re.fullmatch(r"[\w.-]+", name, re.ASCII) is not None, "must be letters, digits, . _ -"
    )
    contract = _contract(page)
    manifest = Manifest(
        name=name,
        version=page.take("version", str),
        licence=page.take("licence", str),
        intended_use=page.take("intended_use", str),
        contract=contract,
        decisions=_decisions(page, contract.lesions),
        data=TrainingData(
            name=page.take("data.name", str),
            licence=page.take("data.licence", str),
            attribution=page.take("data.attribution", str),
        ),
        training=MappingProxyType(page.take("training", dict)),
        gazes=_gazes(page, contract.lesions),
    )
    return manifest, _files(page)


def record(text: bytes, where: str) -> dict[str, object]:
    """Return a manifest's JSON object as it stands.

    Raises:
        PackageError: it is no JSON object.
    """
    try:
        found = json.loads(text)
    except ValueError as error:  # bytes that are no UTF-8, or text that is no JSON
        raise PackageError(f"{where}: no JSON ({error}); export the package again") from None
    if not isinstance(found, dict):
        raise PackageError(
            f"{where}: {KINDS.get(type(found), 'a value')}, not an object; export the package again"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Page:
    """A manifest being read: each value is taken by its key ('views.overlap'), and checked."""

    where: str
    """Path, for messages."""
    record: dict[str, object]

    def take(self, key: str, kind: type[T]) -> T:
        """Return the value of a key, which must be there and of a kind; a whole number is a number too."""
        value: object = self.record
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise self.error(key, "is missing; export the package again")
            value = value[part]
        return self.of_kind(key, value, kind)

    def among(self, key: str, choices: tuple[T, ...], older: T) -> T:
        """Return one of some words or numbers; a package written before there was a choice does not say it.

        Args:
            older: what such a package means.
        """
        section, _, name = key.partition(".")
        if name not in self.take(section, dict):
            return older
        return self.one_of(key, choices)

    def one_of(self, key: str, choices: tuple[T, ...]) -> T:
        """Return the value of a key, which must be one of some words or numbers."""
        chosen = self.take(key, type(choices[0]))
        self.require(
            key, chosen in choices, f"is {_short(chosen)}, not one of {', '.join(map(str, choices))}"
        )
        return chosen

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """Return a list of so many numbers."""
        values = self.take(key, list)
        self.require(key, len(values) == count, f"must be {count} numbers")
        return tuple(self.of_kind(key, value, float) for value in values)

    def of_kind(self, key: str, value: object, kind: type[T]) -> T:
        """Return a value that must be of a kind."""
        if kind is float and type(value) is int:
            value = float(value)
        good = type(value) is kind and not (isinstance(value, float) and not math.isfinite(value))
        if not good or not isinstance(value, kind):  # True is an int, too, but no whole number
            raise self.error(key, f"is {_short(value)}, not {KINDS[kind]}; export the package again")
        return value

    def require(self, key: str, good: bool, must: str) -> None:
        """Raise unless a value is good."""
        if not good:
            value: object = self.record
            for part in key.split("."):
                value = value[part]  # type: ignore[index]  # taken before, so it is there
            raise self.error(key, f"is {_short(value)}; it {must}: export the package again")

    def error(self, key: str, what: str) -> PackageError:
        return PackageError(f"{self.where}: {key!r} {what}")


def _short(value: object) -> str:
    """A value as JSON has it, cut where a line would grow too long to read."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _contract(page: _Page) -> Contract:
    """Return what the network must be fed."""
    codes = [page.of_kind("lesions", code, str) for code in page.take("lesions", list)]
    page.require("lesions", bool(codes), "must name at least one")
    try:
        lesions.of(codes)
    except LesionError as error:
        raise page.error("lesions", f"holds a {error}") from None
    mean, std = (page.numbers(f"normalisation.{key}", 3) for key in ("mean", "std"))
    page.require("normalisation.std", min(std) > 0, "must be above 0")
    view, window, overlap = (
        page.take(f"views.{key}", int) for key in ("view_side", "window_side", "overlap")
    )
    page.require("views.view_side", view >= 2, "must be at least 2 px, to interpolate between")
    page.require("views.window_side", window >= 1, "must be at least 1 px")
    page.require("views.overlap", 0 <= overlap < window, f"must be 0 to {window - 1} px")
    diameter, tolerance = page.take("field.diameter_px", float), page.take("field.scale_tolerance", float)
    page.require("field.diameter_px", diameter >= window, f"must be at least a window of {window} px")
    page.require("field.scale_tolerance", tolerance >= 0, "must not be negative")
    return Contract(
        lesions=tuple(codes),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        view_side=view,
        window_side=window,
        overlap=overlap,
        field_diameter=diameter,
        scale_tolerance=tolerance,
        field=page.among("field.rule", get_args(FieldRule), "find"),
        part=page.among("views.part", get_args(Part), "field"),
        step=_step(page, window),
        glances=page.among("views.glances", get_args(Glances), 1),
    )


def _step(page: _Page, window: int) -> int | None:
    """Return of what windows' sides may be multiples; an older package does not say: windows of one size."""
    if page.take("views", dict).get("step") is None:
        return None
    step = page.take("views.step", int)
    page.require("views.step", step >= 1 and window % step == 0, f"must divide a window of {window} px")
    return step


def _decisions(page: _Page, codes: tuple[str, ...]) -> Mapping[str, Decision]:
    """Return threshold and minimum area of each lesion."""
    named = page.take("decisions", dict)
    page.require("decisions", set(named) == set(codes), f"must name {', '.join(codes)} and nothing else")
    found = {}
    for code in codes:
        threshold = page.take(f"decisions.{code}.threshold", float)
        area = page.take(f"decisions.{code}.minimum_area", int)
        page.require(f"decisions.{code}.threshold", 0 < threshold <= 1, "must be above 0 and at most 1")
        page.require(f"decisions.{code}.minimum_area", area >= 1, "must be at least 1 px")
        found[code] = Decision(threshold=threshold, minimum_area=area)
    return MappingProxyType(found)


def _gaze_record(gazes: Mapping[Effort, Gaze]) -> dict[str, object]:
    """Return gazes as plain values that JSON can hold; nothing where there are none."""
    efforts = {
        effort: {
            "glances": gaze.glances,
            "interests": {
                code: {"cutoff": interest.cutoff, "spots": interest.spots}
                for code, interest in gaze.interests.items()
            },
        }
        for effort, gaze in gazes.items()
    }
    return {"gaze": efforts} if efforts else {}


def _gazes(page: _Page, codes: tuple[str, ...]) -> Mapping[Effort, Gaze]:
    """Return where LocalNet looks, by effort; an older package does not say."""
    if "gaze" not in page.record:
        return MappingProxyType({})
    known = tuple(effort for effort in get_args(Effort) if effort != "full")
    named = page.take("gaze", dict)
    page.require("gaze", set(named) <= set(known), f"may name {', '.join(known)} and nothing else")
    return MappingProxyType(
        {effort: _gaze(page, f"gaze.{effort}", codes) for effort in known if effort in named}
    )


def _gaze(page: _Page, key: str, codes: tuple[str, ...]) -> Gaze:
    """Return where LocalNet looks at one effort."""
    named = page.take(f"{key}.interests", dict)
    page.require(f"{key}.interests", set(named) == set(codes), f"must name {', '.join(codes)} and no other")
    interests = {
        code: Interest(
            cutoff=page.take(f"{key}.interests.{code}.cutoff", float),
            spots=page.one_of(f"{key}.interests.{code}.spots", get_args(Spots)),
        )
        for code in codes
    }
    glances = page.one_of(f"{key}.glances", get_args(Glances))
    return Gaze(glances=glances, interests=MappingProxyType(interests))


def _files(page: _Page) -> Mapping[str, str]:
    """Return the digest of each file of the package; plain names only, so that none leads elsewhere."""
    found = {}
    for name, value in page.take("files", dict).items():
        plain = re.fullmatch(r"[\w-][\w.-]*", name, re.ASCII) and name != "manifest.json"
        page.require("files", bool(plain), "must hold plain file names beside manifest.json")
        digest = page.of_kind("files", value, str)
        page.require("files", bool(re.fullmatch("[0-9a-f]{64}", digest)), "must hold a SHA-256 for each file")
        found[name] = digest
    return MappingProxyType(found)
