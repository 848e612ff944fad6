"""A prefix of an S3 bucket as a store, through fsspec's s3fs.

Knows:   how objects are listed page by page, put and removed, and what a bucket's refusals mean.
Ignores: what the objects are.

Endpoint, region and credentials come from where AWS's own tools take them: AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, a profile, or the role of the machine. An object appears whole or not at all: that is how
S3 puts it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import s3fs
from botocore.exceptions import BotoCoreError

from foveate.cluster.stores import BUCKET, Found
from foveate.errors import ClusterError, FoveateError, OutputError, PhotographError

WAIT_SECONDS = 20
"""For a connection, and for each answer; s3fs tries five times in all. Our choice."""

AT_ONCE = 1000
"""Objects that one request lists or removes at most, by S3's rules."""


class Bucket:
    """The objects below a prefix.

    Args:
        address: 's3://bucket' or 's3://bucket/prefix'.

    Raises:
        ClusterError: no bucket is named.
    """

    def __init__(self, address: str) -> None:
        name, _, prefix = address.removeprefix(BUCKET).partition("/")
        if not name:
            raise ClusterError(f"{address}: no bucket is named; give s3://BUCKET/PREFIX")
        self._bucket = name
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        times = {"connect_timeout": WAIT_SECONDS, "read_timeout": WAIT_SECONDS}
        self._files = s3fs.S3FileSystem(config_kwargs=times, use_listings_cache=False)

    @property
    def folder(self) -> Path | None:
        return None

    def shown(self, path: str = "") -> str:
        address = f"{BUCKET}{self._bucket}/{self._prefix}{path}"
        return address if address.isprintable() else ascii(address)

    def listing(self, below: str = "", without: str | None = None) -> Iterator[Found]:
        start = f"{self._prefix}{below.strip('/')}/".lstrip("/") if below else self._prefix
        closed = None if without is None else f"{without.rstrip('/')}/"
        for entry in self._objects(start):
            key = entry["Key"]
            path = key.removeprefix(self._prefix)
            if path.endswith("/") or any(part.startswith(".") for part in path.split("/")):
                continue  # what consoles put for a folder; what is hidden
            if closed is None or not f"{BUCKET}{self._bucket}/{key}".startswith(closed):
                stamp = f"{entry['Size']}-{entry['ETag'].strip(chr(34))}"
                yield Found(path=path, size=entry["Size"], stamp=stamp, real=path)

    @contextmanager
    def fetched(self, path: str, scratch: Path) -> Iterator[Path]:
        with self._told(path, PhotographError):
            content: bytes = self._files.cat_file(self._key(path))
        name = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()  # any name, any length
        copy = scratch / f"{name}{PurePosixPath(path).suffix[:8]}"
        try:
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
            raise self._meant(path, error, OutputError) from error
        return content

    def write(self, path: str, content: bytes) -> None:
        with self._told(path, OutputError):
            self._files.pipe_file(self._key(path), content)

    def take(self, made: Path, paths: Sequence[str]) -> None:
        *others, last = paths
        with self._told(last, OutputError):
            if others:
                self._files.put([str(made / path) for path in others], [self._key(path) for path in others])
            self._files.put_file(str(made / last), self._key(last))

    def remove(self, paths: Sequence[str]) -> None:
        ordered = list(reversed(paths))
        with self._told(ordered[0] if ordered else "", OutputError):
            for start, stop in [(0, 1), *((at, at + AT_ONCE) for at in range(1, len(ordered), AT_ONCE))]:
                named = [{"Key": f"{self._prefix}{path}"} for path in ordered[start:stop]]
                if named:
                    self._call("delete_objects", Delete={"Objects": named, "Quiet": True})

    def _objects(self, start: str) -> Iterator[dict[str, Any]]:
        """Yield what S3 says of each object, a page at a time."""
        more: dict[str, str] = {}
        while True:
            with self._told("", PhotographError):
                page = self._call("list_objects_v2", Prefix=start, MaxKeys=AT_ONCE, **more)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, method: str, **arguments: object) -> dict[str, Any]:
        answer: dict[str, Any] = self._files.call_s3(method, Bucket=self._bucket, **arguments)
        return answer

    def _key(self, path: str) -> str:
        return f"{self._bucket}/{self._prefix}{path}"

    @contextmanager
    def _told(self, path: str, kind: type[FoveateError]) -> Iterator[None]:
        """Turn what S3 and its library raise into an error of ours."""
        try:
            yield
        except (OSError, BotoCoreError) as error:
            raise self._meant(path, error, kind) from error

    def _meant(self, path: str, error: Exception, kind: type[FoveateError]) -> FoveateError:
        """Say what a refusal means; a bucket that cannot be reached will meet every other photograph too."""
        where, said = self.shown(path), " ".join(str(error).split())
        if isinstance(error, FileNotFoundError):
            return kind(f"{where}: no such object or bucket; check the address")
        if isinstance(error, PermissionError):
            return ClusterError(f"{where}: refused ({said}); check the credentials and the bucket's policy")
        if isinstance(error, BotoCoreError):
            return ClusterError(
                f"{where}: cannot be reached ({said}); check AWS_ENDPOINT_URL, region and credentials"
            )
        return kind(f"{where}: S3 refuses ({said})")
