"""The names of a photograph: the one that people read, and the one of its files.

Knows:   which characters are safe in which name.
Ignores: photographs.

Names come from other people's files. The name that people read is kept, except for control characters; it is
passed on only as JSON or escaped. The names of files contain only letters and digits of any script, '-', '_'
and '.'. Latin letters lose their accents, which file systems and zip programs encode in several ways.
"""

import os
import re
import unicodedata
from typing import Literal
from urllib.parse import unquote

from foveate import photographs

LONGEST = 120
"""Maximum number of characters of a name that people read."""

LONGEST_KEY = 120
"""Maximum number of bytes of a file name without its suffixes; file systems accept 255 with them."""

UNNAMED = "photograph"

Eye = Literal["right", "left"]

EYES: dict[str, Eye] = {
    **dict.fromkeys(("od", "right", "rechts", "r"), "right"),
    **dict.fromkeys(("os", "left", "links", "l"), "left"),
}
"""Words of a file's name that state the eye: oculus dexter, oculus sinister, and words that cameras write."""

RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever their suffix: it cannot unpack a zip with such files."""

WORD = re.compile(r"(?<![^\W_])(?:[rl](?![^\W_])|[^\W\d_]{2,})")
"""A word of a name; 'r' and 'l' count only where no digit follows, since 'R1' is a grade of retinopathy."""


def of_header(value: str | None) -> str:
    """Return the name that people read, made from a percent-encoded file name or path."""
    return of_file(unquote(value or "", errors="replace"))


def of_file(name: str) -> str:
    """Return the name that people read: the last part of a path, without the suffix of a photograph."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    letters = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip()
    return photographs.without_suffix(letters)[:LONGEST].strip() or UNNAMED


def eye(name: str) -> Eye | None:
    """Return the eye that a name states as a separate word, as in 'P12_OD_macula' or 'left eye'; else None.

    The result is also None if the name states both eyes.
    """
    stated = {EYES[word] for word in WORD.findall(name.lower()) if word in EYES}
    return stated.pop() if len(stated) == 1 else None


def of_batch(name: str) -> str:
    """Return the name of a batch that people read: without control characters, and shortened."""
    letters = "".join(letter for letter in name if unicodedata.category(letter)[0] != "C").strip()
    return letters[:LONGEST]


def of_note(note: str) -> str:
    """Return a note without control characters other than line ends."""
    return "".join(letter for letter in note if letter == "\n" or unicodedata.category(letter)[0] != "C")


def key(name: str) -> str:
    """Return a name for files: letters and digits of any script, '-', '_' and '.', without a leading dot."""
    safe = ""
    for letter in unicodedata.normalize("NFC", name):
        folded = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
        if unicodedata.category(letter)[0] == "M":
            safe += "" if safe[-1:].isascii() else letter  # an accent of a Latin letter is dropped
        else:
            safe += "".join(_safe(part) for part in folded or letter)
    key = _shortened(safe.lstrip(".")).rstrip(".") or UNNAMED
    return f"_{key}" if RESERVED.fullmatch(key) else key


def _safe(letter: str) -> str:
    """Return a letter, or '_' in place of one that file names must not hold."""
    if not (letter.isalnum() or letter in "-_."):
        return "_"
    try:
        os.fsencode(letter)
    except UnicodeEncodeError:  # the system's encoding lacks it
        return "_"
    return letter


def _shortened(key: str) -> str:
    """Return the beginning of a key, of at most LONGEST_KEY bytes."""
    return key.encode()[:LONGEST_KEY].decode(errors="ignore")


def unused_key(key: str, keys: frozenset[str]) -> str:
    """Return a key that is not taken, ignoring case: 'left', 'left-2', 'left-3' ..."""
    lower = {key_taken.lower() for key_taken in keys}
    number, candidate = 1, key
    while candidate.lower() in lower:
        number += 1
        candidate = f"{key}-{number}"
    return candidate
