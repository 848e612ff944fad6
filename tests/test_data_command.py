"""`foveate data`: what is printed, written and returned, and that every option is documented."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_layouts
from PIL import Image

from foveate import atomic_files, cli
from foveate.datasets import contact, facts, splits
from foveate.writers import overlays

PAGE = Path(__file__).parent.parent / "docs" / "data.md"


@pytest.fixture
def run_data(capsys, monkeypatch):
    """Run a command line; return its exit code and what it printed on stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        code = cli.run(["data", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def test_a_sound_set_is_shown_and_kept(tmp_path, run_data):
    tiny_layouts.idrid(tmp_path / "set", numbers=(1, 2, 3))

    code, out, err = run_data("check", tmp_path / "set", "--out", tmp_path / "out")

    assert (code, err) == (0, "")
    assert re.search(r"│ EX +│ +3 │ +3 │ +0 │ +3 │ +108 │ +0\.046% │", out)
    assert "3 photographs of train: 3 of 300 x 260 px" in out
    assert "look: split train: none of the 3 photographs annotated for HE has it" in out
    assert "0 wrong, 1 to look at" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "check.csv",
        "check.json",
        "contact-1.jpg",
    ]
    report = json.loads((tmp_path / "out" / "check.json").read_text())
    assert report["photographs"] == 3
    assert report["sizes"] == [{"width": 300, "height": 260, "photographs": 3}]
    assert report["lesions"]["SE"]["found_in"] == 1
    assert report["wrong"] == []
    rows = list(csv.DictReader((tmp_path / "out" / "check.csv").read_text().splitlines()))
    assert [row["photograph"] for row in rows] == ["IDRiD_01", "IDRiD_02", "IDRiD_03"]
    assert (rows[0]["SE_area_px"], rows[1]["SE_area_px"], rows[0]["wrong"]) == ("36", "0", "")


def test_an_interrupted_check_leaves_the_earlier_one_whole(tmp_path, run_data, monkeypatch):
    out, drawn = tmp_path / "out", []
    monkeypatch.setattr(contact, "COLUMNS", 1)
    monkeypatch.setattr(contact, "ROWS", 1)  # a sheet for each photograph
    tiny_layouts.idrid(tmp_path / "set", numbers=(1, 2, 3))
    arguments = ("check", tmp_path / "set", "--out", out)
    assert run_data(*arguments)[0] == 0
    (out / "contact-1.jpg").write_bytes(b"of the earlier check")
    first = {path.name: path.read_bytes() for path in out.iterdir()}

    def interrupted(page):
        drawn.append(page)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return b"of the later check"

    monkeypatch.setattr(overlays, "jpeg", interrupted)
    assert run_data(*arguments, "--replace")[0] == 130

    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    (out / ".foveate-0123456789abcdef.part").write_bytes(b"of a check that was killed")
    assert run_data(*arguments, "--replace")[0] == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(first)
    assert (out / "contact-1.jpg").read_bytes() == b"of the later check"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of folders")
def test_a_second_check_into_the_same_folder_is_refused_and_destroys_nothing(tmp_path, run_data):
    unfinished = tmp_path / "out" / ".foveate-0123456789abcdef.part"
    tiny_layouts.idrid(tmp_path / "set")
    with atomic_files.reserve(tmp_path / "out"):
        unfinished.write_bytes(b"x")
        code, out, err = run_data("check", tmp_path / "set", "--out", tmp_path / "out")
        assert unfinished.exists()

    assert (code, out) == (1, "")
    assert (
        err
        == f"foveate: another run is writing to {tmp_path / 'out'}; wait for it, or choose another folder\n"
    )


def test_an_earlier_check_is_replaced_on_request_alone(tmp_path, run_data):
    out = tmp_path / "out"
    tiny_layouts.idrid(tmp_path / "set")
    arguments = ("check", tmp_path / "set", "--out", out)
    assert run_data(*arguments)[0] == 0
    (out / "contact-2.jpg").write_bytes(b"of an earlier check of more photographs")
    (out / "notes.txt").write_text("the user's own")
    first = {path.name: path.read_bytes() for path in out.iterdir()}

    code, _, err = run_data(*arguments)

    assert code == 1
    assert "already contains check.json; replace that check with --replace, or choose another --out" in err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    assert run_data(*arguments, "--replace")[0] == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "check.csv",
        "check.json",
        "contact-1.jpg",
        "notes.txt",
    ]


def test_replacing_without_a_folder_is_a_usage_error(tmp_path, run_data):
    code, _, err = run_data("check", tmp_path, "--replace")

    assert code == 2
    assert "--replace is about --out" in err


def test_what_is_wrong_is_named_and_makes_the_exit_code_one(tmp_path, run_data):
    tiny_layouts.idrid(tmp_path / "set")
    photograph = tmp_path / "set/A. Segmentation/1. Original Images/a. Training Set/IDRiD_02.jpg"
    photograph.write_bytes(b"none")

    code, out, _ = run_data("check", tmp_path / "set", "--out", tmp_path / "out")

    assert code == 1
    assert re.search(r"wrong: .*IDRiD_02\.jpg: ", out)
    assert json.loads((tmp_path / "out" / "check.json").read_text())["wrong"]
    rows = list(csv.DictReader((tmp_path / "out" / "check.csv").read_text().splitlines()))
    assert rows[1]["EX_regions"] == ""
    assert "IDRiD_02.jpg" in rows[1]["wrong"]
    assert rows[1]["look"] == ""


def test_what_is_only_to_be_looked_at_is_not_called_wrong_in_the_table(tmp_path, run_data):
    tiny_layouts.idrid(tmp_path / "set")
    (mask,) = (tmp_path / "set").rglob("IDRiD_02_EX.tif")
    levels = np.asarray(Image.open(mask)).copy()
    levels[120:126, 130:136] = 200  # soft
    Image.fromarray(levels).save(mask)

    code, out, _ = run_data("check", tmp_path / "set", "--out", tmp_path / "out")

    assert code == 0
    assert "0 wrong" in out
    rows = list(csv.DictReader((tmp_path / "out" / "check.csv").read_text().splitlines()))
    assert [row["wrong"] for row in rows] == ["", ""]
    assert rows[0]["look"] == ""
    assert "IDRiD_02_EX.tif" in rows[1]["look"]
    assert rows[1]["look"] in json.loads((tmp_path / "out" / "check.json").read_text())["look"]


def test_of_a_lesion_that_was_not_looked_for_the_table_says_nothing(tmp_path, run_data):
    tiny_layouts.e_ophtha(tmp_path / "set")

    code, out, _ = run_data("check", tmp_path / "set", "--layout", "e-ophtha", "--out", tmp_path / "out")

    assert code == 0
    assert re.search(r"│ EX +│ +2 │ +1 │", out)
    assert re.search(r"│ MA +│ +3 │ +2 │", out)
    rows = {
        row["photograph"]: row
        for row in csv.DictReader((tmp_path / "out" / "check.csv").read_text().splitlines())
    }
    assert (rows["E0000001_C3"]["EX_area_px"], rows["E0000001_C3"]["MA_area_px"]) == ("0", "")
    assert rows["E0000001_C3"]["eye"] == "E0000001"


def test_nothing_is_written_unless_a_folder_is_named(tmp_path, run_data, monkeypatch):
    description = tiny_layouts.leaves(tmp_path / "set")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)

    code, out, _ = run_data("check", tmp_path / "set", "--layout", description, "--split", "train")

    assert (code, sorted(tmp_path.rglob("*"))) == (0, before)
    assert "Look at" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "{set}", "--layout", "fgadr"), "not laid out as fgadr"),
        (("check", "{set}", "--layout", "nothing"), "layout 'nothing' is unknown; choose one of idrid, ddr"),
        (("check", "{set}", "--split", "valid"), "idrid has no split 'valid'"),
        (("split", "{set}", "--out", "{set}/f.json", "--lesions", "XX"), "lesion 'XX' is unknown"),
        (("split", "{set}", "--out", "{set}/f.json", "--folds", "9"), "cannot be divided into 9 folds"),
    ],
)
def test_an_error_is_one_line(tmp_path, run_data, arguments, message):
    tiny_layouts.idrid(tmp_path)

    code, out, err = run_data(*(argument.replace("{set}", str(tmp_path)) for argument in arguments))

    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--folds", "1"), "2 photographs (those of one eye are counted once) cannot be divided into 1 fold"),
        (("--folds", "-2"), "cannot be divided into -2 folds"),
        (("--folds", "2", "--seed", "-1"), "seed is -1; give 0 or more"),
        (("--folds", "2", "--out", "{set}/file/f.json"), "file: cannot be written"),
    ],
)
def test_a_split_that_cannot_be_made_or_saved_is_refused_before_photographs_are_read(
    tmp_path, run_data, monkeypatch, option, message
):
    tiny_layouts.idrid(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(facts, "read", None)
    option = [argument.replace("{set}", str(tmp_path)) for argument in option]
    out = () if "--out" in option else ("--out", tmp_path / "f.json")

    code, _, err = run_data("split", tmp_path, *option, *out)

    assert code == 1
    assert message in err


def test_a_split_is_dealt_shown_and_saved(tmp_path, run_data):
    tiny_layouts.idrid(tmp_path / "set", numbers=(1, 2, 3, 4))

    code, out, err = run_data(
        "split", tmp_path / "set", "--folds", 2, "--seed", 7, "--out", tmp_path / "f.json"
    )

    assert (code, err) == (0, "")
    folds = splits.read(tmp_path / "f.json")
    assert sorted(folds) == ["IDRiD_01", "IDRiD_02", "IDRiD_03", "IDRiD_04"]
    assert sorted(folds.values()) == [0, 0, 1, 1]
    assert re.search(r"│ +0 │ +2 │ +2 \(50%\) │", out)
    assert "4 photographs in 4 groups, each of which stays in one fold" in out
    assert "--folds 2 --seed 7" in json.loads((tmp_path / "f.json").read_text())["about"]
    code, _, err = run_data("split", tmp_path / "set", "--out", tmp_path / "f.json")
    assert code == 1
    assert "already exists" in err


def test_lesions_wished_for_leave_out_what_was_not_looked_through_for_them(tmp_path, run_data):
    tiny_layouts.e_ophtha(tmp_path / "set")
    arguments = ("split", tmp_path / "set", "--layout", "e-ophtha", "--folds", 2, "--lesions", "MA")

    code, _, _ = run_data(*arguments, "--out", tmp_path / "f.json")

    assert code == 0
    assert sorted(splits.read(tmp_path / "f.json")) == ["E0000001_C1", "E0000001_C2", "E0000475_C4"]


@pytest.mark.parametrize("command", ["check", "split"])
def test_every_option_is_documented_and_no_other(command, run_data):
    _, out, _ = run_data(command, "--help")
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", out)) - {"--help"}

    (table,) = re.findall(rf"^\| option of `foveate data {command}\b.*?\n\n", PAGE.read_text(), re.M | re.S)

    assert set(re.findall(r"^\| `(--[a-z-]+)", table, re.MULTILINE)) == options


def test_the_page_s_description_of_leaves_is_read(tmp_path):
    (description,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "leaves.toml").write_text(description)
    tiny_layouts.leaves(tmp_path / "set")

    assert cli.run(["data", "check", str(tmp_path / "set"), "--layout", str(tmp_path / "leaves.toml")]) == 0


def test_every_key_that_is_written_is_documented(tmp_path, run_data):
    tiny_layouts.idrid(tmp_path / "set")
    run_data("check", tmp_path / "set", "--out", tmp_path / "out")
    page = PAGE.read_text()

    report = json.loads((tmp_path / "out" / "check.json").read_text())
    for key in {*report, *report["lesions"]["EX"], *report["sizes"][0]}:
        assert f"`{key}`" in page, key
    for column in (tmp_path / "out" / "check.csv").read_text().split("\n")[0].split(","):
        assert f"`{column.replace('EX_', 'CODE_')}`" in page or column[:2] in ("MA", "HE", "SE"), column
