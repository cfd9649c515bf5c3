"""What is the case now, counted when somebody looks."""

from __future__ import annotations

from collections import Counter

from opscore.core.types import SECOND, Micros
from opscore.engine.projection import queue_target
from opscore.store.workload import Workload
from opscore.telemetry import measures as m

Reading = dict[m.Metric, dict[m.Labels, float]]


def gauges_of(namespace: str, work: Workload, states: Counter[str], now: Micros) -> Reading:
    """The gauges of one namespace."""
    tasks: Counter[tuple[str, str]] = Counter()
    for status, queues in (("available", work.queued), ("blocked", work.blocked)):
        for queue, count in queues.items():
            tasks[_capability(queue), status] += count
    for status, capabilities in (("running", work.running), ("scheduled", work.scheduled)):
        for capability, count in capabilities.items():
            tasks[capability, status] += count
    ages: dict[str, float] = {}
    for queue, since in work.first.items():
        name = _capability(queue)
        ages[name] = max(ages.get(name, 0.0), (now - since) / SECOND)
    return {
        m.AGENTS: {(namespace, state): count for state, count in states.items()},
        m.TASKS: {(namespace, *named): count for named, count in tasks.items()},
        m.SESSIONS: {(namespace, status): count for status, count in work.sessions.items()},
        m.QUEUE_AGE: {(namespace, name): age for name, age in ages.items()},
    }


def _capability(queue: str) -> str:
    """Tasks that are addressed to an agent by name have none."""
    return queue_target(queue).capability or ""
