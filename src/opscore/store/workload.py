"""How much there is to do now: what gauges show of the store."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from opscore.core.types import Micros

COUNTED = 100_000
"""Tasks that wait for their time are counted up to this many."""

_QUEUED = "select queue, count(*) from ready where namespace = ? group by queue"
_BLOCKED = "select queue, count(*) from gated where namespace = ? group by queue"
_FIRST = (
    "select t.created_at from ready r join tasks t on t.task_id = r.task_id "
    "where r.namespace = ? and r.queue = ? order by r.place, r.task_id limit 1"
)
_RUNNING = (
    "select coalesce(t.capability, ''), count(*) from leases l "
    "join tasks t on t.task_id = l.task_id where l.namespace = ? group by 1"
)
_SCHEDULED = (
    f"select coalesce(t.capability, ''), count(*) from (select task_id from delayed limit {COUNTED}) d "
    "join tasks t on t.task_id = d.task_id where t.namespace = ? group by 1"
)
_SESSIONS = (
    "select status, count(*) from sessions where namespace = ? "
    "and status in ('waiting', 'processing', 'paused') group by status"
)


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

    def counts(statement: str) -> dict[str, int]:
        return dict(_pairs(reader, statement, (namespace,)))

    queued = counts(_QUEUED)
    first = {queue: reader.execute(_FIRST, (namespace, queue)).get for queue in queued}
    return Workload(
        queued,
        counts(_BLOCKED),
        {queue: at for queue, at in first.items() if isinstance(at, int)},
        counts(_RUNNING),
        counts(_SCHEDULED),
        counts(_SESSIONS),
    )


def _pairs(
    reader: apsw.Connection, statement: str, given: tuple[Any, ...]
) -> list[tuple[str, int]]:
    return [(str(name), int(count)) for name, count in reader.execute(statement, given)]
