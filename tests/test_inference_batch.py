"""Many photographs: each is done or listed, nothing is mixed, and a stopped run can be resumed."""

import csv
import errno
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_package
from PIL import Image
from tiny_package import Red, fake

from foveate.errors import FoveateError, LesionError, OutputError, PhotographError, SettingError
from foveate.inference import photograph_job
from foveate.inference.batch import BatchJob, run
from foveate.inference.settings import Settings
from foveate.paths import file_digest
from foveate.types import LesionCriterion, SelectionRule
from foveate.writers import clear, prepare, tables


def photographs(folder):
    """Write three small photographs, one of them in a subfolder; return the folder."""
    for number, name in enumerate(("a.png", "b.png", "clinic/a.png")):
        tiny_package.photograph(folder / name, seed=number)
    return folder


def job_of(folder, out):
    """Return a job for a folder, with a fake package and engine."""
    return BatchJob(paths=[str(folder)], out=out, package=fake(), engine=Red(), versions={"engine": "fake"})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the output folder of an uninterrupted run of the three photographs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(job_of(photographs(folder / "photos"), folder / "out"))
    return folder / "out"


@pytest.fixture
def folder(tmp_path):
    return photographs(tmp_path / "photos")


@pytest.fixture
def job(folder, tmp_path):
    """Return a job that has not begun."""
    return job_of(folder, tmp_path / "out")


@pytest.fixture
def finished(job, undisturbed):
    """Return a job whose output folder is complete."""
    shutil.copytree(undisturbed, job.out)
    return job


SELECTION_RULES = {
    "fast": SelectionRule(tta_views=1, criteria=dict.fromkeys(("EX", "MA"), LesionCriterion(cutoff=-99.0)))
}


def tree(out, *, without=("run.json",)):
    """Return every file of a folder, by its relative path, and its bytes."""
    files = (path for path in out.rglob("*") if path.is_file())
    return {
        name: path.read_bytes() for path in files if (name := path.relative_to(out).as_posix()) not in without
    }


def table(out):
    with (out / "summary.csv").open(newline="") as file:
        return {row["photograph"]: row for row in csv.DictReader(file)}


def fresh(job, tmp_path):
    """Return the files that an uninterrupted run of a job writes."""
    out = tmp_path / "undisturbed"
    shutil.rmtree(out, ignore_errors=True)
    run(replace(job, out=out, resume=False, engine=Red()))
    return tree(out)


def computed(job):
    """Run a job; return the names of the photographs that were computed."""
    return set(run(replace(job, engine=Red())).seconds_each)


def test_each_file_holds_the_output_of_the_engine(job):
    report = run(job)

    for name in ("a", "b", "clinic/a"):
        pixels = np.asarray(Image.open(job.paths[0] + f"/{name}.png"))
        stored = cv2.imread(str(job.out / f"maps/{name}_EX.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(stored, pixels[..., 0])  # red; black outside the field anyway
        mask = cv2.imread(str(job.out / f"masks/{name}_MA.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, np.where(pixels[..., 0] >= 128, 255, 0))
        count, _ = cv2.connectedComponents((pixels[..., 0] >= 128).astype(np.uint8), connectivity=8)
        row = table(job.out)[name]
        assert (row["status"], int(row["EX_count"])) == ("ok", count - 1)
        assert int(row["EX_area_px"]) == (pixels[..., 0] >= 128).sum()
    assert [row.name for row in report.rows] == ["a", "b", "clinic/a"]
    assert report.failures == ()


def test_two_runs_give_the_same_bytes_except_for_the_times(job, undisturbed):
    run(job)

    assert tree(job.out) == tree(undisturbed)
    assert {name.split("/")[0] for name in tree(job.out)} >= {
        "maps",
        "masks",
        "overlays",
        "regions",
        "summary.csv",
        "index.html",
    }


def test_run_json_records_what_ran(job):
    (job.out.parent / "photos" / "notes.txt").write_text("no photograph")

    report = run(replace(job, settings=Settings(lesions=("EX",), thresholds={"EX": 0.25}), format="png16"))

    record = json.loads((job.out / "run.json").read_text())
    assert report.skipped == 1 == record["photographs"]["skipped_files"]
    assert record["versions"]["engine"] == "fake"
    assert record["model"]["sha256"] == job.package.digest
    assert record["settings"] == {
        "region": "field",
        "field": "auto",
        "lesions": ["EX"],
        "thresholds": {"EX": 0.25},
        "effort": "full",
        "engine": "red",
        "format": "png16",
    }
    assert set(record["times"]["by_phase"]) == {"reading", "inference", "writing"}
    assert record["times"]["workers"] == 1


def bad_files(folder):
    """Write files that are no valid photographs; return them by name."""
    rng = np.random.default_rng(0)
    whole = tiny_package.photograph(folder / "whole.jpg").read_bytes()
    landscape = rng.integers(30, 250, (400, 600, 3), np.uint8)
    bad = {
        "empty.jpg": b"",
        "truncated.jpg": whole[: len(whole) // 2],
        "text.jpg": b"This is no photograph.",
        "one.png": Image.new("RGB", (1, 1), (9, 8, 7)),
        "bomb.png": bomb(),
        "black.png": Image.new("RGB", (300, 300)),
        "white.png": Image.new("RGB", (300, 300), (255, 255, 255)),
        "landscape.png": Image.fromarray(landscape),
    }
    for name, content in bad.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            content.save(folder / name)
    return bad


def bomb():
    """Return a PNG of a few bytes whose header claims 2.5 thousand million pixels."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_each_bad_file_gives_one_line_that_names_it_and_the_others_are_written(job, folder):
    bad = bad_files(folder)

    report = run(job)

    assert {row.name for row in report.failures} == {name.split(".")[0] for name in bad}
    for row in report.failures:
        (name,) = (name for name in bad if name.startswith(f"{row.name}."))
        assert row.error.startswith(str(folder / name))
        assert "\n" not in row.error
        assert "; " in row.error  # followed by what to do
        assert table(job.out)[row.name]["error"] == row.error
        assert not list(job.out.rglob(f"{row.name}*"))
    assert {row.name for row in report.rows if row.status == "ok"} == {"a", "b", "clinic/a", "whole"}
    assert (job.out / "maps/whole_EX.png").is_file()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc")])
def test_a_photograph_that_does_not_fit_the_memory_fails_alone(job, error):
    class Greedy(Red):
        def run_global(self, view):
            if not self.views:
                self.views.append(view)
                raise error
            return super().run_global(view)

    report = run(replace(job, engine=Greedy()))

    (failure,) = report.failures
    assert failure.name == "a"
    assert "a.png: not enough memory" in failure.error
    assert len(report.rows) == 3


def test_equal_stems_never_overwrite(tmp_path):
    for number, path in enumerate(("x/eye.png", "x/eye.tiff", "y/eye.png", "x/eye_EX.png", "x/Eye.png")):
        tiny_package.photograph(tmp_path / path, seed=number, border=30 + number)
    job = BatchJob(
        paths=[str(tmp_path / "x"), str(tmp_path / "y")],
        out=tmp_path / "out",
        package=fake(),
        engine=Red(),
        versions={},
    )

    report = run(job)

    assert len({row.name.casefold() for row in report.rows}) == 5
    sizes = {cv2.imread(str(path)).shape for path in (tmp_path / "out" / "maps").rglob("*_MA.png")}
    assert len(sizes) == 5  # each photograph has another size


def test_resume_of_a_complete_run_computes_nothing_and_changes_nothing(finished):
    before = tree(finished.out)
    engine = Red()

    report = run(replace(finished, engine=engine, resume=True))

    assert not engine.views
    assert report.seconds_each == {}
    assert tree(finished.out) == before


def test_resume_computes_a_changed_photograph_again(finished, folder, tmp_path):
    tiny_package.photograph(folder / "b.png", seed=9)

    assert computed(replace(finished, resume=True)) == {"b"}
    assert tree(finished.out) == fresh(finished, tmp_path)


def test_resume_computes_a_new_photograph(finished, folder, tmp_path):
    tiny_package.photograph(folder / "c.png", seed=9)

    assert computed(replace(finished, resume=True)) == {"c"}
    assert tree(finished.out) == fresh(finished, tmp_path)


@pytest.mark.parametrize("lost", ["maps/b_EX.png", "overlays/b.jpg", "regions/b.json"])
def test_resume_computes_a_photograph_again_that_lacks_a_file(finished, undisturbed, lost):
    (finished.out / lost).unlink()

    assert computed(replace(finished, resume=True)) == {"b"}
    assert tree(finished.out) == tree(undisturbed)


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": Settings(lesions=("EX",))},
        {"settings": Settings(thresholds={"MA": 0.75})},
        {"settings": Settings(part="whole")},
        {"settings": Settings(field="full")},
        {"settings": Settings(effort="fast"), "package": replace(fake(), selection_rules=SELECTION_RULES)},
        {"settings": Settings(effort="best")},
        {"settings": Settings(field=(128.0, 128.0, 110.0))},
        {"format": "png16"},
        {"format": "tiff"},
        {"format": "npz"},
        {"package": fake(digest="1" * 64)},
    ],
)
def test_resume_with_other_settings_computes_everything_again_and_leaves_nothing_old(
    finished, folder, tmp_path, changed
):
    for name in ("b", "clinic/a"):  # one photograph is enough
        (folder / f"{name}.png").unlink()
        clear(finished.out, name)
    changed_job = replace(finished, resume=True, **changed)

    assert computed(changed_job) == {"a"}
    assert tree(finished.out) == fresh(changed_job, tmp_path)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"engine": type("Other", (Red,), {"label": "openvino bf16"})()},
            "engine openvino bf16 instead of red",
        ),
        ({"settings": Settings(effort="best")}, "effort best instead of full"),
        (
            {"settings": Settings(thresholds={"MA": 0.75})},
            "thresholds EX 0.5 MA 0.75 instead of EX 0.5 MA 0.5",
        ),
        ({"settings": Settings(part="whole")}, "region whole instead of field"),
        ({"settings": Settings(field=(128.0, 128.0, 110.0))}, "field 128.0,128.0,110.0 instead of auto"),
        ({"format": "tiff"}, "format tiff instead of png"),
        ({"package": fake(digest="1" * 64)}, "sha256 111111111111 instead of"),
    ],
)
def test_resume_says_once_and_before_it_begins_why_it_computes_again(finished, changed, reason):
    reported = []

    run(replace(finished, resume=True, **changed), progress=reported.append)

    notices = [progress.notice for progress in reported if progress.notice]
    assert notices == [reported[0].notice]
    assert notices[0].startswith("3 photographs of the earlier run computed again, because of ")
    assert reason in notices[0]


def test_resume_says_that_a_photograph_or_its_result_has_changed(finished, folder):
    tiny_package.photograph(folder / "a.png", seed=9)
    (finished.out / "maps/b_EX.png").unlink()
    reported = []

    report = run(replace(finished, resume=True), progress=reported.append)

    assert set(report.seconds_each) == {"a", "b"}
    assert [progress.notice for progress in reported if progress.notice] == [
        "2 photographs of the earlier run computed again, because of changed content of the photograph, "
        "missing result files"
    ]


def test_resume_says_nothing_of_what_it_keeps_or_has_not_begun(finished, folder):
    reported = []
    clear(finished.out, "b")
    tiny_package.photograph(folder / "new.png", seed=9)

    run(replace(finished, resume=True), progress=reported.append)

    assert {progress.notice for progress in reported} == {""}


def test_the_models_own_threshold_is_no_other_setting(finished):
    assert (
        computed(
            replace(finished, resume=True, settings=Settings(thresholds={"EX": 0.5}, lesions=("MA", "EX")))
        )
        == set()
    )


def test_a_photograph_that_became_unreadable_leaves_nothing_of_its_old_result(finished, folder):
    (folder / "b.png").write_bytes(b"")

    report = run(replace(finished, resume=True))

    assert [row.name for row in report.failures] == ["b"]
    assert not [name for name in tree(finished.out) if name.split("/")[-1].startswith("b")]
    assert table(finished.out)["b"]["status"] == "failed"


def unreachable(photograph):
    """Make a photograph unreachable, as one on a share that is gone; return what makes it reachable again."""
    content = photograph.read_bytes()
    photograph.unlink()
    photograph.symlink_to("/nowhere/share/eye.png")

    def reach():
        photograph.unlink()
        photograph.write_bytes(content)

    return reach


@pytest.mark.parametrize("changed", [{}, {"settings": Settings(thresholds={"MA": 0.75})}])
def test_a_photograph_that_cannot_be_read_now_fails_and_keeps_its_earlier_result(
    finished, folder, tmp_path, changed
):
    before = tree(finished.out)
    reach = unreachable(folder / "b.png")

    report = run(replace(finished, resume=True, **changed))

    (failure,) = report.failures
    assert failure.name == "b"
    assert failure.error == table(finished.out)["b"]["error"]
    assert failure.error.startswith(f"{folder / 'b.png'}: ")
    assert failure.error.endswith("; its earlier result is kept")
    after = tree(finished.out)
    assert {name: after.get(name) for name in before if name.split("/")[-1].startswith("b")} == {
        name: content for name, content in before.items() if name.split("/")[-1].startswith("b")
    }

    reach()
    assert computed(replace(finished, resume=True, **changed)) == ({"b"} if changed else set())
    assert tree(finished.out) == fresh(replace(finished, **changed), tmp_path)


def test_a_photograph_that_fails_before_its_files_are_replaced_keeps_its_earlier_result(finished):
    class Broken(Red):
        def run_local(self, batch):
            raise FoveateError("the engine broke; mend it")

    before = tree(finished.out)
    changed = replace(finished, resume=True, engine=Broken(), settings=Settings(effort="best"))

    report = run(changed)

    tables = ("summary.csv", "index.html", "run.json")
    assert tree(finished.out, without=tables) == {k: v for k, v in before.items() if k not in tables}
    assert len(report.failures) == 3
    assert all(row.error.endswith("mend it; its earlier result is kept") for row in report.failures)


@pytest.mark.parametrize("checked", range(6))  # each photograph before the run begins, and when it is reached
def test_an_interrupt_while_finished_photographs_are_checked_changes_nothing(finished, monkeypatch, checked):
    before, calls = tree(finished.out), []

    def interrupted(path):
        calls.append(path)
        if len(calls) > checked:
            raise KeyboardInterrupt
        return file_digest(path)

    monkeypatch.setattr("foveate.inference.photograph_job.file_digest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(replace(finished, resume=True))

    assert tree(finished.out) == before
    record = json.loads((finished.out / "run.json").read_text())["photographs"]
    assert (record["ok"], record["done_before"]) == (3, 3)


class InterruptedAtOnce(Red):
    def run_local(self, batch):
        raise KeyboardInterrupt


def test_an_interrupted_resume_lists_the_finished_photographs_that_it_did_not_reach(finished):
    clear(finished.out, "b")

    with pytest.raises(KeyboardInterrupt):
        run(replace(finished, resume=True, engine=InterruptedAtOnce()))

    assert list(table(finished.out)) == ["a", "clinic/a"]
    assert b"clinic/" in (finished.out / "index.html").read_bytes()
    each = json.loads((finished.out / "run.json").read_text())["photographs"]["each"]
    assert [(entry["name"], entry["seconds"]) for entry in each] == [("a", None), ("clinic/a", None)]


@pytest.mark.parametrize("reason", ["content", "settings", "file"])
def test_an_interrupted_resume_lists_no_result_that_it_would_have_replaced(finished, folder, reason):
    before = tree(finished.out)
    clear(finished.out, "a")
    job = replace(finished, resume=True, engine=InterruptedAtOnce())
    if reason == "content":
        tiny_package.photograph(folder / "clinic/a.png", seed=9)
    elif reason == "file":
        (finished.out / "maps/clinic/a_EX.png").unlink()
    else:
        job = replace(job, settings=Settings(thresholds={"MA": 0.75}))

    with pytest.raises(KeyboardInterrupt):
        run(job)

    assert list(table(finished.out)) == ([] if reason == "settings" else ["b"])
    assert tree(finished.out)["masks/clinic/a_EX.png"] == before["masks/clinic/a_EX.png"]


def test_an_interrupt_before_files_are_replaced_keeps_them(finished, tmp_path):
    before = tree(finished.out)
    changed = replace(finished, resume=True, settings=Settings(thresholds={"MA": 0.75}))

    with pytest.raises(KeyboardInterrupt):
        run(replace(changed, engine=InterruptedAtOnce()))

    tables = ("summary.csv", "index.html", "run.json")
    assert tree(finished.out, without=tables) == {k: v for k, v in before.items() if k not in tables}
    run(changed)
    assert tree(finished.out) == fresh(changed, tmp_path)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_the_summary_lists_what_was_done_before_an_interrupt_and_the_rest_is_resumed(job, undisturbed, stop):
    class Stopped(Red):
        def run_local(self, batch):
            if len(self.views) == 2:
                raise stop
            return super().run_local(batch)

    with pytest.raises(stop):
        run(replace(job, engine=Stopped()))

    assert set(table(job.out)) == {"a"}
    assert not [name for name in tree(job.out) if name.split("/")[-1].startswith("b")]
    assert computed(replace(job, resume=True)) == {"b", "clinic/a"}
    assert tree(job.out) == tree(undisturbed)


def fail_where_named(monkeypatch, name, error):
    """Raise an error where a file of this name would get it, after all files have been written."""
    real = Path.replace

    def replace(path, target):
        if Path(target).name == name:
            raise error
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)


def test_an_interrupt_between_two_files_leaves_nothing_of_that_photograph(job, undisturbed, monkeypatch):
    fail_where_named(monkeypatch, "b.jpg", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(job)
    monkeypatch.undo()

    assert not [name for name in tree(job.out) if name.split("/")[-1].startswith("b")]
    run(replace(job, resume=True))
    assert tree(job.out) == tree(undisturbed)


def test_during_a_run_there_is_no_summary_of_an_earlier_run(finished):
    exists = []

    run(
        replace(finished, resume=True),
        lambda progress: exists.append((finished.out / "summary.csv").exists()),
    )

    assert exists == [False] * 3
    assert (finished.out / "summary.csv").is_file()


def test_a_stopped_run_of_more_lesions_leaves_no_file_of_them_behind(job, tmp_path, monkeypatch):
    fail_where_named(monkeypatch, "b.json", KeyboardInterrupt())  # it gets its name last
    monkeypatch.setattr("foveate.writers.photograph_files.clear", lambda *arguments: None)  # as after a kill
    with pytest.raises(KeyboardInterrupt):
        run(job)
    monkeypatch.undo()
    assert (job.out / "maps/b_MA.png").is_file()

    fewer = replace(job, resume=True, settings=Settings(lesions=("EX",)))
    run(fewer)

    assert tree(job.out) == fresh(fewer, tmp_path)


def full_after(monkeypatch, files_written, number=errno.ENOSPC):
    """Simulate a disk that is full after a number of files."""
    real, count = os.fsync, iter(range(10**6))

    def fsync(descriptor):
        if next(count) >= files_written:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr("foveate.atomic_files.os.fsync", fsync)


def test_a_full_disk_stops_the_run_and_keeps_what_is_complete(job, undisturbed, monkeypatch):
    whole = tree(undisturbed)
    engine = Red()
    files_a_photograph = sum(name.split("/")[-1].startswith("b") for name in whole)
    full_after(
        monkeypatch, 2 + files_a_photograph + 3
    )  # the probe, run.json, one photograph, a part of the next

    with pytest.raises(OutputError, match=r"No space left on device.*; choose another folder|free some"):
        run(replace(job, engine=engine))

    monkeypatch.undo()
    assert len(engine.views) == 2  # the third would have failed as well
    remaining = tree(job.out)
    assert remaining == {name: content for name, content in whole.items() if name in remaining}
    assert {name for name in remaining if "/" in name} == {
        name for name in whole if name.split("/")[-1].startswith("a") and "clinic" not in name
    }
    assert computed(replace(job, resume=True)) == {"b", "clinic/a"}
    assert tree(job.out) == whole


def test_only_a_file_that_cannot_be_written_on_a_failing_disk_stops_a_run():
    unreadable = PhotographError("a.png: damaged")
    unreadable.__cause__ = OSError(errno.EIO, "bad sector")

    assert photograph_job.is_disk_error(OutputError("a_EX.png: cannot be written", errno=errno.ENOSPC))
    assert not photograph_job.is_disk_error(
        OutputError("a_EX.png: cannot be written", errno=errno.ENAMETOOLONG)
    )
    assert not photograph_job.is_disk_error(OutputError("out: holds files of another program"))
    assert not photograph_job.is_disk_error(unreadable)


def test_an_old_result_that_cannot_be_removed_fails_one_photograph(finished):
    mask = finished.out / "masks" / "a_EX.png"
    mask.unlink()
    mask.mkdir()

    report = run(replace(finished, resume=True))

    (failure,) = report.failures
    assert (failure.name, [row.name for row in report.rows]) == ("a", ["a", "b", "clinic/a"])
    assert "a_EX.png: cannot be written" in failure.error


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.EACCES])
def test_an_error_that_concerns_one_file_fails_one_photograph(job, monkeypatch, number):
    fail_where_named(monkeypatch, "b_EX.png", OSError(number, os.strerror(number)))

    report = run(job)

    (failure,) = report.failures
    assert failure.name == "b"
    assert "b.png: " in failure.error
    assert set(table(job.out)) == {"a", "b", "clinic/a"}


def test_a_result_that_cannot_be_written_keeps_the_earlier_one(finished, monkeypatch):
    before = tree(finished.out)
    engine, changed = Red(), Settings(thresholds={"EX": 0.3})
    full_after(monkeypatch, 5)  # the probe, run.json, and a part of the first photograph

    with pytest.raises(OutputError, match=r"No space left on device"):
        run(replace(finished, resume=True, engine=engine, settings=changed))

    monkeypatch.undo()
    assert len(engine.views) == 1
    tables = ("summary.csv", "index.html", "run.json")
    assert tree(finished.out, without=tables) == {k: v for k, v in before.items() if k not in tables}


def test_a_folder_with_results_is_not_written_into_without_resume(finished):
    before = tree(finished.out, without=())
    engine = Red()

    with pytest.raises(OutputError, match=r"already contains maps; continue that run with --resume, or"):
        run(replace(finished, engine=engine))

    assert tree(finished.out, without=()) == before
    assert not engine.views


@pytest.mark.parametrize("name", ["maps", "masks", "summary.csv", "index.html", "run.json"])
def test_each_type_of_result_makes_a_folder_occupied(job, name):
    (job.out / name).mkdir(parents=True)

    with pytest.raises(OutputError, match=f"already contains {name}"):
        run(job)


def test_a_folder_with_unrelated_files_is_free_and_they_stay(job):
    job.out.mkdir()
    (job.out / "letter.txt").write_text("dear")

    run(job)

    assert (job.out / "letter.txt").read_text() == "dear"


def test_a_folder_with_foreign_masks_is_never_resumed(job):
    (job.out / "masks").mkdir(parents=True)
    (job.out / "masks" / "a_EX.png").write_bytes(b"drawn by hand")

    for resume in (False, True):
        with pytest.raises(
            OutputError, match=r"already contains masks but no run\.json.* choose another --out"
        ):
            run(replace(job, resume=resume))

    assert tree(job.out) == {"masks/a_EX.png": b"drawn by hand"}


@pytest.mark.parametrize("resume", [False, True])
def test_the_run_of_another_program_is_never_resumed(job, resume):
    job.out.mkdir()
    (job.out / "run.json").write_text('{"my": "pipeline"}')
    (job.out / "summary.csv").write_text("my,table")
    before = tree(job.out, without=())

    with pytest.raises(
        OutputError, match=r"already contains run\.json of another program; choose another --out"
    ):
        run(replace(job, resume=resume))

    assert tree(job.out, without=()) == before


def test_results_of_photographs_that_are_not_given_are_not_mixed_in(finished, folder):
    before = tree(finished.out, without=())

    with pytest.raises(OutputError, match=r"results of 2 photographs not in this run, such as b;"):
        run(replace(finished, paths=[str(folder / "a.png")], resume=True))

    assert tree(finished.out, without=()) == before


RENAMING = {
    "another of its name": lambda folder, other: [
        str(tiny_package.photograph(other / "b.png", seed=7)),
        folder,
    ],
    "a higher folder": lambda folder, other: [str(folder.parent)],
}


@pytest.mark.parametrize("paths", RENAMING)
def test_photographs_that_other_paths_rename_are_named(finished, folder, tmp_path, paths):
    given = [str(path) for path in RENAMING[paths](folder, tmp_path / "other")]

    with pytest.raises(
        OutputError,
        match=r"results of \S*photos/(\w)\.png are named \1 there, and this run would name them photos/\1:",
    ):
        run(replace(finished, paths=given, out=finished.out, resume=True))


def test_a_photograph_whose_name_was_cut_at_its_last_dot_is_named(job, folder):
    (folder / "a.png").rename(folder / "1.2.840")
    cut = replace(job, paths=[str(folder / "b.png"), str(folder / "1.2.840")])
    run(cut)
    for path in list(job.out.rglob("1.2.840*")):  # as earlier versions named its results
        path.rename(path.with_name(path.name.replace("1.2.840", "1.2")))

    with pytest.raises(
        OutputError, match=r"results of \S*1\.2\.840 are named 1\.2 there, and .* name them 1\.2\.840: "
    ):
        run(replace(cut, resume=True))


def test_a_run_that_takes_the_drafts_of_another_for_leftovers_loses_no_result(finished, monkeypatch):
    before = tree(finished.out)
    real, removed = tables.to_json, []

    def to_json(content):  # as another run that begins while the last file is made
        if content["photograph"]["name"] == "b":
            removed.append(prepare(finished.out))
        return real(content)

    monkeypatch.setattr(tables, "to_json", to_json)
    report = run(replace(finished, resume=True, settings=Settings(thresholds={"EX": 0.3})))

    (failure,) = report.failures
    assert (failure.name, len(removed)) == ("b", 1)
    assert failure.error.endswith("; its earlier result is kept")
    assert {
        name: content for name, content in tree(finished.out).items() if name in before and "/b" in name
    } == {name: content for name, content in before.items() if "/b" in name}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_into_the_same_folder_is_refused_and_destroys_nothing(
    job, undisturbed, monkeypatch, resume
):
    real, refused = tables.to_json, []

    def to_json(content):  # while the files of a photograph are being written
        with pytest.raises(OutputError) as error:
            run(replace(job, resume=resume, engine=Red()))
        refused.append(str(error.value))
        return real(content)

    monkeypatch.setattr(tables, "to_json", to_json)
    report = run(job)

    assert not report.failures
    assert refused == [f"another run is writing to {job.out}; wait for it, or choose another folder"] * 3
    assert tree(job.out) == tree(undisturbed)


@pytest.mark.parametrize("has_locks", [False, True])
def test_a_run_removes_young_unfinished_files_only_if_no_other_can_be_writing(job, monkeypatch, has_locks):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if not has_locks:
        monkeypatch.setattr("fcntl.flock", refuse)
    unfinished = job.out / ".foveate-0123456789abcdef.part"
    job.out.mkdir()
    unfinished.write_bytes(b"x")

    run(job)

    assert unfinished.exists() != has_locks


def test_resume_into_an_empty_folder_is_a_run(job, undisturbed):
    assert computed(replace(job, resume=True)) == {"a", "b", "clinic/a"}
    assert tree(job.out) == tree(undisturbed)


def test_a_run_that_was_killed_before_its_first_photograph_is_resumed(job, undisturbed):
    class Stopped(Red):
        def run_global(self, view):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(replace(job, engine=Stopped()))

    run(replace(job, resume=True))
    assert tree(job.out) == tree(undisturbed)


def test_the_output_folder_is_never_searched_for_photographs(job, folder, tmp_path):
    inside = replace(job, out=folder / "results")
    run(inside)

    report = run(replace(inside, resume=True, engine=Red()))

    assert [row.name for row in report.rows] == ["a", "b", "clinic/a"]
    assert report.seconds_each == {}


@pytest.mark.parametrize("given", ["maps/a_EX.png", "maps", "", "masks/*.png"])
def test_results_are_never_taken_for_photographs(finished, given):
    before = tree(finished.out, without=())

    with pytest.raises((OutputError, PhotographError)) as caught:
        run(replace(finished, paths=[str(finished.out / given)], resume=True))

    assert str(finished.out) in str(caught.value)
    assert tree(finished.out, without=()) == before


def test_a_photograph_in_the_output_folder_is_refused_before_anything_is_written(job):
    tiny_package.photograph(job.out / "eye.png")

    with pytest.raises(OutputError, match=r"eye\.png: is in the output folder .*; choose another --out"):
        run(replace(job, paths=[*job.paths, str(job.out / "eye.png")]))

    assert [path.name for path in job.out.iterdir()] == ["eye.png"]


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/foveate"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(job, tmp_path, out):
    (tmp_path / "file").write_text("in the way")
    engine = Red()

    with pytest.raises(OutputError, match=r"cannot be written .*: .*"):
        run(replace(job, engine=engine, out=tmp_path / out))

    assert not engine.views


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (Settings(lesions=("SE",)), LesionError),
        (Settings(thresholds={"EX": 2.0}), SettingError),
        (Settings(lesions=("EX",), thresholds={"MA": 0.5}), SettingError),
        (Settings(effort="fast"), SettingError),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused_before_a_folder_is_made(job, settings, error):
    with pytest.raises(error):
        run(replace(job, settings=settings))

    assert not job.out.exists()


def test_paths_that_name_no_photograph_are_an_error(job, tmp_path):
    with pytest.raises(PhotographError, match="nowhere"):
        run(replace(job, paths=[str(tmp_path / "nowhere.jpg")]))

    assert not job.out.exists()


@pytest.mark.parametrize("workers", [2, 3])
def test_several_workers_write_the_same_files_as_one(job, undisturbed, workers):
    engines = [Red() for _ in range(workers)]

    report = run(replace(job, engine=engines[0], more_engines=engines[1:]))

    assert tree(job.out) == tree(undisturbed)
    assert [row.name for row in report.rows] == ["a", "b", "clinic/a"]
    assert report.workers == workers
    assert sum(len(engine.views) for engine in engines) == 3


def test_two_workers_process_photographs_at_the_same_time(job):
    barrier = threading.Barrier(2, timeout=60)  # breaks unless two threads wait at the same time

    class Waiting(Red):
        def run_global(self, view):
            if not self.views:
                barrier.wait()
            return super().run_global(view)

    report = run(replace(job, engine=Waiting(), more_engines=[Waiting()]))

    assert not report.failures
    assert not barrier.broken


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_fails_only_the_photograph_that_brings_it_out(job, undisturbed, workers):
    class Broken(Red):
        def run_local(self, batch):
            if len(self.views) == 2:
                raise ZeroDivisionError("by\nzero")
            return super().run_local(batch)

    report = run(replace(job, engine=Broken(), more_engines=[Red()] * (workers - 1)))

    failures = {row.name: row.error for row in report.failures}
    assert len(failures) <= 1 if workers > 1 else set(failures) == {"b"}
    for name, error in failures.items():
        assert re.search(
            r"ZeroDivisionError in test_inference_batch.py:\d+: by zero; please report this$", error
        )
        assert not [path for path in tree(job.out) if path.split("/")[-1].startswith(name)]
    run(replace(job, resume=True))
    assert tree(job.out) == tree(undisturbed)


def test_an_error_of_the_callers_progress_function_ends_the_run(job):
    class Stopped(Exception):
        pass

    def stop(progress):
        raise Stopped

    with pytest.raises(Stopped):
        run(job, stop)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_of_one_worker_ends_all_and_leaves_nothing_incomplete(job, undisturbed, stop):
    class Stopped(Red):
        def run_local(self, batch):
            raise stop

    class Slow(Red):
        def run_local(self, batch):
            time.sleep(0.01)
            return super().run_local(batch)

    with pytest.raises(stop):
        run(replace(job, engine=Slow(), more_engines=[Stopped()]))

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("foveate")]
    whole = tree(undisturbed)
    remaining = tree(job.out, without=("run.json", "summary.csv", "index.html"))
    assert remaining == {name: content for name, content in whole.items() if name in remaining}
    run(replace(job, resume=True))
    assert tree(job.out) == whole


def test_with_two_workers_a_failure_is_one_line_and_the_others_are_done(job, folder):
    (folder / "b.png").write_bytes(b"")

    report = run(replace(job, more_engines=[Red()]))

    assert [row.status for row in report.rows] == ["ok", "failed", "ok"]


def test_progress_rises_and_ends_with_all_photographs(job, folder):
    (folder / "b.png").write_bytes(b"")
    updates = []

    run(job, updates.append)

    done = [progress.done + progress.share for progress in updates]
    assert done == sorted(done)
    assert done[-1] == 3
    assert [progress.row.status for progress in updates if progress.row is not None] == ["ok", "failed", "ok"]
    assert {progress.total for progress in updates} == {3}
    assert all(0 <= progress.share <= 1 for progress in updates)
    assert any(0 < progress.share < 1 for progress in updates)


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux, to mount a disk"
)
def test_on_a_real_full_disk_no_file_is_incomplete(job, tmp_path, undisturbed):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        with pytest.raises(OutputError, match=r"No space left on device"):
            run(replace(job, out=disk / "out"))
        whole = tree(undisturbed)
        remaining = tree(disk / "out")
        assert (
            remaining.items()
            <= {
                **whole,
                "summary.csv": remaining.get("summary.csv"),
                "index.html": remaining.get("index.html"),
            }.items()
        )
        complete = {name for name in remaining if name.endswith(".json")}
        assert len(complete) in (1, 2)
        assert not [name for name in remaining if name.endswith(".part")]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_foveate_error_of_the_engine_fails_each_photograph(job):
    class Broken(Red):
        def run_local(self, batch):
            raise FoveateError("the engine broke; mend it")

    report = run(replace(job, engine=Broken()))

    assert [row.error.split(": ", 1)[1] for row in report.failures] == ["the engine broke; mend it"] * 3
