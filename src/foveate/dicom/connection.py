"""Query, fetch from and store into one DICOMweb service.

Knows:   QIDO-RS, WADO-RS and STOW-RS through dicomweb-client, and what each error means for the user.
Ignores: which photographs are fetched, and where they are saved.

Source: PS3.18; failure reasons of STOW-RS are those of PS3.4 annex B.2.3 and PS3.18 table I.2-2.
"""

import logging
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from pydicom.errors import BytesLengthException, InvalidDicomError

from foveate.errors import ArchiveAwayError, ArchiveError, ArchiveObjectError
from foveate.paths import display_path, is_file, obstacle
from foveate.photographs import FIRST_GROUP, PHOTOGRAPH_CLASSES
from foveate.warning_filter import suppress_warnings

TIMEOUT = (10, 120)
"""Seconds to wait for a connection, and for the next byte of a response: disks may be slow."""

MAX_UNCHUNKED = 1 << 31
"""Bytes up to which a request is sent without chunks: a chunked request cannot be sent again."""

PHOTOGRAPH_MODALITIES = frozenset({"OP", "XC", "OT", "SC"})
"""Modalities of series that may hold photographs."""

RESULT_MODALITIES = frozenset({"SEG", "SR"})
"""Modalities of series that hold results."""

STUDY_UID, SERIES_UID, MODALITY = "0020000D", "0020000E", "00080060"
SOP_INSTANCE_UID, SOP_CLASS_UID, NUMBER_OF_FRAMES = "00080018", "00080016", "00280008"
FAILED_SOP_SEQUENCE, FAILURE_REASON = "00081198", "00081197"
"""Tags of attributes in DICOM's JSON model."""

NO_CA_FILE = "no such file; name the certificates of the authority"

_OUT_OF_RESOURCES = range(0xA700, 0xA800)
"""Failure reasons of STOW-RS that mean 'out of resources'."""

_OBJECT_REFUSED = frozenset({0x0106, 0x0117, 0x0122, *range(0xA900, 0xAA00), *range(0xC000, 0xD000)})
"""Failure reasons of STOW-RS that mean that the archive does not accept this object."""

_OBJECT_NOT_SENT = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.GONE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.INTERNAL_SERVER_ERROR,
    }
)
"""Status codes of WADO-RS that mean that the archive cannot send this object: deleted, or damaged."""

_MAY_PASS = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR})
"""Those of them that an archive may also give while it stores the object."""

_UNAVAILABLE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
"""Status codes of a proxy whose archive does not respond."""

_NETWORK_ERRORS = (
    *("Connection refused", "Name or service not known", "timed out", "reset by peer"),
    *("self-signed certificate", "self signed certificate", "CERTIFICATE_VERIFY_FAILED", "closed"),
)
"""Parts of network errors' texts that a user understands."""

_CUT_OFF = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,  # in the middle of a response
)
"""What requests raises if the archive cannot be reached, or no longer."""

UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    *(NotImplementedError, OverflowError, RecursionError, struct.error, zlib.error),
    *(InvalidDicomError, BytesLengthException),
)
"""What pydicom and dicomweb-client raise on objects and responses that violate the standard."""

_REMEDIES: Mapping[HTTPStatus, str] = {
    HTTPStatus.UNAUTHORIZED: "refuses this user or password; check --user and --password-file",
    HTTPStatus.FORBIDDEN: "refuses this user; ask its administrator for permission",
    HTTPStatus.NOT_FOUND: "has nothing at this address; give the root of the service, such as http://host:8042/dicom-web",
    HTTPStatus.INSUFFICIENT_STORAGE: "is full; ask its administrator for space, then try again",
}
"""Status code -> what it means, and what to do."""


_USER_INFO = re.compile(r"//[^/@]*@")
"""User and password in an address."""

_ADDRESSABLE = re.compile(r"[^/@?#%\\\s]+")
"""UIDs, also invalid ones, that can be part of an address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """How to log in."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    """Sent as 'Authorization: Bearer'."""
    ca_file: Path | None = None
    """Certificates of the authority that signed the archive's, if the system does not trust it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveObject:
    """One object in the archive, from a query."""

    study: str
    series: str
    uid: str
    sop_class: str
    frames: int
    """1 if the archive does not state it."""


class Archive:
    """A DICOMweb service, used with one user's credentials."""

    def __init__(self, url: str, credentials: Credentials = Credentials()) -> None:
        """Set up a session without sending anything.

        Args:
            url: address of the service, such as http://host:8042/dicom-web.
            credentials: how to log in.

        Raises:
            ArchiveError: the address or the token is invalid, or the file of certificates is missing.
        """
        self.url = _USER_INFO.sub("//", url.rstrip("/"))
        """The address for messages, without a password."""
        session = (
            create_session()
            if credentials.user is None
            else create_session_from_user_pass(
                _encoded(credentials.user), _encoded(credentials.password or "")
            )
        )
        session.trust_env = False  # no proxy, and no password from ~/.netrc, for patient data
        if credentials.token is not None:
            if not credentials.token.isascii():
                raise ArchiveError(
                    f"{self.url}: the token contains characters that a token cannot contain; check its file"
                )
            session.headers["Authorization"] = f"Bearer {credentials.token}"
        if credentials.ca_file is not None:
            if not is_file(credentials.ca_file):
                raise ArchiveError(
                    f"{display_path(credentials.ca_file)}: {obstacle(credentials.ca_file) or NO_CA_FILE}"
                )
            session = add_certs_to_session(session, ca_bundle=str(credentials.ca_file))
        try:
            self._client = DICOMwebClient(
                url.rstrip("/"),
                session=session,
                chunk_size=MAX_UNCHUNKED,
                timeout=TIMEOUT,
                permissive_uid=True,
            )
        except ValueError:
            raise ArchiveError(
                f"{self.url}: not a valid address; give one such as http://host:8042/dicom-web"
            ) from None
        self._client.set_http_retry_params(retry=False)
        logging.getLogger("dicomweb_client").setLevel(logging.ERROR)

    def studies(self, *, date: str | None = None) -> tuple[str, ...]:
        """Return the UIDs of studies, sorted.

        Args:
            date: 'YYYYMMDD', or a range 'YYYYMMDD-YYYYMMDD' of which one end may be left out; None for all.

        Raises:
            ArchiveError, ArchiveAwayError: the archive refuses, or does not respond.
        """
        filters = {} if date is None else {"StudyDate": date}
        with self._translated_errors():
            studies = _search_all(self._client.search_for_studies, STUDY_UID, search_filters=filters)
        return tuple(sorted(studies))

    def objects(self, study: str, modalities: frozenset[str]) -> tuple[ArchiveObject, ...]:
        """Return the objects of a study's series that have one of the modalities, sorted by UID.

        Raises:
            ArchiveError, ArchiveAwayError: the archive refuses, or does not respond.
            ArchiveObjectError: the UID of the study, or of a series, cannot be part of an address.
        """
        objects: list[ArchiveObject] = []
        self._require_addressable(study)
        with self._translated_errors():
            found = _search_all(self._client.search_for_series, SERIES_UID, study, fields=["Modality"])
            for uid, series in found.items():
                if _first_value(series, MODALITY) in modalities:
                    self._require_addressable(uid)
                    objects += self._series_objects(study, uid)
        return tuple(sorted(objects, key=lambda item: item.uid))

    def photographs(self, study: str) -> tuple[ArchiveObject, ...]:
        """Return the objects of a study whose class allows a photograph; only the header can prove it."""
        candidates = self.objects(study, PHOTOGRAPH_MODALITIES)
        return tuple(candidate for candidate in candidates if candidate.sop_class in PHOTOGRAPH_CLASSES)

    def results(self, study: str) -> frozenset[str]:
        """Return the UIDs of all results in a study, including those of other software."""
        return frozenset(result.uid for result in self.objects(study, RESULT_MODALITIES))

    def fetch(self, item: ArchiveObject) -> bytes:
        """Return an object as a DICOM file, in the transfer syntax in which it is stored.

        Raises:
            ArchiveError, ArchiveAwayError: the archive refuses, or does not respond.
            ArchiveObjectError: it does not send this object, or sends something else.
        """
        content = BytesIO()
        with self._translated_errors(fetched=item.uid), suppress_warnings():  # warnings hold patient data
            dataset = self._client.retrieve_instance(item.study, item.series, item.uid)
            uid = str(dataset.get("SOPInstanceUID"))
            for tag in sorted(dataset.keys()):
                if tag.group < FIRST_GROUP:  # pydicom would refuse to write it
                    del dataset[tag]
            pydicom.dcmwrite(content, dataset, enforce_file_format=True)
        if uid != item.uid:
            raise ArchiveObjectError(
                f"{self.url}: sent another object instead of {item.uid}; ask its administrator"
            )
        return content.getvalue()

    def store(self, content: bytes) -> None:
        """Store one object completely or not at all.

        Raises:
            ArchiveError, ArchiveAwayError: the archive refuses, or does not respond.
            ArchiveObjectError: it does not accept this object, or the content is no DICOM file.
        """
        try:
            dataset = pydicom.dcmread(BytesIO(content))
            uid = str(dataset.SOPInstanceUID)
        except UNREADABLE as error:
            raise ArchiveObjectError(
                f"an object cannot be read as DICOM ({_reason(error)}); predict again"
            ) from None
        with self._translated_errors(), suppress_warnings():
            response = self._client.store_instances([dataset])
            failed = response.get("FailedSOPSequence") or ()
            accepted = response.get("ReferencedSOPSequence") or ()
            stored = {str(item.ReferencedSOPInstanceUID) for item in accepted}
            codes = [int(item.get("FailureReason", 0) or 0) for item in failed]
        if failed or uid not in stored:
            raise self._not_stored(uid, codes)

    def _require_addressable(self, uid: str) -> None:
        """Raise ArchiveObjectError for a UID that would lead to another address."""
        if not _ADDRESSABLE.fullmatch(uid):
            raise ArchiveObjectError(
                f"{self.url}: holds {uid!r}, which is not a valid UID; ask its administrator"
            )

    def _series_objects(self, study: str, series: str) -> Iterator[ArchiveObject]:
        fields = ["SOPClassUID", "NumberOfFrames"]
        search = self._client.search_for_instances
        for uid, instance in _search_all(search, SOP_INSTANCE_UID, study, series, fields=fields).items():
            yield ArchiveObject(
                study=study,
                series=series,
                uid=uid,
                sop_class=_first_value(instance, SOP_CLASS_UID),
                frames=_frame_count(instance),
            )

    def _not_stored(self, name: str, codes: Sequence[int]) -> ArchiveError | ArchiveObjectError:
        """Return the error for an object that was not stored, from failure reasons of STOW-RS."""
        message = f"{self.url}: did not store {name} ({_failure_text(codes)}); ask its administrator"
        return (ArchiveObjectError if {*codes} & _OBJECT_REFUSED else ArchiveError)(message)

    @contextmanager
    def _translated_errors(self, *, fetched: str | None = None) -> Iterator[None]:
        """Turn errors of the network and of the service into an ArchiveError of one line.

        Args:
            fetched: UID of the object that is fetched; its own errors become ArchiveObjectError.
        """
        try:
            yield
        except requests.exceptions.HTTPError as error:
            raise self._refusal(error.response, fetched) from None
        except requests.exceptions.SSLError as error:
            raise ArchiveError(
                f"{self.url}: its certificate is not accepted ({_reason(error)}); give the authority's "
                "certificates with --ca"
            ) from None
        except requests.exceptions.InvalidURL:
            raise ArchiveError(
                f"{self.url}: not a valid address; give one such as http://host:8042/dicom-web"
            ) from None
        except _CUT_OFF as error:
            raise ArchiveAwayError(
                f"{self.url}: does not answer ({_reason(error)}); check the address, and that it is running"
            ) from None
        except UNREADABLE as error:  # requests' other errors are OSErrors
            if fetched is not None:
                raise ArchiveObjectError(
                    f"{self.url}: sent {fetched} in a form that cannot be read ({_reason(error)}); ask its "
                    "administrator"
                ) from None
            raise ArchiveError(
                f"{self.url}: its response is not DICOMweb ({_reason(error)}); give the root of the "
                "service, such as http://host:8042/dicom-web"
            ) from None

    def _refusal(
        self, response: requests.Response | None, fetched: str | None
    ) -> ArchiveError | ArchiveAwayError | ArchiveObjectError:
        """Return the error for a response with an error status."""
        if response is None:
            return ArchiveError(f"{self.url}: refuses the request; ask its administrator")
        status = response.status_code
        if status in _UNAVAILABLE:
            return ArchiveAwayError(
                f"{self.url}: not available now ({status} {response.reason}); try again later"
            )
        if fetched is not None and status in _OBJECT_NOT_SENT:
            return ArchiveObjectError(
                f"{self.url}: does not send {fetched} ({status} {response.reason}); ask its administrator",
                may_pass=status in _MAY_PASS,
            )
        if status in _REMEDIES:
            return ArchiveError(f"{self.url}: {_REMEDIES[HTTPStatus(status)]}")
        if codes := _failure_codes(response):
            return self._not_stored("it", codes)
        return ArchiveError(
            f"{self.url}: refuses the request ({status} {response.reason}); ask its administrator"
        )


def _encoded(text: str) -> str:
    """Return a text that Requests, which encodes it in Latin-1, can send: other letters go in UTF-8."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode().decode("latin-1")
    return text


def _search_all(
    search: Callable[..., Sequence[Mapping[str, Any]]], tag: str, *below: str, **options: object
) -> dict[str, Mapping[str, Any]]:
    """Return UID -> attributes of everything that a query finds, asked for page by page.

    An archive that ignores the offset sends the same page again, which ends the query.

    Args:
        search: the query of dicomweb-client.
        tag: the attribute that holds the UID.
        below: UIDs of the study and the series to search in.
        options: further options of the query.
    """
    found: dict[str, Mapping[str, Any]] = {}
    offset = 0
    while True:
        page = search(*below, offset=offset, **options)
        new = {_first_value(entry, tag): entry for entry in page}
        if new.keys() <= found.keys():
            return found
        found = new | found
        offset += len(page)


def _failure_text(codes: Sequence[int]) -> str:
    """Return in words why an object was not stored, from failure reasons of STOW-RS."""
    code = codes[0] if codes else 0
    if code in _OUT_OF_RESOURCES:
        return "it is full"
    return f"reason {code:04X}" if code else "it gives no reason; its disk may be full"


def _failure_codes(response: requests.Response) -> list[int]:
    """Return the failure reasons that a response of STOW-RS states."""
    try:
        content = response.json()
        items = content.get(FAILED_SOP_SEQUENCE, {}).get("Value", [])
        return [int(item[FAILURE_REASON]["Value"][0]) for item in items]
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        return []


def _first_value(attributes: Mapping[str, Any], tag: str) -> str:
    """Return an attribute's first value in DICOM's JSON model, '' if there is none."""
    values = attributes.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _frame_count(attributes: Mapping[str, Any]) -> int:
    """Return the number of frames of an object; 1 if that is not stated, or no number."""
    text = _first_value(attributes, NUMBER_OF_FRAMES)
    return max(1, int(text)) if text.isdecimal() else 1


def _reason(error: BaseException) -> str:
    """Return the reason of a network error in a few words."""
    text = " ".join(str(error).split())
    for words in _NETWORK_ERRORS:
        if words in text:
            return words.lower()
    return text[:120] or type(error).__name__
