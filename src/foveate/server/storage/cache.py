"""A cache of decoded maps and of values derived from them, limited in bytes.

Knows:   how many bytes are kept, and what was used last.
Ignores: what the values are.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Sized(Protocol):
    """A value with a known size in memory."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        ...


Cached = TypeVar("Cached", bound=Sized)


class MapCache:
    """The most recently used values, up to a number of bytes; the latest one is always kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Hashable, Sized] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], Cached]) -> Cached:
        """Return the value of a key; if it is missing, one thread makes it, and the others wait for it."""
        with self._lock:
            if key in self._entries:
                return self._touched(key)
            mine = self._making.setdefault(key, threading.Lock())
        with mine:
            with self._lock:
                if key in self._entries:
                    return self._touched(key)
            try:
                content = make()
                with self._lock:
                    if self._making.get(key) is mine:  # not forgotten meanwhile
                        self._keep(key, content)
            finally:
                with self._lock:
                    if self._making.get(key) is mine:
                        del self._making[key]
            return content

    def put(self, key: Hashable, content: Sized) -> None:
        """Keep a value of a key; one that is being made is not kept: it may be made of older data."""
        with self._lock:
            self._making.pop(key, None)
            self._keep(key, content)

    def _keep(self, key: Hashable, content: Sized) -> None:
        self._entries[key] = content
        while len(self._entries) > 1 and self._nbytes() > self._limit:
            self._entries.popitem(last=False)

    def _touched(self, key: Hashable) -> Cached:  # type: ignore[type-var]  # each key holds one kind
        self._entries.move_to_end(key)
        return self._entries[key]  # type: ignore[return-value]

    def _nbytes(self) -> int:
        return sum(entry.nbytes for entry in self._entries.values())

    def forget(self, *first: Hashable) -> None:
        """Remove the values whose keys are tuples that begin with these parts.

        Those that are being made are not kept: they may be made of what has been replaced.
        """
        with self._lock:
            for held in (self._entries, self._making):
                for key in [key for key in held if isinstance(key, tuple) and key[: len(first)] == first]:
                    del held[key]
