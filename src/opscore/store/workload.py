"""How much there is to do now: what gauges show of the store."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from opscore.core.types import Micros

COUNTED = 100_000
"""Tasks that wait for their time are counted up to this many."""

_FIRST = (
    "select t.created_at from ready r join tasks t on t.task_id = r.task_id "
    "where r.namespace = ? and r.queue = ? order by r.place, r.task_id limit 1"
)
COUNTS = {
    "queued": "select queue, count(*) from ready where namespace = ? group by queue",
    "blocked": "select queue, count(*) from gated where namespace = ? group by queue",
    "running": "select coalesce(t.capability, ''), count(*) from leases l "
    "join tasks t on t.task_id = l.task_id where l.namespace = ? group by 1",
    "scheduled": "select coalesce(t.capability, ''), count(*) from "
    f"(select task_id from delayed limit {COUNTED}) d "
    "join tasks t on t.task_id = d.task_id where t.namespace = ? group by 1",
    "sessions": "select status, count(*) from sessions where namespace = ? "
    "and status in ('waiting', 'processing', 'paused') group by status",
}
"""What is counted in a namespace, by the names of `Workload`."""


class Workload(NamedTuple):
    """Counts of one namespace.

    By queue: what may be claimed (`queued`), what a limit holds back (`blocked`), and since when
    the first of a queue exists (`first`). By capability, or '' for tasks that are addressed to an
    agent: `running`, `scheduled`. `sessions`: open ones by status.
    """

    queued: dict[str, int]
    blocked: dict[str, int]
    first: dict[str, Micros]
    running: dict[str, int]
    scheduled: dict[str, int]
    sessions: dict[str, int]


def read_workload(reader: apsw.Connection, namespace: str) -> Workload:
    """Count; costs what is open, not what there ever was."""
    counts = {
        name: dict(_pairs(reader, statement, (namespace,))) for name, statement in COUNTS.items()
    }
    first = {q: reader.execute(_FIRST, (namespace, q)).get for q in counts["queued"]}
    return Workload(**counts, first={q: at for q, at in first.items() if isinstance(at, int)})


def _pairs(
    reader: apsw.Connection, statement: str, given: tuple[Any, ...]
) -> list[tuple[str, int]]:
    return [(str(name), int(count)) for name, count in reader.execute(statement, given)]
