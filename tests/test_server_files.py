"""Files that are downloaded are those that the command line writes, and corrected ones can be trained on."""

import csv
import io
import json
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tiny_package
import tiny_server
from PIL import Image
from tiny_server import done, grey, picture

import foveate
from foveate import datasets
from foveate.datasets import layouts
from foveate.server.errors import ServiceError
from foveate.server.exports import downloads

NAME = "<img src=x onerror=alert(1)>"


def unzipped(answer):
    """Return a zip's files."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def predicted(model, folder, content, thresholds=None):
    """Return what Python, and the command line, write for a photograph called eye."""
    (folder / "eye.png").write_bytes(content)
    loaded = foveate.load(model, engine="onnx", threads=1)
    loaded.segment(foveate.read(folder / "eye.png"), thresholds=thresholds or {}).save(folder / "out")
    files = {path.relative_to(folder / "out").as_posix(): path for path in (folder / "out").rglob("*.*")}
    return {name: path.read_bytes() for name, path in files.items()}


def stroke(client, one, **more):
    body = {"lesion": "EX", "tool": "brush", "diameter": 9, "points": [[60.5, 60.5], [90.5, 70.5]], **more}
    assert client.post(f"{one}/corrections/strokes", json=body).status_code == 200


@pytest.mark.parametrize("thresholds", [None, {"EX": 0.31, "MA": 0.77}])
def test_a_download_holds_the_command_lines_files_byte_for_byte(client, model, tmp_path, thresholds):
    told = done(client, picture(11))
    one = f"/api/photographs/{told['id']}"
    if thresholds:
        client.patch(one, json={"thresholds": thresholds})

    files = unzipped(client.get(f"{one}/download"))

    expected = predicted(model, tmp_path, picture(11), thresholds)
    assert set(files) == set(expected)
    assert [name for name in files if files[name] != expected[name]] == []
    assert not list(client.service.data_dir.incoming.iterdir())


def test_a_download_states_the_evidence_that_the_model_asks_for(tmp_path):
    decisions = {
        code: replace(decision, minimum_evidence=2.0)
        for code, decision in tiny_package.MANIFEST.decisions.items()
    }
    quiet = tiny_package.build(tmp_path / "quiet", decisions=decisions)
    with tiny_server.running(tmp_path / "data", quiet) as client:
        one = f"/api/photographs/{done(client, picture(11))['id']}"
        client.patch(one, json={"thresholds": {"EX": 0.31}})
        files = unzipped(client.get(f"{one}/download"))

    expected = predicted(quiet, tmp_path, picture(11), {"EX": 0.31})
    assert [name for name in expected if files[name] != expected[name]] == []
    assert any(b"minimum_evidence_model_px" in content for content in files.values())


@pytest.mark.parametrize("part", ["bytes=0-9", "bytes=999999999-", "pages=1", "bytes=a-b"])
def test_a_download_is_whole_and_its_zip_deleted_whatever_part_is_asked_for(client, part):
    one = f"/api/photographs/{done(client)['id']}/download"

    answer = client.get(one, headers={"Range": part})

    assert (answer.status_code, answer.headers["accept-ranges"]) == (200, "none")
    assert unzipped(answer) == unzipped(client.get(one))
    assert not list(client.service.data_dir.incoming.iterdir())


def test_parts_of_a_download_can_be_chosen(client):
    one = f"/api/photographs/{done(client)['id']}"

    names = set(unzipped(client.get(f"{one}/download", params={"parts": "masks,summary.csv"})))

    assert names == {"masks/eye_EX.png", "masks/eye_MA.png", "summary.csv"}
    assert client.get(f"{one}/download", params={"parts": "../../etc"}).status_code == 422


def test_files_of_an_earlier_look_are_not_sent(client):
    one = f"/api/photographs/{done(client, picture(13))['id']}"
    client.patch(one, json={"thresholds": {"EX": 0.3}})
    client.get(f"{one}/download")

    client.post(f"{one}/again", json={"field": "128,128,110"})
    assert tiny_server.waited(client, one.rpartition("/")[2])["state"] == "done"

    told = json.loads(unzipped(client.get(f"{one}/download"))["regions/eye.json"])
    assert told["field"]["radius"] == 110
    assert told["lesions"]["EX"]["threshold"] == 0.3


def test_corrections_lie_beside_the_models_files_and_change_none(client, model, tmp_path):
    one = f"/api/photographs/{done(client, picture(12))['id']}"
    stroke(client, one, author="Dr A")

    files = unzipped(client.get(f"{one}/download"))

    own = {name: content for name, content in files.items() if not name.startswith("corrected/")}
    expected = predicted(model, tmp_path, picture(12))
    assert set(own) == set(expected)
    assert [name for name in own if own[name] != expected[name]] == []
    corrected = grey(client.get(f"{one}/corrected/EX/0/0_0.png").content)
    mask = grey(files["corrected/masks/eye_EX.png"])
    np.testing.assert_array_equal(mask == 255, corrected >= 128)
    assert files["corrected/masks/eye_MA.png"] == files["masks/eye_MA.png"]
    table = json.loads(files["corrected/regions/eye.json"])
    assert table["lesions"]["EX"]["count"] == client.get(one).json()["result"]["lesions"]["EX"]["count"]
    listed = client.get(f"{one}/regions", params={"lesion": "EX"}).json()["regions"]
    assert [row["max_probability"] for row in table["regions"] if row["lesion"] == "EX"] == [
        row["max_probability"] for row in listed
    ]
    assert all(row["max_probability"] < 1 for row in listed)  # the model's, also of what was painted
    journal = json.loads(files["corrected/corrections/eye.json"])
    assert journal["model"] == json.loads(files["regions/eye.json"])["model"]
    assert [(edit["author"], edit["kind"], edit["tool"]) for edit in journal["edits"]] == [
        ("Dr A", "stroke", "brush")
    ]
    client.post(f"{one}/corrections/undo", json={})
    assert unzipped(client.get(f"{one}/download")) == own


@pytest.mark.parametrize("kind", ["single", "selection", "batch"])
def test_a_download_says_which_figures_are_the_models_and_which_are_corrected(client, kind):
    batch = client.post("/api/batches", json={"name": "figures"}).json()["id"]
    contents = [picture(41), picture(42)][: 1 if kind == "single" else 2]
    photographs = [done(client, content, "eye.png", batch=batch) for content in contents]
    identifiers = [photograph["id"] for photograph in photographs]

    def download():
        if kind == "selection":
            return client.post("/api/downloads", json={"photographs": identifiers})
        kept = f"batches/{batch}" if kind == "batch" else f"photographs/{identifiers[0]}"
        return client.get(f"/api/{kept}/download")

    def figures(photograph):
        lesions = client.get(f"/api/photographs/{photograph['id']}").json()["result"]["lesions"]
        return [str(lesions[code][key]) for code in ("EX", "MA") for key in ("count", "area_px")]

    def rows(content):
        columns = [f"{code}_{key}" for code in ("EX", "MA") for key in ("count", "area_px")]
        table = list(csv.DictReader(io.StringIO(content.decode())))
        return [row["photograph"] for row in table], [[row[column] for column in columns] for row in table]

    before = unzipped(download())
    models = [figures(photograph) for photograph in photographs]
    stroke(client, f"/api/photographs/{identifiers[0]}")
    after = unzipped(download())

    assert not [name for name in before if name.startswith("corrected/")]
    assert after["summary.csv"] == before["summary.csv"]
    names, corrected = rows(after["corrected/summary.csv"])
    assert names == ["eye", "eye-2"][: len(photographs)]
    assert rows(after["summary.csv"])[1] == models
    assert corrected == [figures(photograph) for photograph in photographs]
    assert corrected[0] != models[0]  # the second one was not corrected: its figures are the model's
    header = after["summary.csv"].splitlines()[0]
    assert after["corrected/summary.csv"].splitlines()[0] == header
    assert b"model's own results" in after["corrected/README.txt"]


def test_corrected_photographs_are_a_set_that_training_reads_as_it_is(client, tmp_path):
    batch = client.post("/api/batches", json={}).json()["id"]
    contents = [picture(21), picture(22), picture(23)]
    told = [done(client, content, "left.png", batch=batch) for content in contents]
    one, two = (f"/api/photographs/{one['id']}" for one in told[:2])
    assert client.get("/api/training", params={"batch": batch}).status_code == 409
    stroke(client, one)
    client.patch(two, json={"reviewed": True, "levels": {"MA": 200}})

    answer = client.get("/api/training", params={"batch": batch})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path)

    layout = layouts.named(str(tmp_path / "corrections.toml"))
    cases = layouts.cases(tmp_path, layout, "train")
    assert [case.name for case in cases] == ["left", "left-2"]
    for case, content, address in zip(cases, contents, (one, two), strict=False):
        photograph = foveate.read(case.photograph)
        with Image.open(io.BytesIO(content)) as original:
            np.testing.assert_array_equal(photograph.pixels, np.asarray(original))
        truth = datasets.truth(case, ("EX", "MA"), photograph.shape)
        levels = {code: one["level"] for code, one in client.get(address).json()["result"]["lesions"].items()}
        for mask, code in zip(truth, ("EX", "MA"), strict=True):
            corrected = grey(client.get(f"{address}/corrected/{code}/0/0_0.png").content)
            np.testing.assert_array_equal(mask, corrected >= levels[code])
    single = unzipped(client.get(f"{one}/training"))
    assert {"corrections.toml", "photographs/left.png", "corrections/left.json"} <= set(single)


def test_a_batch_is_one_folder_of_results(client, tmp_path):
    batch = client.post("/api/batches", json={"name": "Mon/day"}).json()["id"]
    assert client.get(f"/api/batches/{batch}/download").status_code == 409
    for seed in (31, 32):
        done(client, picture(seed), "eye.png", batch=batch)

    answer = client.get(f"/api/batches/{batch}/download")

    files = unzipped(answer)
    assert 'filename="Mon_day.zip"' in answer.headers["content-disposition"]
    assert {"masks/eye_EX.png", "masks/eye-2_EX.png", "index.html"} <= set(files)
    rows = files["summary.csv"].decode().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["eye", "ok"], ["eye-2", "ok"]]


def test_photographs_of_one_name_have_files_of_their_own_in_a_selection(client):
    first, second, other = (done(client, picture(seed), "same.png")["id"] for seed in (31, 32, 33))

    files = unzipped(client.post("/api/downloads", json={"photographs": [first, second]}))

    tables = [json.loads(files[f"regions/{key}.json"])["photograph"]["sha256"] for key in ("same", "same-2")]
    assert tables == [
        client.get(f"/api/photographs/{identifier}").json()["sha256"] for identifier in (first, second)
    ]
    assert len(files["summary.csv"].splitlines()) == 3
    assert not [name for name in files if "same-3" in name], other


def test_a_photograph_that_gets_a_number_is_called_so_wherever_it_is_named(client):
    identifiers = [
        done(client, picture(seed), "r.png")["id"] for seed in (31, 32)
    ]  # as the folder's regions/
    for identifier in identifiers:
        stroke(client, f"/api/photographs/{identifier}")

    files = unzipped(client.post("/api/downloads", json={"photographs": identifiers}))

    single = unzipped(client.get(f"/api/photographs/{identifiers[1]}/download"))
    numbered = {name.replace("/r.", "/r-2.").replace("/r_", "/r-2_") for name in single}
    assert {name for name in files if "r-2" in name} == {name for name in numbered if "r-2" in name}
    for table in ("summary.csv", "corrected/summary.csv"):
        rows = list(csv.DictReader(io.StringIO(files[table].decode())))
        assert [row["photograph"] for row in rows] == ["r", "r-2"]
    for key in ("r", "r-2"):
        for folder in ("", "corrected/"):
            told = json.loads(files[f"{folder}regions/{key}.json"])
            assert told["photograph"]["name"] == key
            paths = [
                path for lesion in told["lesions"].values() for path in (lesion.get("map"), lesion["mask"])
            ]
            assert {path.split("/")[1].rpartition("_")[0] for path in paths if path} == {key}
        assert json.loads(files[f"corrected/corrections/{key}.json"])["photograph"]["name"] == key
    first = unzipped(client.get(f"/api/photographs/{identifiers[0]}/download"))
    assert files["regions/r.json"] == first["regions/r.json"]


@pytest.mark.parametrize("kind", ["results", "training"])
def test_a_long_download_holds_what_was_corrected_while_it_was_made(client, kind):
    photograph = done(client, picture(36), "late.png")
    one = f"/api/photographs/{photograph['id']}"
    client.patch(one, json={"reviewed": True})
    as_asked_for = client.service.record(photograph["id"])
    stroke(client, one, author="Ann")
    client.patch(one, json={"levels": {"EX": 200}, "note": "late"})

    made = getattr(client.service.exports, f"zip_{kind}" + "_of" * (kind == "results"))([as_asked_for])
    with zipfile.ZipFile(made) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    made.unlink()

    folder = "corrected/" if kind == "results" else ""
    level = client.get(one).json()["result"]["lesions"]["EX"]["level"]
    corrected = grey(client.get(f"{one}/corrected/EX/0/0_0.png").content)
    np.testing.assert_array_equal(grey(files[f"{folder}masks/late_EX.png"]) > 0, corrected >= level)
    assert json.loads(files[f"{folder}corrections/late.json"])["revision"] == 1
    if kind == "results":
        assert b"late" in files["photographs.csv"]
        figures = json.loads(files["regions/late.json"])["lesions"]["EX"]
        assert figures["stored_level"] == level


@pytest.mark.parametrize("kind", ["results_of", "training"])
def test_a_long_download_leaves_out_what_is_deleted_before_its_turn_comes(client, monkeypatch, kind):
    identifiers = [done(client, picture(seed), f"{seed}.png")["id"] for seed in (31, 32, 33)]
    for identifier in identifiers:
        stroke(client, f"/api/photographs/{identifier}")
        grid = {"fovea": {"x": 60, "y": 60}, "disc": {"x": 90, "y": 60}}
        client.patch(f"/api/photographs/{identifier}", json={"grid": grid, "reviewed": True})
    records = [client.service.record(identifier) for identifier in identifiers]
    client.delete(f"/api/photographs/{identifiers[0]}")
    within, photograph = downloads._within, downloads.Exports._photograph
    make = getattr(client.service.exports, f"zip_{kind}")

    def files_until_deleted(folder, parts):
        for number, entry in enumerate(within(folder, parts)):
            if number == 3 and identifiers[1] in str(folder):
                client.delete(f"/api/photographs/{identifiers[1]}")
            yield entry

    def photograph_until_deleted(self, record):
        path = photograph(self, record)
        if record.id == identifiers[1]:
            client.delete(f"/api/photographs/{identifiers[1]}")
        return path

    monkeypatch.setattr(downloads, "_within", files_until_deleted)
    monkeypatch.setattr(downloads.Exports, "_photograph", photograph_until_deleted)
    made = make(records)
    with zipfile.ZipFile(made) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    made.unlink()

    assert {name.split("/")[1][:2] for name in files if name.startswith(("masks/", "photographs/"))} == {"33"}
    for table in {"summary.csv", "etdrs.csv"} & set(files):
        rows = csv.DictReader(io.StringIO(files[table].decode()))
        assert {row["photograph"] for row in rows} == {"33"}
    assert ("summary.csv" in files) == ("etdrs.csv" in files) == (kind == "results_of")
    with pytest.raises(ServiceError, match="no such photograph"):
        make(records[:2])
    assert list(client.service.data_dir.incoming.iterdir()) == []


def test_training_data_names_photographs_of_one_name_apart(client):
    identifiers = [done(client, picture(seed), "apart.png")["id"] for seed in (31, 32, 33)]
    for identifier in identifiers[:2]:
        stroke(client, f"/api/photographs/{identifier}")
    client.patch(f"/api/photographs/{identifiers[2]}", json={"reviewed": True})

    files = unzipped(client.get("/api/training"))

    keys = ("apart", "apart-2", "apart-3")
    journals = [json.loads(files[f"corrections/{key}.json"]) for key in keys]
    assert [journal["photograph"]["name"] for journal in journals[:2]] == ["apart", "apart-2"]
    assert journals[2]["reviewed"]


def test_eye_note_and_review_are_a_table_in_every_download(client):
    first, second = (done(client, picture(seed), "=eye.png")["id"] for seed in (31, 32))
    zips = [
        lambda: client.get(f"/api/photographs/{first}/download"),
        lambda: client.post("/api/downloads", json={"photographs": [first, second]}),
    ]
    assert all("photographs.csv" not in unzipped(made()) for made in zips)
    client.patch(f"/api/photographs/{first}", json={"eye": "left", "note": '=1+1, "sic"\nagain'})
    client.patch(f"/api/photographs/{second}", json={"reviewed": True})

    single, both = (
        list(csv.DictReader(io.StringIO(unzipped(made())["photographs.csv"].decode(), newline="")))
        for made in zips
    )

    assert single == both[:1]
    assert single[0]["sha256"] == client.get(f"/api/photographs/{first}").json()["sha256"]
    assert [[row[key] for key in ("photograph", "eye", "note", "reviewed")] for row in both] == [
        ["_eye", "left", '\'=1+1, "sic"\nagain', "0"],
        ["_eye-2", "", "", "1"],
    ]
    chosen = client.get(f"/api/photographs/{first}/download", params={"parts": "photographs.csv"})
    assert set(unzipped(chosen)) == {"photographs.csv"}


def test_an_overlay_comes_in_the_width_that_is_asked_for(client):
    one = f"/api/photographs/{done(client)['id']}"

    whole = client.get(f"{one}/overlay.jpg").content
    small = client.get(f"{one}/overlay.jpg", params={"width": 100}).content

    shapes = [cv2.imdecode(np.frombuffer(part, np.uint8), cv2.IMREAD_COLOR).shape for part in (whole, small)]
    assert shapes[0][1] == 256
    assert shapes[1][1] == 100


def test_a_report_is_one_page_that_runs_nothing(client):
    told = done(client, name="%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E.png")
    one = f"/api/photographs/{told['id']}"
    assert told["name"] == NAME
    stroke(client, one, author="<script>alert(2)</script>")
    client.patch(one, json={"grid": {"fovea": {"x": 128, "y": 128}, "disc": {"x": 178, "y": 120}}})

    answer = client.get(f"{one}/report")

    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]
    for typed in ("<img src=x", "<script>"):
        assert typed not in answer.text
    assert "&lt;img src=x onerror" in answer.text
    assert "not a medical device" in answer.text
    assert "inner superior" in answer.text
    assert answer.text.count("<img ") == 2


def test_metadata_of_the_photograph_is_in_nothing_that_is_sent(client):
    secret = "Jane Doe 1950-01-01"
    exif = Image.Exif()
    exif[0x010E] = secret
    exif[0x9286] = secret
    content = io.BytesIO()
    Image.fromarray(tiny_package.fundus(seed=41)).save(
        content, "JPEG", quality=95, exif=exif, comment=secret.encode()
    )
    assert secret.encode() in content.getvalue()

    told = done(client, content.getvalue())
    one = f"/api/photographs/{told['id']}"
    client.patch(one, json={"reviewed": True})

    asked = [
        client.get(f"{one}/{path}")
        for path in ("", "report", "overlay.jpg", "thumbnail.jpg", "tiles/0/0_0.jpg")
    ]
    parts = [answer.content for answer in asked]
    parts += [
        *unzipped(client.get(f"{one}/download")).values(),
        *unzipped(client.get(f"{one}/training")).values(),
    ]
    for part in parts:
        assert secret.encode() not in part


@pytest.mark.parametrize("made_by", [{"version": lambda: "0.0.9"}, {"EXPORT_FORMAT": 1}])
def test_files_that_another_version_made_and_the_server_kept_are_made_anew(client, monkeypatch, made_by):
    one = done(client)
    stroke(client, f"/api/photographs/{one['id']}")
    exports = client.service.data_dir.photograph(one["id"]).exports
    with monkeypatch.context() as earlier:
        for name, value in made_by.items():
            earlier.setattr(downloads, name, value)
        client.get(f"/api/photographs/{one['id']}/download")
    (old,) = exports.iterdir()

    files = unzipped(client.get(f"/api/photographs/{one['id']}/download"))

    (new,) = exports.iterdir()
    assert new != old
    (journal,) = (json.loads(content) for name, content in files.items() if "/corrections/" in name)
    assert journal["foveate"] == foveate.__version__


def test_files_that_are_deleted_while_they_are_packed_are_said_to_be_gone(client):
    one = done(client)
    record = client.service.record(one["id"])
    (client.service.data_dir.photograph(one["id"]).results / "regions" / f"{record.key}.json").unlink()

    with pytest.raises(ServiceError, match="no such photograph") as problem:
        client.service.exports.zip_results_of([record])

    assert problem.value.code == "not_found"
    assert list(client.service.data_dir.incoming.iterdir()) == []
