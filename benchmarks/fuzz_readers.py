"""Damage files at random, and read them: no crash, no hang, and no changed picture without a word.

Run:    python benchmarks/fuzz_readers.py [--kinds JPEG,PNG,TIFF,DICOM,manifest] [--count 1000] [--seed 0]
Expect: no crash, no hang, no error but a FoveateError of one line; the exit code is 1 otherwise.
        PNG and manifest: nothing changes without a word. TIFF and DICOM, uncompressed, have no checksum: a
        damaged byte changes that byte, so at most `CHANGED_SHARE` of the pixels differ. A JPEG has none
        either; how many differ by more is printed, and that share must stay below `JPEG_SHARE`.
Cost:   about five minutes on one core

Each file is damaged in one of these ways, drawn from (seed, kind, number): one bit is flipped, 1 to 16 bytes
are replaced, a run of up to 256 bytes is zeroed, or the end is cut off. It is read in a process of its own,
which is replaced if it ends or takes longer than `HANG_SECONDS`. A photograph that is read counts as

    same     no level differs by more than `SAME_LEVELS`
    warned   the field of view or a quality code differs from the sound file's
    small    at most `CHANGED_SHARE` of its pixels differ
    changed  none of these: the picture is another one, and nobody says so

A manifest that is read counts as the same if it means the same, and as warned where the package's digest,
which every result states, is another one.
"""

import argparse
import io
import multiprocessing
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import tiny_dicom
import tiny_package

import foveate
from foveate import models
from foveate.analysis import quality
from foveate.errors import FieldError, FoveateError
from foveate.geometry import field_of_view

EXAMPLE = Path(__file__).parent.parent / "examples" / "IDRiD_226.jpg"

HANG_SECONDS = 20.0
"""Longest time that reading a damaged file of 300,000 pixels may take; a sound one takes a hundredth."""

SAME_LEVELS = 2
"""Largest difference of levels, 0 to 255, that no one sees."""

CHANGED_SHARE = 0.02
"""Share of the pixels that may differ without a word: 256 bytes of a 300,000-pixel picture are .03 %, a
row of a TIFF's strip .2 %."""

JPEG_SHARE = 0.2
"""Share of damaged JPEGs that may be read as another picture: the format has no checksum."""

DAMAGE = ("bit", "bytes", "zeros", "cut")
"""Ways of damaging a file."""

BAD = ("crash", "hang", "other error")
"""Outcomes that must never occur."""


def damaged(content: bytes, generator: np.random.Generator) -> tuple[bytes, str]:
    """Return a damaged copy of a file, and what was done to it."""
    way = DAMAGE[generator.integers(len(DAMAGE))]
    copy = bytearray(content)
    start = int(generator.integers(len(copy)))
    if way == "bit":
        copy[start] ^= 1 << int(generator.integers(8))
    elif way == "bytes":
        for place in generator.integers(len(copy), size=int(generator.integers(1, 17))):
            copy[place] = int(generator.integers(256))
    elif way == "zeros":
        stop = min(len(copy), start + int(generator.integers(1, 257)))
        copy[start:stop] = bytes(stop - start)
    else:
        del copy[start:]
    return bytes(copy), f"{way} at {start} of {len(content)}"


def picture() -> np.ndarray:
    """Return a photograph of `examples/`, reduced to 640 px, so that 5,000 readings take minutes."""
    with Image.open(EXAMPLE) as image:
        return np.asarray(image.convert("RGB").resize((640, 425), Image.Resampling.BOX))


def as_image(**options: object) -> bytes:
    """Return the picture as a file of one of Pillow's formats."""
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, **options)
    return file.getvalue()


def as_dicom() -> bytes:
    """Return the picture as an uncompressed Ophthalmic Photography object."""
    with tempfile.TemporaryDirectory() as folder:
        return tiny_dicom.save(tiny_dicom.op(picture()), Path(folder) / "eye.dcm").read_bytes()


def as_manifest() -> bytes:
    """Return the manifest of a small model package."""
    with tempfile.TemporaryDirectory() as folder:
        return (tiny_package.build(Path(folder) / "tiny") / "manifest.json").read_bytes()


SOUND: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: as_image(format="JPEG", quality=90),
    "PNG": lambda: as_image(format="PNG"),
    "TIFF": lambda: as_image(format="TIFF"),
    "DICOM": as_dicom,
    "manifest": as_manifest,
}
"""Kind of file -> its sound content."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read of a photograph."""

    pixels: np.ndarray
    words: tuple[str, ...]
    """Quality codes, or that there is no field of view."""


def read(path: Path) -> Reading:
    """Read a photograph, and what the software would say about it."""
    photograph = foveate.read(path)
    try:
        words = quality.assess(photograph, field_of_view.find(photograph.pixels))
    except FieldError:
        words = ("no field",)
    return Reading(pixels=photograph.pixels, words=words)


def compare(sound: Reading, found: Reading) -> str:
    """Return the outcome for a damaged photograph that was read."""
    if found.pixels.shape != sound.pixels.shape:
        return "warned" if found.words != sound.words else "changed"
    apart = np.abs(found.pixels.astype(np.int16) - sound.pixels).max(axis=-1) > SAME_LEVELS
    if not apart.any():
        return "same"
    if found.words != sound.words:
        return "warned"
    return "small" if apart.mean() <= CHANGED_SHARE else "changed"


def outcome_of_manifest(folder: Path, content: bytes) -> str:
    """Return the outcome for a damaged manifest in a package's folder."""
    sound = models.load(folder)
    (folder / "manifest.json").write_bytes(content)
    found = models.load(folder)
    is_same = (found.contract, found.decisions) == (sound.contract, sound.decisions)
    return "same" if is_same else "warned" if found.digest != sound.digest else "changed"


def judge(kind: str, content: bytes, path: Path, sound: Reading | None) -> str:
    """Return the outcome for one damaged file, with the message of an error of another kind."""
    try:
        if sound is None:
            return outcome_of_manifest(tiny_package.build(path / "tiny"), content)
        path.write_bytes(content)
        return compare(sound, read(path))
    except FoveateError as error:
        return "refused" if "\n" not in str(error) else f"other error: several lines: {error!r}"
    except Exception as error:  # what the fuzz looks for
        return f"other error: {type(error).__name__}: {error}"


def work(connection, kind: str, seed: int) -> None:
    """Read damaged files by their numbers, as a process of its own."""
    content = SOUND[kind]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "eye"
        sound = None
        if kind != "manifest":
            path.write_bytes(content)
            sound = read(path)
        while (number := connection.recv()) is not None:
            case, _ = damaged(content, generator_of(seed, kind, number))
            connection.send(judge(kind, case, folder / str(number) if sound is None else path, sound))


def generator_of(seed: int, kind: str, number: int) -> np.random.Generator:
    """Return the generator that draws the damage of one file."""
    return np.random.default_rng([seed, zlib.crc32(kind.encode()), number])


class Reader:
    """A process that reads damaged files of one kind, and is replaced when it ends or hangs."""

    def __init__(self, kind: str, seed: int) -> None:
        self._arguments = kind, seed
        self._start()

    def outcome(self, number: int) -> str:
        """Return the outcome for the file of a number."""
        self._connection.send(number)
        try:
            if self._connection.poll(HANG_SECONDS):
                return self._connection.recv()
            outcome = "hang"
        except EOFError:
            outcome = "crash"
        self.close()
        self._start()
        return outcome

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=work, args=(other, *self._arguments), daemon=True)
        self._process.start()
        other.close()


def fuzz(kind: str, count: int, seed: int) -> Counter:
    """Return how often each outcome occurred; print what must not occur."""
    content, reader, outcomes = SOUND[kind](), Reader(kind, seed), Counter()
    for number in range(count):
        outcome = reader.outcome(number)
        short = outcome.partition(":")[0]
        outcomes[short] += 1
        if short in BAD or (short == "changed" and kind != "JPEG"):
            _, what = damaged(content, generator_of(seed, kind, number))
            print(f"{kind} {number} ({what}): {outcome}", flush=True)
    reader.close()
    return outcomes


def main(kinds: list[str], count: int, seed: int) -> int:
    """Print the outcomes of each kind of file; return the exit code."""
    failed = False
    for kind in kinds:
        outcomes = fuzz(kind, count, seed)
        failed |= any(outcomes[bad] for bad in BAD)
        failed |= outcomes["changed"] > (JPEG_SHARE * count if kind == "JPEG" else 0)
        counts = ", ".join(f"{number} {name}" for name, number in outcomes.most_common())
        print(f"{kind}: {count} damaged files: {counts}", flush=True)
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(SOUND), help="kinds of files, with commas between them")
    parser.add_argument("--count", type=int, default=1000, help="damaged files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(main(options.kinds.split(","), options.count, options.seed))
