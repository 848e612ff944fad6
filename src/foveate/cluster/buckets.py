"""Use a prefix of an S3 bucket as a store, through fsspec's s3fs.

Knows:   how objects are listed page by page, written and removed, and what S3's errors mean.
Ignores: what the objects contain.

The endpoint, region and credentials are read from the same places as by AWS's own tools: AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, a profile, or the role of the machine. S3 writes an object completely or not at all.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import s3fs
from botocore.exceptions import BotoCoreError

from foveate import atomic_files
from foveate.cluster.stores import BUCKET_SCHEME, StoredFile
from foveate.errors import ClusterError, FoveateError, OutputError, PhotographError, one_line
from foveate.paths import display_path
from foveate.photographs import RESULT_MARK_BYTES, RESULT_MARKS, is_result_mark

TIMEOUT_SECONDS = 20
"""Time limit for a connection and for each response; s3fs makes five attempts in all. Our choice."""

PAGE_OBJECTS = 1000
"""Maximum number of objects that one request lists or removes; S3 sets this limit."""


class BucketStore:
    """The objects below a prefix.

    Args:
        address: 's3://bucket' or 's3://bucket/prefix'.

    Raises:
        ClusterError: no bucket is named.
    """

    def __init__(self, address: str) -> None:
        name, _, prefix = address.removeprefix(BUCKET_SCHEME).partition("/")
        if not name:
            raise ClusterError(f"{address}: names no bucket; give s3://BUCKET/PREFIX")
        self._bucket = name
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        timeouts = {"connect_timeout": TIMEOUT_SECONDS, "read_timeout": TIMEOUT_SECONDS}
        self._files = s3fs.S3FileSystem(config_kwargs=timeouts, use_listings_cache=False)

    @property
    def folder(self) -> Path | None:
        return None

    def display_path(self, path: str = "") -> str:
        return display_path(f"{BUCKET_SCHEME}{self._bucket}/{self._prefix}{path}")

    def list_files(
        self, below: str = "", exclude: str | None = None, *, without_results: bool = False
    ) -> Iterator[StoredFile]:
        prefix = f"{self._prefix}{below.strip('/')}/".lstrip("/") if below else self._prefix
        excluded = [] if exclude is None else [f"{exclude.rstrip('/')}/"]
        if without_results:
            excluded += self._result_folders(prefix)
        for entry in self._objects(prefix):
            key = entry["Key"]
            path = key.removeprefix(self._prefix)
            if path.endswith("/") or any(part.startswith(".") for part in path.split("/")):
                continue  # consoles store a folder as an object 'name/'; hidden files are left out
            if not f"{BUCKET_SCHEME}{self._bucket}/{key}".startswith(tuple(excluded)):
                stamp = f"{entry['Size']}-{entry['ETag'].strip(chr(34))}"
                yield StoredFile(path=path, size=entry["Size"], stamp=stamp)

    def _result_folders(self, prefix: str) -> list[str]:
        """Return the addresses, with '/' at the end, of the folders in which Foveate wrote results.

        It lists all objects, because objects of such a folder may precede the file that marks it.
        """
        folders = []
        for entry in self._objects(prefix):
            key = entry["Key"]
            folders += [
                f"{BUCKET_SCHEME}{self._bucket}/{key.removesuffix(mark)}"
                for mark in RESULT_MARKS
                if f"/{key}".endswith(f"/{mark}") and is_result_mark(mark, self._head(key))
            ]
        return folders

    def _head(self, key: str) -> bytes:
        """Return the first bytes of an object."""
        with self._translate_errors(key.removeprefix(self._prefix), PhotographError):
            head: bytes = self._files.cat_file(f"{self._bucket}/{key}", start=0, end=RESULT_MARK_BYTES)
        return head

    @contextmanager
    def local_copy(self, path: str, scratch: Path) -> Iterator[Path]:
        with self._translate_errors(path, PhotographError):
            content: bytes = self._files.cat_file(self._key(path))
        name = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()  # fits any name, any length
        copy = scratch / f"{name}{PurePosixPath(path).suffix[:8]}"
        try:
            with atomic_files.errors_for(copy):
                copy.write_bytes(content)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def read(self, path: str) -> bytes | None:
        try:
            content: bytes = self._files.cat_file(self._key(path))
        except FileNotFoundError:
            return None
        except (OSError, BotoCoreError) as error:
            raise self._translated(path, error, OutputError) from error
        return content

    def write(self, path: str, content: bytes) -> None:
        with self._translate_errors(path, OutputError):
            self._files.pipe_file(self._key(path), content)

    def upload(self, folder: Path, paths: Sequence[str]) -> None:
        *first, last = paths
        with self._translate_errors(last, OutputError):
            if first:
                self._files.put([str(folder / path) for path in first], [self._key(path) for path in first])
            self._files.put_file(str(folder / last), self._key(last))

    def remove(self, paths: Sequence[str]) -> None:
        ordered = list(reversed(paths))
        pages = [(0, 1), *((start, start + PAGE_OBJECTS) for start in range(1, len(ordered), PAGE_OBJECTS))]
        with self._translate_errors(ordered[0] if ordered else "", OutputError):
            for start, stop in pages:
                objects = [{"Key": f"{self._prefix}{path}"} for path in ordered[start:stop]]
                if objects:
                    answer = self._call("delete_objects", Delete={"Objects": objects, "Quiet": True})
                    self._require_removed(answer.get("Errors", ()))

    def _require_removed(self, refusals: Sequence[Mapping[str, str]]) -> None:
        """Raise an error for the first object that S3 did not remove, as the answer of a success states."""
        for refusal in refusals:
            code, message = refusal.get("Code", ""), refusal.get("Message", "")
            error = (PermissionError if code == "AccessDenied" else OSError)(f"{code}: {message}")
            path = refusal.get("Key", "").removeprefix(self._prefix)
            raise self._translated(path, error, OutputError)

    def _objects(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield S3's entry of each object; the entries are requested page by page."""
        continuation: dict[str, str] = {}
        while True:
            with self._translate_errors("", PhotographError):
                page = self._call("list_objects_v2", Prefix=prefix, MaxKeys=PAGE_OBJECTS, **continuation)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            continuation = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, method: str, **arguments: object) -> dict[str, Any]:
        answer: dict[str, Any] = self._files.call_s3(method, Bucket=self._bucket, **arguments)
        return answer

    def _key(self, path: str) -> str:
        return f"{self._bucket}/{self._prefix}{path}"

    @contextmanager
    def _translate_errors(self, path: str, error_type: type[FoveateError]) -> Iterator[None]:
        """Translate the errors of S3 and its library into errors of Foveate."""
        try:
            yield
        except (OSError, BotoCoreError) as error:
            raise self._translated(path, error, error_type) from error

    def _translated(self, path: str, error: Exception, error_type: type[FoveateError]) -> FoveateError:
        """Return the error to raise instead: a ClusterError if every other photograph will fail as well."""
        address, message = self.display_path(path), one_line(error)
        if isinstance(error, FileNotFoundError):
            return error_type(f"{address}: no such object or bucket; check the address")
        if isinstance(error, PermissionError):
            return ClusterError(
                f"{address}: access is refused ({message}); check the credentials and the bucket's policy"
            )
        if isinstance(error, BotoCoreError):
            return ClusterError(
                f"{address}: cannot be reached ({message}); check AWS_ENDPOINT_URL, the region and the "
                "credentials"
            )
        return error_type(f"{address}: S3 refuses ({message})")
