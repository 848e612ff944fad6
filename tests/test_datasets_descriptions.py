"""A small TOML file makes a layout; one that makes none is refused by file, key and mend."""

import pytest
import tiny_layouts

from foveate.datasets import layouts, truth
from foveate.datasets.descriptions import read
from foveate.errors import DatasetError
from foveate.lesions import EX, Lesion


def test_a_task_that_is_not_retinal_needs_no_code(tmp_path):
    description = tiny_layouts.leaves(tmp_path)

    layout = layouts.named(str(description))
    cases = layouts.cases(tmp_path, layout, "train")

    assert (layout.name, layout.field, layout.lesions) == ("leaves", "whole", ("RUST", "SPOT"))
    assert layout.kinds[1] == Lesion(code="SPOT", name="leaf spots", colour=(213, 94, 0))
    assert [case.name for case in cases] == ["leaf0", "leaf1", "leaf2"]
    masks = truth(cases[2], layout.lesions, tiny_layouts.SHAPE)
    assert masks.sum(axis=(1, 2)).tolist() == [72, 0]


def test_all_else_may_be_left_out(tmp_path):
    (tmp_path / "mine.toml").write_text(
        '[lesions]\nEX = "hard exudates"\n[splits.all]\nphotographs = "p/*"\nmasks = "{lesion}/{name}"\n'
    )

    layout = read(tmp_path / "mine.toml")

    assert (layout.name, layout.field, layout.lesion_from, layout.eye) == ("mine", "find", 0.0, None)
    assert layout.kinds == (EX,)
    assert layout.splits["all"][0].masks == {"EX": ("EX/{name}",)}
    assert layout.splits["all"][0].annotated == ("EX",)


def test_names_of_folders_soft_edges_and_eyes_can_be_told(tmp_path):
    (tmp_path / "set.toml").write_text(
        """
        lesion_from = 0.5
        eye = '/(P[0-9]+)/'
        [lesions]
        EX = "hard exudates"
        MA = "microaneurysms"
        [splits.train]
        photographs = "photographs/**/*"
        annotated = ["MA"]
        masks = { MA = "red/{folder}/{name}" }
        """
    )
    tiny_layouts.photograph(tmp_path / "photographs" / "P7" / "left.jpg")
    tiny_layouts.mask(tmp_path / "red" / "P7" / "left.png", level=100)

    layout = read(tmp_path / "set.toml")
    (case,) = layouts.cases(tmp_path, layout, "train")

    assert (case.name, case.eye, case.annotated, case.lesion_from) == ("P7_left", "P7", ("MA",), 0.5)
    assert not truth(case, ("MA",), tiny_layouts.SHAPE).any()


WRONG = {
    "no TOML": ("field = ", r"cannot be read as a layout \("),
    "a wrong key": (
        'fields = "whole"\n' + tiny_layouts.LEAVES,
        r"the description has the unknown key 'fields'; the keys are name, title",
    ),
    "a wrong key of a split": (
        tiny_layouts.LEAVES + "images = 3\n",
        r"splits\.train has the unknown key 'images'.*photographs",
    ),
    "a wrong field": (tiny_layouts.LEAVES.replace('"whole"', '"round"'), r"field is 'round'; give \"find\""),
    "no lesions": ("[splits.train]\n", r"lesions is missing; it must be a table"),
    "no splits": ('[lesions]\nEX = "x"\n', r"splits is missing; it must be a table"),
    "empty splits": (
        '[lesions]\nEX = "x"\n[splits]\n',
        r"no split is described; add a table such as \[splits\.train\]",
    ),
    "empty lesions": ("[lesions]\n[splits.train]\n", r"no lesion is described; add one"),
    "a code in small letters": (tiny_layouts.LEAVES.replace("RUST", "rust"), r"lesion code 'rust'"),
    "a lesion that is a number": (
        tiny_layouts.LEAVES.replace('"rust"', "3"),
        r"lesions\.RUST is 3; give a name",
    ),
    "a colour of two": (
        tiny_layouts.LEAVES.replace(", 0]", "]"),
        r"SPOT\.colour is \[213, 94\]; give red, green",
    ),
    "a colour too light": (tiny_layouts.LEAVES.replace("213", "256"), r"SPOT\.colour is \[256, 94, 0\]"),
    "a placeholder that is none": (
        tiny_layouts.LEAVES.replace("{name}", "{nme}"),
        r"\{nme\} is not a placeholder; use \{folder\}, \{lesion\}, \{name\}",
    ),
    "an open brace": (
        tiny_layouts.LEAVES.replace("{name}", "{name"),
        r"which is not a pattern \(.*write \{name\} where the photograph's name stands",
    ),
    "no name": (
        tiny_layouts.LEAVES.replace("{name}_", ""),
        r"the same mask for all photographs; add \{name\}",
    ),
    "no lesion": (
        tiny_layouts.LEAVES.replace("_{lesion}", ""),
        r"the same mask for all lesions; add \{lesion\}",
    ),
    "an absolute path": (
        tiny_layouts.LEAVES.replace('"images', '"/images'),
        r"give a path relative to the set's folder",
    ),
    "a path to above": (
        tiny_layouts.LEAVES.replace('"masks', '"../masks'),
        r"give a path relative to the set's folder",
    ),
    "masks that are a number": (
        tiny_layouts.LEAVES.replace('"masks/{name}_{lesion}.png"', "3"),
        r"masks is 3; give a pattern such as 'masks/\{name\}_\{lesion\}'",
    ),
    "masks of an unknown lesion": (
        tiny_layouts.LEAVES.replace('"masks/{name}_{lesion}.png"', '{ MOLD = "m/{name}" }'),
        r"splits\.train\.masks has the unknown key 'MOLD'; the keys are RUST, SPOT",
    ),
    "an unknown lesion looked for": (
        tiny_layouts.LEAVES + 'annotated = ["MOLD"]\n',
        r"annotated is \['MOLD'\]; give a list of one or more of RUST, SPOT",
    ),
    "a share above one": ("lesion_from = 2\n" + tiny_layouts.LEAVES, r"lesion_from is 2; give a share"),
    "an eye without a group": ("eye = 'P.'\n" + tiny_layouts.LEAVES, r"expression with one group"),
    "an eye that is no expression": ("eye = '('\n" + tiny_layouts.LEAVES, r"not a regular expression \("),
    "a split that is a text": (
        '[lesions]\nEX = "x"\n[splits]\ntrain = "images"\n',
        r"splits\.train is 'images'",
    ),
    "two stars beside letters": (
        tiny_layouts.LEAVES.replace("images/*", "images/**.jpg"),
        r"'images/\*\*\.jpg'; '\*\*' stands for folders and needs a '/' behind it, as in 'images/\*\*/\*'",
    ),
    "a folder in place of photographs": (
        tiny_layouts.LEAVES.replace("images/*", "."),
        r"photographs is '\.', a folder; give a pattern of files, such as '\*'",
    ),
    "a placeholder with a format": (
        tiny_layouts.LEAVES.replace("{name}", "{name:d}"),
        r"give placeholders without a format, such as \{name\}",
    ),
    "a placeholder with a conversion": (
        tiny_layouts.LEAVES.replace("{name}", "{name!z}"),
        r"give placeholders without a format, such as \{name\}",
    ),
    "stars in masks": (
        tiny_layouts.LEAVES.replace('"masks/', '"masks/*/'),
        r"'\*' has no meaning there: write \{folder\} for the folders of the photograph",
    ),
    "no photographs": (
        tiny_layouts.LEAVES.replace('photographs = "images/*"', ""),
        r"splits\.train\.photographs is missing; it must be a string",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_layout_is_refused_in_one_line_that_names_the_file(tmp_path, case):
    text, message = WRONG[case]
    (tmp_path / "set.toml").write_text(text)

    with pytest.raises(DatasetError, match=rf"set\.toml: .*{message}") as error:
        read(tmp_path / "set.toml")
    assert "\n" not in str(error.value)


def test_a_missing_description_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.toml: cannot be read as a layout"):
        layouts.named(str(tmp_path / "gone.toml"))
