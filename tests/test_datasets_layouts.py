"""Each set is read in the folders of its release; a folder that is laid out otherwise is refused by name."""

import importlib.util

import numpy as np
import pytest
import tiny_layouts

from foveate import lesions
from foveate.datasets import annotated, is_annotated, layouts, truth
from foveate.errors import DatasetError

CODES = ("EX", "MA", "HE", "SE")


def masks_of(cases):
    return [tuple(sorted(case.masks)) for case in cases]


def test_a_layout_knows_its_lesions_in_the_order_of_the_paper():
    assert layouts.IDRID.lesions == CODES
    assert layouts.E_OPHTHA.lesions == ("EX", "MA")
    assert {layout.field for layout in layouts.LAYOUTS.values()} == {"find"}


def test_a_further_known_lesion_is_no_lesion_that_a_published_set_was_annotated_for(monkeypatch):
    further = lesions.Lesion(code="NV", name="neovascularisation", colour=(1, 2, 3))
    for name in ("KNOWN", "RETINOPATHY"):
        monkeypatch.setattr(lesions, name, (*getattr(lesions, name), further))
    spec = importlib.util.spec_from_file_location("layouts_read_again", layouts.__file__)
    read_again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(read_again)

    assert lesions.of(["NV"]) == (further,)
    assert read_again.LAYOUTS == layouts.LAYOUTS


@pytest.mark.parametrize(("part", "split"), [("a. Training Set", "train"), ("b. Testing Set", "test")])
def test_either_part_of_idrid_may_be_absent(tmp_path, part, split):
    tiny_layouts.idrid(tmp_path, part, (1, 2))
    missing = {"train": "test", "test": "train"}[split]

    assert layouts.present(tmp_path, layouts.IDRID) == (split,)
    assert masks_of(layouts.cases(tmp_path, layouts.IDRID, split)) == [("EX", "MA", "SE"), ("EX", "MA")]
    with pytest.raises(
        DatasetError, match=rf"no photograph of split {missing}, because nothing matches 'A\. Segm"
    ):
        layouts.cases(tmp_path, layouts.IDRID, missing)


def test_an_absent_mask_of_idrid_is_an_empty_one(tmp_path):
    tiny_layouts.idrid(tmp_path)
    case = layouts.cases(tmp_path, layouts.IDRID, "train")[1]

    assert case.annotated == CODES
    with pytest.raises(DatasetError, match=r"IDRiD_02\.jpg: not annotated for NV, only for EX, MA, HE, SE"):
        truth(case, ("EX", "NV"), tiny_layouts.SHAPE)
    np.testing.assert_array_equal(
        truth(case, CODES, tiny_layouts.SHAPE).any(axis=(1, 2)), [True, True, False, False]
    )


@pytest.mark.parametrize("below", ["", "lesion_segmentation"])
@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_ddr_is_read_with_the_two_names_of_its_mask_folders(tmp_path, part, below):
    tiny_layouts.ddr(tmp_path, part)

    cases = layouts.cases(tmp_path / below, layouts.DDR, part)

    assert [case.name for case in cases] == ["007-0001-100", "007-0002-100"]
    assert masks_of(cases) == [("EX", "HE", "MA", "SE")] * 2
    assert not truth(cases[0], ("SE",), tiny_layouts.SHAPE).any()


def test_fgadr_is_read_with_the_spelling_of_its_folders_and_its_soft_edges(tmp_path):
    tiny_layouts.fgadr(tmp_path)
    tiny_layouts.mask(tmp_path / "Seg-set" / "SoftExudate_Masks" / "0001_1.png", level=127)
    tiny_layouts.mask(tmp_path / "Seg-set" / "HardExudate_Masks" / "0001_1.png", level=128)

    first, second = layouts.cases(tmp_path, layouts.FGADR, "train")

    assert masks_of([first, second]) == [("EX", "HE", "MA", "SE")] * 2
    assert not truth(first, ("SE",), tiny_layouts.SHAPE).any()
    assert truth(first, ("EX",), tiny_layouts.SHAPE).sum() == 36


def test_e_ophtha_knows_of_each_photograph_what_it_was_looked_through_for(tmp_path):
    tiny_layouts.e_ophtha(tmp_path)

    cases = {case.name: case for case in layouts.cases(tmp_path, layouts.E_OPHTHA, "train")}

    assert {name: case.annotated for name, case in cases.items()} == {
        "E0000001_C1": ("EX", "MA"),  # in both sets
        "E0000001_C2": ("MA",),
        "E0000001_C3": ("EX",),  # 'healthy', but of its microaneurysms nothing is known
        "E0000475_C4": ("MA",),
    }
    assert masks_of(cases.values()) == [("EX", "MA"), ("MA",), (), ()]
    assert [case.eye for case in cases.values()] == ["E0000001"] * 3 + ["E0000475"]


def test_what_was_not_looked_for_is_never_taken_for_absent(tmp_path):
    tiny_layouts.e_ophtha(tmp_path)
    cases = layouts.cases(tmp_path, layouts.E_OPHTHA, "train")
    healthy = cases[2]

    assert is_annotated(healthy, "EX")
    assert not truth(healthy, ("EX",), tiny_layouts.SHAPE).any()
    with pytest.raises(
        DatasetError, match=r"C3\.JPG: not annotated for MA, only for EX; choose other lesions"
    ):
        truth(healthy, ("EX", "MA"), tiny_layouts.SHAPE)
    assert [case.name for case in annotated(cases, ("MA",))] == ["E0000001_C1", "E0000001_C2", "E0000475_C4"]
    assert [case.name for case in annotated(cases, ("EX", "MA"))] == ["E0000001_C1"]


def test_one_of_e_ophtha_s_two_sets_will_do(tmp_path):
    tiny_layouts.photograph(tmp_path / "e_optha_MA" / "MA" / "E1" / "a.jpg")
    tiny_layouts.mask(tmp_path / "e_optha_MA" / "Annotation_MA" / "E1" / "a.png")

    (case,) = layouts.cases(tmp_path, layouts.E_OPHTHA, "train")

    assert case.annotated == ("MA",)
    assert case.masks["MA"].name == "a.png"


def test_two_photographs_of_one_name_are_refused(tmp_path):
    tiny_layouts.e_ophtha(tmp_path)
    tiny_layouts.photograph(tmp_path / "e_optha_MA" / "MA" / "E0000001" / "C1.jpg", 9)

    with pytest.raises(
        DatasetError, match=r"MA.E0000001.C1\.jpg: .*C1\.jpg is called E0000001_C1 as well; rename one"
    ):
        layouts.cases(tmp_path, layouts.E_OPHTHA, "train")


def test_two_masks_of_one_lesion_are_refused(tmp_path):
    tiny_layouts.fgadr(tmp_path)
    tiny_layouts.mask(tmp_path / "Seg-set" / "Hemohedge_Masks" / "0001_1.tif")

    with pytest.raises(
        DatasetError, match=r"0001_1\.tif: a second mask beside 0001_1\.png; keep one of the two, or name"
    ):
        layouts.cases(tmp_path, layouts.FGADR, "train")


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_a_folder_of_another_layout_is_refused(tmp_path, name):
    writers = {"idrid": tiny_layouts.ddr, "ddr": tiny_layouts.fgadr}
    writers |= {"fgadr": tiny_layouts.idrid, "e-ophtha": tiny_layouts.idrid}
    writers[name](tmp_path)

    with pytest.raises(
        DatasetError, match=rf"not laid out as {name}, because it has no folder '.*give the folder that"
    ) as error:
        layouts.cases(tmp_path, layouts.named(name), "train")
    assert "\n" not in str(error.value)


def test_photographs_without_any_folder_of_masks_are_refused(tmp_path):
    tiny_layouts.photograph(tmp_path / "A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg")

    with pytest.raises(
        DatasetError, match=r"has photographs, but no folder of masks \('A\. Segmentation/2\. All"
    ):
        layouts.cases(tmp_path, layouts.IDRID, "train")


def test_masks_of_which_none_belongs_to_a_photograph_are_refused(tmp_path):
    description = tiny_layouts.leaves(tmp_path)
    description.write_text(tiny_layouts.LEAVES.replace("{name}_", "{name}-"))

    with pytest.raises(
        DatasetError, match=r"leaf0_RUST\.png: neither this file nor any other .*'masks/\{name\}-RUST"
    ):
        layouts.cases(tmp_path, layouts.named(str(description)), "train")
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    assert masks_of(layouts.cases(tmp_path, layouts.named(str(description)), "train")) == [()] * 3


def test_an_unknown_split_and_an_unknown_layout_are_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"layout idrid has no split 'valid'; choose one of train, test"):
        layouts.cases(tmp_path, layouts.IDRID, "valid")
    with pytest.raises(
        DatasetError,
        match=r"layout 'IDRiD' is unknown; choose one of idrid, ddr, fgadr, e-ophtha, or give a .toml",
    ):
        layouts.named("IDRiD")


def test_masks_without_a_photograph_are_listed(tmp_path):
    tiny_layouts.ddr(tmp_path, "valid")
    left = tiny_layouts.mask(tmp_path / "lesion_segmentation/valid/segmentation label/EX/gone.tif")

    assert layouts.list_split(tmp_path, layouts.DDR, "valid").orphans == (left,)
    (tmp_path / "lesion_segmentation/valid/image/007-0002-100.jpg").unlink()
    assert len(layouts.list_split(tmp_path, layouts.DDR, "valid").orphans) == 5


def test_masks_may_lie_beside_their_photographs(tmp_path):
    tiny_layouts.leaf(tmp_path / "a.png")
    tiny_layouts.mask(tmp_path / "a_RUST.png")
    (tmp_path / "set.toml").write_text(
        '[lesions]\nRUST = "rust"\n[splits.train]\nphotographs = "*"\nmasks = "{name}_{lesion}"\n'
    )

    split = layouts.list_split(tmp_path, layouts.named(str(tmp_path / "set.toml")), "train")

    assert [case.name for case in split.cases] == ["a"]
    assert split.orphans == ()


def test_a_photograph_and_its_mask_may_differ_in_their_suffix_alone(tmp_path):
    tiny_layouts.leaf(tmp_path / "img" / "1.jpg")
    mask = tiny_layouts.mask(tmp_path / "img" / "1.png")
    layout = '[lesions]\nRUST = "rust"\n[splits.train]\nphotographs = "img/*.jpg"\nmasks = "img/{{name}}{}"\n'
    (tmp_path / "set.toml").write_text(layout.format(".png"))
    (tmp_path / "vague.toml").write_text(layout.format(""))

    split = layouts.list_split(tmp_path, layouts.named(str(tmp_path / "set.toml")), "train")

    assert [(case.name, case.masks) for case in split.cases] == [("1", {"RUST": mask})]
    assert (split.orphans, split.unused) == ((), ())
    with pytest.raises(DatasetError, match=r"1\.png: a second mask beside 1\.jpg; .* name the suffix"):
        layouts.cases(tmp_path, layouts.named(str(tmp_path / "vague.toml")), "train")


def test_the_release_s_training_part_is_read_as_published(shared_data):
    cases = layouts.cases(shared_data, layouts.IDRID, "train")

    assert len(cases) == 54
    assert {code: sum(code in case.masks for case in cases) for code in CODES} == {
        "EX": 54,
        "MA": 54,
        "HE": 53,
        "SE": 26,
    }
    assert layouts.list_split(shared_data, layouts.IDRID, "train").orphans == ()
