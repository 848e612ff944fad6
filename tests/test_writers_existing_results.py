"""Earlier results are reused only if a new run would reproduce them, and share a table only if they fit."""

from dataclasses import replace

import pytest
import tiny_result
from tiny_result import photograph_result, predict_request, tree

from foveate import atomic_files, writers
from foveate.errors import OutputError
from foveate.writers import EarlierResult, existing_results

DIGEST = "cd" * 32
"""SHA-256 of the tiny photograph."""


def is_reusable(out, request, digest=DIGEST):
    stored = existing_results.load(out, request.name)
    return stored is not None and stored.matches(request, digest) and stored.is_complete(out, request)


def test_a_result_is_read_as_it_was_written(tmp_path):
    row = writers.write(tmp_path, photograph_result())

    stored = existing_results.load(tmp_path, "clinic/left")

    assert stored.row == row
    assert stored.matches(predict_request(), DIGEST)
    assert stored.is_complete(tmp_path, predict_request())
    assert stored.differences(predict_request()) == ()
    assert existing_results.load(tmp_path, "clinic/right") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "right"},
        {"settings": {"region": "whole", "thresholds": {"EX": 0.5}}},
        {"format": "png16"},
        {"provenance": replace(tiny_result.PROVENANCE, digest="ff" * 32)},
        {"provenance": replace(tiny_result.PROVENANCE, version="2")},
    ],
)
def test_a_result_of_another_request_is_not_reusable(tmp_path, changes):
    writers.write(tmp_path, photograph_result())

    assert not is_reusable(tmp_path, predict_request(**changes))


def test_differences_are_what_people_know_the_settings_by(tmp_path):
    writers.write(tmp_path, photograph_result())
    stored = existing_results.load(tmp_path, "clinic/left")
    provenance = replace(tiny_result.PROVENANCE, version="2", digest="ff" * 32)

    reasons = stored.differences(predict_request(format="png16", provenance=provenance))

    assert reasons == (
        f"model name tiny version 2 sha256 {'f' * 12} instead of name tiny version 1.2 sha256 {'ab' * 6}",
        "format png16 instead of png",
    )


def test_a_result_of_another_photograph_or_version_is_not_reusable(tmp_path, monkeypatch):
    writers.write(tmp_path, photograph_result())

    assert not is_reusable(tmp_path, predict_request(), "00" * 32)
    assert not existing_results.load(tmp_path, "clinic/left").matches(predict_request("clinic/right"), DIGEST)
    monkeypatch.setattr(existing_results, "version", lambda: "99")
    assert not is_reusable(tmp_path, predict_request())


def test_a_result_that_lacks_any_file_is_not_reusable(tmp_path):
    writers.write(tmp_path, photograph_result())
    for path in [name for name in tree(tmp_path) if "/" in name]:
        content = (tmp_path / path).read_bytes()
        (tmp_path / path).unlink()
        assert not is_reusable(tmp_path, predict_request()), path
        (tmp_path / path).write_bytes(content)

    assert is_reusable(tmp_path, predict_request())


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"{}", b'{"lesions": 3}', b'{"photograph": {}}', b"\xff"]
)
def test_a_foreign_json_file_counts_as_no_result(tmp_path, content):
    atomic_files.write_file(tmp_path / "regions" / "clinic" / "left.json", content)

    assert not is_reusable(tmp_path, predict_request())
    assert writers.existing_rows(tmp_path, predict_request("x"), DIGEST) == ()
    writers.write(tmp_path, photograph_result())
    assert is_reusable(tmp_path, predict_request())


def test_the_existing_rows_are_those_of_all_other_photographs(tmp_path):
    rows = [writers.write(tmp_path, photograph_result(name)) for name in ("b", "a.jpg", "clinic/c")]

    assert writers.existing_rows(tmp_path, predict_request("b"), DIGEST) == (rows[1], rows[2])
    assert writers.existing_rows(tmp_path, predict_request("new"), DIGEST) == (rows[1], rows[0], rows[2])
    assert writers.existing_rows(tmp_path / "nothing", predict_request("new"), DIGEST) == ()


def test_an_existing_result_is_read_again_only_if_its_file_has_changed(tmp_path, monkeypatch):
    first, second = (writers.write(tmp_path, photograph_result(name)) for name in ("a", "b"))
    assert writers.existing_rows(tmp_path, predict_request("c"), DIGEST) == (first, second)
    parse, parsed = existing_results.parse, []
    monkeypatch.setattr(existing_results, "parse", lambda text: parsed.append(text) or parse(text))

    assert writers.existing_rows(tmp_path, predict_request("c"), DIGEST) == (first, second)
    assert parsed == []

    path = tmp_path / "regions" / "b.json"
    atomic_files.write_file(path, path.read_bytes().replace(DIGEST.encode(), b"ef" * 32))
    changed = replace(second, digest="ef" * 32)
    assert writers.existing_rows(tmp_path, predict_request("c"), DIGEST) == (first, changed)
    assert parsed == [path.read_bytes()]


def test_results_that_do_not_belong_into_one_table_are_refused(tmp_path):
    writers.write(tmp_path, photograph_result("a"))

    with pytest.raises(OutputError, match=r"a\.json: was made by another model or with other settings"):
        writers.existing_rows(tmp_path, predict_request("b", format="npz"), DIGEST)
    with pytest.raises(OutputError, match=r"a\.json: belongs to another photograph"):
        writers.existing_rows(tmp_path, predict_request("a"), "00" * 32)
    assert (
        writers.existing_rows(tmp_path, predict_request("a", format="npz"), DIGEST) == ()
    )  # about to be replaced


def test_an_earlier_result_is_reused_only_of_the_photograph_as_it_is_now(tmp_path):
    row = writers.write(tmp_path, photograph_result())
    stored = existing_results.load(tmp_path, "clinic/left")

    def reusable_row(digest, out=tmp_path):
        return EarlierResult(stored=stored, digest=digest).reusable_row(predict_request(), out)

    assert reusable_row(DIGEST) == row
    assert reusable_row("00" * 32) is None
    assert reusable_row(None) is None
    assert EarlierResult(digest=DIGEST).reusable_row(predict_request(), tmp_path) is None
    (tmp_path / "overlays" / "clinic" / "left.jpg").unlink()
    assert reusable_row(DIGEST) is None
    assert reusable_row(DIGEST, out=None) == row  # in a bucket the JSON proves the other files


@pytest.mark.parametrize(("digest", "may_be_right"), [(DIGEST, True), (None, True), ("00" * 32, False)])
def test_an_earlier_result_may_be_right_unless_the_photograph_is_known_to_differ(
    tmp_path, digest, may_be_right
):
    writers.write(tmp_path, photograph_result())
    stored = existing_results.load(tmp_path, "clinic/left")

    assert EarlierResult(stored=stored, digest=digest).may_be_right == may_be_right
    assert not EarlierResult(digest=digest).may_be_right
