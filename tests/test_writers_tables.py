"""The tables state regions in x and y, and no text in them does harm."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_result
from hypothesis import given
from hypothesis import strategies as st
from strategies import laws

from foveate.analysis import regions
from foveate.geometry import field_of_view
from foveate.types import SMALLEST_PIXEL_MM, Box, Decision, Frame
from foveate.writers import maps, tables
from foveate.writers.results import LesionLoad, LesionSummary, SummaryRow, minimum_area

texts = st.text(max_size=30)
"""All possible file names, and more; lone surrogates stand for bytes that are not UTF-8."""


def document(**changes):
    result = tiny_result.photograph_result(**changes)
    summaries = {}
    for number, code in enumerate(result.lesions):
        stored = maps.quantise(result.probabilities.maps[number], "png")
        lesion_regions = regions.find(stored, 128, code, 4, result.photograph.spacing)
        summaries[code] = LesionSummary(
            decision=result.decisions[code],
            level=128,
            minimum_area=4,
            mask_px=int((stored >= 128).sum()),
            regions=lesion_regions,
        )
    return tables.document(result, summaries)


def read_csv(content):
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def test_coordinates_are_x_and_y_in_json_and_csv():
    content = document()

    (dot, _) = [region for region in content["regions"] if region["lesion"] == "MA"]
    bar = content["regions"][0]
    assert bar["box"] == {"x": 50, "y": 40, "width": 40, "height": 20}
    assert bar["centroid"] == {"x": 70.0, "y": 50.0}
    assert dot["box"] == {"x": 120, "y": 80, "width": 5, "height": 5}
    assert content["field"]["x"] == 120.0
    assert content["field"]["box"] == {"x": 2, "y": 0, "width": 236, "height": 180}
    assert content["frame"] == (
        "EXIF-oriented, origin top left, x to the right, y down, pixel centres at +0.5"
    )
    line = dict(zip(tables.COLUMNS, read_csv(tables.to_csv(content))[1], strict=True))
    assert (line["centroid_x"], line["centroid_y"]) == ("70.00", "50.00")
    assert [line[f"box_{name}"] for name in ("x", "y", "width", "height")] == ["50", "40", "40", "20"]


def test_sums_are_over_the_regions_and_the_mask_is_counted_separately():
    entry = document()["lesions"]["EX"]

    assert entry["count"] == 1
    assert entry["area_px"] == 20 * 40 - 8 * 20
    assert entry["mask_px"] == entry["area_px"] + 2  # the speck is too small to be a region
    assert entry["stored_maximum"] == 255
    assert entry["minimum_area_px"] == 4


def test_the_fraction_is_of_the_fields_pixels():
    content = document()
    result = tiny_result.photograph_result()
    photograph_box = Box(top=0, left=0, bottom=180, right=240)

    pixels = int(field_of_view.mask(result.field, photograph_box).sum())

    assert content["field"]["area_px"] == pixels
    assert content["lesions"]["EX"]["area_fraction"] == pytest.approx(640 / pixels, abs=1e-8)


def test_square_millimetres_appear_only_where_the_spacing_is_known():
    unscaled, scaled = document(), document(spacing=0.01)

    assert unscaled["lesions"]["EX"]["area_mm2"] is None
    assert unscaled["regions"][0]["area_mm2"] is None
    assert scaled["lesions"]["EX"]["area_mm2"] == pytest.approx(640e-4)
    assert scaled["regions"][0]["area_mm2"] == pytest.approx(640e-4)
    column = tables.COLUMNS.index("area_mm2")
    assert read_csv(tables.to_csv(unscaled))[1][column] == ""
    assert read_csv(tables.to_csv(scaled))[1][column] == "0.064000000"


def test_no_region_has_an_area_of_zero_square_millimetres():
    content = document(spacing=SMALLEST_PIXEL_MM)
    column = tables.COLUMNS.index("area_mm2")

    for entry in (*content["regions"], content["lesions"]["EX"], content["lesions"]["MA"]):
        assert entry["area_mm2"] == pytest.approx(entry["area_px"] * SMALLEST_PIXEL_MM**2, abs=1e-12)
    assert all(float(line[column]) > 0 for line in read_csv(tables.to_csv(content))[1:])
    assert tables.caption(content["lesions"]["EX"]).startswith("hard exudates: 1 · 0.0000064 sq mm, ")


def test_json_and_csv_hold_the_same_values():
    content = document(spacing=0.02)

    lines = [dict(zip(tables.COLUMNS, line, strict=True)) for line in read_csv(tables.to_csv(content))[1:]]

    assert len(lines) == len(content["regions"]) > 3
    for line, region in zip(lines, content["regions"], strict=True):
        assert (int(line["id"]), line["lesion"]) == (region["id"], region["lesion"])
        assert int(line["area_px"]) == region["area_px"]
        assert float(line["centroid_x"]) == region["centroid"]["x"]
        assert float(line["mean_probability"]) == region["mean_probability"]
        assert float(line["max_probability"]) == region["max_probability"]


def test_the_json_is_the_document_with_one_region_per_line():
    content = document(quality=("blur", "small"))

    text = tables.to_json(content).decode()

    assert json.loads(text) == content
    assert text.endswith("}\n")
    assert sum('"id":' in line for line in text.splitlines()) == len(content["regions"])
    empty = tables.to_json(content | {"regions": []})
    assert json.loads(empty)["regions"] == []


def test_the_json_holds_what_is_needed_to_use_the_map():
    content = document(format="png")

    assert content["photograph"] == {
        "name": "clinic/left",
        "sha256": "cd" * 32,
        "width": 240,
        "height": 180,
        "spacing_mm": None,
    }
    assert content["lesions"]["MA"]["map"] == "maps/clinic/left_MA.png"
    assert content["lesions"]["MA"]["mask"] == "masks/clinic/left_MA.png"
    assert content["lesions"]["MA"]["stored_level"] == 128
    assert content["model"] == {"name": "tiny", "version": "1.2", "sha256": "ab" * 32}
    assert content["settings"] == {"region": "field", "thresholds": {"EX": 0.5}}
    assert "not a medical device" in content["notice"]


def test_a_row_is_read_back_from_the_json():
    content = document(quality=("blur",))

    row = tables.row_of(json.loads(tables.to_json(content)))

    assert row == tables.row_of(content)
    assert (row.name, row.status, row.quality, row.digest) == ("clinic/left", "ok", ("blur",), "cd" * 32)
    assert row.loads["EX"].area_px == 640
    assert list(row.loads) == ["EX", "MA", "HE", "SE"]


def test_settings_are_compared_as_json_holds_them():
    assert tables.json_values({"field": (1.0, 2.0, 3.0), "lesions": ("EX",)}) == {
        "field": [1.0, 2.0, 3.0],
        "lesions": ["EX"],
    }


def test_the_summary_has_a_row_for_each_photograph_failures_included():
    rows = [
        SummaryRow(
            name="b",
            status="ok",
            quality=("blur", "cut"),
            loads={
                "EX": LesionLoad(count=3, area_px=70, area_fraction=0.00001234),
                "MA": LesionLoad(count=0, area_px=0, area_fraction=0.0),
            },
        ),
        SummaryRow(name="a", status="failed", error='a.jpg: "truncated", sorry'),
    ]

    content = tables.summary(rows, ("EX", "MA"))

    assert content.decode() == (
        "photograph,status,error,quality,EX_count,EX_area_px,EX_area_fraction,"
        "MA_count,MA_area_px,MA_area_fraction\n"
        "b,ok,,blur;cut,3,70,0.00001234,0,0,0.00000000\n"
        'a,failed,"a.jpg: ""truncated"", sorry",,,,,,,\n'
    )


@laws
@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_any_name_and_error_is_read_back_from_the_summary(pairs):
    rows = [SummaryRow(name=name, status="failed", error=error) for name, error in pairs]

    lines = read_csv(tables.summary(rows, ("EX",)))

    assert all(len(line) == 7 for line in lines)
    assert [(line[0], line[2]) for line in lines[1:]] == [
        (tables.without_formula(name), tables.without_formula(error)) for name, error in pairs
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_spreadsheet_runs_a_name_as_a_formula(start):
    name = f"{start}cmd|' /C calc'!A0"

    (line,) = read_csv(tables.summary([SummaryRow(name=name, status="ok")], ()))[1:]

    assert line[0] == f"'{name}"
    assert tables.without_formula("left eye = bad") == "left eye = bad"


def test_a_name_that_is_not_unicode_is_written_with_escapes():
    name = "caf\udce9"

    assert b"caf\\udce9" in tables.summary([SummaryRow(name=name, status="ok")], ())
    text = tables.to_json(document(name=name))
    assert json.loads(text)["photograph"]["name"] == name
    assert "Ünï" in tables.to_json(document(name="Ünï")).decode()


@pytest.mark.parametrize(
    ("scale", "area", "expected"),
    [(1.0, 12, 12), (0.5, 12, 48), (2.0, 12, 3), (2.0, 1, 1), (4.0, 0, 1), (1.0, 1, 1)],
)
def test_the_minimum_area_is_converted_to_the_photographs_pixels(scale, area, expected):
    frame = Frame(
        box=Box(top=10, left=20, bottom=110, right=220), shape=(round(100 * scale), round(200 * scale))
    )

    assert minimum_area(Decision(threshold=0.5, minimum_area=area), frame) == expected


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0, "0.00 %"), (1e-9, "<0.01 %"), (0.00006, "0.01 %"), (0.0123, "1.23 %"), (1.0, "100.00 %")],
)
def test_a_positive_share_is_never_shown_as_zero(fraction, text):
    assert tables.percentage(fraction) == text


@pytest.mark.parametrize(
    ("area_mm2", "decimals", "text"),
    [
        (0.0, 2, "0.00"),
        (0.000016, 2, "0.000016"),
        (0.0123, 2, "0.012"),
        (0.0123, 3, "0.012"),
        (0.00123, 3, "0.0012"),
        (0.1, 2, "0.10"),
        (12.3456, 3, "12.346"),
    ],
)
def test_a_positive_area_is_never_shown_as_zero(area_mm2, decimals, text):
    assert tables.square_millimetres(area_mm2, decimals) == text


def test_captions_state_number_and_area():
    entries = document(spacing=0.1)["lesions"]

    assert tables.caption(entries["EX"]).startswith("hard exudates: 1 · 6.40 sq mm, 1.")
    small = document(spacing=0.001)["lesions"]["EX"]
    assert tables.caption(small).startswith("hard exudates: 1 · 0.00064 sq mm, 1.")
    assert tables.caption(entries["SE"]) == "soft exudates: none"
    assert "sq mm" not in tables.caption(document()["lesions"]["EX"])


def test_numbers_do_not_depend_on_how_they_were_computed():
    region = regions.find(np.full((3, 3), 200, np.uint8), 1, "EX", 1, None)[0]
    nearly_equal = replace(region, mean_probability=region.mean_probability + 1e-12)

    assert tables._region_entry(nearly_equal) == tables._region_entry(region)
