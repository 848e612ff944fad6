"""The data folder is never emptied by mistake, and an older one is brought up to date."""

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import tiny_package
import tiny_server
from tiny_server import done, picture, submit, waited

from foveate import atomic_files
from foveate.errors import OutputError
from foveate.server.errors import ServiceError
from foveate.server.exports.grading_tables import gradings_csv
from foveate.server.review.gradings import FinishedGrading
from foveate.server.storage import gradings, migrations
from foveate.server.storage.counts import CurrentCounts, current_counts_of, finish, level_counts_of
from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database, Query
from foveate.server.storage.facts import LevelCounts, PhotographFacts

VERSION_1 = """
CREATE TABLE batches (id TEXT PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE photographs (
    id TEXT PRIMARY KEY, number INTEGER UNIQUE NOT NULL, batch TEXT REFERENCES batches(id),
    name TEXT NOT NULL,
    key TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, field TEXT NOT NULL,
    region TEXT, sha256 TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, spacing_mm REAL,
    submitted REAL NOT NULL, started REAL, finished REAL, error TEXT, reviewed INTEGER NOT NULL DEFAULT 0,
    grid TEXT, thresholds TEXT NOT NULL DEFAULT '{}', facts TEXT, revision INTEGER NOT NULL DEFAULT 0,
    count INTEGER, area_fraction REAL
);
CREATE INDEX photographs_by_state ON photographs (state, number);
CREATE INDEX photographs_by_batch ON photographs (batch, number);
CREATE TABLE present (
    photograph TEXT NOT NULL REFERENCES photographs(id) ON DELETE CASCADE, lesion TEXT NOT NULL,
    level INTEGER NOT NULL, count INTEGER NOT NULL, area_px INTEGER NOT NULL, mask_px INTEGER NOT NULL,
    PRIMARY KEY (photograph, lesion)
);
CREATE TABLE counts (
    photograph TEXT NOT NULL REFERENCES photographs(id) ON DELETE CASCADE, lesion TEXT NOT NULL,
    counts TEXT NOT NULL, PRIMARY KEY (photograph, lesion)
);
CREATE TABLE edits (
    photograph TEXT NOT NULL REFERENCES photographs(id) ON DELETE CASCADE, number INTEGER NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0, kind TEXT NOT NULL, lesion TEXT NOT NULL, author TEXT NOT NULL,
    time REAL NOT NULL, told TEXT NOT NULL, box TEXT, before BLOB, after BLOB,
    PRIMARY KEY (photograph, number)
);
PRAGMA user_version=1;
"""
"""As Foveate at commit c0e9624 made it."""

FACTS = {
    "model": {"name": "tiny", "version": "1", "sha256": "0" * 64},
    "settings": {"effort": "full", "thresholds": {"EX": 0.5}},
    "quality": [],
    "field": {
        "x": 9.5,
        "y": 8.5,
        "radius": 8.0,
        "box": {"x": 1, "y": 0, "width": 16, "height": 17},
        "area_px": 200,
    },
    "lesions": {
        "EX": {"name": "hard exudates", "threshold": 0.5, "minimum_area_px": 4, "minimum_area_model_px": 4}
    },
    "disc": [8.5, 9.5, 8.0],
    "frame": "a key that only this version wrote",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_package.build(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def version_1(tmp_path):
    """A database of version 1 with a photograph that is done and one that failed."""
    path = tmp_path / "foveate.sqlite3"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    columns = "id, number, name, key, state, field, sha256, width, height, submitted, error, facts"
    for row in (
        ("a" * 32, 1, "left", "left", "done", '"auto"', "0" * 64, 18, 17, 1.0, None, json.dumps(FACTS)),
        (
            "b" * 32,
            2,
            "dark",
            "dark",
            "failed",
            "[8.0, 9.0, 7.0]",
            "1" * 64,
            18,
            17,
            2.0,
            '{"code": "no_field", "message": "no round field of view"}',
            None,
        ),
    ):
        connection.execute(f"INSERT INTO photographs ({columns}) VALUES ({', '.join('?' * 12)})", row)
    connection.execute(
        "INSERT INTO counts VALUES (?, 'EX', ?)",
        ("a" * 32, json.dumps({"regions": [3, 1], "area_px": [9, 5], "mask_px": [11, 5]})),
    )
    connection.commit()
    connection.close()
    return path


def test_a_database_of_version_1_is_read_as_it_is(version_1):
    database = Database(version_1)

    (finished, failed), total = database.select(Query())

    assert total == 2
    assert finished.predicted.lesions["EX"].minimum_area_px == 4
    assert finished.predicted.model_extra == {"frame": "a key that only this version wrote"}
    assert level_counts_of(database, finished.id, "EX").area_px == [9, 5]
    assert (failed.error.code, failed.field) == ("no_field", (8.0, 9.0, 7.0))
    assert (finished.eye, finished.note) == (None, "")
    database.close()


def test_a_photograph_that_an_earlier_version_was_analysing_is_analysed_again(version_1):
    with closing(sqlite3.connect(version_1)) as connection, connection:
        connection.execute("UPDATE photographs SET state = 'looking' WHERE number = 1")

    with closing(Database(version_1)) as database:
        assert database.get("a" * 32).state == "running"
        assert database.resume() == 1
        assert database.get("a" * 32).state == "queued"


def test_an_older_database_is_copied_and_brought_up_to_date(version_1):
    steps = (
        *migrations.MIGRATIONS,
        lambda connection: connection.execute("ALTER TABLE batches ADD note TEXT"),
    )
    connection = sqlite3.connect(version_1, isolation_level=None)

    migrations.migrate(connection, version_1, steps)

    columns = [row[1] for row in connection.execute("PRAGMA table_info(batches)")]
    assert columns[-1] == "note"
    assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
    copy = sqlite3.connect(version_1.with_name("foveate.sqlite3.v1"))
    assert copy.execute("PRAGMA user_version").fetchone() == (1,)
    assert copy.execute("SELECT count(*) FROM photographs").fetchone() == (2,)


def test_copies_that_an_older_foveate_left_in_a_batch_follow_their_photograph(version_1):
    connection = sqlite3.connect(version_1, isolation_level=None)
    before = migrations.MIGRATIONS[:4]
    migrations.migrate(connection, version_1, before)
    connection.executescript("""
        INSERT INTO batches VALUES ('left', 'left', 1.0), ('other', 'other', 2.0);
        UPDATE photographs SET batch = 'other' WHERE number = 1;
        INSERT INTO photographs (id, number, batch, name, key, state, field, sha256, width, height, submitted)
            VALUES ('copy', 3, 'left', 'left', 'left', 'done', '"auto"', '0', 18, 17, 1.0),
                   ('out', 4, 'left', 'dark', 'dark', 'done', '"auto"', '1', 18, 17, 2.0);
    """)
    for copy, original in (("copy", "a" * 32), ("out", "b" * 32)):
        connection.execute("INSERT INTO gradings VALUES (?, ?, 'Ann', 3.0, NULL)", (copy, original))
    connection.close()

    database = Database(version_1)

    assert database.identifiers("left") == []
    assert database.delete_batch("left")
    assert database.identifiers("other") == ["a" * 32, "copy"]
    assert database.get("out").batch is None
    database.close()


LEVELS = LevelCounts(regions=[0] * 256, area_px=[0] * 256, mask_px=[0] * 256)


def test_what_an_older_foveate_left_of_another_models_result_is_deleted(version_1):
    connection = sqlite3.connect(version_1, isolation_level=None)
    for lesion, count, area_px in (("EX", 2, 10), ("MA", 40, 190)):
        row = ("a" * 32, lesion, 128, count, area_px, area_px)
        connection.execute("INSERT INTO present VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.execute("INSERT INTO present VALUES (?, 'EX', 128, 7, 70, 70)", ("b" * 32,))
    connection.execute("INSERT INTO counts VALUES (?, 'MA', ?)", ("a" * 32, LEVELS.model_dump_json()))
    connection.execute("UPDATE photographs SET count = 42, area_fraction = 1.0, spacing_mm = 1e-8")
    connection.close()

    database = Database(version_1)

    finished, failed = database.get("a" * 32), database.get("b" * 32)
    assert set(current_counts_of(database, finished.id)) == {"EX"}
    assert level_counts_of(database, finished.id, "EX").area_px == [9, 5]
    with pytest.raises(ServiceError):
        level_counts_of(database, finished.id, "MA")
    with pytest.raises(ServiceError):
        current_counts_of(database, failed.id)
    assert (finished.count, finished.area_fraction, finished.spacing_mm) == (2, 10 / 200, None)
    database.close()


def test_a_result_of_another_model_leaves_nothing_of_the_earlier_one(version_1):
    database = Database(version_1)
    identifier, other = "a" * 32, "b" * 32
    lesions = {"EX": FACTS["lesions"]["EX"], "MA": FACTS["lesions"]["EX"]}

    def store(photograph, **counts):
        facts = PhotographFacts.model_validate(FACTS | {"lesions": {code: lesions[code] for code in counts}})
        current = {
            code: CurrentCounts(level=128, count=count, area_px=area_px, mask_px=area_px)
            for code, (count, area_px) in counts.items()
        }
        return finish(database, photograph, facts, dict.fromkeys(counts, LEVELS), current, now=3.0)

    store(other, EX=(1, 5), MA=(1, 5))
    assert store(identifier, EX=(2, 10), MA=(40, 190)).count == 42
    database.requeue(identifier, "auto", None)

    listed, _ = database.select(Query(sort="count", lesion="EX", descending=True))
    assert [record.id for record in listed] == [other, identifier]  # without a result it comes last

    record = store(identifier, EX=(2, 10))

    assert (record.count, record.area_fraction) == (2, 10 / 200)
    assert set(current_counts_of(database, identifier)) == {"EX"}
    counts = current_counts_of(database, identifier)
    graded = FinishedGrading(record=record, name="Carol", role="adjudicator", done=None, counts=counts)
    assert len(gradings_csv([graded]).splitlines()) == 2
    database.close()


def test_the_copy_of_an_older_database_goes_with_the_first_photograph_that_is_deleted(version_1):
    database = Database(version_1)
    copy = version_1.with_name("foveate.sqlite3.v1")
    backups = [version_1.with_name(f"{version_1.name}.{suffix}") for suffix in ("vor-umzug", "v1.keep", "v")]
    for backup in backups:
        shutil.copy(copy, backup)
    database.add_batch("e" * 32, "empty", 1.0)

    assert database.delete("c" * 32) == ()
    assert database.delete_batch("e" * 32)
    assert copy.exists()
    assert database.delete("a" * 32) == ("a" * 32,)

    assert not copy.exists()
    assert all(backup.exists() for backup in backups)
    database.close()


def test_a_photograph_that_was_being_deleted_when_the_server_was_killed_is_gone(model, tmp_path):
    data = tmp_path / "data"
    with tiny_server.running(data, model) as client:
        identifier, kept = done(client)["id"], done(client, picture(1))["id"]
        copy = client.post(f"/api/photographs/{identifier}/gradings", json={"grader": "Ann"}).json()["id"]
        assert client.service.database.delete(identifier) == (copy, identifier)
        assert client.service.database.removed() == {copy, identifier}

    with tiny_server.running(data, model):
        assert [path.name for path in (data / "photographs").iterdir()] == [kept]
    assert not (data / "unknown").exists()


def test_what_was_not_yet_listed_when_the_server_was_killed_is_deleted(model, tmp_path, monkeypatch):
    data = tmp_path / "data"
    photographs = data / "photographs"
    with tiny_server.running(data, model) as client:
        add, add_grading = Database.add, gradings.add_grading

        def add_and_keep(self, photograph):
            shutil.copytree(photographs / photograph.id, photographs / ("e" * 32))
            return add(self, photograph)

        def add_grading_and_keep(database, grading, counts):
            shutil.copytree(photographs / grading.photograph, photographs / ("f" * 32))
            return add_grading(database, grading, counts)

        monkeypatch.setattr(Database, "add", add_and_keep)
        monkeypatch.setattr(gradings, "add_grading", add_grading_and_keep)
        identifier = done(client)["id"]
        copy = client.post(f"/api/photographs/{identifier}/gradings", json={"grader": "Ann"}).json()["id"]
        left = {path.parent.name for path in photographs.glob("*/unfinished")}
        assert left == {"e" * 32, "f" * 32}
        (photographs / identifier / "unfinished").touch()  # killed after the database has listed it

    with tiny_server.running(data, model):
        assert {path.name for path in photographs.iterdir()} == {identifier, copy}
        assert not list(photographs.glob("*/unfinished"))
    assert not (data / "unknown").exists()


def test_an_upload_and_copied_files_are_on_the_disk_before_they_are_accepted(model, tmp_path, monkeypatch):
    flushed, flush = [], atomic_files.flush

    def flush_and_note(path):
        flushed.append(path)
        flush(path)

    def no_links(*arguments):
        raise PermissionError

    monkeypatch.setattr(atomic_files, "flush", flush_and_note)
    with tiny_server.running(tmp_path / "data", model) as client:
        identifier = done(client)["id"]
        assert client.service.data_dir.photograph(identifier).upload in flushed

        monkeypatch.setattr("os.link", no_links)
        flushed.clear()
        copy = client.post(f"/api/photographs/{identifier}/gradings", json={"grader": "Ann"}).json()["id"]

        incoming = client.service.data_dir.incoming
        copied = {path.name for path in flushed if path.is_relative_to(incoming)}
        folder = client.service.data_dir.photograph(copy).folder
        assert copied == {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_step_that_fails_leaves_the_older_database(version_1):
    def broken(connection):
        connection.execute("ALTER TABLE batches ADD note TEXT")
        raise sqlite3.OperationalError("database or disk is full")

    connection = sqlite3.connect(version_1, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrations.migrate(connection, version_1, (*migrations.MIGRATIONS, broken))

    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert "note" not in [row[1] for row in connection.execute("PRAGMA table_info(batches)")]


def test_a_step_that_fails_says_why_although_sqlite_has_rolled_back_already(version_1):
    def broken(connection):
        connection.execute("ROLLBACK")  # as SQLite does on a full disk
        raise sqlite3.OperationalError("database or disk is full")

    connection = sqlite3.connect(version_1, isolation_level=None)

    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        migrations.migrate(connection, version_1, (*migrations.MIGRATIONS, broken))


def test_a_newer_database_is_refused_by_its_version(version_1):
    connection = sqlite3.connect(version_1)
    connection.execute("PRAGMA user_version=99")
    connection.close()

    with pytest.raises(OutputError, match=r"has version 99, but this Foveate reads only up to \d+"):
        Database(version_1)


@pytest.mark.parametrize("is_emptied", [False, True])
def test_photographs_without_a_database_are_refused_and_nothing_is_deleted(model, tmp_path, is_emptied):
    data = tmp_path / "data"
    with tiny_server.running(data, model) as client:
        kept = [done(client, picture(seed))["id"] for seed in range(2)]
    database = data / "foveate.sqlite3"
    database.rename(tmp_path / database.name)
    if is_emptied:
        database.touch()

    with pytest.raises(OutputError, match=r"but foveate\.sqlite3 is missing or empty; put it back"):
        DataDir(data)
    database.with_name("foveate.sqlite3-wal").write_bytes(b"of a killed server")
    with pytest.raises(OutputError, match=r"but foveate\.sqlite3-wal lies beside it; .*-shm\), or"):
        DataDir(data)
    database.with_name("foveate.sqlite3-wal").unlink()

    assert sorted(path.name for path in (data / "photographs").iterdir()) == sorted(kept)
    (tmp_path / database.name).rename(database)
    with tiny_server.running(data, model) as client:
        assert [client.get(f"/api/photographs/{one}").json()["state"] for one in kept] == ["done"] * 2


@pytest.mark.parametrize(
    "file", ["incoming/left.png", "gone/right.png", "lock", "letters/anna.txt", "readme.txt"]
)
def test_a_folder_of_somebodys_files_is_refused_and_stays_as_it_is(tmp_path, file):
    data = tmp_path / "fundus"
    (data / file).parent.mkdir(parents=True)
    (data / file).write_bytes(b"kept")
    data.chmod(0o755)
    before = sorted(data.rglob("*"))

    with pytest.raises(OutputError, match=r"fundus: holds files but no foveate\.sqlite3; choose an empty"):
        DataDir(data)

    assert sorted(data.rglob("*")) == before
    assert (data / file).read_bytes() == b"kept"
    assert data.stat().st_mode & 0o777 == 0o755


def test_what_a_killed_first_start_has_left_is_no_obstacle(tmp_path):
    for folder in ("photographs", "incoming/model", "gone", "lost+found"):
        (tmp_path / folder).mkdir(parents=True)
    probe = ".foveate-0123456789abcdef.part"
    for file in (
        "lock",
        "foveate.sqlite3",
        "foveate.sqlite3-journal",
        *(f"photographs/{probe}", f"incoming/{probe}", f"gone/{probe}", "incoming/model/manifest.json"),
        ".DS_Store",
    ):
        (tmp_path / file).touch()

    DataDir(tmp_path).close()

    assert not any((tmp_path / "incoming").iterdir())


def test_files_that_somebody_puts_into_the_data_folder_are_kept(model, tmp_path):
    with tiny_server.running(tmp_path, model) as client:
        identifier = done(client)["id"]
    for folder in ("photographs", "incoming", "gone"):
        (tmp_path / folder / f"of {folder}.png").write_bytes(b"kept")

    with tiny_server.running(tmp_path, model):
        assert [path.name for path in (tmp_path / "photographs").iterdir()] == [identifier]
        assert not any((tmp_path / "incoming").iterdir())

    aside = sorted((tmp_path / "unknown").iterdir())
    assert [path.name.rpartition("-")[0] for path in aside] == [
        "of gone.png",
        "of incoming.png",
        "of photographs.png",
    ]
    assert {path.read_bytes() for path in aside} == {b"kept"}


def test_results_that_the_database_does_not_know_are_set_aside(model, tmp_path):
    data = tmp_path / "data"
    with tiny_server.running(data, model) as client:
        identifier = done(client)["id"]
    shutil.copytree(data / "photographs" / identifier, data / "photographs" / ("c" * 32))
    (data / "photographs" / ("d" * 32)).mkdir()  # an upload that was never accepted
    waiting = data / "photographs" / ("e" * 32)  # one that was in the queue
    waiting.mkdir()
    for name in ("upload", "photo.tiles", "thumbnail.jpg"):
        shutil.copy(data / "photographs" / identifier / name, waiting)

    with tiny_server.running(data, model):
        assert [path.name for path in (data / "photographs").iterdir()] == [identifier]

    aside, queued = sorted((data / "unknown").iterdir())
    assert aside.name.startswith("c" * 32)
    assert (aside / "results" / "summary.csv").is_file()
    assert queued.name.startswith("e" * 32)
    assert (queued / "upload").is_file()


def test_photographs_that_were_deleted_after_a_backup_are_forgotten_if_asked(model, tmp_path, caplog):
    data, backup = tmp_path / "data", tmp_path / "backup.sqlite3"
    with tiny_server.running(data, model) as client:
        batch = client.post("/api/batches", json={"name": "clinic"}).json()["id"]
        kept, deleted, graded = [done(client, picture(seed), batch=batch)["id"] for seed in range(3)]
        client.post(f"/api/photographs/{graded}/gradings", json={"grader": "Ann"})
        with (
            closing(sqlite3.connect(data / "foveate.sqlite3")) as source,
            closing(sqlite3.connect(backup)) as copy,
        ):
            source.backup(copy)
        for identifier in (deleted, graded):
            assert client.delete(f"/api/photographs/{identifier}").status_code == 204
    shutil.copy(backup, data / "foveate.sqlite3")

    with pytest.raises(OutputError, match="lacks the files of 3 of the 4"), tiny_server.running(data, model):
        pass
    with tiny_server.running(data, model, forget_missing=True) as client:
        assert "3 photographs were deleted from the database" in caplog.text
        listed = client.get("/api/photographs").json()["photographs"]
        assert [photograph["id"] for photograph in listed] == [kept]
        assert client.service.database.identifiers() == [kept]
        assert client.get(f"/api/batches/{batch}/download").status_code == 200
        assert client.get(f"/api/photographs/{deleted}").status_code == 404


@pytest.mark.parametrize("photographs", [1, 2])
@pytest.mark.parametrize("lost", ["upload", "folder", "all"])
def test_a_server_that_lacks_files_of_a_photograph_deletes_nothing(model, tmp_path, photographs, lost):
    data, moved = tmp_path / "data", tmp_path / "moved"
    with tiny_server.running(data, model) as client:
        kept = [done(client, picture(seed))["id"] for seed in range(photographs)]
    folder = data / "photographs"
    lacking = {"upload": folder / kept[0] / "upload", "folder": folder / kept[0], "all": folder}[lost]
    lacking.rename(moved)

    number = photographs if lost == "all" else 1
    line = f"lacks the files of {number} of the {photographs} .*{kept[0]}.* --forget-missing"
    for _ in range(2):
        with pytest.raises(OutputError, match=line), tiny_server.running(data, model):
            pass

    if lost == "all":
        folder.rmdir()
    moved.rename(lacking)
    with tiny_server.running(data, model) as client:
        assert [client.get(f"/api/photographs/{one}").json()["state"] for one in kept] == ["done"] * len(kept)


@pytest.mark.parametrize("lost", ["upload", "folder"])
def test_files_of_forgotten_photographs_are_set_aside_whenever_they_turn_up(model, tmp_path, lost):
    data, moved = tmp_path / "data", tmp_path / "moved"
    with tiny_server.running(data, model) as client:
        identifier = done(client)["id"]
        copy = client.post(f"/api/photographs/{identifier}/gradings", json={"grader": "Ann"}).json()["id"]
    folder = data / "photographs" / identifier
    (folder / "upload" if lost == "upload" else folder).rename(moved)

    with tiny_server.running(data, model, forget_missing=True) as client:
        assert client.service.database.identifiers() == []
    if lost == "folder":
        moved.rename(folder)
        with tiny_server.running(data, model):
            pass

    aside = {path.name.partition("-")[0]: path for path in (data / "unknown").iterdir()}
    assert set(aside) == {identifier, copy}
    assert all((path / "results" / "summary.csv").is_file() for path in aside.values())


@pytest.mark.parametrize("is_emptied", [True, False])
def test_a_deletion_on_a_full_disk_is_completed_after_a_kill(model, tmp_path, monkeypatch, is_emptied):
    data = tmp_path / "data"
    with tiny_server.running(data, model) as client:
        identifier = done(client)["id"]
        client.post(f"/api/photographs/{identifier}/gradings", json={"grader": "Ann"})

        def full(*arguments, **named):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        monkeypatch.setattr(Database, "delete", full)
        if not is_emptied:
            monkeypatch.setattr("foveate.server.storage.data_dir._empty", full)
        assert client.delete(f"/api/photographs/{identifier}").status_code == 507
        monkeypatch.undo()

    with tiny_server.running(data, model) as client:
        assert client.service.database.identifiers() == []
    assert not [path for folder in ("gone", "photographs") for path in (data / folder).iterdir()]
    assert not (data / "unknown").exists()


def test_links_in_the_data_folder_are_removed_and_not_followed(model, tmp_path):
    data, outside = tmp_path / "data", tmp_path / "outside"
    with tiny_server.running(data, model) as client:
        identifier = done(client)["id"]
    outside.mkdir()
    (outside / "kept").touch()
    for folder in ("photographs", "incoming", "gone"):
        (data / folder / ("b" * 32)).symlink_to(outside)

    with tiny_server.running(data, model) as client:
        assert client.get(f"/api/photographs/{identifier}").status_code == 200

    assert (outside / "kept").exists()
    assert [path.name for folder in ("incoming", "gone") for path in (data / folder).iterdir()] == []
    assert [path.name for path in (data / "photographs").iterdir()] == [identifier]


def test_a_file_in_the_way_of_the_data_folder_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "data").touch()

    with pytest.raises(OutputError, match=r"a file is in the way of a folder; .* choose another folder"):
        DataDir(tmp_path / "data")


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second disk")
def test_a_data_folder_on_two_disks_is_refused(tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        (tmp_path / "photographs").symlink_to(elsewhere)
        if Path(elsewhere).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("the folder for tests lies on the same disk")

        with pytest.raises(OutputError, match="lies on another disk"):
            DataDir(tmp_path)


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), OSError(28, "full")])
def test_the_queue_goes_on_after_the_disk_was_full(model, tmp_path, monkeypatch, error):
    monkeypatch.setattr("foveate.server.jobs.queue.RETRY_SECONDS", 0.05)
    failures = [error, error]
    with tiny_server.running(tmp_path / "data", model) as client:

        def full_twice(*arguments, now):
            if failures:
                raise failures.pop()
            return finish(*arguments, now=now)

        monkeypatch.setattr("foveate.server.jobs.queue.finish", full_twice)
        identifier = submit(client, picture(3)).json()["id"]

        assert waited(client, identifier)["state"] == "done"
        assert not failures
        assert done(client, picture(4))["state"] == "done"


def test_a_database_that_cannot_be_written_is_a_full_disk_for_whoever_asks(model, tmp_path, monkeypatch):
    with tiny_server.running(tmp_path / "data", model) as client:
        identifier = done(client)["id"]

        def full(*arguments, **named):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        monkeypatch.setattr(client.service.database, "delete", full)
        answer = client.delete(f"/api/photographs/{identifier}")

        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_space")
        monkeypatch.undo()
        assert client.delete(f"/api/photographs/{identifier}").status_code == 204
