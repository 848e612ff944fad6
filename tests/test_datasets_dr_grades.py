"""Graded photographs: which are healthy, which may be learned from, and what a labels.csv must say."""

import json
from collections import Counter
from pathlib import Path

import pytest
import tiny_set

from foveate.datasets import SET_ASIDE, dr_grades, splits, truth
from foveate.datasets.dr_grades import HEALTHY, ONE_EYE, PUBLISHED_TABLE, TEST_HALF, TRAIN_HALF
from foveate.errors import DatasetError, PhotographError
from foveate.training.cache import cache_case

SPLIT = Path(splits.__file__).parents[1] / "training" / "recipes" / "splits" / "idrid-graded.json"

EXAMPLE = min(SET_ASIDE)

GRADES = {"b": "0", "a": "0", "c": "3", "d": "0", EXAMPLE: "0"}


def label(folder, rows, header="file,retinopathy_grade"):
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture
def folder(tmp_path):
    """Five graded photographs, whose files are empty: nothing here reads a pixel.

    They lie two folders below `tmp_path`, so that no other test's table lies beside them.
    """
    folder = tmp_path / "set" / "photographs"
    folder.mkdir(parents=True)
    for name in GRADES:
        (folder / f"{name}.jpg").touch()
    label(folder, [f"{name}.jpg,{grade}" for name, grade in GRADES.items()])
    return folder


@pytest.fixture
def split(tmp_path):
    path = tmp_path / "halves.json"
    path.write_text(
        json.dumps(
            {"folds": {"a": TRAIN_HALF, "b": TEST_HALF, "c": TRAIN_HALF, "d": TRAIN_HALF, EXAMPLE: TEST_HALF}}
        )
    )
    return path


def test_photographs_are_listed_by_name_with_their_grades(folder):
    photographs = dr_grades.list_photographs(folder)

    assert [(photograph.name, photograph.grade) for photograph in photographs] == sorted(
        (name, int(grade)) for name, grade in GRADES.items()
    )
    assert all(photograph.photograph == folder / f"{photograph.name}.jpg" for photograph in photographs)


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        (
            "file,grade",
            "a.jpg,0",
            "no column 'retinopathy_grade'; the table needs the columns file and retinopathy_grade",
        ),
        ("name,retinopathy_grade", "a.jpg,0", "no column 'file'"),
        (
            "file,retinopathy_grade",
            "a.jpg,5",
            "'a.jpg' has grade '5'; name a file, and give a grade of 0, 1, 2, 3 or 4",
        ),
        ("file,retinopathy_grade", "a.jpg,", "has grade ''"),
        ("file,retinopathy_grade", "a.jpg,mild", "has grade 'mild'"),
        ("file,retinopathy_grade", "a.jpg,0.5", "has grade '0.5'"),
        ("file,retinopathy_grade", "a.jpg,-0.0", "has grade '-0.0'"),
        ("file,retinopathy_grade", "a.jpg,5.0", "has grade '5.0'"),
        ("file,retinopathy_grade", "a.jpg,nan", "has grade 'nan'"),
        ("file,retinopathy_grade", "a.jpg", "has grade None"),
        ("retinopathy_grade,file", "0", "file None has grade '0'"),
        ("file,retinopathy_grade", ",0", "file '' has grade '0'"),
        (
            "file,retinopathy_grade",
            "z.jpg,0",
            "z.jpg does not exist; unpack the set again, or remove the row",
        ),
        ("file,retinopathy_grade", "a.jpg,0\na.jpg,0", "two photographs are called a; remove one"),
    ],
)
def test_labels_that_cannot_be_believed_are_refused_with_what_is_wrong(folder, header, row, said):
    label(folder, [row], header)

    with pytest.raises(DatasetError, match=rf"labels\.csv: .*{said}"):
        dr_grades.list_photographs(folder)


@pytest.mark.parametrize(("entry", "grade"), [("0.0", 0), ("2.0", 2), ("3.", 3), (" 4 ", 4), ("1.00", 1)])
def test_a_grade_is_read_as_a_spreadsheet_writes_it(folder, entry, grade):
    label(folder, [f"a.jpg,{entry}"])

    assert [photograph.grade for photograph in dr_grades.list_photographs(folder)] == [grade]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_labels_are_read_as_a_spreadsheet_saves_them(folder, separator, encoding):
    lines = ["eye;file;retinopathy_grade", "left;a.jpg;2", "", "left;c.jpg;0;more"]
    text = "\r\n".join(lines).replace(";", separator)
    (folder / "labels.csv").write_bytes(text.encode(encoding))

    listed = dr_grades.list_photographs(folder)

    assert [(photograph.name, photograph.grade) for photograph in listed] == [("a", 2), ("c", 0)]


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"file,retinopathy_grade\n\xe9.jpg,0\n", None])
def test_labels_that_are_no_text_or_missing_are_refused(folder, content):
    (folder / "labels.csv").unlink()
    if content is not None:
        (folder / "labels.csv").write_bytes(content)

    with pytest.raises(DatasetError, match=r"labels\.csv: unreadable labels \(.*\); restore the file"):
        dr_grades.list_photographs(folder)


def test_empty_labels_list_nothing(folder):
    (folder / "labels.csv").write_bytes(b"")

    assert dr_grades.list_photographs(folder) == []


def test_healthy_eyes_to_learn_from_are_those_of_grade_0_in_the_learning_half(folder, split):
    cases = dr_grades.healthy_cases(folder, split)

    assert [case.name for case in cases] == ["healthy-a", "healthy-d"]
    assert [case.photograph for case in cases] == [folder / "a.jpg", folder / "d.jpg"]


def test_without_a_split_all_of_grade_0_but_the_examples_are(folder):
    assert [case.name for case in dr_grades.healthy_cases(folder, None)] == [
        "healthy-a",
        "healthy-b",
        "healthy-d",
    ]


def test_an_example_is_left_out_even_where_a_split_would_learn_from_it(folder, split):
    split.write_text(json.dumps({"folds": dict.fromkeys(GRADES, TRAIN_HALF)}))

    assert [case.name for case in dr_grades.healthy_cases(folder, split)] == [
        "healthy-a",
        "healthy-b",
        "healthy-d",
    ]


def test_idrids_grading_part_is_taken_as_it_is_published(tmp_path, split):
    table = tmp_path / PUBLISHED_TABLE.table
    table.parent.mkdir()
    rows = [f"{name},{grade},1,,," for name, grade in GRADES.items() if name != EXAMPLE]
    lines = ["Image name,Retinopathy grade,Risk of macular edema ,,,", *rows, "unlisted,0,0,,,"]
    table.write_text("\n".join(lines), encoding="utf-8")
    folder = tmp_path / PUBLISHED_TABLE.photographs
    folder.mkdir(parents=True)
    for line in lines[1:]:
        (folder / f"{line.partition(',')[0]}.jpg").touch()

    cases = dr_grades.healthy_cases(tmp_path, split)

    assert [(case.name, case.photograph) for case in cases] == [
        (f"healthy-{name}", folder / f"{name}.jpg") for name in "ad"
    ]
    (folder / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"a\.jpg does not exist; unpack the set again"):
        dr_grades.healthy_cases(tmp_path, split)


def test_a_healthy_photograph_in_neither_half_is_refused_by_name(folder, split):
    split.write_text(json.dumps({"folds": {"a": TRAIN_HALF, "b": TEST_HALF, EXAMPLE: TEST_HALF}}))

    with pytest.raises(DatasetError, match=r"d is in neither half of .*halves\.json"):
        dr_grades.healthy_cases(folder, split)


def test_a_folder_without_labels_is_healthy_eyes_all_through(folder, split):
    (folder / "labels.csv").unlink()
    (folder / "more").mkdir()
    (folder / "more" / "e.png").touch()

    names = [case.name for case in dr_grades.healthy_cases(folder, split)]

    assert names == ["healthy-a", "healthy-b", "healthy-c", "healthy-d", "healthy-more-e"]


def test_two_photographs_of_one_name_are_not_taken_for_one(folder):
    (folder / "labels.csv").unlink()
    (folder / "more").mkdir()
    for path in ("more/e.png", "more-e.png"):
        (folder / path).touch()

    with pytest.raises(DatasetError, match="two photographs are called more-e; remove one"):
        dr_grades.healthy_cases(folder, None)


def test_where_there_is_no_healthy_eye_to_learn_from_it_is_said(folder, split, tmp_path):
    label(folder, ["c.jpg,3", "b.jpg,0"])
    with pytest.raises(DatasetError, match="no photograph of a healthy eye to train on"):
        dr_grades.healthy_cases(folder, split)
    with pytest.raises(PhotographError, match="no such file or folder"):
        dr_grades.healthy_cases(tmp_path / "nowhere", split)


def test_a_healthy_eye_was_looked_through_for_every_lesion_and_has_none(tmp_path):
    pixels, _ = tiny_set.draw(tiny_set.Eye(164, absent=tuple(tiny_set.RADII)), 8)
    (tmp_path / "eyes").mkdir()
    tiny_set.Image.fromarray(pixels).save(tmp_path / "eyes" / "eye.png")
    (case,) = dr_grades.healthy_cases(tmp_path / "eyes", None)

    assert not truth(case, tiny_set.CONTRACT.lesions, pixels.shape[:2]).any()
    assert not cache_case(case, tiny_set.CONTRACT, tmp_path / "cache").lesion_pixels


# halves


def graded_photographs(names_and_grades):
    return [
        dr_grades.GradedPhotograph(name=name, photograph=Path(f"{name}.jpg"), grade=grade)
        for name, grade in names_and_grades
    ]


MANY = [(f"eye-{n:02}", n % 5) for n in range(50)]


def test_either_half_has_as_many_of_each_grade():
    halves = dr_grades.divide(graded_photographs(MANY), seed=1)

    assert halves.keys() == {name for name, _ in MANY}
    counts = Counter((halves[name], grade) for name, grade in MANY)
    assert counts == {(half, grade): 5 for half in (TRAIN_HALF, TEST_HALF) for grade in range(5)}


@pytest.mark.parametrize("seed", range(6))
def test_examples_are_judged_with_and_shots_of_one_eye_stay_together(seed):
    named = [(name, 0) for names in (SET_ASIDE, *ONE_EYE) for name in names]

    halves = dr_grades.divide(graded_photographs([*MANY, *named]), seed)

    assert {halves[name] for name in SET_ASIDE} == {TEST_HALF}
    for eye in ONE_EYE:
        assert len({halves[name] for name in eye}) == 1


def test_halves_follow_from_the_seed_and_not_from_the_order():
    halves = dr_grades.divide(graded_photographs(MANY), 3)

    assert dr_grades.divide(graded_photographs(MANY[::-1]), 3) == halves
    assert dr_grades.divide(graded_photographs(MANY), 4) != halves


def test_the_saved_halves_leave_the_examples_to_judge_with():
    halves = splits.read(SPLIT)

    assert {halves[name] for name in SET_ASIDE} == {TEST_HALF}
    assert Counter(halves.values()) == {TRAIN_HALF: 80, TEST_HALF: 80}


def test_the_saved_halves_are_those_that_are_dealt_byte_for_byte(shared_data):
    photographs = dr_grades.list_photographs(shared_data / "graded")
    saved = SPLIT.read_text()

    folds = dr_grades.divide(photographs, seed=2019)

    assert saved == json.dumps({"about": json.loads(saved)["about"], "folds": folds}, indent=1) + "\n"
    healthy = Counter(folds[photograph.name] for photograph in photographs if photograph.grade == HEALTHY)
    assert healthy == {TRAIN_HALF: 40, TEST_HALF: 40}


def test_forty_healthy_eyes_of_idrid_are_learned_from_and_no_other(shared_data):
    halves = splits.read(SPLIT)
    grades = {
        photograph.name: photograph.grade for photograph in dr_grades.list_photographs(shared_data / "graded")
    }

    names = [
        case.name.removeprefix("healthy-") for case in dr_grades.healthy_cases(shared_data / "graded", SPLIT)
    ]

    assert len(names) == len(set(names)) == 40
    assert {(grades[name], halves[name]) for name in names} == {(HEALTHY, TRAIN_HALF)}
