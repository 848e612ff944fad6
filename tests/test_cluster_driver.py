"""The driver of a run: nothing is lost or done twice, and photographs that fail or kill are identified."""

import csv
import json
import os
import sys
import time

import pytest
import tiny_cluster
import tiny_package
from hypothesis import given
from hypothesis import strategies as st
from tiny_cluster import (
    ScriptedExecutor,
    cluster_job,
    logged_events,
    one_worker,
    ready_event,
    results,
    success,
)

from foveate import atomic_files, photographs
from foveate.cluster import Placement, driver, event_log
from foveate.cluster.executors import WorkerLost
from foveate.cluster.inventory import Share
from foveate.cluster.job import WRITING_SECONDS, list_photographs
from foveate.cluster.worker import failure_entry
from foveate.errors import ClusterError, LesionError, OutputError, PhotographError, SettingError
from foveate.inference import api
from foveate.inference.settings import Settings


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return tiny_cluster.write_eyes(tmp_path_factory.mktemp("eyes"))


@pytest.fixture
def forty_files(tmp_path):
    """Write forty files that nobody reads."""
    for number in range(40):
        (tmp_path / "forty_files" / f"{number:02}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "forty_files" / f"{number:02}.png").write_bytes(b"x")
    return tmp_path / "forty_files"


def summary(out):
    """Return name -> status and error, from summary.csv."""
    lines = csv.reader((out / "summary.csv").read_text().splitlines()[1:])
    return {line[0]: tuple(line[1:3]) for line in lines}


def all_succeed(shard):
    return tuple(success(item) for item in shard.items)


def only_item(shard):
    (item,) = shard.items
    return item


def test_threads_write_what_a_run_on_one_machine_writes(eyes, model, tmp_path):
    source = tiny_cluster.write_eyes(tmp_path / "eyes", count=3)
    (source / "clinic0" / "bad.png").write_bytes(b"")
    api.load(model, engine="onnx", threads=1).predict([source], tmp_path / "plain")

    report = driver.run(
        cluster_job(source, tmp_path / "out", model),
        Placement(workers=2).start_executor,
        log=str(tmp_path / "log.jsonl"),
    )

    assert results(tmp_path / "out") == results(tmp_path / "plain")
    assert (report.status.ok, report.status.failed, report.skipped) == (3, 1, 1)
    assert report.status.retries == 2
    assert not list((tmp_path / "out").rglob("*.part"))


def test_every_photograph_is_submitted_once_and_shards_shrink(forty_files, model, tmp_path):
    executor = ScriptedExecutor(all_succeed, workers=2)

    report = driver.run(cluster_job(forty_files, tmp_path / "out", model), executor.start)

    sizes = [len(shard.items) for shard in executor.submitted]
    assert [item.name for shard in executor.submitted for item in shard.items] == [
        f"{n:02}" for n in range(40)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert max(sizes) <= 40 // driver.SHRINK_FACTOR
    assert report.status.ok == 40
    assert list(summary(tmp_path / "out")) == [f"{n:02}" for n in range(40)]


@given(st.integers(1, 10**7), st.integers(0, 2000))
def test_a_shard_is_never_empty_nor_more_than_a_fair_part(pending, workers):
    count = driver.shard_size(pending, workers)
    assert 1 <= count <= driver.MAX_SHARD_SIZE
    assert count == 1 or count * driver.SHRINK_FACTOR * max(1, workers) <= pending


def test_workers_never_get_more_shards_than_they_have_capacity_for(forty_files, model, tmp_path):
    executor = ScriptedExecutor(all_succeed, workers=3)
    driver.run(cluster_job(forty_files, tmp_path / "out", model), executor.start)

    assert executor.most_running == 6


def test_a_photograph_that_fails_is_tried_again_after_all_others_and_then_recorded_as_failed(
    forty_files, model, tmp_path
):
    def answer(shard):
        return tuple(
            failure_entry(item, "07: no", error_type="FieldError", worker="w1")
            if item.name == "07"
            else success(item)
            for item in shard.items
        )

    executor = ScriptedExecutor(answer)
    report = driver.run(
        cluster_job(forty_files, tmp_path / "out", model, max_attempts=3),
        executor.start,
        log=str(tmp_path / "log"),
    )

    attempts = [
        (only_item(shard).failed_attempts, only_item(shard).has_result) for shard in executor.submitted[-2:]
    ]
    assert attempts == [(1, True), (2, True)]
    assert (report.status.ok, report.status.failed, report.status.retries) == (39, 1, 2)
    assert summary(tmp_path / "out")["07"] == ("failed", "07: no")
    events = [event for event in logged_events(tmp_path / "log") if event.get("kind") == "FieldError"]
    assert [event["event"] for event in events] == ["again", "again", "photograph"]
    assert len({event["photograph"] for event in events}) == 1


def test_a_photograph_that_succeeds_at_its_second_attempt_is_ok(forty_files, model, tmp_path):
    def answer(shard):
        return tuple(
            failure_entry(item, "no", error_type="X", worker="w1")
            if item.failed_attempts == 0 and item.name == "03"
            else success(item)
            for item in shard.items
        )

    report = driver.run(cluster_job(forty_files, tmp_path / "out", model), ScriptedExecutor(answer).start)

    assert (report.status.ok, report.status.failed, report.status.retries) == (40, 0, 1)
    assert summary(tmp_path / "out")["03"] == ("ok", "")


def test_the_photographs_of_a_worker_that_died_are_submitted_again_one_by_one(forty_files, model, tmp_path):
    deaths = []

    def answer(shard):
        if len(deaths) < 2 and len(shard.items) > 1:
            deaths.append(shard)
            return WorkerLost(worker="w1", shard=shard, error_type="Killed")
        return all_succeed(shard)

    executor = ScriptedExecutor(answer, workers=2)
    report = driver.run(
        cluster_job(forty_files, tmp_path / "out", model), executor.start, log=str(tmp_path / "log")
    )

    names = [item.name for shard in deaths for item in shard.items]
    assert [only_item(shard).name for shard in executor.submitted[-len(names) :]] == names
    assert all(only_item(shard).has_result for shard in executor.submitted[-len(names) :])
    assert (report.status.ok, report.status.failed, report.status.workers_lost) == (40, 0, 2)
    assert [
        event["photographs"] for event in logged_events(tmp_path / "log") if event["event"] == "lost"
    ] == [len(shard.items) for shard in deaths]


def test_a_photograph_that_kills_workers_is_identified_and_recorded_as_failed(forty_files, model, tmp_path):
    def answer(shard):
        if any(item.name == "11" for item in shard.items):
            return WorkerLost(worker="w1", shard=shard, error_type="OutOfMemoryError")
        return all_succeed(shard)

    report = driver.run(
        cluster_job(forty_files, tmp_path / "out", model, max_attempts=3), ScriptedExecutor(answer).start
    )

    assert (report.status.ok, report.status.failed) == (39, 1)
    assert summary(tmp_path / "out")["11"] == (
        "failed",
        f"{forty_files / '11.png'}: the worker that processed it died (OutOfMemoryError); "
        "start fewer workers per node",
    )
    assert report.status.workers_lost == 4  # once with others, then three attempts


def test_a_photograph_that_was_only_queued_at_a_worker_that_died_keeps_its_attempts(model, tmp_path):
    source = tmp_path / "few_files"
    source.mkdir()
    for name in "abcdefg":
        (source / f"{name}.png").write_bytes(b"x")
    begun = []

    def answer(shard):
        begun.extend(item.name for item in shard.items)
        if only_item(shard).name == "d":
            return WorkerLost(worker="w1", shard=shard, error_type="OutOfMemoryError")
        return all_succeed(shard)

    executor = ScriptedExecutor(answer)
    report = driver.run(cluster_job(source, tmp_path / "out", model, max_attempts=3), executor.start)

    assert summary(tmp_path / "out")["e"] == ("ok", "")
    assert (report.status.ok, report.status.failed, report.status.workers_lost) == (6, 1, 3)
    assert (begun.count("d"), begun.count("e")) == (3, 1)


def test_a_full_disk_ends_the_run_and_keeps_what_is_done(forty_files, model, tmp_path):
    def answer(shard):
        return tuple(
            failure_entry(
                item, "disk", error_type="OutputError", worker="w1", fatal_error="no space is left there"
            )
            if item.name == "39"
            else success(item)
            for item in shard.items
        )

    with pytest.raises(OutputError, match="no space is left there"):
        driver.run(
            cluster_job(forty_files, tmp_path / "out", model),
            ScriptedExecutor(answer).start,
            log=str(tmp_path / "log"),
        )

    assert logged_events(tmp_path / "log")[-1]["event"] == "stopped"
    assert not (tmp_path / "out" / "summary.csv").exists()
    parts = [part.read_text() for part in (tmp_path / "out/manifest").glob("*.jsonl")]
    lines = [json.loads(line) for part in parts for line in part.splitlines()]
    assert sorted(line["photograph"] for line in lines if line["status"] == "ok") == [
        f"{n:02}" for n in range(39)
    ]


def test_a_full_disk_of_the_log_ends_the_run_and_keeps_what_is_done(
    forty_files, model, tmp_path, monkeypatch
):
    write, written = event_log.EventLog.write, []

    def write_some(self, event, **facts):
        if len(written) >= 20:
            raise OutputError(f"log: '{event}' cannot be written")
        written.append(event)
        write(self, event, **facts)

    monkeypatch.setattr(event_log.EventLog, "write", write_some)
    with pytest.raises(OutputError, match=r"log: '(photograph|shard)' cannot be written"):
        driver.run(
            cluster_job(forty_files, tmp_path / "out", model),
            ScriptedExecutor(all_succeed).start,
            log=str(tmp_path / "log"),
        )

    parts = [part.read_text() for part in (tmp_path / "out/manifest").glob("*.jsonl")]
    assert sum(len(part.splitlines()) for part in parts) >= written.count("photograph") > 10


def test_a_target_that_refuses_one_photograph_after_another_ends_the_run(forty_files, model, tmp_path):
    def answer(shard):
        return tuple(
            failure_entry(item, "S3 refuses", error_type="OutputError", worker="w1") for item in shard.items
        )

    with pytest.raises(OutputError, match="S3 refuses"):
        driver.run(cluster_job(forty_files, tmp_path / "out", model), ScriptedExecutor(answer).start)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        ({"error_type": "OutputError"}, OutputError),
        ({"error_type": "ClusterError", "fatal_error": "refused"}, ClusterError),
    ],
)
def test_attempts_that_are_left_do_not_delay_the_end_of_a_run(
    forty_files, model, tmp_path, failure, expected
):
    tried = []

    def answer(shard):
        tried.extend(item.name for item in shard.items)
        return tuple(failure_entry(item, "refused", worker="w1", **failure) for item in shard.items)

    with pytest.raises(expected, match="refused"):
        driver.run(
            cluster_job(forty_files, tmp_path / "out", model, max_attempts=3), ScriptedExecutor(answer).start
        )

    assert len(tried) == len(set(tried)) < 40


@pytest.mark.parametrize("facts", [{"foveate": "0.0.1"}, {"label": "another"}])
def test_a_worker_with_another_version_or_engine_ends_the_run(forty_files, model, tmp_path, facts):
    executor = ScriptedExecutor(all_succeed)
    executor._events.append(ready_event("w2", **facts))

    with pytest.raises(ClusterError, match=r"w2 on here has Foveate .*; install the same on all nodes"):
        driver.run(cluster_job(forty_files, tmp_path / "out", model), executor.start)


def test_it_is_an_error_if_no_worker_joins_in_time(forty_files, model, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "STARTUP_SECONDS", 0)
    executor = ScriptedExecutor(all_succeed, workers=0)
    executor.next_event = lambda timeout: None

    with pytest.raises(ClusterError, match="no worker has started within 0 s"):
        driver.run(cluster_job(forty_files, tmp_path / "out", model), executor.start)


def test_an_interrupted_run_is_resumed_and_nothing_is_written_twice(eyes, model, tmp_path):
    driver.run(cluster_job(eyes, tmp_path / "whole", model), one_worker)
    out = tmp_path / "out"

    class Interrupted(Exception):
        pass

    def interrupt(status):
        if status.ok >= 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        driver.run(cluster_job(eyes, out, model), one_worker, on_status=interrupt)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("regions/**/*.json")}
    for part in (out / "manifest").glob("*.jsonl"):  # a killed driver may not have written its lines
        part.unlink()
    assert 2 <= len(before) < 4

    def leave_a_draft(status):  # as a worker that outlives the first driver by a moment
        draft = out / "masks" / ".foveate-0123456789abcdef.part"
        draft.write_bytes(b"half")
        os.utime(draft, (time.time() - 2 * WRITING_SECONDS,) * 2)

    report = driver.run(
        cluster_job(eyes, out, model, resume=True),
        one_worker,
        log=str(tmp_path / "log"),
        on_status=leave_a_draft,
    )

    assert results(out) == results(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    reused = [event["lay"] for event in logged_events(tmp_path / "log") if event["event"] == "photograph"]
    assert (reused.count(True), reused.count(False)) == (len(before), 4 - len(before))
    assert report.status.ok == 4


def test_resuming_keeps_what_is_done_and_repeats_what_changed_or_failed(model, tmp_path):
    source = tiny_cluster.write_eyes(tmp_path / "eyes", count=3)
    (source / "bad.png").write_bytes(b"")
    out = tmp_path / "out"
    driver.run(cluster_job(source, out, model), one_worker)
    tiny_package.photograph(source / "bad.png", seed=7)
    tiny_package.photograph(source / "clinic0" / "eye000.png", seed=8)

    report = driver.run(cluster_job(source, out, model, resume=True), one_worker)
    driver.run(cluster_job(source, tmp_path / "fresh", model), one_worker)

    assert (report.status.done_before, report.status.ok, report.status.failed) == (2, 2, 0)
    assert results(out) == results(tmp_path / "fresh")


def test_a_deleted_result_is_made_again(eyes, model, tmp_path):
    out = tmp_path / "out"
    driver.run(cluster_job(eyes, out, model), one_worker)
    (out / "regions" / "clinic0" / "eye000.json").unlink()

    report = driver.run(cluster_job(eyes, out, model, resume=True), one_worker)

    assert (report.status.done_before, report.status.ok) == (3, 1)


def test_a_run_without_workers_can_be_resumed_by_workers(eyes, model, tmp_path):
    out = tmp_path / "out"
    api.load(model, engine="onnx", threads=1).predict([eyes / "clinic0"], out)
    before = results(out)

    report = driver.run(
        cluster_job(eyes / "clinic0", out, model, resume=True), one_worker, log=str(tmp_path / "log")
    )

    assert report.status.ok == 2
    assert all(event["lay"] for event in logged_events(tmp_path / "log") if event["event"] == "photograph")
    assert results(out) == before


def test_shares_process_all_photographs_together_and_a_last_run_writes_the_tables(
    forty_files, model, tmp_path
):
    def write(shard):
        for item in shard.items:
            path = tmp_path / "out" / "regions" / f"{item.name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        return all_succeed(shard)

    names = []
    for index in (1, 2, 3):
        executor = ScriptedExecutor(write)
        job = cluster_job(forty_files, tmp_path / "out", model, resume=True, share=Share(index=index, of=3))
        report = driver.run(job, executor.start)
        names += [item.name for shard in executor.submitted for item in shard.items]
        assert not report.has_tables
        assert not (tmp_path / "out" / "summary.csv").exists()
    last = ScriptedExecutor(write)
    report = driver.run(cluster_job(forty_files, tmp_path / "out", model, resume=True), last.start)

    assert sorted(names) == [f"{n:02}" for n in range(40)]
    assert last.submitted == []
    assert report.has_tables
    assert list(summary(tmp_path / "out")) == [f"{n:02}" for n in range(40)]


def test_a_target_that_is_not_free_is_refused(eyes, model, tmp_path):
    out = tmp_path / "out"
    (out / "maps").mkdir(parents=True)
    executor = ScriptedExecutor(all_succeed)
    driver.run(cluster_job(eyes, out, model), executor.start)  # an empty folder is free

    with pytest.raises(
        OutputError, match=r"already contains manifest/order.json; continue that run with --resume"
    ):
        driver.run(cluster_job(eyes, out, model), executor.start)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_workers_and_a_run_without_workers_refuse_each_others_folder(forty_files, model, tmp_path):
    out, refused = tmp_path / "out", []

    def reserve_meanwhile(shard):
        with atomic_files.reserve(out, shared=True):  # as another driver
            pass
        with (
            pytest.raises(OutputError, match="another run is writing to") as error,
            atomic_files.reserve(out),
        ):
            pass
        refused.append(error)
        return all_succeed(shard)

    driver.run(cluster_job(forty_files, out, model), ScriptedExecutor(reserve_meanwhile).start)
    assert refused
    with (
        atomic_files.reserve(out),
        pytest.raises(OutputError, match=f"another run is writing to {out}; wait"),
    ):
        driver.run(cluster_job(forty_files, out, model, resume=True), ScriptedExecutor(all_succeed).start)


def test_a_folder_with_results_but_no_run_is_refused(eyes, model, tmp_path):
    (tmp_path / "out" / "maps").mkdir(parents=True)
    (tmp_path / "out" / "maps" / "x_EX.png").write_bytes(b"")

    with pytest.raises(OutputError, match=r"contains maps but neither run.json nor manifest/order.json"):
        driver.run(
            cluster_job(eyes, tmp_path / "out", model, resume=True), ScriptedExecutor(all_succeed).start
        )


@pytest.mark.parametrize("name", ["run.json", "manifest/order.json"])
@pytest.mark.parametrize("resume", [False, True])
def test_the_run_of_another_program_is_refused(eyes, model, tmp_path, name, resume):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"my": "pipeline"}')

    with pytest.raises(
        OutputError, match=rf"already contains {name} of another program; choose another --out"
    ):
        driver.run(
            cluster_job(eyes, tmp_path / "out", model, resume=resume), ScriptedExecutor(all_succeed).start
        )


def test_results_of_photographs_that_are_not_given_are_refused(forty_files, model, tmp_path):
    out = tmp_path / "out"
    driver.run(cluster_job(forty_files, out, model), ScriptedExecutor(all_succeed).start)
    (out / "regions").mkdir()
    (out / "regions" / "stranger.json").write_text("{}")

    with pytest.raises(OutputError, match="contains results of 1 photograph not in the source, such as str"):
        driver.run(cluster_job(forty_files, out, model, resume=True), ScriptedExecutor(all_succeed).start)


def test_an_impossible_job_is_refused_before_workers_are_started(eyes, model, tmp_path):
    def no_executor(assignment, package):
        raise AssertionError("started")

    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    with pytest.raises(PhotographError, match="holds no photograph, 1 other file;"):
        driver.run(cluster_job(tmp_path / "empty", tmp_path / "out", model), no_executor)
    with pytest.raises(LesionError, match="SE"):
        driver.run(
            cluster_job(eyes, tmp_path / "out", model, settings=Settings(lesions=("SE",))), no_executor
        )
    with pytest.raises(SettingError, match="choose --effort full"):
        driver.run(cluster_job(eyes, tmp_path / "out", model, settings=Settings(effort="fast")), no_executor)
    with pytest.raises(PhotographError, match="cannot be listed"):
        driver.run(cluster_job(tmp_path / "nowhere", tmp_path / "out", model), no_executor)


def test_the_log_names_no_photograph_and_no_path(model, tmp_path):
    source = tmp_path / "Smith_Jane"
    tiny_package.photograph(source / "Smith_Jane_left.png")
    (source / "Smith_Jane_right.png").write_bytes(b"")

    driver.run(cluster_job(source, tmp_path / "out", model), one_worker, log=str(tmp_path / "log"))

    text = (tmp_path / "log").read_text()
    assert "Smith" not in text
    assert str(tmp_path) not in text
    kinds = [event["event"] for event in logged_events(tmp_path / "log")]
    assert kinds[:2] == ["joined", "began"]
    assert kinds[-1] == "ended"
    assert {event["kind"] for event in logged_events(tmp_path / "log") if event["event"] == "again"} == {
        "PhotographError"
    }


def test_progress_never_decreases_and_ends_with_all_photographs(forty_files, model, tmp_path):
    statuses = []
    driver.run(
        cluster_job(forty_files, tmp_path / "out", model),
        ScriptedExecutor(all_succeed).start,
        on_status=statuses.append,
    )

    assert [status.done for status in statuses] == sorted(status.done for status in statuses)
    assert statuses[-1].done == statuses[-1].total == 40
    assert statuses[-1].seconds_left == 0 or statuses[-1].rate == 0


def test_the_results_of_a_part_of_a_run_are_not_listed_as_photographs(model, tmp_path):
    source = tmp_path / "source"
    for number in range(2):
        tiny_package.photograph(source / f"eye{number}.png", seed=number)
    first = source / "out"
    driver.run(cluster_job(source, first, model, resume=True, share=Share(index=1, of=1)), one_worker)
    for name in ("run.json", "index.html", "summary.csv", "summary.parquet"):  # as after an interruption
        (first / name).unlink()

    files = photographs.list_files([str(source)])
    with list_photographs(cluster_job(source, tmp_path / "elsewhere", model)) as inventory:
        listed = [item.name for item in inventory.pending()]

    assert [file.name for file in files.photographs] == ["eye0", "eye1"] == listed
    assert files.result_folders == 1
