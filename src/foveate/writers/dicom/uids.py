"""UIDs derived from the request: the same photograph, model and settings give the same UIDs everywhere.

Knows:   what decides a result, how UIDs are derived from it, and how they are replaced.
Ignores: what the objects contain.

All UIDs are below 2.25, which anyone may use: a UUID as a decimal number (PS3.5 B.2).
"""

import hashlib
import hmac
import json
import uuid

from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

from foveate.types import DicomOrigin
from foveate.version import version
from foveate.writers.results import PredictRequest


def derived_uid(origin: DicomOrigin, request: PredictRequest, role: str) -> str:
    """Return the UID of an object, series or tracking item that belongs to one photograph's result.

    It is a hash of the source object's UID and frame, the model package's digest, the settings, Foveate's
    version and `role`: the same result always has this UID, and no other result does.
    """
    return _hashed_uid(
        json.dumps(
            {
                "source": origin.uid,
                "frame": origin.frame,
                "model": request.provenance.digest,
                "settings": dict(request.settings),
                "format": request.format,
                "foveate": version(),
                "what": role,
            },
            sort_keys=True,
        ).encode()
    )


def model_uid(request: PredictRequest) -> str:
    """Return the UID of the model as an observing device."""
    return _hashed_uid(f"foveate {version()} {request.provenance.digest}".encode())


def pseudonym(uid: str, secret: bytes) -> str:
    """Return the UID that replaces another one in de-identified objects: the same for the same secret.

    Without the secret, the replaced UID cannot be determined. UIDs that the standard lists (PS3.6 Annex A),
    such as classes and syntaxes, are returned unchanged: they identify no patient.
    """
    if uid in UID_dictionary or not uid:
        return uid
    return _uid_from_digest(hmac.digest(secret, uid.encode(), "sha256"))


def _hashed_uid(content: bytes) -> str:
    return _uid_from_digest(hashlib.sha256(content).digest())


def _uid_from_digest(digest: bytes) -> str:
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
