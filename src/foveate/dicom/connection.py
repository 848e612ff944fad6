"""One DICOMweb service: what is in it, out of it, into it.

Knows:   QIDO-RS, WADO-RS and STOW-RS through dicomweb-client, and what each refusal means to who reads it.
Ignores: which photographs are wanted, and where they are put.

Source: PS3.18; failure reasons of STOW-RS are those of PS3.4 annex B.2.3 and PS3.18 table I.2-2.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import add_certs_to_session, create_session, create_session_from_user_pass
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from foveate.errors import ArchiveAwayError, ArchiveError
from foveate.photographs import TAKEN

TIMEOUT = (10, 120)
"""Seconds to wait for a connection, and for the next byte of an answer: disks may be slow."""

ONE_PIECE = 1 << 31
"""Bytes of a request that is sent as it is: in chunks it could not be sent again."""

PHOTOGRAPHIC = frozenset({"OP", "XC", "OT", "SC"})
"""Modalities of series in which photographs may lie."""

RESULTS = frozenset({"SEG", "SR"})
"""Modalities of series in which results lie."""

_NO_ROOM = range(0xA700, 0xA800)
"""STOW-RS: failure reasons that mean 'out of resources'."""

_AWAY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
"""Answers of what stands before an archive while the archive itself is away."""


_WIRE = (
    *("Connection refused", "Name or service not known", "timed out", "reset by peer"),
    *("self-signed certificate", "self signed certificate", "CERTIFICATE_VERIFY_FAILED", "closed"),
)
"""What errors of the network say that a reader understands."""

_MEANT: Mapping[HTTPStatus, str] = {
    HTTPStatus.UNAUTHORIZED: "refuses this user or password; check --user and --password-file",
    HTTPStatus.FORBIDDEN: "refuses this user; ask who runs it for permission",
    HTTPStatus.NOT_FOUND: "has nothing there; give the root of the service, such as http://host:8042/dicom-web",
    HTTPStatus.INSUFFICIENT_STORAGE: "has no room left; ask who runs it, then try again",
}
"""Refusals that say what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Who asks."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    """Sent as 'Authorization: Bearer'."""
    authority: Path | None = None
    """Certificates by which the archive's own is checked, where it is none of the system's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """One object in the archive."""

    study: str
    series: str
    uid: str
    kind: str
    """SOP Class UID."""
    frames: int
    """1 where that is not stated."""


class Archive:
    """A DICOMweb service that is asked as one user."""

    def __init__(self, url: str, access: Access = Access()) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            url: of the service, such as http://host:8042/dicom-web.
            access: who asks.

        Raises:
            ArchiveError: the address makes no sense, or the authority's file is missing.
        """
        self.url = url.rstrip("/")
        session = (
            create_session()
            if access.user is None
            else create_session_from_user_pass(access.user, access.password or "")
        )
        session.trust_env = False  # neither ~/.netrc nor a proxy gets the patient's data
        if access.token is not None:
            session.headers["Authorization"] = f"Bearer {access.token}"
        if access.authority is not None:
            if not access.authority.is_file():
                raise ArchiveError(f"{access.authority}: no such file; name the authority's certificates")
            session = add_certs_to_session(session, ca_bundle=str(access.authority))
        try:
            self._client = DICOMwebClient(
                self.url, session=session, chunk_size=ONE_PIECE, timeout=TIMEOUT, permissive_uid=True
            )
        except ValueError:
            raise ArchiveError(f"{url}: is no address; give one such as http://host:8042/dicom-web") from None
        self._client.set_http_retry_params(retry=False)
        logging.getLogger("dicomweb_client").setLevel(logging.ERROR)

    def studies(self, *, date: str | None = None) -> tuple[str, ...]:
        """Return the UIDs of studies, sorted.

        Args:
            date: 'YYYYMMDD', or a range 'YYYYMMDD-YYYYMMDD' of which one end may be left out; all, if None.

        Raises:
            ArchiveError, ArchiveAwayError: the archive refuses, or does not answer.
        """
        filters = {} if date is None else {"StudyDate": date}
        with self._answers():
            found = self._client.search_for_studies(search_filters=filters, get_remaining=True)
        return tuple(sorted({_text(one, "0020000D") for one in found}))

    def objects(self, study: str, modalities: frozenset[str]) -> tuple[Held, ...]:
        """Return the objects of a study's series of some modalities, in the order of their UIDs.

        Raises:
            ArchiveError, ArchiveAwayError: the archive refuses, or does not answer.
        """
        held: list[Held] = []
        with self._answers():
            for series in self._client.search_for_series(study, fields=["Modality"], get_remaining=True):
                if _text(series, "00080060") in modalities:
                    held += self._of_series(study, _text(series, "0020000E"))
        return tuple(sorted(held, key=lambda one: one.uid))

    def photographs(self, study: str) -> tuple[Held, ...]:
        """Return what may be photographs by its class; whether it is one, its header tells."""
        return tuple(one for one in self.objects(study, PHOTOGRAPHIC) if one.kind in TAKEN)

    def results(self, study: str) -> frozenset[str]:
        """Return the UIDs of the results that lie in a study, whoever made them."""
        return frozenset(one.uid for one in self.objects(study, RESULTS))

    def fetch(self, held: Held) -> bytes:
        """Return an object as a DICOM file, in the transfer syntax in which it is stored.

        Raises:
            ArchiveError, ArchiveAwayError: the archive refuses or sends something else; it does not answer.
        """
        with self._answers():
            found = self._client.retrieve_instance(held.study, held.series, held.uid)
        if str(found.get("SOPInstanceUID")) != held.uid:
            raise ArchiveError(f"{self.url}: sent another object than {held.uid}; ask who runs it")
        content = BytesIO()
        pydicom.dcmwrite(content, found, enforce_file_format=True)
        return content.getvalue()

    def store(self, content: bytes) -> None:
        """Store one object; the archive has all of it, or nothing.

        Raises:
            ArchiveError, ArchiveAwayError: the archive refuses, or does not answer.
        """
        made = pydicom.dcmread(BytesIO(content))
        with self._answers():
            answer = self._client.store_instances([made])
        failed = answer.get("FailedSOPSequence") or ()
        stored = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence") or ()}
        if failed or str(made.SOPInstanceUID) not in stored:
            raise self._not_stored(made, [int(item.get("FailureReason", 0) or 0) for item in failed])

    def _of_series(self, study: str, series: str) -> Iterator[Held]:
        for one in self._client.search_for_instances(
            study, series, fields=["SOPClassUID", "NumberOfFrames"], get_remaining=True
        ):
            yield Held(
                study=study,
                series=series,
                uid=_text(one, "00080018"),
                kind=_text(one, "00080016"),
                frames=max(1, int(_text(one, "00280008") or 1)),
            )

    def _not_stored(self, made: Dataset, reasons: Sequence[int]) -> ArchiveError:
        return ArchiveError(
            f"{self.url}: did not store {made.SOPInstanceUID} ({_why(reasons)}); ask who runs it"
        )

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turn what goes wrong on the way into an ArchiveError of one line."""
        try:
            yield
        except requests.exceptions.HTTPError as error:
            raise self._refused(error.response) from None
        except requests.exceptions.SSLError as error:
            raise ArchiveError(
                f"{self.url}: its certificate is not accepted ({_inner(error)}); name the authority by --ca"
            ) from None
        except requests.exceptions.InvalidURL:
            raise ArchiveError(
                f"{self.url}: is no address; give one such as http://host:8042/dicom-web"
            ) from None
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            raise ArchiveAwayError(
                f"{self.url}: does not answer ({_inner(error)}); check that it runs and the address"
            ) from None
        except (
            requests.exceptions.RequestException,
            InvalidDicomError,
            ValueError,
            KeyError,
            IndexError,
        ) as error:
            raise ArchiveError(
                f"{self.url}: answers what is no DICOMweb ({_inner(error)}); give the root of the "
                "service, such as http://host:8042/dicom-web"
            ) from None

    def _refused(self, response: requests.Response | None) -> ArchiveError | ArchiveAwayError:
        """Return the error for an answer that is a refusal."""
        if response is None:
            return ArchiveError(f"{self.url}: refuses; ask who runs it")
        status = response.status_code
        if status in _AWAY:
            return ArchiveAwayError(f"{self.url}: does not answer now ({status} {response.reason})")
        if status in _MEANT:
            return ArchiveError(f"{self.url}: {_MEANT[HTTPStatus(status)]}")
        if codes := _reasons(response):
            return ArchiveError(
                f"{self.url}: did not store it ({_why(codes)}); ask who runs it, then try again"
            )
        return ArchiveError(f"{self.url}: refuses ({status} {response.reason}); ask who runs it")


def _why(codes: Sequence[int]) -> str:
    """Say why an object was not stored."""
    code = codes[0] if codes else 0
    if code in _NO_ROOM:
        return "it has no room left"
    return f"reason {code:04X}" if code else "it gives no reason: its disk may be full"


def _reasons(response: requests.Response) -> list[int]:
    """Return the failure reasons that a refusal to store states."""
    try:
        answer = response.json()
        items = answer.get("00081198", {}).get("Value", [])
        return [int(item["00081197"]["Value"][0]) for item in items]
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        return []


def _text(found: Mapping[str, Any], tag: str) -> str:
    """Return an attribute's first value in DICOM's JSON, '' where there is none."""
    values = found.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _inner(error: BaseException) -> str:
    """Say in a few words what went wrong on the wire."""
    text = " ".join(str(error).split())
    for words in _WIRE:
        if words in text:
            return words.lower()
    return text[:120] or type(error).__name__
