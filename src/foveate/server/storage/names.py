"""The name of a photograph: what people read, and what files are called.

Knows:   which letters are safe where.
Ignores: photographs.

Names come from other people's files. What people read is kept as it is, but for control characters; it is
only ever handed on as JSON or escaped. What files are called holds letters, digits, '-', '_' and '.' alone.
"""

import unicodedata
from urllib.parse import unquote

LONGEST = 120
"""Letters of a name: with a suffix, fewer bytes than the 255 that file systems take, whatever the script."""

UNNAMED = "photograph"


def of_header(value: str | None) -> str:
    """Return the name of a percent-encoded file name; of a path its last part, without the ending."""
    return of_file(unquote(value or "", errors="replace"))


def of_file(name: str) -> str:
    """Return what people read: the last part of a path, without its ending."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    letters = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip()
    stem, dot, ending = letters.rpartition(".")
    named = stem if dot and stem and len(ending) <= 5 else letters
    return named[:LONGEST].strip() or UNNAMED


def of_batch(name: str) -> str:
    """Return what people read of a batch's name."""
    letters = "".join(letter for letter in name if unicodedata.category(letter)[0] != "C").strip()
    return letters[:LONGEST]


def key(name: str) -> str:
    """Return what files are called: ASCII letters, digits, '-', '_', '.', and no dot in front."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in ascii_name)
    return safe.lstrip(".")[:LONGEST].rstrip(".") or UNNAMED


def unused_key(key: str, keys: frozenset[str]) -> str:
    """Return a key that is not taken, whatever the case of letters: 'left', 'left-2', 'left-3' ..."""
    lower = {key_taken.lower() for key_taken in keys}
    number, candidate = 1, key
    while candidate.lower() in lower:
        number += 1
        candidate = f"{key}-{number}"
    return candidate
