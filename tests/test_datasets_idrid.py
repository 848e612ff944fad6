"""IDRiD's folders are read as they were released."""

import pytest
import tiny_set

from foveate.datasets import layouts
from foveate.errors import DatasetError


def test_cases_are_listed_by_name_with_the_masks_that_exist(tmp_path):
    cases = tiny_set.write(tmp_path)

    assert [case.name for case in cases] == ["IDRiD_01", "IDRiD_02", "IDRiD_03"]
    assert [sorted(case.masks) for case in cases] == [
        ["EX", "HE", "MA", "SE"],
        ["EX", "HE", "MA"],
        ["EX", "MA"],
    ]
    for case in cases:
        assert case.photograph.name == f"{case.name}.jpg"
        for code, path in case.masks.items():
            assert path.name == f"{case.name}_{code}.tif"
            assert path.is_file()


def test_the_folder_above_will_do(tmp_path):
    tiny_set.write(tmp_path / "idrid")

    assert layouts.cases(tmp_path, layouts.IDRID, "train") == layouts.cases(
        tmp_path / "idrid", layouts.IDRID, "train"
    )


def test_a_folder_laid_out_otherwise_is_refused(tmp_path):
    with pytest.raises(
        DatasetError,
        match=r"has no folder 'A\. Segmentation/1\. Original Images/a\. Training Set' or .*; give the folder",
    ):
        layouts.cases(tmp_path, layouts.IDRID, "train")


def test_a_part_without_photographs_is_refused(tmp_path):
    tiny_set.write(tmp_path)

    with pytest.raises(DatasetError, match=r"no photograph of split test, because .*b\. Testing Set/\*'"):
        layouts.cases(tmp_path, layouts.IDRID, "test")


def test_the_release_has_54_photographs_to_train_on_and_masks_as_published(shared_data):
    cases = layouts.cases(shared_data, layouts.IDRID, "train")

    assert [case.name for case in cases] == [f"IDRiD_{number:02}" for number in range(1, 55)]
    counts = {code: sum(code in case.masks for case in cases) for code in ("EX", "HE", "MA", "SE")}
    assert counts == {"EX": 54, "HE": 53, "MA": 54, "SE": 26}
