"""A model package is accepted whole or not at all."""

import gc
import json
import math
import os
import warnings
import zipfile
from dataclasses import replace

import pytest
import tiny_package
from hypothesis import given, settings
from hypothesis import strategies as st

import foveate
from foveate import models, photographs
from foveate.errors import PackageError
from foveate.models import manifest as manifests
from foveate.types import Decision, LesionCriterion, ModelContract, SelectionRule

SHA = "0" * 64
numbers = st.floats(-1e6, 1e6, allow_nan=False)
positive = st.floats(1e-3, 1e6, allow_nan=False)
three = st.tuples(numbers, numbers, numbers)
three_positive = st.tuples(positive, positive, positive)
codes = st.lists(st.sampled_from(["EX", "MA", "HE", "SE", "IRMA", "X1"]), min_size=1, unique=True).map(tuple)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_package.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(tmp_path):
    return tiny_package.build(tmp_path / "tiny")


def zipped(folder, path, top=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, top + file.name)
    return path


def changed(folder, key, value):
    """Change one value of a manifest, such as 'views.overlap'; None removes the key."""
    path = folder / "manifest.json"
    record = json.loads(path.read_text())
    *parts, last = key.split(".")
    section = record
    for part in parts:
        section = section[part]
    if value is None:
        del section[last]
    else:
        section[last] = value
    path.write_text(json.dumps(record))
    return folder


@settings(max_examples=30, deadline=None)
@given(codes, three, three_positive, positive, st.data())
def test_decoding_an_encoded_manifest_returns_the_manifest(known, mean, std, diameter, data):
    window = data.draw(st.integers(1, 512), label="window")
    contract = ModelContract(
        lesions=known,
        mean=mean,
        std=std,
        view_side=data.draw(st.integers(2, 2048), label="view"),
        window_side=window,
        overlap=data.draw(st.integers(0, window - 1), label="overlap"),
        field_diameter=window + diameter,
        scale_tolerance=data.draw(st.floats(0, 1), label="tolerance"),
        field=data.draw(st.sampled_from(["find", "whole"]), label="rule"),
        part=data.draw(st.sampled_from(["field", "paper", "whole"]), label="part"),
        tta_views=data.draw(st.sampled_from([1, 8]), label="glances"),
    )
    decisions = {
        code: Decision(
            threshold=data.draw(st.floats(0, 1, exclude_min=True), label=f"threshold {code}"),
            minimum_area=data.draw(st.integers(1, 100), label=f"area {code}"),
            minimum_evidence=data.draw(st.floats(0, 1e4), label=f"evidence {code}"),
        )
        for code in known
    }
    manifest = replace(
        tiny_package.MANIFEST,
        contract=contract,
        decisions=decisions,
        intended_use=data.draw(texts, label="use"),
        training=data.draw(
            st.dictionaries(texts, st.integers() | texts | st.lists(st.floats(0, 1))), label="training"
        ),
    )

    decoded, files = manifests.decode(manifests.encode(manifest, {"b.onnx": SHA, "a.onnx": SHA}), "path")

    assert decoded == manifest
    assert dict(files) == {"a.onnx": SHA, "b.onnx": SHA}


def test_a_package_has_the_values_of_its_manifest(folder):
    package = models.load(folder)

    assert (package.name, package.version) == ("tiny", "1.0")
    assert package.contract == tiny_package.CONTRACT
    assert package.decisions == tiny_package.MANIFEST.decisions
    assert package.manifest == tiny_package.MANIFEST
    assert package.files.keys() == set(models.FILES)


def test_the_digest_depends_on_the_manifest_and_every_file(folder, copy):
    assert models.load(folder).digest == models.load(copy).digest

    (copy / "example.npz").write_bytes(b"another")
    models.write_manifest(copy, tiny_package.MANIFEST)

    assert models.load(folder).digest != models.load(copy).digest


def test_writing_a_manifest_leaves_no_temporary_file_and_names_every_file(copy):
    (copy / "README.md").write_text("more")
    models.write_manifest(copy, tiny_package.MANIFEST)

    named = json.loads((copy / "manifest.json").read_text())["files"]

    assert sorted(named) == ["README.md", *sorted(models.FILES)]
    assert sorted(path.name for path in copy.iterdir()) == sorted([*named, "manifest.json"])


def test_a_manifest_names_photographs_whose_names_are_not_valid_unicode(copy):
    training = {"photographs": [os.fsdecode(b"caf\xe9"), "é"]}

    models.write_manifest(copy, replace(tiny_package.MANIFEST, training=training))

    assert models.load(copy).manifest.training == training


def test_a_manifest_is_not_written_for_a_folder_that_lacks_a_file(copy):
    (copy / "local.onnx").unlink()

    with pytest.raises(PackageError, match=r"local\.onnx missing"):
        models.write_manifest(copy, tiny_package.MANIFEST)


def test_a_manifest_with_a_bad_value_is_refused_before_it_is_written(copy):
    before = (copy / "manifest.json").read_bytes()
    bad = replace(tiny_package.MANIFEST, contract=replace(tiny_package.CONTRACT, overlap=64))

    with pytest.raises(PackageError, match=r"views\.overlap"):
        models.write_manifest(copy, bad)

    assert (copy / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("name", models.FILES)
def test_a_missing_file_is_named_with_a_remedy(copy, name):
    (copy / name).unlink()

    with pytest.raises(
        PackageError, match=rf"{name}: cannot be read \(No such file.*; export the package again"
    ):
        models.load(copy)


@pytest.mark.parametrize("name", models.FILES)
def test_a_file_with_one_altered_bit_is_named_with_a_remedy(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)

    with pytest.raises(PackageError, match=rf"{name}: was altered.*; export the package again"):
        models.load(copy)


@pytest.mark.parametrize("name", models.FILES)
def test_a_file_that_the_manifest_does_not_name_is_an_error(copy, name):
    record = json.loads((copy / "manifest.json").read_text())
    del record["files"][name]
    (copy / "manifest.json").write_text(json.dumps(record))

    with pytest.raises(PackageError, match=f"does not list {name}"):
        models.load(copy)


def test_a_folder_without_manifest_is_no_package(tmp_path):
    with pytest.raises(PackageError, match=r"manifest\.json: cannot be read \(No such file"):
        models.load(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[1]", b"7", b'"tiny"', b"[" * 100_000])
def test_a_manifest_that_is_no_object_is_refused_by_name(copy, text):
    (copy / "manifest.json").write_bytes(text)

    with pytest.raises(PackageError, match=r"manifest\.json: (not valid JSON|is a .*, not an object)"):
        models.load(copy)


@pytest.mark.parametrize(
    "key",
    [
        *("format", "name", "version", "licence", "intended_use", "lesions", "decisions", "connectivity"),
        *("normalisation", "normalisation.mean", "normalisation.std", "views", "views.view_side"),
        *("views.window_side", "views.overlap", "field", "field.diameter_px", "field.scale_tolerance"),
        *("data", "data.name", "data.licence", "data.attribution", "training", "files"),
        *("decisions.EX.threshold", "decisions.MA.minimum_area"),
    ],
)
def test_every_key_is_required_and_named_with_the_manifest(copy, key):
    with pytest.raises(
        PackageError, match=rf"manifest\.json: '{key}.*' is missing; export the package again"
    ):
        models.load(changed(copy, key, None))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("format", "1"),
        ("format", True),
        ("connectivity", 4),
        ("name", "../tiny"),
        ("name", ""),
        ("lesions", []),
        ("lesions", ["EX", "EX"]),
        ("lesions", ["EX", 3]),
        ("lesions", ["ex", "MA"]),
        ("decisions", {"EX": {"threshold": 0.5, "minimum_area": 1}}),
        ("decisions", {code: {"threshold": 0.5, "minimum_area": 1} for code in ("EX", "MA", "SE")}),
        ("decisions.EX.threshold", 0),
        ("decisions.EX.threshold", 1.0001),
        ("decisions.EX.threshold", math.nan),
        ("decisions.EX.threshold", "0.5"),
        ("decisions.EX.minimum_area", 0),
        ("decisions.EX.minimum_area", 1.5),
        ("decisions.EX", {"threshold": 0.5, "minimum_area": 1, "minimum_evidence": -0.1}),
        ("decisions.EX", {"threshold": 0.5, "minimum_area": 1, "minimum_evidence": "2"}),
        ("normalisation.mean", [0, 0]),
        ("normalisation.mean", [0, 0, math.inf]),
        ("normalisation.std", [1, 1, 0]),
        ("normalisation.std", [1, 1, "1"]),
        ("views.view_side", 1),
        ("views.window_side", 0),
        ("views.overlap", -1),
        ("views.overlap", 64),
        ("field.diameter_px", 63),
        pytest.param("field.diameter_px", 10**400, id="an endless diameter"),
        ("field.scale_tolerance", -0.1),
        ("field.rule", "guess"),
        ("views.part", 1),
        ("views.part", "half"),
        ("views.glances", 2),
        ("views.glances", "8"),
        ("files", {"../local.onnx": SHA}),
        ("files", {"/etc/passwd": SHA}),
        ("files", {".hidden": SHA}),
        ("files", {"manifest.json": SHA}),
        ("files", {"local.onnx": "short"}),
        ("files", {"local.onnx": 7}),
        ("training", []),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_manifest_and_key(copy, key, value):
    with pytest.raises(PackageError, match=rf"manifest\.json: '{key.split('.')[0]}"):
        models.load(changed(copy, key, value))


def test_a_manifest_without_evidence_asks_for_none_and_is_written_without(copy):
    package = models.load(copy)

    assert [decision.minimum_evidence for decision in package.decisions.values()] == [0, 0]
    assert b"minimum_evidence" not in manifests.encode(tiny_package.MANIFEST, {})


def test_the_outermost_values_are_accepted(copy):
    changed(copy, "decisions.EX.threshold", 1)
    changed(copy, "views.overlap", 63)
    changed(copy, "field.diameter_px", 64)
    changed(copy, "field.scale_tolerance", 0)

    package = models.load(copy)

    assert package.decisions["EX"].threshold == 1.0
    assert isinstance(package.decisions["EX"].threshold, float)


LATER_KEYS = ("views.part", "views.glances", "views.step", "field.rule")
"""Keys that the first packages lack. They also lack 'gaze', 'minimum_evidence' and int8 networks, as does the
tiny package."""


def test_an_older_package_without_these_keys_has_their_defaults(copy):
    for key in LATER_KEYS:
        changed(copy, key, None)

    package = models.load(copy)

    contract = package.contract
    assert (contract.field, contract.part, contract.tta_views) == ("find", "field", 1)
    assert contract.step is None
    assert package.selection_rules == {}
    assert {decision.minimum_evidence for decision in package.decisions.values()} == {0}


def test_an_older_package_given_as_a_folder_finds_what_it_found(folder, copy):
    for key in LATER_KEYS:
        changed(copy, key, None)
    eye = photographs.from_array(tiny_package.fundus())

    older = foveate.load(copy, threads=1).segment(eye)
    newer = foveate.load(folder, threads=1).segment(eye)

    assert older.regions
    assert older.regions == newer.regions
    for code in tiny_package.CONTRACT.lesions:
        assert (older.map(code) == newer.map(code)).all()


RULES = {
    "balanced": SelectionRule(
        tta_views=4, criteria={code: LesionCriterion(cutoff=-1.5) for code in ("EX", "MA")}
    )
}


def write_rules(folder, selection_rules):
    models.write_manifest(folder, replace(models.load(folder).manifest, selection_rules=selection_rules))


def test_selection_rules_may_be_written_into_a_package_later(copy):
    before = models.load(copy)

    write_rules(copy, RULES)
    after = models.load(copy)

    assert before.selection_rules == {}
    assert after.selection_rules == RULES
    assert replace(after.manifest, selection_rules={}) == before.manifest
    assert after.digest != before.digest
    write_rules(copy, {})
    assert models.load(copy).digest == before.digest


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gaze", []),
        ("gaze.full", {}),
        ("gaze.best", {}),
        ("gaze.balanced.glances", 3),
        ("gaze.balanced.glances", "4"),
        ("gaze.balanced.interests", {"EX": {"cutoff": 1.0, "spots": "none"}}),
        ("gaze.balanced.interests.EX.spots", "blue"),
        ("gaze.balanced.interests.EX.cutoff", math.nan),
        ("gaze.balanced.interests.EX.cutoff", None),
    ],
)
def test_an_invalid_selection_rule_is_refused_with_manifest_and_key(copy, key, value):
    write_rules(copy, RULES)

    with pytest.raises(PackageError, match=r"manifest\.json: 'gaze"):
        models.load(changed(copy, key, value))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: path.unlink(),
            "cannot be read \\(No such file or directory\\); export the package again",
        ),
        (lambda path: path.write_text("{"), "not valid JSON"),
    ],
    ids=["missing", "truncated"],
)
def test_a_manifest_that_cannot_be_read_is_named_before_it_is_written_again(copy, damage, message):
    package = models.load(copy)
    damage(copy / "manifest.json")

    with pytest.raises(PackageError, match=rf"tiny/manifest\.json: {message}"):
        models.with_present_files(package)


def test_an_unknown_name_is_refused_with_the_shipped_ones():
    with pytest.raises(
        PackageError, match=r"idrid-nothing: no such model package; .*a shipped one \("
    ) as caught:
        models.load("idrid-nothing")

    for name in models.shipped():
        assert name in str(caught.value)


def test_a_shipped_name_means_the_shipped_package_and_says_reinstall(copy, monkeypatch):
    monkeypatch.setattr(models.package, "_shipped_folder", lambda: copy.parent)

    assert models.shipped() == ("tiny",)
    assert models.load("tiny").folder == copy
    (copy / "local.onnx").unlink()
    with pytest.raises(PackageError, match="reinstall Foveate"):
        models.load("tiny")


@pytest.mark.parametrize("top", ["", "tiny/"])
def test_a_zip_is_the_same_package_and_its_files_live_as_long_as_it(folder, tmp_path, top):
    package = models.load(zipped(folder, tmp_path / "tiny.zip", top))
    unpacked = package.folder

    assert package.digest == models.load(folder).digest
    assert (unpacked / "local.onnx").read_bytes() == (folder / "local.onnx").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del package
        gc.collect()
    assert not unpacked.exists()


def test_a_zip_cannot_write_outside_its_folder(folder, tmp_path):
    (tmp_path / "deep").mkdir()
    path = zipped(folder, tmp_path / "deep" / "tiny.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.txt", "evil")
        archive.writestr(f"{tmp_path}/evil.txt", "evil")

    package = models.load(path)

    assert sorted(file.name for file in package.folder.iterdir()) == sorted([*models.FILES, "manifest.json"])
    assert not list(tmp_path.rglob("evil.txt"))
    assert not (package.folder.parent / "evil.txt").exists()


def test_a_broken_zip_is_refused_by_name_and_leaves_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(models.package.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = zipped(folder, tmp_path / "tiny.zip")
    whole = path.read_bytes()
    for content in (b"", b"no zip", whole[: len(whole) // 2], whole.replace(b"pieces", b"PIECES")):
        path.write_bytes(content)
        with pytest.raises(PackageError, match=r"tiny\.zip: cannot be read as a zip"):
            models.load(path)

    assert not list((tmp_path / "temporary").iterdir())


def test_a_zip_that_lacks_a_file_or_holds_two_packages_is_refused(folder, tmp_path):
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "manifest.json", "manifest.json")
    with pytest.raises(PackageError, match=r"tiny\.zip: example\.npz is missing from the zip"):
        models.load(path)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one/manifest.json", "{}")
        archive.writestr("two/manifest.json", "{}")
    with pytest.raises(PackageError, match=r"the zip contains 2 files manifest\.json"):
        models.load(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(models.package, "LARGEST_FILE", 100)

    with pytest.raises(PackageError, match=r"would unpack to [0-9,]+ bytes, more than 100"):
        models.load(zipped(folder, tmp_path / "tiny.zip"))


def test_an_altered_file_in_a_zip_is_refused(copy, tmp_path):
    (copy / "example.npz").write_bytes(b"another")

    with pytest.raises(PackageError, match=r"example\.npz: was altered.*; zip .*tiny\.zip again"):
        models.load(zipped(copy, tmp_path / "tiny.zip"))


def test_a_zip_is_unpacked_for_other_processes_and_any_other_model_is_left_as_it_is(folder, tmp_path):
    path, target = zipped(folder, tmp_path / "tiny.zip", "tiny/"), tmp_path / "files"
    for where in (folder, str(folder), models.DEFAULT, tmp_path / "missing.zip", "nowhere"):
        assert models.unpack(where, target) == where
        assert not target.exists()

    assert models.unpack(str(path), target) == target
    assert models.load(target).digest == models.load(folder).digest

    path.write_bytes(b"no zip")
    with pytest.raises(PackageError, match=r"tiny\.zip: cannot be read as a zip"):
        models.unpack(path, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    with pytest.raises(PackageError, match=r"cannot be unpacked \(No such file or directory\); free"):
        models.unpack(zipped(folder, path), tmp_path / "no" / "files")
