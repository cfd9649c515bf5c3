"""Which steps and capabilities are slow: how long tasks waited in queues, how long agents worked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from opscore.core.types import Micros


class Passed(NamedTuple):
    """An event of a task, with what the task is for; `later`: it is to wait for its time first."""

    task_id: str
    type: str
    at: Micros
    later: bool
    workflow: str
    step: str
    target: str


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of so many lengths of time; each a length that really was (nearest rank)."""

    count: int
    p50: Micros
    p95: Micros
    p99: Micros
    most: Micros


@dataclass(slots=True)
class Slow:
    """One group; `step` and `workflow` None: all that one capability (or agent) is asked for."""

    target: str
    workflow: str | None = None
    step: str | None = None
    queues: list[Micros] = field(default_factory=list[Micros])
    works: list[Micros] = field(default_factory=list[Micros])

    @property
    def queue(self) -> Quantiles | None:
        """From when a task may be claimed until it is; None when none was."""
        return quantiles(self.queues)

    @property
    def work(self) -> Quantiles | None:
        """From a claim to the attempt's end; None when none ended."""
        return quantiles(self.works)

    @property
    def slowness(self) -> Micros:
        """What the groups are ordered by: 95 of 100 wait and are worked on no longer than this."""
        return sum(one.p95 for one in (self.queue, self.work) if one is not None)


@dataclass(frozen=True, slots=True)
class Slowest:
    """The slowest first. `since`: from when on; `truncated`: older ones were not looked at."""

    since: Micros
    steps: Sequence[Slow]
    capabilities: Sequence[Slow]
    truncated: bool = False


_ENDS = frozenset({"task.completed", "task.retried", "task.failed", "task.cancelled"})


def slowest(since: Micros, passed: Iterable[Passed], limit: int) -> Slowest:
    """The `limit` slowest steps and capabilities, by events in order of time.

    Only what began and ended among them counts.
    """
    steps: dict[tuple[str, str, str], Slow] = {}
    targets: dict[str, Slow] = {}
    queued: dict[str, Micros] = {}
    worked: dict[str, Micros] = {}
    for one in passed:
        step = steps.setdefault(one[4:], Slow(one.target, one.workflow, one.step))
        groups = step, targets.setdefault(one.target, Slow(one.target))
        if one.type in _ENDS or one.type == "task.released":
            _end(worked, one, [group.works for group in groups])
        if one.type in _ENDS or one.type == "task.claimed":
            _end(queued, one, [group.queues for group in groups])
        if one.type == "task.claimed":
            worked[one.task_id] = one.at
        elif one.type not in _ENDS and not one.later:
            queued[one.task_id] = one.at
    return Slowest(since, _first(steps.values(), limit), _first(targets.values(), limit))


def _end(open_: dict[str, Micros], one: Passed, lengths: Iterable[list[Micros]]) -> None:
    began = open_.pop(one.task_id, None)
    if began is not None:
        for found in lengths:
            found.append(one.at - began)


def _first(groups: Iterable[Slow], limit: int) -> list[Slow]:
    told = [group for group in groups if group.queues or group.works]
    return sorted(told, key=lambda group: -group.slowness)[:limit]


def quantiles(lengths: Sequence[Micros]) -> Quantiles | None:
    """The usual ones, or None of nothing."""
    if not lengths:
        return None
    found = sorted(lengths)
    p50, p95, p99 = (found[math.ceil(share * len(found)) - 1] for share in (0.5, 0.95, 0.99))
    return Quantiles(len(found), p50, p95, p99, found[-1])
