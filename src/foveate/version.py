"""Which Foveate this is.

Knows:   what the installation says.
Ignores: everything else.
"""

from importlib import metadata


def version() -> str:
    """Return Foveate's version; '0+source' where the code runs without having been installed."""
    try:
        return metadata.version("foveate")
    except metadata.PackageNotFoundError:
        return "0+source"


__version__ = version()
