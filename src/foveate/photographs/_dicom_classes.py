"""The SOP classes of DICOM objects that are read as photographs, and how many photographs one may hold.

Knows:   their UIDs, which numbers of frames are not believed, and where their elements begin.
Ignores: what is in the objects, and whether pydicom is installed.
"""

import os
from io import BufferedReader

OPHTHALMIC_CLASSES = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")
"""Ophthalmic Photography 8 Bit and 16 Bit Image Storage."""

PHOTOGRAPH_CLASSES = frozenset(
    {
        *OPHTHALMIC_CLASSES,
        "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
        "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color Secondary Capture
    }
)
"""SOP classes that are read."""

MAX_FRAMES = 10_000
"""Largest number of photographs that one object may state. The largest known, films of an angiography, hold
some hundred; a false number of frames would make a list without end."""

FIRST_GROUP = 0x0008
"""First group of elements in an object. Those below it belong to network messages and to the head of a file;
zeros after an object, to which some systems pad files, are read as elements of group 0000."""

SMALLEST_FRAME = 64
"""Bytes that one frame takes at least: the header of one in RLE, and less than any other compresses to."""


def is_plausible(count: int, file: BufferedReader) -> bool:
    """Return whether a DICOM file may hold as many frames as it states."""
    return count == 1 or count <= min(MAX_FRAMES, os.fstat(file.fileno()).st_size // SMALLEST_FRAME)
