"""A report is one page that a clinic may file: what it says is true, and it can be printed and read."""

import base64
import csv
import hashlib
import io
import re
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tiny_eye
import tiny_package
from tiny_server import done, picture, png

from foveate.server.exports import report as reports
from foveate.server.exports import report_page, report_pdf, report_pictures
from foveate.server.review.etdrs import Grid
from foveate.server.storage import tiles
from foveate.types import SMALLEST_PIXEL_MM, Box

GRID = {"fovea": {"x": 128, "y": 128}, "disc": {"x": 178, "y": 120}}


def stroke(client, one, tool="brush", **more):
    body = {"lesion": "EX", "tool": tool, "diameter": 9, "points": [[60.5, 60.5], [90.5, 70.5]], **more}
    assert client.post(f"{one}/corrections/strokes", json=body).status_code == 200


def report_of(client, identifier):
    """Return the content of a photograph's report."""
    return client.service.reports.report(client.service.record(identifier))


def page_count(document):
    return len(re.findall(rb"/Type /Page\b(?!s)", document))


@pytest.fixture(scope="module")
def filed(client):
    """A photograph with a grid, corrections of two people and one chosen threshold."""
    photograph = done(client, name="%D0%98%D0%B2%D0%B0%D0%BD.png")
    one = f"/api/photographs/{photograph['id']}"
    client.patch(one, json={"grid": GRID, "reviewed": True, "thresholds": {"MA": 0.77}})
    stroke(client, one, author="Ann")
    stroke(client, one, author="Ann", tool="eraser", lesion="MA")
    stroke(client, one, author="Ben", points=[[150.5, 150.5]])
    return photograph["id"]


def test_the_style_of_a_report_is_the_one_that_its_policy_allows(client, filed):
    answer = client.get(f"/api/photographs/{filed}/report")

    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "style=" not in answer.text  # the policy lets no such attribute in
    assert "<script" not in answer.text


def test_a_report_shows_figures_that_the_api_tells(client, filed):
    content, body = report_of(client, filed), client.get(f"/api/photographs/{filed}").json()

    for row in content.lesions:
        lesion = body["result"]["lesions"][row.code]
        assert row.count == lesion["count"]
        assert row.area == f"{lesion['area_px']:,} px"
        assert row.colour == tuple(lesion["colour"])
    assert content.title == "Иван"
    assert body["sha256"][:16] in content.origin
    assert content.notice.startswith("Research software, not a medical device")


def test_a_report_says_which_threshold_somebody_chose_and_which_is_the_models(client, filed):
    thresholds = {row.code: row.threshold for row in report_of(client, filed).lesions}
    models = client.get("/api/server").json()["lesions"]

    assert thresholds["MA"] == f"0.770, chosen (model's: {models['MA']['threshold']:.3f})"
    assert thresholds["EX"] == f"{models['EX']['threshold']:.3f}, the model's"


@pytest.mark.parametrize(
    ("eye", "facts"), [("right", ["right eye"]), ("left", ["left eye", "right eye, by the placed disc"])]
)
def test_a_report_names_the_stated_eye_and_a_disc_that_contradicts_it(client, filed, eye, facts):
    client.patch(f"/api/photographs/{filed}", json={"eye": eye})

    assert [fact for fact in report_of(client, filed).facts if "eye" in fact] == facts


def test_a_level_that_is_the_models_own_leaves_the_models_threshold_as_it_is(client):
    photograph = done(client)
    one, lesions = f"/api/photographs/{photograph['id']}", photograph["result"]["lesions"]
    levels = {code: lesion["model_level"] for code, lesion in lesions.items()}
    assert any(level / 255 != lesions[code]["model_threshold"] for code, level in levels.items())

    changed = client.patch(one, json={"levels": levels}).json()["result"]["lesions"]

    for code, lesion in changed.items():
        assert lesion["threshold"] == lesions[code]["model_threshold"]
    assert all(row.threshold.endswith("the model's") for row in report_of(client, photograph["id"]).lesions)


def test_a_report_names_who_corrected_what(client, filed):
    ann, ben = report_of(client, filed).corrections

    assert re.fullmatch(
        r"Ann, last 20\d\d-.* UTC: EX: 1 stroke painted \(\d+ px added\); MA: 1 stroke erased \(.*\)\.", ann
    )
    assert re.fullmatch(r"Ben, last 20\d\d-.* UTC: EX: 1 stroke painted \(\d+ px added\)\.", ben)
    untouched = report_of(client, done(client)["id"])
    assert "eye not stated" in untouched.facts
    assert untouched.corrections == ("Nobody has corrected this result; it is the model's.",)
    assert untouched.grid is None


@pytest.mark.parametrize("spacing", [None, 0.004])
def test_a_report_says_what_was_corrected_and_how_many_pixels_that_changed(client, spacing):
    photograph = done(client)["id"]
    one = f"/api/photographs/{photograph}"
    client.patch(one, json={"spacing_mm": spacing})
    asked = {"lesion": "EX", "sort": "area", "order": "desc"}
    regions = client.get(f"{one}/regions", params=asked).json()["regions"]
    for region, verdict in zip(regions, ("rejected", "questionable"), strict=False):
        body = {"lesion": "EX", "level": region["level"], **region["inside"], "verdict": verdict}
        assert client.post(f"{one}/corrections/verdicts", json=body | {"author": "Ann"}).status_code == 200
    stroke(client, one, author="Ann", points=[[10.5, 10.5]], diameter=1)
    stroke(client, one, author="Ann", points=[[10.5, 10.5]], diameter=1)
    stroke(client, one, author="Ann", lesion="MA", tool="eraser", points=[[5.5, 5.5]], diameter=1)
    stroke(client, one, author="Ann", tool="restore", points=[[10.5, 10.5]], diameter=1)

    (said,) = report_of(client, photograph).corrections
    rejected = f"{regions[0]['area_px']:,} px" if spacing is None else None
    pixel = "1 px" if spacing is None else "0.000016 mm²"

    assert (f"EX: 1 region rejected ({rejected} removed)" in said) == (spacing is None)
    assert "1 region marked as questionable, 2 strokes painted" in said
    assert f"2 strokes painted ({pixel} added), 1 stroke restored to the model's ({pixel} removed)" in said
    assert said.endswith("MA: 1 stroke erased (no pixel changed).")


def chosen(client, identifier):
    """Return what the API says of each lesion: regions, and the level of its threshold."""
    lesions = client.get(f"/api/photographs/{identifier}").json()["result"]["lesions"]
    return {code: (lesion["count"], f"{lesion['threshold']:.3f}") for code, lesion in lesions.items()}


def test_a_report_of_a_batch_shows_a_photograph_as_it_is_by_then(client):
    identifier = done(client)["id"]
    as_asked_for = client.service.record(identifier)
    client.patch(f"/api/photographs/{identifier}", json={"levels": {"EX": 30, "MA": 250}})
    stroke(client, f"/api/photographs/{identifier}", author="Ann")

    made = client.service.reports.report(as_asked_for)

    told = {row.code: (row.count, row.threshold.partition(",")[0]) for row in made.lesions}
    assert told == chosen(client, identifier)
    assert made.figures == "Figures with the corrections below"
    assert "(0 px" not in made.corrections[0]


def test_the_table_of_grids_shows_a_photograph_as_it_is_by_then(client):
    identifier = done(client)["id"]
    one = f"/api/photographs/{identifier}"
    client.patch(one, json={"grid": GRID})
    as_asked_for = client.service.record(identifier)
    client.patch(one, json={"levels": {"EX": 30}})
    stroke(client, one)

    made = client.service.exports.etdrs_csv({"eye": as_asked_for})

    assert made == client.get(f"{one}/grid.csv").content


def test_photographs_of_one_name_have_rows_of_their_own_in_the_table_of_grids(client):
    batch = client.post("/api/batches", json={"name": "clinic"}).json()["id"]
    identifiers = [done(client, picture(seed), "left.jpg", batch=batch)["id"] for seed in (41, 42)]
    apart = done(client, picture(43), "left.jpg")["id"]
    for identifier in (*identifiers, apart):
        client.patch(f"/api/photographs/{identifier}", json={"grid": GRID})

    zipped = client.post("/api/downloads", json={"photographs": [*identifiers, apart]}).content
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        tables = {name: archive.read(name).decode() for name in ("summary.csv", "etdrs.csv")}
    tables["grid.csv"] = client.get(f"/api/batches/{batch}/grid.csv").text

    named = {
        table: {row["photograph"] for row in csv.DictReader(io.StringIO(text))}
        for table, text in tables.items()
    }
    assert len(named["summary.csv"]) == 3
    assert named["etdrs.csv"] == named["summary.csv"]
    assert named["grid.csv"] == {client.service.record(identifier).key for identifier in identifiers}
    assert len(named["grid.csv"]) == 2


def test_the_smallest_spacing_that_is_taken_makes_a_report_and_a_smaller_one_is_refused(client):
    one = f"/api/photographs/{done(client)['id']}"
    stroke(client, one)

    assert client.patch(one, json={"grid": GRID, "spacing_mm": 9.9e-5}).status_code == 422
    assert client.patch(one, json={"grid": GRID, "spacing_mm": 1e-4}).status_code == 200
    assert client.get(f"{one}/report").status_code == 200


def test_an_area_of_a_few_pixels_is_not_0_in_a_report(client):
    one = f"/api/photographs/{done(client)['id']}"
    spacing = SMALLEST_PIXEL_MM
    lesions = client.patch(one, json={"grid": GRID, "spacing_mm": spacing}).json()["result"]["lesions"]

    content = report_of(client, one.rpartition("/")[2])

    assert lesions["EX"]["count"] > 0
    for row in content.lesions:
        shown, area_mm2 = float(row.area.removesuffix(" mm²")), lesions[row.code]["area_px"] * spacing**2
        assert shown == pytest.approx(area_mm2, rel=0.05)
        assert lesions[row.code]["area_mm2"] == pytest.approx(area_mm2, abs=1e-9)
    cells = [cell for _, *cells in content.grid.rows for cell in cells if cell[0] not in "-0"]
    assert cells
    assert all(float(cell.partition(" · ")[2].removesuffix(" mm²")) > 0 for cell in cells)
    (region, *_) = client.get(f"{one}/regions", params={"lesion": "EX"}).json()["regions"]
    assert region["area_mm2"] == pytest.approx(region["area_px"] * spacing**2, abs=1e-9)
    assert region["area_mm2"] > 0


def test_a_report_is_of_one_moment_also_where_somebody_corrects_meanwhile(client, monkeypatch):
    identifier = done(client)["id"]
    draw, drawn = reports.Reports._pictures, []

    def correct_meanwhile(self, record):
        pictures = draw(self, record)
        if not drawn:
            stroke(client, f"/api/photographs/{identifier}", author="Ann")
            client.patch(f"/api/photographs/{identifier}", json={"thresholds": {"MA": 0.9}})
        drawn.append(pictures[1])
        return pictures

    monkeypatch.setattr(reports.Reports, "_pictures", correct_meanwhile)
    made = report_of(client, identifier)
    monkeypatch.undo()
    afterwards = report_of(client, identifier)

    assert len(drawn) == 2
    assert replace(made, origin="") == replace(afterwards, origin="")
    assert (drawn[0] != drawn[1]).any()


def test_a_report_is_made_again_if_what_it_needs_was_replaced_meanwhile(client, monkeypatch):
    identifier = done(client)["id"]
    draw, attempts = reports.Reports._pictures, []

    def miss_first(self, record):
        attempts.append(record.id)
        if len(attempts) == 1:  # as after another analysis
            raise FileNotFoundError
        return draw(self, record)

    monkeypatch.setattr(reports.Reports, "_pictures", miss_first)

    assert client.get(f"/api/photographs/{identifier}/report").status_code == 200
    assert attempts == [identifier] * 2


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_report_of_a_batch_leaves_out_what_is_deleted_or_analysed_again_meanwhile(
    client, monkeypatch, is_deleted
):
    batch = client.post("/api/batches", json={"name": "changing"}).json()["id"]
    identifiers = [done(client, name=f"{name}.png", batch=batch)["id"] for name in ("one", "two")]
    draw, last = reports.Reports._pictures, identifiers[1]

    def change_meanwhile(self, record):
        if record.id != last and is_deleted:
            client.service.jobs.delete(record.id)
        elif record.id != last:
            client.service.database.update(record.id, state="running")
        return draw(self, record)

    monkeypatch.setattr(reports.Reports, "_pictures", change_meanwhile)
    page = client.get(f"/api/batches/{batch}/report")
    if not is_deleted:
        client.service.database.update(identifiers[0], state="done")
    last = None
    nothing = client.get(f"/api/batches/{batch}/report")
    for identifier in identifiers:
        client.service.database.update(identifier, state="done")
    client.delete(f"/api/batches/{batch}")

    line = (
        "1 of 2 photographs had no result and is not in this report; "
        "make the report again once all are analysed."
    )
    assert page.status_code == 200, page.text
    assert page.text.count("<article>") == 1
    assert ">two</h1>" in page.text
    assert (f'<p class="remark">{line}</p>' in page.text) == (not is_deleted)
    assert nothing.status_code == (404 if is_deleted else 409)
    if not is_deleted:
        message = nothing.json()["error"]["message"]
        assert message == "no photograph of the batch is done any more; wait until they are analysed"


@pytest.mark.parametrize("format", ["report", "report.pdf"])
def test_a_report_of_a_batch_says_how_many_of_its_photographs_have_no_result(client, monkeypatch, format):
    batch = client.post("/api/batches", json={"name": "part"}).json()["id"]
    identifiers = [done(client, name=f"{name}.png", batch=batch)["id"] for name in "abcd"]
    for identifier, state in zip(identifiers[1:], ("queued", "failed", "running"), strict=True):
        client.service.database.update(identifier, state=state)
    made = []
    keep = lambda title, pages, *more: made.extend(pages) or b"%PDF-"  # noqa: E731
    monkeypatch.setattr(report_pdf, "pdf", keep)
    monkeypatch.setattr(report_page, "html", lambda title, pages: made.extend(pages) or "")
    answer = client.get(f"/api/batches/{batch}/{format}")
    for identifier in identifiers:
        client.service.database.update(identifier, state="done")
    client.delete(f"/api/batches/{batch}")

    assert answer.status_code == 200, answer.text
    assert [page.remark for page in made] == [
        (
            "3 of 4 photographs had no result and are not in this report; "
            "make the report again once all are analysed."
        )
    ]


def test_the_remark_of_a_report_stands_above_its_first_page(client, filed):
    content = report_of(client, filed)
    with_remark = report_pdf._page(replace(content, remark="2 of 5 photographs are missing."), 500.0)

    assert content.remark == ""
    assert with_remark[0].text == "2 of 5 photographs are missing."
    assert "2 of 5" in report_page.html("x", [replace(content, remark="2 of 5 photographs are missing.")])
    assert 'class="remark"' not in report_page.html("x", [content])


def test_a_report_says_above_its_table_whose_figures_it_holds(client, filed):
    corrected, page = report_of(client, filed), client.get(f"/api/photographs/{filed}/report").text

    assert corrected.figures == "Figures with the corrections below"
    assert f"<caption>{corrected.figures}</caption>" in page
    assert report_of(client, done(client)["id"]).figures == "The model's own figures"


NOTE = "again in May\nдва пятна"


def test_the_note_is_in_the_report_line_by_line_and_never_markup(client, filed):
    client.patch(f"/api/photographs/{filed}", json={"note": f"{NOTE}\n<b>bold</b>"})
    content, page = report_of(client, filed), client.get(f"/api/photographs/{filed}/report").text
    without = replace(content, note=())

    assert content.note == ("again in May", "два пятна", "<b>bold</b>")
    assert '<dt>Note</dt><dd><div dir="auto">again in May</div><div dir="auto">два пятна</div>' in page
    assert "&lt;b&gt;bold" in page
    assert "<dt>Note</dt>" not in report_page.html("x", [without])
    said = [part.text for part in flowed(report_pdf._page(content, 500.0)) if hasattr(part, "text")]
    assert {"Note", "again in May", "два пятна"} <= set(said)
    assert "Note" not in [
        part.text for part in flowed(report_pdf._page(without, 500.0)) if hasattr(part, "text")
    ]


def flowed(parts):
    """Yield what stands on a page of the PDF, with the content of tables."""
    for part in parts:
        yield part
        for row in getattr(part, "_cellvalues", ()):
            for cell in row:
                yield from flowed(cell if isinstance(cell, list) else [cell])


@pytest.mark.parametrize(
    ("suggested", "moved", "caption"),
    [
        (True, (), "fovea and disc placed by the program: to be checked"),
        (True, ("fovea",), "disc placed by the program: to be checked"),
        (True, ("fovea", "disc"), "grid placed by hand"),
        (False, (), "fovea and disc placed by the program: to be checked"),
        (False, ("disc",), "fovea placed by the program: to be checked"),
    ],
)
def test_a_report_says_what_of_the_grid_nobody_has_moved(client, suggested, moved, caption):
    result = done(client, png(tiny_eye.eye(disc=suggested)))
    field = result["result"]["field"]
    middle = {  # where the page places it if the program finds no disc
        "fovea": {"x": round(field["x"], 1), "y": round(field["y"], 1)},
        "disc": {
            "x": round(field["x"] + 0.48 * field["radius"], 1),
            "y": round(field["y"] - 0.06 * field["radius"], 1),
        },
    }
    grid = result["result"]["suggested_grid"] or middle
    for part in moved:
        grid[part]["x"] += 3
    client.patch(f"/api/photographs/{result['id']}", json={"grid": grid})

    table = client.get(f"/api/photographs/{result['id']}/grid.csv").text
    unmoved = [part for part in ("fovea", "disc") if part not in moved]
    assert f"; {caption}; " in report_of(client, result["id"]).grid.caption
    assert {row["placed_by_program"] for row in csv.DictReader(io.StringIO(table))} == {";".join(unmoved)}


def test_the_burden_by_field_is_in_report_and_csv_as_in_the_api(client, filed):
    told = client.get(f"/api/photographs/{filed}/grid").json()
    answer = client.get(f"/api/photographs/{filed}/grid.csv")

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv")
    assert len(rows) == 10 * len(told["fields"]["centre"]["lesions"])
    for row in rows:
        lesion = told["fields"][row["field"]]["lesions"][row["lesion"]]
        assert (int(row["regions"]), int(row["area_px"])) == (lesion["count"], lesion["area_px"])
        assert float(row["area_mm2"]) == pytest.approx(lesion["area_px"] * told["mm_per_px"] ** 2, abs=1e-9)
        assert (row["photograph"], row["eye"], row["scale_from"]) == ("Иван", "right", "fovea_to_disc")
    table = report_of(client, filed).grid
    centre = told["fields"]["centre"]["lesions"]["EX"]
    assert table.rows[0][0] == "centre"
    assert table.rows[0][1] == (f"{centre['count']} · {centre['area_px']:,} px" if centre["area_px"] else "-")
    assert client.get(f"/api/photographs/{done(client)['id']}/grid.csv").status_code == 409


def test_areas_by_field_follow_the_pixel_spacing_as_it_was_stated(client):
    one, spacing = f"/api/photographs/{done(client)['id']}", 0.0123454
    stroke = {"lesion": "EX", "tool": "brush", "diameter": 80, "points": [[128, 128]], "author": ""}
    assert client.post(f"{one}/corrections/strokes", json=stroke).status_code == 200
    grid = {"fovea": {"x": 128, "y": 128}, "disc": {"x": 190, "y": 128}}
    assert client.patch(one, json={"spacing_mm": spacing, "grid": grid}).status_code == 200

    rows = list(csv.DictReader(io.StringIO(client.get(f"{one}/grid.csv").text)))

    assert max(int(row["area_px"]) for row in rows) > 1000
    assert [row["area_mm2"] for row in rows] == [f"{int(row['area_px']) * spacing**2:.9f}" for row in rows]
    assert {row["mm_per_px"] for row in rows} == {"0.012345"}
    assert client.get(f"{one}/grid").json()["mm_per_px"] == spacing


@pytest.mark.parametrize(("paper", "size"), [("a4", (595.2756, 841.8898)), ("letter", (612.0, 792.0))])
def test_a_pdf_has_one_page_of_the_paper_that_is_asked_for(client, filed, paper, size):
    answer = client.get(f"/api/photographs/{filed}/report.pdf", params={"paper": paper})

    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    assert page_count(answer.content) == 1
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", answer.content)
    assert tuple(map(float, box.groups())) == pytest.approx(size, abs=0.01)
    assert client.get(f"/api/photographs/{filed}/report.pdf", params={"paper": "a5"}).status_code == 422


@pytest.mark.parametrize("paper", ["a4", "letter"])
def test_however_much_there_is_to_say_a_pdf_keeps_to_one_page(client, filed, paper):
    content = report_of(client, filed)
    long = replace(
        content,
        title="a very long name " * 12,
        corrections=("somebody who corrected a great deal of it; " * 12,) * 6,
        note=("a note of many words, as long as one may be; " * 7,) * 6,
        lesions=content.lesions * 3,
    )

    assert page_count(report_pdf.pdf("long", [long], paper)) == 1


def test_a_batch_has_a_page_for_each_photograph(client, monkeypatch):
    batch = client.post("/api/batches", json={"name": "día"}).json()["id"]
    assert client.get(f"/api/batches/{batch}/report.pdf").status_code == 409
    names = ["one", "two"]
    identifiers = [done(client, name=f"{name}.png", batch=batch)["id"] for name in names]
    client.patch(f"/api/photographs/{identifiers[1]}", json={"grid": GRID})

    document = client.get(f"/api/batches/{batch}/report.pdf")
    page = client.get(f"/api/batches/{batch}/report").text
    table = client.get(f"/api/batches/{batch}/grid.csv").text

    assert page_count(document.content) == 2
    assert page.count("<article>") == 2
    assert all(f">{name}</h1>" in page for name in names)
    assert {row["photograph"] for row in csv.DictReader(io.StringIO(table))} == {"two"}
    monkeypatch.setattr(reports, "MOST_AT_ONCE", 1)
    refused = client.get(f"/api/batches/{batch}/report.pdf")
    assert refused.status_code == 422
    assert "2 photographs are done, but this report holds at most 1" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Łódź Ωμέγα Иван", "Łódź Ωμέγα Иван"),
        ("A & <b>", "A &amp; &lt;b&gt;"),
        ("OD 山田", 'OD <font name="STSong-Light">山田</font>'),
        ("한 か", '<font name="HYSMyeongJo-Medium">한</font> <font name="HeiseiKakuGo-W5">か</font>'),
        ("שלום", "םולש"),
        ("ไทย", "□□□"),
    ],
)
def test_each_letter_of_a_name_is_set_in_a_font_that_has_it(text, expected):
    assert report_pdf.markup(text) == expected


def test_arabic_letters_are_joined_and_run_from_the_right():
    shown = report_pdf.markup("محمد")

    assert len(shown) == 4
    assert all("\ufe70" <= letter <= "\ufeff" for letter in shown)  # their joined forms
    assert shown[0] == "\ufeaa"  # the last letter, in its final form, stands at the left


def test_a_pdf_says_that_a_letter_cannot_be_shown(client, filed):
    assert report_pdf.shows_all("Łukasz 山田 한か שלום")
    assert not report_pdf.shows_all("ไทย")
    content = report_of(client, filed)

    with_box = report_pdf.pdf("x", [replace(content, title="ไทย")], "a4")

    assert page_count(with_box) == 1
    assert len(with_box) > len(report_pdf.pdf("x", [replace(content, title="□□□")], "a4"))


@pytest.mark.parametrize("side", [300, 1100, 2600, 6000])
def test_a_single_lesion_pixel_is_in_the_picture_however_large_the_photograph(side):
    mask = np.zeros((side, side + 50), np.uint8)
    mask[side // 3, side // 2] = 1
    crop = report_pictures.crop_field(mask.shape, Box(top=0, left=20, bottom=side, right=side + 30))

    small = report_pictures.reduce_mask(mask, crop)

    assert small.shape == crop.shape
    assert max(small.shape) <= report_pictures.SIDE
    row, column = np.argwhere(small)[0] + 0.5
    assert row == pytest.approx((side // 3 + 0.5 - crop.box.top) * crop.scale, abs=1)
    assert column == pytest.approx((side // 2 + 0.5 - crop.box.left) * crop.scale, abs=1)


@pytest.mark.parametrize("side", [700, 1500])
def test_a_picture_from_tiles_lies_in_register_with_the_photograph(tmp_path, side):
    drawn = tiny_package.fundus(side - 16, seed=5)
    pack = tmp_path / "photo.tiles"
    tiles.pack_photograph(pack, drawn)
    crop = report_pictures.crop_field(drawn.shape[:2], Box(top=13, left=41, bottom=side - 22, right=side - 9))

    picture = report_pictures.photograph(tiles.Packs(), pack, crop)

    height, width = crop.shape
    expected = cv2.resize(drawn[crop.box.slices], (width, height), interpolation=cv2.INTER_AREA)
    assert picture.shape == (height, width, 3)
    assert np.abs(picture.astype(float) - expected).mean() < 4  # levels; JPEG and the tiles' halving


def test_the_grid_is_drawn_where_it_lies():
    crop = report_pictures.crop_field((3000, 4000), Box(top=100, left=500, bottom=2900, right=3300))
    grid = Grid(fovea=(1500.0, 1900.0), disc=(1500.0, 2800.0), spacing=None)  # 900 px for 4.5 mm
    black = np.full((*crop.shape, 3), 60, np.uint8)

    drawn = report_pictures.draw_grid(black, grid, crop).max(axis=2)

    for radius in (100, 300, 600):  # px of the photograph: .5, 1.5 and 3 mm
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            row = (1500 + down * radius - crop.box.top) * crop.scale
            column = (1900 + right * radius - crop.box.left) * crop.scale
            assert drawn[round(row) - 1 : round(row) + 2, round(column) - 1 : round(column) + 2].max() > 120
    assert drawn[:, : round((1900 - 603 - crop.box.left) * crop.scale) - 2].max() <= 60


def test_an_annotated_picture_differs_at_lesions_and_at_the_grid_alone(client, filed):
    content = report_of(client, filed)
    plain, annotated = (
        cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).astype(int)
        for picture in (content.plain, content.annotated)
    )

    changed = np.abs(plain - annotated).max(axis=2) > 60

    assert 0 < changed.mean() < 0.5
    assert report_page.html("x", [content]).count("data:image/jpeg") == 2
