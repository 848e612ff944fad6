"""The name of a photograph: as people read it, and as its files are named.

Knows:   which letters are safe in which place.
Ignores: photographs.

Names come from other people's files. What people read is kept as it is, but for control characters; it is
only ever handed on as JSON or escaped. What files are called holds letters and digits of any script, '-', '_'
and '.' alone; Latin letters lose their accents, which file systems and zip programs spell in several ways.
"""

import os
import re
import unicodedata
from typing import Literal
from urllib.parse import unquote

LONGEST = 120
"""Letters of a name as people read it."""

LONGEST_KEY = 120
"""Bytes of a file's name without its suffixes; file systems take 255 with them."""

UNNAMED = "photograph"

Eye = Literal["right", "left"]

EYES: dict[str, Eye] = {
    **dict.fromkeys(("od", "right", "rechts", "r"), "right"),
    **dict.fromkeys(("os", "left", "links", "l"), "left"),
}
"""Words of a file's name that state the eye: oculus dexter, oculus sinister, and what cameras write."""

WORD = re.compile(r"(?<![^\W_])(?:[rl](?![^\W_])|[^\W\d_]{2,})")
"""A word of a name; 'r' and 'l' count only where no digit follows, since 'R1' is a grade of retinopathy."""


def of_header(value: str | None) -> str:
    """Return the name of a percent-encoded file name; of a path its last part, without the ending."""
    return of_file(unquote(value or "", errors="replace"))


def of_file(name: str) -> str:
    """Return the name that people read: the last part of a path, without its ending."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    letters = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip()
    stem, dot, ending = letters.rpartition(".")
    without_suffix = stem if dot and stem and len(ending) <= 5 else letters
    return without_suffix[:LONGEST].strip() or UNNAMED


def eye(name: str) -> Eye | None:
    """Return the eye that a name states as a word of its own: 'P12_OD_macula', 'left eye'; else None.

    A name that states both eyes states none.
    """
    stated = {EYES[word] for word in WORD.findall(name.lower()) if word in EYES}
    return stated.pop() if len(stated) == 1 else None


def of_batch(name: str) -> str:
    """Return a batch's name as people read it."""
    letters = "".join(letter for letter in name if unicodedata.category(letter)[0] != "C").strip()
    return letters[:LONGEST]


def of_note(note: str) -> str:
    """Return what people read of a note: control characters but line ends are dropped."""
    return "".join(letter for letter in note if letter == "\n" or unicodedata.category(letter)[0] != "C")


def key(name: str) -> str:
    """Return a name for files: letters and digits of any script, '-', '_', '.', and no dot in front."""
    safe = ""
    for letter in unicodedata.normalize("NFC", name):
        folded = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
        if unicodedata.category(letter)[0] == "M":
            safe += "" if safe[-1:].isascii() else letter  # an accent of a Latin letter is dropped
        else:
            safe += "".join(_safe(part) for part in folded or letter)
    return _shortened(safe.lstrip(".")).rstrip(".") or UNNAMED


def _safe(letter: str) -> str:
    """Return a letter, or '_' in place of one that file names must not hold."""
    if not (letter.isalnum() or letter in "-_."):
        return "_"
    try:
        os.fsencode(letter)
    except UnicodeEncodeError:  # the system is set to an encoding that lacks it
        return "_"
    return letter


def _shortened(key: str) -> str:
    """Return the beginning of a key, of at most LONGEST_KEY bytes."""
    return key.encode()[:LONGEST_KEY].decode(errors="ignore")


def unused_key(key: str, keys: frozenset[str]) -> str:
    """Return a key that is not taken, whatever the case of letters: 'left', 'left-2', 'left-3' ..."""
    lower = {key_taken.lower() for key_taken in keys}
    number, candidate = 1, key
    while candidate.lower() in lower:
        number += 1
        candidate = f"{key}-{number}"
    return candidate
