"""Foveate's version.

Knows:   the metadata of the installed package.
Ignores: everything else.
"""

from importlib import metadata


def version() -> str:
    """Return Foveate's version; '0+source' if the code runs without being installed."""
    try:
        return metadata.version("foveate")
    except metadata.PackageNotFoundError:
        return "0+source"


__version__ = version()
