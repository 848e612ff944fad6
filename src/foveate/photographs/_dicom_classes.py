"""The SOP classes of DICOM objects that are read as photographs.

Knows:   their UIDs.
Ignores: what is in the objects, and whether pydicom is installed.
"""

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
