"""One rule says when results may be written to a target, for folders and for buckets."""

import pytest

from foveate import photographs
from foveate.errors import OutputError
from foveate.inference import targets

RUN, MANIFEST = targets.RUN_FILE, photographs.MANIFEST_FILE


def require_free(present, records, *, resume):
    targets.require_free("out", present, records, resume=resume, no_record="no run.json")


@pytest.mark.parametrize("resume", [False, True])
def test_a_target_without_results_is_free(resume):
    require_free([], {}, resume=resume)


@pytest.mark.parametrize("records", [{RUN: True}, {MANIFEST: True}, {MANIFEST: True, RUN: True}])
def test_a_recorded_run_is_continued_only_on_request(records):
    present = [*records, "masks"]

    require_free(present, records, resume=True)
    with pytest.raises(OutputError, match=rf"^out: already contains {present[0]}; continue that run with"):
        require_free(present, records, resume=False)


@pytest.mark.parametrize("resume", [False, True])
def test_results_without_a_record_of_a_run_are_never_continued(resume):
    with pytest.raises(OutputError, match=r"^out: already contains masks but no run\.json, so there is"):
        require_free(["masks", "summary.csv"], {}, resume=resume)


@pytest.mark.parametrize("resume", [False, True])
def test_a_record_of_another_program_is_named(resume):
    with pytest.raises(OutputError, match=r"^out: already contains run\.json of another program; choose"):
        require_free([MANIFEST, RUN], {MANIFEST: True, RUN: False}, resume=resume)


def write(path, content=b'{"foveate": "0"}'):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_run_of_workers_is_no_run_of_one_machine_until_it_has_ended(tmp_path):
    write(tmp_path / MANIFEST)

    assert targets.holds_run_of_workers(tmp_path)
    with pytest.raises(OutputError, match="holds an unfinished run of workers"):
        targets.require_free_folder(tmp_path, resume=True)
    write(tmp_path / RUN)
    targets.require_free_folder(tmp_path, resume=True)


@pytest.mark.parametrize("name", [RUN, MANIFEST])
def test_a_single_result_is_not_saved_into_the_folder_of_a_run(tmp_path, name):
    targets.require_no_run(tmp_path)
    write(tmp_path / name)

    with pytest.raises(OutputError, match="holds a run of predict"):
        targets.require_no_run(tmp_path)
