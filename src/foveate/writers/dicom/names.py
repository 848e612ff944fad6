"""UIDs that follow from the work: the same photograph, model and settings give the same names anywhere.

Knows:   what decides a result, and how UIDs are made of it and replaced.
Ignores: what is in the objects.

UIDs are below 2.25, which anyone may use: a number of 128 bits that has the form of a UUID (PS3.5 B.2).
"""

import hashlib
import hmac
import json
import uuid

from foveate.types import Origin
from foveate.version import version
from foveate.writers.results import Order

STANDARD = "1.2.840.10008."
"""What the UIDs that the standard itself gives begin with: classes, syntaxes. They name nobody."""


def derived(origin: Origin, order: Order, what: str) -> str:
    """Return the UID of something that belongs to one photograph's result.

    It follows from the source object's UID and frame, the model package's digest, the settings, Foveate's
    version and `what`: other results never share it, the same result always has it.
    """
    return _uid(
        json.dumps(
            {
                "source": origin.uid,
                "frame": origin.frame,
                "model": order.maker.digest,
                "settings": dict(order.settings),
                "format": order.format,
                "foveate": version(),
                "what": what,
            },
            sort_keys=True,
        ).encode()
    )


def of_maker(order: Order) -> str:
    """Return the UID of the model as an observing device."""
    return _uid(f"foveate {version()} {order.maker.digest}".encode())


def replaced(uid: str, secret: bytes) -> str:
    """Return what stands in place of a UID where nobody is to be named: the same for the same secret.

    Without the secret nobody can tell which UID it was. UIDs of the standard stay.
    """
    if uid.startswith(STANDARD) or not uid:
        return uid
    return _numbered(hmac.digest(secret, uid.encode(), "sha256"))


def _uid(content: bytes) -> str:
    return _numbered(hashlib.sha256(content).digest())


def _numbered(digest: bytes) -> str:
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
