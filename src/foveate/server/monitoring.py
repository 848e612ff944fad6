"""Metrics of the server, for Prometheus, and the log of its errors.

Knows:   the metrics, their labels and buckets, and where an error was raised.
Ignores: names of photographs: no label and no line of the log ever holds one.
"""

import logging
import traceback
from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

LOG = logging.getLogger("foveate.server")

disable_created_metrics()  # type: ignore[no-untyped-call]

BOUNDS = (0.01, 0.05, 0.2, 1.0, 5.0, 20.0, 60.0, 300.0)
"""Upper bounds of the histograms' buckets, seconds: from a tile to a photograph of 100 megapixels."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
"""HTTP methods that have their own label; clients may send others."""


class Metrics:
    """Metrics since the server started; any thread may update them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters = CollectorRegistry()  # separate: a gauge and a counter differ only in _total
        self._info = self._gauge("foveate_info", "Version of Foveate.", ["version"])
        self._photographs = self._gauge("foveate_photographs", "Photographs stored, by state.", ["state"])
        self._waiting = self._gauge("foveate_queue_waiting", "Photographs that wait in the queue.")
        self._under_way = self._gauge("foveate_queue_under_way", "Photographs that are being predicted.")
        self._limit = self._gauge("foveate_queue_limit", "Maximum number of photographs that may wait.")
        self._finished = Counter(
            "foveate_photographs_total",
            "Photographs finished, by outcome.",
            ["outcome"],
            registry=self._counters,
        )
        for outcome in ("done", "failed"):
            self._finished.labels(outcome)
        self._predictions = self._histogram("foveate_look_seconds", "Seconds for one photograph.")
        self._requests = Counter(
            "foveate_http_requests_total",
            "Responses, by method and status.",
            ["method", "status"],
            registry=self._counters,
        )
        self._responses = self._histogram("foveate_http_request_seconds", "Seconds until a response began.")

    def _gauge(self, name: str, description: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(name, description, labels or [], registry=self._registry)

    def _histogram(self, name: str, description: str) -> Histogram:
        return Histogram(name, description, buckets=BOUNDS, registry=self._registry)

    def answered(self, method: str, status: int, seconds: float) -> None:
        """Count a response, and record the seconds until it began."""
        self._requests.labels(method if method in METHODS else "other", str(status)).inc()
        self._responses.observe(seconds)

    def photograph_finished(self, seconds: float, outcome: str) -> None:
        """Count a photograph by its outcome, 'done' or 'failed'; record the seconds of one that is done."""
        self._finished.labels(outcome).inc()
        if outcome == "done":
            self._predictions.observe(seconds)

    def text(self, version: str, states: Mapping[str, int], queue: Mapping[str, int], limit: int) -> str:
        """Return all metrics in Prometheus's text format.

        Args:
            version: version of Foveate.
            states: number of photographs by state.
            queue: numbers of photographs that are 'waiting' and 'under_way'.
            limit: maximum number of photographs that may wait.
        """
        self._info.labels(version).set(1)
        for state, number in states.items():
            self._photographs.labels(state).set(number)
        self._waiting.set(queue["waiting"])
        self._under_way.set(queue["under_way"])
        self._limit.set(limit)
        return (generate_latest(self._registry) + generate_latest(self._counters)).decode()


def log_traceback(error: Exception, when: str) -> None:
    """Log where an error was raised, without its message, which might contain a name.

    Args:
        error: the error.
        when: what was being done, such as 'while answering'.
    """
    where = "".join(traceback.format_tb(error.__traceback__))
    LOG.error("%s %s\n%s", type(error).__name__, when, where)
