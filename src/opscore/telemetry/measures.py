"""What is counted and timed while the program works, and under which names it is shown.

Plain numbers in memory: recording costs a dictionary's lookup and an addition. Names follow
Prometheus' conventions (base units, `_total`, https://prometheus.io/docs/practices/naming/).
Labels have few values: never an id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    3600,
)
COMMANDS = (1, 2, 5, 10, 25, 50, 100, 250, 500)
MOST_SERIES = 1_000
"""Label sets of one metric; what comes after them is counted under `OTHER`."""
OTHER = "other"


class Metric(NamedTuple):
    """A metric as it is shown: kind is `counter`, `gauge` or `histogram`."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: Sequence[float] = ()

    def __hash__(self) -> int:
        return hash(self.name)


_WORK = ("namespace", "capability")

AGENTS = Metric("opscore_agents", "gauge", "Registered agents.", ("namespace", "state"))
TASKS = Metric(
    "opscore_tasks", "gauge", "Tasks that have not ended.", ("namespace", "capability", "status")
)
SESSIONS = Metric(
    "opscore_sessions", "gauge", "Sessions that have not ended.", ("namespace", "status")
)
QUEUE_AGE = Metric(
    "opscore_queue_oldest_seconds",
    "gauge",
    "How long the oldest task that may be claimed has existed.",
    _WORK,
)
SESSIONS_STARTED = Metric(
    "opscore_sessions_started", "counter", "Sessions begun.", ("namespace", "workflow")
)
SESSIONS_ENDED = Metric(
    "opscore_sessions_ended", "counter", "Sessions over.", ("namespace", "workflow", "status")
)
QUEUE_WAIT = Metric(
    "opscore_queue_wait_seconds",
    "histogram",
    "From when a task may be claimed until it is.",
    _WORK,
    SECONDS,
)
ATTEMPTS = Metric(
    "opscore_attempt_seconds",
    "histogram",
    "From the claim of an attempt to its end.",
    (*_WORK, "outcome"),
    SECONDS,
)
FAILURES = Metric(
    "opscore_attempt_failures", "counter", "Attempts that failed.", (*_WORK, "error_class")
)
RETRIES = Metric("opscore_retries", "counter", "Failed attempts that are tried again.", _WORK)
FALLBACKS = Metric(
    "opscore_fallbacks", "counter", "Tasks and values that stood in for a task that failed.", _WORK
)
LEASES_EXPIRED = Metric(
    "opscore_lease_expiries", "counter", "Attempts whose agent gave no sign of life.", _WORK
)
COMMIT_COMMANDS = Metric(
    "opscore_commit_commands", "histogram", "Commands in one commit.", (), COMMANDS
)
COMMIT_SECONDS = Metric(
    "opscore_commit_seconds",
    "histogram",
    "From deciding on a batch until it is on the disk.",
    (),
    SECONDS,
)
COMMITS_FAILED = Metric("opscore_commits_failed", "counter", "Commits that the store refused.")
FEED_FOLLOWERS = Metric("opscore_feed_subscribers", "gauge", "Who follows live events.")
FEED_DROPPED = Metric(
    "opscore_feed_drops", "counter", "Followers that were let go because they were too slow."
)
LOGS_DROPPED = Metric(
    "opscore_logs_dropped", "counter", "Log records and spans that found no room in the log store."
)
EXPORTED_SPANS = Metric(
    "opscore_exported_spans", "counter", "Spans that the collector took (OPSCORE_OTLP_ENDPOINT)."
)
EXPORT_DROPPED = Metric(
    "opscore_export_drops",
    "counter",
    "Sessions whose spans were not exported: no room, or refused.",
    ("reason",),
)
REQUESTS = Metric(
    "opscore_http_request_seconds",
    "histogram",
    "HTTP requests, until the answer was given to the connection.",
    ("method", "route", "status"),
    SECONDS,
)
BUILD = Metric("opscore_build_info", "gauge", "1, with the version.", ("version", "python"))

METRICS: tuple[Metric, ...] = (
    AGENTS,
    TASKS,
    SESSIONS,
    QUEUE_AGE,
    SESSIONS_STARTED,
    SESSIONS_ENDED,
    QUEUE_WAIT,
    ATTEMPTS,
    FAILURES,
    RETRIES,
    FALLBACKS,
    LEASES_EXPIRED,
    COMMIT_COMMANDS,
    COMMIT_SECONDS,
    COMMITS_FAILED,
    FEED_FOLLOWERS,
    FEED_DROPPED,
    LOGS_DROPPED,
    EXPORTED_SPANS,
    EXPORT_DROPPED,
    REQUESTS,
    BUILD,
)


class Exemplar(NamedTuple):
    """One observation of a bucket and the trace that it belongs to. `at`: seconds since 1970."""

    trace_id: str
    value: float
    at: float


@dataclass(slots=True)
class Distribution:
    """A histogram: `counts[i]` observations up to `bounds[i]`, and above all bounds in the last."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list[int])
    total: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict[int, Exemplar])

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float, trace_id: str | None = None, at: float = 0.0) -> None:
        """One observation. With a trace id it becomes its bucket's example, the first of a moment."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if trace_id is not None:
            kept = self.exemplars.get(bucket)
            if kept is None or kept.at != at:
                self.exemplars[bucket] = Exemplar(trace_id, value, at)


Labels = tuple[str, ...]


class Measures:
    """Counters and distributions since the process began, by metric and values of its labels."""

    def __init__(self) -> None:
        self._counters: dict[str, dict[Labels, float]] = {}
        self._distributions: dict[str, dict[Labels, Distribution]] = {}

    def count(self, metric: Metric, labels: Labels = (), by: float = 1) -> None:
        """Add to a counter."""
        series = self._counters.setdefault(metric.name, {})
        if labels not in series:
            labels = _bounded(metric, labels, series)
        series[labels] = series.get(labels, 0) + by

    def distribution(self, metric: Metric, labels: Labels = ()) -> Distribution:
        """The histogram to add observations to."""
        series = self._distributions.get(metric.name)
        found = None if series is None else series.get(labels)
        return found or self._new_distribution(metric, labels)

    def _new_distribution(self, metric: Metric, labels: Labels) -> Distribution:
        series = self._distributions.setdefault(metric.name, {})
        labels = _bounded(metric, labels, series)
        return series.setdefault(labels, Distribution(metric.bounds))

    def counted(self, metric: Metric) -> Mapping[Labels, float]:
        """A counter's values. One without labels is there from the beginning."""
        return self._counters.get(metric.name) or ({} if metric.labels else {(): 0.0})

    def distributions(self, metric: Metric) -> Mapping[Labels, Distribution]:
        """A histogram's values."""
        return self._distributions.get(metric.name, {})


def _bounded(metric: Metric, labels: Labels, series: Mapping[Labels, object]) -> Labels:
    """Capabilities are words of strangers: however many they invent, memory stays bounded.

    The namespace stays what it is, since it decides who may see the figure.
    """
    if len(series) < MOST_SERIES:
        return labels
    kept = ("namespace", "outcome", "status", "method")
    return tuple(
        value if name in kept else OTHER for name, value in zip(metric.labels, labels, strict=True)
    )
