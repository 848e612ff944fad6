"""When the folder or bucket of a run is free, or holds a run that can be continued.

Knows:   what a run writes at the top of its target, and which of these files record a run.
Ignores: which photographs a run has, and how a bucket is read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from foveate import photographs
from foveate.errors import OutputError
from foveate.paths import display_path, exists
from foveate.writers import result_paths

RUN_FILE = "run.json"
"""The first file that a run without workers writes, and the last that one with workers writes."""

RESULTS = (*result_paths.FOLDERS, "summary.csv", "index.html", RUN_FILE)
"""The folders and files that a run writes to its output folder; a folder that holds none of them is free."""


def require_free(
    place: str, present: Sequence[str], records: Mapping[str, bool], *, resume: bool, no_record: str
) -> None:
    """Raise OutputError if results would mix with those of another run, or with the user's own files.

    Args:
        place: the target, as messages show it.
        present: names of the results and records of runs that the target holds.
        records: those of `present` that record a run -> whether Foveate wrote it.
        resume: whether an earlier run is to be continued.
        no_record: what a message says of a target without any record.
    """
    for name, is_ours in records.items():
        if not is_ours:
            raise OutputError(f"{place}: already contains {name} of another program; choose another --out")
    if present and not records:
        raise OutputError(
            f"{place}: already contains {present[0]} but {no_record}, so there is no run to --resume; "
            "choose another --out"
        )
    if present and not resume:
        raise OutputError(
            f"{place}: already contains {present[0]}; continue that run with --resume, or choose another "
            "--out"
        )


def require_free_folder(out: Path, *, resume: bool) -> None:
    """Raise OutputError unless a run without workers may write to a folder.

    Args:
        out: the output folder.
        resume: whether an earlier run is to be continued.
    """
    present = [name for name in RESULTS if exists(out / name)]
    if RUN_FILE not in present and holds_run_of_workers(out):
        raise OutputError(
            f"{display_path(out)}: holds an unfinished run of workers; resume it with --on and --resume, "
            "or choose another --out"
        )
    records = {RUN_FILE: photographs.is_result_file(out, RUN_FILE)} if RUN_FILE in present else {}
    require_free(display_path(out), present, records, resume=resume, no_record=f"no {RUN_FILE}")


def require_no_run(out: Path) -> None:
    """Raise OutputError if a folder holds a run: only its summary lists photographs that failed."""
    if exists(out / RUN_FILE) or holds_run_of_workers(out):
        raise OutputError(
            f"{display_path(out)}: holds a run of predict, which --resume continues; choose another folder"
        )


def holds_run_of_workers(out: Path) -> bool:
    """Return whether a folder holds a run of `predict --on`, which writes run.json only at its end."""
    return photographs.is_result_file(out, photographs.MANIFEST_FILE)
