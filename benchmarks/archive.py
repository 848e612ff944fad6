"""A clinic's round trip through a real archive: photographs pulled and predicted, results pushed and queried.

    python benchmarks/archive.py PHOTOGRAPHS... --out FOLDER [--count 50] [--model NAME|FOLDER]

Starts an Orthanc on loopback, with a password (Debian's orthanc and orthanc-dicomweb), puts COUNT Ophthalmic
Photography objects into it, two to a study, each with a JPEG photograph as the camera stored it, and runs
the command line: `dicom pull`, `predict --dicom seg,sr`, `dicom push`, and all three again. Printed is what
each step took; the run fails where a result is not found by QIDO, the second run stores anything, an object
does not pass dciodvfy (Debian's dicom3tools), or a mask read back by highdicom is not the mask's PNG.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import highdicom
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import tiny_archive
import tiny_dicom

from foveate.dicom.connection import Archive, Credentials

FOVEATE = (sys.executable, "-m", "foveate")


def fill(archive: tiny_archive.Orthanc, photographs: list[Path], count: int, folder: Path) -> None:
    """Put objects into an archive; photographs are repeated, as other objects, if there are too few."""
    for number in range(count):
        path = photographs[number % len(photographs)]
        pixels = np.asarray(Image.open(path).convert("RGB"))
        dicom_object = tiny_dicom.as_jpeg(tiny_dicom.op(pixels, number, study=number // 2), path.read_bytes())
        file = tiny_dicom.save(dicom_object, folder / "filling.dcm")
        archive.put(file.read_bytes())


def run_timed(*arguments: str) -> tuple[float, str]:
    """Run a command of Foveate; return its seconds and the last line that it prints."""
    start = time.monotonic()
    process = subprocess.run([*FOVEATE, *arguments], check=True, capture_output=True, text=True)
    return time.monotonic() - start, process.stdout.strip().splitlines()[-1]


def check_results(out: Path) -> dict[str, int]:
    """Check every object with dciodvfy, and every Segmentation against the masks."""
    paths = sorted((out / "dicom").rglob("*.dcm"))
    errors = masks = 0
    for path in paths:
        report = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        errors += sum(line.startswith("Error") for line in report.splitlines())
        if path.stem.endswith("_SEG"):
            segments = highdicom.seg.segread(path)
            key = path.relative_to(out / "dicom").as_posix().removesuffix("_SEG.dcm")
            for number in segments.segment_numbers:
                code = segments.get_segment_description(number).tracking_id
                mask = np.asarray(Image.open(out / "masks" / f"{key}_{code}.png")) == 255
                assert np.array_equal(segments.pixel_array[number - 1] == 1, mask), (path, code)
                masks += 1
    assert errors == 0, errors
    return {"objects": len(paths), "dciodvfy_errors": errors, "masks_equal": masks}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--model", default="idrid")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    secret = options.out / "password"
    secret.write_text(tiny_archive.PASSWORD)
    login = ("--user", tiny_archive.USER, "--password-file", str(secret))
    photographs, results = str(options.out / "photographs"), str(options.out / "results")
    predict = ("predict", photographs, "--out", results, "--dicom", "seg,sr", "--model", options.model)
    with tiny_archive.Orthanc(options.out / "orthanc") as archive:
        fill(archive, options.photographs, options.count, options.out)
        figures: dict[str, object] = {"photographs": options.count, "objects_at_first": archive.count()}
        figures["pull_s"], _ = run_timed(
            "dicom", "pull", archive.url, "--out", photographs, "--date", "19000101-", *login
        )
        figures["predict_s"], _ = run_timed(*predict)
        figures["push_s"], figures["pushed"] = run_timed("dicom", "push", results, archive.url, *login)
        figures["objects_then"] = archive.count()
        client = Archive(archive.url, Credentials(user=tiny_archive.USER, password=tiny_archive.PASSWORD))
        figures["found_by_qido"] = sum(len(client.results(study)) for study in client.studies())
        figures["second_pull_s"], figures["pulled_again"] = run_timed(
            "dicom", "pull", archive.url, "--out", photographs, "--date", "19000101-", *login
        )
        figures["second_predict_s"], _ = run_timed(*predict, "--resume")
        figures["second_push_s"], figures["pushed_again"] = run_timed(
            "dicom", "push", results, archive.url, *login
        )
        figures["objects_at_last"] = archive.count()
    figures |= check_results(Path(results))
    assert figures["found_by_qido"] == figures["objects"] == 2 * options.count
    assert figures["objects_at_last"] == figures["objects_then"] == 3 * options.count
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
