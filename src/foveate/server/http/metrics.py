"""What the server counts of itself, as Prometheus reads it.

Knows:   counters, and the text format (version 0.0.4).
Ignores: names of photographs: no label ever holds one.
"""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping

BOUNDS = (0.01, 0.05, 0.2, 1.0, 5.0, 20.0, 60.0, 300.0)
"""Seconds: from a tile to a photograph of 100 megapixels."""


class _Times:
    """How long things took."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str) -> list[str]:
        found, so_far = [], 0
        for bound, number in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            so_far += number
            found.append(f'{name}_bucket{{le="{bound}"}} {so_far}')
        return [*found, f"{name}_sum {self.total:.6f}", f"{name}_count {so_far}"]


class Metrics:
    """Counters since the server started; any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = defaultdict(int)
        self._answers = _Times()
        self._looks = _Times()
        self._outcomes: dict[str, int] = {"done": 0, "failed": 0}

    def answered(self, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        known = method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} else "other"
        with self._lock:
            self._requests[known, status] += 1
            self._answers.add(seconds)

    def looked(self, seconds: float, outcome: str) -> None:
        """Count a photograph: 'done', after so many seconds, or 'failed'."""
        with self._lock:
            self._outcomes[outcome] += 1
            if outcome == "done":
                self._looks.add(seconds)

    def text(self, version: str, states: Mapping[str, int], queue: Mapping[str, int], limit: int) -> str:
        """Return all of it.

        Args:
            version: of Foveate.
            states: photographs by state.
            queue: 'waiting' and 'under_way'.
            limit: of those that may wait.
        """
        with self._lock:
            lines = [
                *_head("foveate_info", "gauge", "Version of Foveate."),
                f'foveate_info{{version="{version}"}} 1',
                *_head("foveate_photographs", "gauge", "Photographs kept, by state."),
                *(f'foveate_photographs{{state="{state}"}} {number}' for state, number in states.items()),
                *_head("foveate_queue_waiting", "gauge", "Photographs that wait."),
                f"foveate_queue_waiting {queue['waiting']}",
                *_head("foveate_queue_under_way", "gauge", "Photographs that are looked at."),
                f"foveate_queue_under_way {queue['under_way']}",
                *_head("foveate_queue_limit", "gauge", "Photographs that may wait."),
                f"foveate_queue_limit {limit}",
                *_head("foveate_photographs_total", "counter", "Photographs finished, by outcome."),
                *(
                    f'foveate_photographs_total{{outcome="{name}"}} {number}'
                    for name, number in self._outcomes.items()
                ),
                *_head("foveate_look_seconds", "histogram", "Seconds for one photograph."),
                *self._looks.lines("foveate_look_seconds"),
                *_head("foveate_http_requests_total", "counter", "Answers, by method and status."),
                *(
                    f'foveate_http_requests_total{{method="{method}",status="{status}"}} {number}'
                    for (method, status), number in sorted(self._requests.items())
                ),
                *_head("foveate_http_request_seconds", "histogram", "Seconds until an answer began."),
                *self._answers.lines("foveate_http_request_seconds"),
            ]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, told: str) -> list[str]:
    return [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]
