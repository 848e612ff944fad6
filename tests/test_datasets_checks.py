"""A check names everything that would spoil training or an evaluation, and nothing else."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny_layouts
from PIL import Image

from foveate.datasets import checks, layouts
from foveate.errors import DatasetError

TOP = "A. Segmentation/1. Original Images/a. Training Set"
EX = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set/3. Hard Exudates"


@pytest.fixture
def idrid(tmp_path):
    tiny_layouts.idrid(tmp_path, numbers=(1, 2, 3))
    return tmp_path


def wrong(root, layout=layouts.IDRID):
    report = checks.check(root, layout)
    messages = [problem.message for problem in report.problems if problem.is_wrong]
    assert report.is_sound == (not messages)
    assert all("\n" not in line for line in messages)
    return messages


def test_a_sound_set_has_nothing_wrong_and_is_counted(idrid):
    report = checks.check(idrid, layouts.IDRID)

    assert report.is_sound
    assert [problem.message for problem in report.problems] == [
        "split train: none of the 3 photographs annotated for HE has it"
    ]
    totals = checks.lesion_totals(report)
    pixels = 3 * tiny_layouts.SHAPE[0] * tiny_layouts.SHAPE[1]
    assert {code: (total.present, total.regions, total.pixels) for code, total in totals.items()} == {
        "EX": (3, 3, 108),
        "MA": (3, 3, 108),
        "HE": (0, 0, 0),
        "SE": (1, 1, 36),
    }
    assert totals["EX"].share == pytest.approx(108 / pixels)
    assert totals["SE"].largest == pytest.approx(3 * 36 / pixels)
    assert checks.size_counts(report) == {tiny_layouts.SHAPE: 3}


def test_an_empty_mask_counts_as_empty_and_not_as_found(idrid):
    tiny_layouts.mask(idrid / EX / "IDRiD_02_EX.tif", ())

    total = checks.lesion_totals(checks.check(idrid, layouts.IDRID))["EX"]

    assert (total.annotated, total.present, total.empty) == (3, 2, 1)


def test_a_photograph_that_cannot_be_read_is_wrong_and_the_others_are_counted(idrid):
    (idrid / TOP / "IDRiD_02.jpg").write_bytes(b"\xff\xd8\xff")

    (line,) = wrong(idrid)

    assert "IDRiD_02.jpg" in line
    assert checks.lesion_totals(checks.check(idrid, layouts.IDRID))["EX"].present == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(b"none"), r"unreadable mask"),
        (lambda path: tiny_layouts.mask(path, shape=(50, 60), spots=()), r"the mask has 50 x 60 px, its"),
        (
            lambda path: Image.fromarray(np.full(tiny_layouts.SHAPE, 255, np.uint8)).save(path),
            r"covers 100% of the photograph, more than the 30% .* if it is inverted",
        ),
    ],
    ids=["unreadable", "another size", "inverted"],
)
def test_a_mask_that_cannot_be_used_is_wrong_and_its_lesion_not_counted(idrid, change, message):
    change(idrid / EX / "IDRiD_02_EX.tif")

    (line,) = wrong(idrid)

    assert re.search(rf"IDRiD_02_EX\.tif: .*{message}", line)
    total = checks.lesion_totals(checks.check(idrid, layouts.IDRID))["EX"]
    assert (total.annotated, total.present) == (2, 2)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((), "no usable photograph is annotated for HE"),
        ((1,), "the only photograph annotated for HE does not have it"),
        ((1, 2), "none of the 2 photographs annotated for HE has it"),
    ],
)
def test_an_absent_lesion_is_told_by_the_number_of_photographs_that_could_be_read(idrid, numbers, text):
    for number in {1, 2, 3} - set(numbers):
        (idrid / TOP / f"IDRiD_0{number}.jpg").write_bytes(b"none")

    report = checks.check(idrid, layouts.IDRID)

    assert f"split train: {text}" in [problem.message for problem in report.problems if not problem.is_wrong]


def test_a_mask_without_its_photograph_is_wrong(idrid):
    (idrid / TOP / "IDRiD_03.jpg").unlink()

    lines = wrong(idrid)

    assert [line.split("/")[-1].partition(":")[0] for line in lines] == ["IDRiD_03_MA.tif", "IDRiD_03_EX.tif"]
    assert all("a mask without a photograph; restore the photograph" in line for line in lines)


def test_the_same_file_and_the_same_pixels_twice_are_wrong(idrid):
    shutil.copy(idrid / TOP / "IDRiD_01.jpg", idrid / TOP / "IDRiD_04.jpg")
    with Image.open(idrid / TOP / "IDRiD_02.jpg") as image:
        image.save(idrid / TOP / "IDRiD_05.png")

    first, second = wrong(idrid)

    assert "IDRiD_04.jpg: the same file as" in first
    assert "IDRiD_01.jpg" in first
    assert "IDRiD_05.png: the same pixels as" in second
    assert "IDRiD_02.jpg" in second


def test_a_photograph_twice_in_its_folder_is_wrong_and_the_others_are_checked(idrid):
    original, copy = idrid / TOP / "IDRiD_01.jpg", idrid / TOP / "IDRiD_01.JPG"
    shutil.copy(original, copy)

    assert wrong(idrid) == [f"{original}: the same file as {copy}; remove one of the two"]
    assert len(checks.check(idrid, layouts.IDRID).checked) == 3
    with pytest.raises(DatasetError, match=r"IDRiD_01\.jpg: the same file as .*; remove one of the two"):
        layouts.cases(idrid, layouts.IDRID, "train")

    shutil.copy(idrid / TOP / "IDRiD_02.jpg", copy)
    (clash, twin) = wrong(idrid)
    assert clash == f"{original}: {copy} is called IDRiD_01 as well; rename one of them and its masks"
    assert "the same file as" in twin


def test_a_photograph_in_two_folders_may_share_its_mask(tmp_path):
    for folder in ("a", "b"):
        tiny_layouts.photograph(tmp_path / folder / "eye.png")
    mask = tiny_layouts.mask(tmp_path / "masks" / "eye_EX.png")
    layout = replace(
        layouts.IDRID,
        splits={
            "train": tuple(
                layouts.Folders(
                    photographs=f"{folder}/*", masks={"EX": ("masks/{name}_EX",)}, annotated=("EX",)
                )
                for folder in ("a", "b")
            )
        },
        roots=(".",),
    )

    (case,) = layouts.cases(tmp_path, layout, "train")

    assert case.masks == {"EX": mask}


def test_masks_to_look_at_are_told_in_one_line(idrid):
    cases = layouts.cases(idrid, layouts.IDRID, "train")
    assert checks.doubtful_masks(cases, ("EX", "MA")) == ""
    for case in cases[:2]:
        tiny_layouts.mask(case.masks["EX"], level=np.arange(6, dtype=np.uint8) + 200)
    calls = []

    line = checks.doubtful_masks(cases, ("EX", "MA"), lambda *call: calls.append(call))

    assert line.startswith(f"{cases[0].masks['EX']}: 6 levels from 200 to 205 all count as this lesion")
    assert line.endswith("(2 masks need a look: 'foveate data check' lists them)")
    assert calls[-1] == (3, 3, "IDRiD_03")
    assert checks.doubtful_masks(cases, ("MA",)) == ""
    cases[0].masks["EX"].write_bytes(b"none")  # left to whoever uses it
    assert "(1 mask needs a look: " in checks.doubtful_masks(cases, ("EX",))


def test_a_photograph_of_one_split_in_another_is_wrong(idrid):
    tiny_layouts.idrid(idrid, "b. Testing Set", (7,))
    test = idrid / "A. Segmentation/1. Original Images/b. Testing Set/IDRiD_07.jpg"
    shutil.copy(idrid / TOP / "IDRiD_01.jpg", test)

    (line,) = wrong(idrid)

    assert line.startswith(f"{test}: the same file as")
    assert "(splits train and test)" in line


def test_near_duplicates_are_to_be_looked_at(idrid):
    with Image.open(idrid / TOP / "IDRiD_01.jpg") as image:
        image.save(idrid / TOP / "IDRiD_04.jpg", quality=60)

    report = checks.check(idrid, layouts.IDRID)

    assert report.is_sound
    assert any("IDRiD_04.jpg: seems to show the same eye" in problem.message for problem in report.problems)


def test_shots_that_the_set_says_are_of_one_eye_need_no_look(tmp_path):
    tiny_layouts.e_ophtha(tmp_path)
    first = tmp_path / "e_optha_EX/EX/E0000001/C1.jpg"
    with Image.open(first) as image:
        image.save(tmp_path / "e_optha_MA/MA/E0000001/C2.JPG", "JPEG", quality=60)

    assert checks.check(tmp_path, layouts.E_OPHTHA).problems == ()


def test_no_field_is_wrong_where_one_should_be(idrid, tmp_path):
    tiny_layouts.leaf(idrid / TOP / "IDRiD_01.jpg")

    (line,) = wrong(idrid)

    assert "IDRiD_01.jpg: " in line
    assert "field" in line


def test_a_set_without_round_fields_is_sound_if_its_layout_says_so(tmp_path):
    description = tiny_layouts.leaves(tmp_path)

    assert wrong(tmp_path, layouts.named(str(description))) == []


def test_the_splits_that_are_there_are_checked_or_those_wished_for(idrid):
    tiny_layouts.idrid(idrid, "b. Testing Set", (7,))

    assert checks.check(idrid, layouts.IDRID).splits == ("train", "test")
    assert len(checks.check(idrid, layouts.IDRID, ("test",)).checked) == 1
    with pytest.raises(DatasetError, match="no split 'valid'"):
        checks.check(idrid, layouts.IDRID, ("valid",))


def test_whoever_watches_is_told_and_gets_the_sheets(idrid):
    calls, sheets = [], []

    checks.check(
        idrid,
        layouts.IDRID,
        save_sheet=lambda number, sheet: sheets.append((number, sheet[:3])),
        progress=lambda done, total, name: calls.append((done, total, name)),
    )

    assert calls == [(1, 3, "IDRiD_01"), (2, 3, "IDRiD_02"), (3, 3, "IDRiD_03")]
    assert sheets == [(1, b"\xff\xd8\xff")]


def test_pictures_of_one_scene_are_not_taken_for_one_eye_and_equal_ones_are_wrong_all_the_same(tmp_path):
    description = tiny_layouts.leaves(tmp_path)
    first = tmp_path / "images" / "leaf0.png"
    with Image.open(first) as image:
        pixels = np.asarray(image).copy()
    pixels[:9, :9] = 255
    Image.fromarray(pixels).save(tmp_path / "images" / "leaf1.png")
    (tmp_path / "images" / "twin.png").write_bytes(first.read_bytes())

    messages = [
        problem.message for problem in checks.check(tmp_path, layouts.named(str(description))).problems
    ]

    assert not any("same eye" in message for message in messages)
    assert any("twin.png: the same file as" in message for message in messages)
