"""`foveate dicom key`.

Knows:   how a secret is made.
Ignores: what it is used for.
"""

import os
import secrets
from pathlib import Path

from foveate.errors import OutputError
from foveate.paths import valid_path

KEY_BYTES = 32
"""Length of a new secret: that of the digest that is made with it."""


def make_key(path: Path) -> int:
    """Write a new secret to a file that only its owner can read, and return the exit code.

    Raises:
        OutputError: the file exists, or cannot be created.
    """
    try:
        descriptor = os.open(valid_path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be created ({error.strerror}); choose another name or folder"
        ) from None
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
    except OSError as error:
        path.unlink(missing_ok=True)  # half a secret is none
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); make room, then try again"
        ) from None
    print(
        f"{path}: secret written; keep it. The same secret gives a study the same new UIDs every time, and "
        "nobody without it can tell which study they belong to"
    )
    return 0
