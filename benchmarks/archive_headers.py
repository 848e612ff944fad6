"""Objects with rare and invalid headers through a real archive: pulled, predicted and pushed, and watched.

Run:    python benchmarks/archive_headers.py OUT
Data:   one drawn photograph with each header of `tests/cases/test_dicom_cases.py`
Expect: every object that the archive accepts is done or named in one line; the exit code is 1 otherwise
Needs:  Debian's orthanc and orthanc-dicomweb
Cost:   a few minutes on one core
"""

import argparse
import datetime
import json
import sys
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cases"))

import test_dicom_cases as cases
import tiny_archive
import tiny_dicom
import tiny_package

import foveate
from foveate.dicom import transfer, watch
from foveate.dicom.connection import Archive, Credentials
from foveate.writers import DicomRequest

OBJECTS = DicomRequest(kinds=("seg", "sr"), created=datetime.datetime(2026, 1, 2))

VARIANTS = {
    **{name: values for name, (values, _) in cases.HEADERS.items()},
    **{name: values for name, (values, _) in cases.REFUSED.items()},
    "angiogram": {"ImageType": b"ORIGINAL\\PRIMARY\\\\FA"},
}
"""Name of a variant -> raw values of its header."""


def fill(orthanc: tiny_archive.Orthanc) -> int:
    """Put an object of each variant into the archive, a study each; return how many it accepts."""
    accepted = 0
    for number, (name, values) in enumerate(VARIANTS.items()):
        dataset = tiny_dicom.op(cases.FUNDUS, number, study=number)
        try:
            orthanc.put(cases.with_values(dataset, values))
            accepted += 1
        except requests.HTTPError as error:
            print(f"  the archive refuses {name}: {error.response.status_code}")
    return accepted


def connect(orthanc: tiny_archive.Orthanc) -> Archive:
    return Archive(orthanc.url, Credentials(user=tiny_archive.USER, password=tiny_archive.PASSWORD))


def pull_predict_push(out: Path, model: foveate.Model) -> bool:
    """Print what pull, predict and push do with all variants; return whether none is unaccounted for."""
    with tiny_archive.Orthanc(out / "orthanc-1") as orthanc:
        accepted, archive = fill(orthanc), connect(orthanc)
        held = orthanc.count()
        pulled = transfer.pull(archive, out / "pulled", archive.studies())
        report = model.predict([out / "pulled"], out / "predicted", objects=OBJECTS)
        pushed = transfer.push(archive, out / "predicted")
        again = transfer.push(archive, out / "predicted")
        total = orthanc.count()
    done = len(report.rows) - len(report.failures)
    print(f"accepted {accepted} of {len(VARIANTS)}, held as {held} objects")
    print(f"pull: {pulled.transferred} fetched, {len(pulled.refused)} refused")
    print(f"predict: {done} done, {len(report.failures)} failed")
    print(
        f"push: {pushed.transferred} stored, {len(pushed.refused)} refused; again: {again.transferred} stored"
    )
    for line in (*pulled.refused, *(row.error for row in report.failures), *pushed.refused):
        print(f"  {line}")
    return (
        pulled.transferred + len(pulled.refused) == held
        and len(report.rows) == pulled.transferred
        and pushed.transferred == 2 * done - len(pushed.refused)
        and again.transferred == 0
        and total == held + pushed.transferred
    )


def watch_once(out: Path, model: foveate.Model) -> bool:
    """Print what a watcher does with all variants; return whether none is unaccounted for."""
    with tiny_archive.Orthanc(out / "orthanc-2") as orthanc:
        fill(orthanc)
        held = orthanc.count()
        task = watch.WatchTask(archive=connect(orthanc), model=model, out=out / "watched", objects=OBJECTS)
        count, again, total = watch.process_new(task), watch.process_new(task), orthanc.count()
    path = out / "watched" / watch.SET_ASIDE
    set_aside = json.loads(path.read_text()) if path.exists() else {}
    print(f"watch: {count} done, {len(set_aside)} set aside; again: {again} done")
    for line in set_aside.values():
        print(f"  {line}")
    return count + len(set_aside) == held and again == 0 and total == held + 2 * count


def main(out: Path) -> int:
    """Return the exit code."""
    model = foveate.load(tiny_package.build(out / "tiny"), engine="onnx", threads=1)
    results = [pull_predict_push(out, model), watch_once(out, model)]
    return int(not all(results))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    sys.exit(main(parser.parse_args().out))
