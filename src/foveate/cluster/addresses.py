"""Open the store at an address: a folder, or a prefix of a bucket.

Knows:   which type of store an address refers to, and which libraries a bucket needs.
Ignores: what the store is used for.
"""

import os
from pathlib import Path

from foveate.cluster.stores import BUCKET_SCHEME, FileStore, FolderStore
from foveate.errors import ClusterError


def open_store(address: str) -> FileStore:
    """Return the store at an address: 's3://bucket/prefix', or a folder, which need not exist.

    Raises:
        ClusterError: the scheme of the address is unknown, or the library for it is not installed.
    """
    if address.startswith(BUCKET_SCHEME):
        try:
            from foveate.cluster.buckets import BucketStore  # noqa: PLC0415, an optional extra
        except ImportError as error:
            raise ClusterError(
                f"{address}: buckets need {error.name}; pip install 'foveate[cluster]'"
            ) from None
        return BucketStore(address)
    scheme, colon, _ = address.partition("://")
    if colon:
        raise ClusterError(f"{address}: {scheme}:// is not supported; give a folder or s3://BUCKET/PREFIX")
    return FolderStore(Path(address))


def absolute(address: str) -> str:
    """Return an address that processes in any folder understand: of a folder, its whole path."""
    return address if "://" in address else os.path.abspath(address)  # noqa: PTH100, keeps links
