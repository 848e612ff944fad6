"""The head of a run: nothing is lost, nothing is done twice, and what kills or fails is found out."""

import csv
import json

import pytest
import tiny_cluster
import tiny_package
from hypothesis import given
from hypothesis import strategies as st
from tiny_cluster import Scripted, done, programme, results, said

from foveate.cluster import Where, driver
from foveate.cluster.crews import Lost
from foveate.cluster.worker import failed
from foveate.errors import ClusterError, LesionError, OutputError, PhotographError, SettingError
from foveate.inference import api
from foveate.inference.pipeline import Settings


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return tiny_cluster.folder(tmp_path_factory.mktemp("eyes"))


@pytest.fixture
def many(tmp_path):
    """Forty files that nobody looks at."""
    for number in range(40):
        (tmp_path / "many" / f"{number:02}.png").parent.mkdir(exist_ok=True)
        (tmp_path / "many" / f"{number:02}.png").write_bytes(b"x")
    return tmp_path / "many"


def summary(out):
    """Name -> status and error, from summary.csv."""
    lines = csv.reader((out / "summary.csv").read_text().splitlines()[1:])
    return {line[0]: tuple(line[1:3]) for line in lines}


def all_done(shard):
    return tuple(done(item) for item in shard.items)


def alone(shard):
    (item,) = shard.items
    return item


def test_threads_write_what_a_run_on_one_machine_writes(eyes, model, tmp_path):
    source = tiny_cluster.folder(tmp_path / "eyes", count=3)
    (source / "clinic0" / "bad.png").write_bytes(b"")
    api.load(model, engine="onnx", threads=1).predict([source], tmp_path / "plain")

    report = driver.run(
        programme(source, tmp_path / "out", model), Where(workers=2), log=str(tmp_path / "log.jsonl")
    )

    assert results(tmp_path / "out") == results(tmp_path / "plain")
    assert (report.standing.ok, report.standing.failed, report.skipped) == (3, 1, 1)
    assert report.standing.again == 2
    assert not list((tmp_path / "out").rglob("*.part"))


def test_every_photograph_goes_out_once_and_shards_shrink(many, model, tmp_path):
    crew = Scripted(all_done, workers=2)

    report = driver.run(programme(many, tmp_path / "out", model), crew)

    sizes = [len(shard.items) for shard in crew.sent]
    assert [item.name for shard in crew.sent for item in shard.items] == [f"{n:02}" for n in range(40)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert max(sizes) <= 40 // driver.PARTS
    assert report.standing.ok == 40
    assert list(summary(tmp_path / "out")) == [f"{n:02}" for n in range(40)]


@given(st.integers(1, 10**7), st.integers(0, 2000))
def test_a_shard_is_never_empty_nor_more_than_a_fair_part(left, workers):
    count = driver.size(left, workers)
    assert 1 <= count <= driver.SHARD
    assert count == 1 or count * driver.PARTS * max(1, workers) <= left


def test_workers_are_never_sent_more_than_they_have_room_for(many, model, tmp_path):
    crew = Scripted(all_done, workers=3)
    driver.run(programme(many, tmp_path / "out", model), crew)

    assert crew.most == 6


def test_a_photograph_that_fails_is_tried_again_after_all_others_and_then_set_aside(many, model, tmp_path):
    def answer(shard):
        return tuple(
            failed(item, "07: no", kind="FieldError", worker="w1") if item.name == "07" else done(item)
            for item in shard.items
        )

    crew = Scripted(answer)
    report = driver.run(programme(many, tmp_path / "out", model, tries=3), crew, log=str(tmp_path / "log"))

    tries = [(alone(shard).tries, alone(shard).lies) for shard in crew.sent[-2:]]
    assert tries == [(1, True), (2, True)]
    assert (report.standing.ok, report.standing.failed, report.standing.again) == (39, 1, 2)
    assert summary(tmp_path / "out")["07"] == ("failed", "07: no")
    events = [event for event in said(tmp_path / "log") if event.get("kind") == "FieldError"]
    assert [event["event"] for event in events] == ["again", "again", "photograph"]
    assert len({event["photograph"] for event in events}) == 1


def test_a_photograph_that_succeeds_at_its_second_try_is_as_any_other(many, model, tmp_path):
    def answer(shard):
        return tuple(
            failed(item, "no", kind="X", worker="w1") if item.tries == 0 and item.name == "03" else done(item)
            for item in shard.items
        )

    report = driver.run(programme(many, tmp_path / "out", model), Scripted(answer))

    assert (report.standing.ok, report.standing.failed, report.standing.again) == (40, 0, 1)
    assert summary(tmp_path / "out")["03"] == ("ok", "")


def test_what_a_worker_had_that_died_goes_out_again_one_by_one(many, model, tmp_path):
    deaths = []

    def answer(shard):
        if len(deaths) < 2 and len(shard.items) > 1:
            deaths.append(shard)
            return Lost(worker="w1", shard=shard, why="Killed")
        return all_done(shard)

    crew = Scripted(answer, workers=2)
    report = driver.run(programme(many, tmp_path / "out", model), crew, log=str(tmp_path / "log"))

    again = [item.name for shard in deaths for item in shard.items]
    assert [alone(shard).name for shard in crew.sent[-len(again) :]] == again
    assert all(alone(shard).lies for shard in crew.sent[-len(again) :])
    assert (report.standing.ok, report.standing.failed, report.standing.lost) == (40, 0, 2)
    assert [event["photographs"] for event in said(tmp_path / "log") if event["event"] == "lost"] == [
        len(shard.items) for shard in deaths
    ]


def test_a_photograph_that_kills_workers_is_found_out_and_set_aside(many, model, tmp_path):
    def answer(shard):
        if any(item.name == "11" for item in shard.items):
            return Lost(worker="w1", shard=shard, why="OutOfMemoryError")
        return all_done(shard)

    report = driver.run(programme(many, tmp_path / "out", model, tries=3), Scripted(answer))

    assert (report.standing.ok, report.standing.failed) == (39, 1)
    assert summary(tmp_path / "out")["11"] == (
        "failed",
        f"{many / '11.png'}: the worker that looked at it died (OutOfMemoryError); "
        "start fewer beside each other",
    )
    assert report.standing.lost == 4  # once with others, then three tries


def test_a_full_disk_or_a_bucket_out_of_reach_ends_the_run_and_another_goes_on(many, model, tmp_path):
    def answer(shard):
        return tuple(
            failed(item, "disk", kind="OutputError", worker="w1", stop="no space is left there")
            if item.name == "39"
            else done(item)
            for item in shard.items
        )

    with pytest.raises(OutputError, match="no space is left there"):
        driver.run(programme(many, tmp_path / "out", model), Scripted(answer), log=str(tmp_path / "log"))

    assert said(tmp_path / "log")[-1]["event"] == "stopped"
    assert not (tmp_path / "out" / "summary.csv").exists()
    parts = [part.read_text() for part in (tmp_path / "out/manifest").glob("*.jsonl")]
    lines = [json.loads(line) for part in parts for line in part.splitlines()]
    assert sorted(line["photograph"] for line in lines if line["status"] == "ok") == [
        f"{n:02}" for n in range(39)
    ]


def test_a_target_that_refuses_one_photograph_after_another_ends_the_run(many, model, tmp_path):
    def answer(shard):
        return tuple(failed(item, "S3 refuses", kind="OutputError", worker="w1") for item in shard.items)

    with pytest.raises(OutputError, match="S3 refuses"):
        driver.run(programme(many, tmp_path / "out", model), Scripted(answer))


@pytest.mark.parametrize("facts", [{"foveate": "0.0.1"}, {"label": "another"}])
def test_a_worker_that_would_not_do_what_the_others_do_ends_the_run(many, model, tmp_path, facts):
    crew = Scripted(all_done)
    crew._events.append(Scripted._joined("w2", **facts))

    with pytest.raises(ClusterError, match=r"w2 on here has Foveate .*; install the same on all nodes"):
        driver.run(programme(many, tmp_path / "out", model), crew)


def test_nobody_joining_is_an_error_after_a_while(many, model, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "START_SECONDS", 0)
    crew = Scripted(all_done, workers=0)
    crew.next = lambda seconds: None

    with pytest.raises(ClusterError, match="no worker has joined in 0 s"):
        driver.run(programme(many, tmp_path / "out", model), crew)


def test_a_run_that_was_cut_off_is_gone_on_with_and_nothing_is_written_twice(eyes, model, tmp_path):
    whole = programme(eyes, tmp_path / "whole", model)
    driver.run(whole, Where(workers=1))
    out = tmp_path / "out"

    class Cut(Exception):
        pass

    def cut(standing):
        if standing.ok >= 2:
            raise Cut

    with pytest.raises(Cut):
        driver.run(programme(eyes, out, model), Where(workers=1), tell=cut)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("regions/**/*.json")}
    for part in (out / "manifest").glob("*.jsonl"):  # a driver that is killed may not have put its lines
        part.unlink()
    assert 2 <= len(before) < 4

    def leave(standing):  # as a worker of the first driver does that outlives it by a moment
        (out / "masks" / ".foveate-0123456789abcdef.part").write_bytes(b"half")

    report = driver.run(
        programme(eyes, out, model, resume=True), Where(workers=1), log=str(tmp_path / "log"), tell=leave
    )

    assert results(out) == results(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    lay = [event["lay"] for event in said(tmp_path / "log") if event["event"] == "photograph"]
    assert (lay.count(True), lay.count(False)) == (len(before), 4 - len(before))
    assert report.standing.ok == 4


def test_resuming_keeps_what_is_done_looks_anew_at_what_changed_and_tries_failures_again(model, tmp_path):
    source = tiny_cluster.folder(tmp_path / "eyes", count=3)
    (source / "bad.png").write_bytes(b"")
    out = tmp_path / "out"
    driver.run(programme(source, out, model), Where(workers=1))
    tiny_package.photograph(source / "bad.png", seed=7)
    tiny_package.photograph(source / "clinic0" / "eye000.png", seed=8)

    report = driver.run(programme(source, out, model, resume=True), Where(workers=1))
    driver.run(programme(source, tmp_path / "fresh", model), Where(workers=1))

    assert (report.standing.kept, report.standing.ok, report.standing.failed) == (2, 2, 0)
    assert results(out) == results(tmp_path / "fresh")


def test_a_result_that_was_taken_away_is_made_again(eyes, model, tmp_path):
    out = tmp_path / "out"
    driver.run(programme(eyes, out, model), Where(workers=1))
    (out / "regions" / "clinic0" / "eye000.json").unlink()

    report = driver.run(programme(eyes, out, model, resume=True), Where(workers=1))

    assert (report.standing.kept, report.standing.ok) == (3, 1)


def test_a_run_of_one_machine_can_be_gone_on_with(eyes, model, tmp_path):
    out = tmp_path / "out"
    api.load(model, engine="onnx", threads=1).predict([eyes / "clinic0"], out)
    before = results(out)

    report = driver.run(
        programme(eyes / "clinic0", out, model, resume=True), Where(workers=1), log=str(tmp_path / "log")
    )

    assert report.standing.ok == 2
    assert all(event["lay"] for event in said(tmp_path / "log") if event["event"] == "photograph")
    assert results(out) == before


def test_parts_do_all_between_them_and_a_last_run_writes_the_tables(many, model, tmp_path):
    def write(shard):
        for item in shard.items:
            path = tmp_path / "out" / "regions" / f"{item.name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        return all_done(shard)

    sent = []
    for index in (1, 2, 3):
        crew = Scripted(write)
        asked = programme(
            many, tmp_path / "out", model, resume=True, share=driver.job.Share(index=index, of=3)
        )
        report = driver.run(asked, crew)
        sent += [item.name for shard in crew.sent for item in shard.items]
        assert not report.tables
        assert not (tmp_path / "out" / "summary.csv").exists()
    last = Scripted(write)
    report = driver.run(programme(many, tmp_path / "out", model, resume=True), last)

    assert sorted(sent) == [f"{n:02}" for n in range(40)]
    assert last.sent == []
    assert report.tables
    assert list(summary(tmp_path / "out")) == [f"{n:02}" for n in range(40)]


def test_a_target_that_is_not_free_is_refused(eyes, model, tmp_path):
    out = tmp_path / "out"
    (out / "maps").mkdir(parents=True)
    crew = Scripted(all_done)
    driver.run(programme(eyes, out, model), crew)  # an empty folder is none of ours

    with pytest.raises(
        OutputError, match=r"already holds manifest/order.json; go on with that run by --resume"
    ):
        driver.run(programme(eyes, out, model), crew)


def test_a_folder_with_results_but_no_run_is_refused(eyes, model, tmp_path):
    (tmp_path / "out" / "maps").mkdir(parents=True)
    (tmp_path / "out" / "maps" / "x_EX.png").write_bytes(b"")

    with pytest.raises(OutputError, match=r"holds maps but neither run.json nor a manifest"):
        driver.run(programme(eyes, tmp_path / "out", model, resume=True), Scripted(all_done))


def test_results_of_photographs_that_are_not_given_are_refused(many, model, tmp_path):
    out = tmp_path / "out"
    driver.run(programme(many, out, model), Scripted(all_done))
    (out / "regions").mkdir()
    (out / "regions" / "stranger.json").write_text("{}")

    with pytest.raises(
        OutputError, match="holds results of 1 photographs that are not in the source, such as str"
    ):
        driver.run(programme(many, out, model, resume=True), Scripted(all_done))


def test_what_makes_no_sense_is_refused_before_anybody_is_called(eyes, model, tmp_path):
    def nobody(assignment, package):
        raise AssertionError("called")

    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    with pytest.raises(PhotographError, match="holds no photograph, 1 other files"):
        driver.run(programme(tmp_path / "empty", tmp_path / "out", model), nobody)
    with pytest.raises(LesionError, match="SE"):
        driver.run(programme(eyes, tmp_path / "out", model, settings=Settings(lesions=("SE",))), nobody)
    with pytest.raises(SettingError, match="choose --effort full"):
        driver.run(programme(eyes, tmp_path / "out", model, settings=Settings(effort="fast")), nobody)
    with pytest.raises(PhotographError, match="cannot be listed"):
        driver.run(programme(tmp_path / "nowhere", tmp_path / "out", model), nobody)


def test_the_log_names_no_photograph_and_no_path(model, tmp_path):
    source = tmp_path / "Smith_Jane"
    tiny_package.photograph(source / "Smith_Jane_left.png")
    (source / "Smith_Jane_right.png").write_bytes(b"")

    driver.run(programme(source, tmp_path / "out", model), Where(workers=1), log=str(tmp_path / "log"))

    text = (tmp_path / "log").read_text()
    assert "Smith" not in text
    assert str(tmp_path) not in text
    kinds = [event["event"] for event in said(tmp_path / "log")]
    assert kinds[:2] == ["joined", "began"]
    assert kinds[-1] == "ended"
    assert {event["kind"] for event in said(tmp_path / "log") if event["event"] == "again"} == {
        "PhotographError"
    }


def test_progress_never_falls_and_ends_with_all(many, model, tmp_path):
    told = []
    driver.run(programme(many, tmp_path / "out", model), Scripted(all_done), tell=told.append)

    assert [standing.done for standing in told] == sorted(standing.done for standing in told)
    assert told[-1].done == told[-1].total == 40
    assert told[-1].seconds_left == 0 or told[-1].rate == 0
