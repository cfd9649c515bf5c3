"""Events of tasks, for figures: how long things take, and what they cost."""

from __future__ import annotations

from typing import NamedTuple

from opscore.core.types import Json, Micros


class WorkRow(NamedTuple):
    """An event with what its task is for; `due` set: the task was to wait for its time."""

    task_id: str
    type: str
    at: Micros
    due: Micros | None
    workflow: str
    step: str
    target: str


RECENT_WORK = (
    "select t.task_id, e.type, e.at, json_extract(e.data, '$.due'), s.workflow, t.step, "
    "coalesce(t.capability, t.agent) "
    "from (select position, session_id, at, type, data from events order by position desc limit ?) e "
    "join sessions s on s.session_id = e.session_id "
    "join tasks t on t.task_id = json_extract(e.data, '$.task_id') "
    "where s.namespace = ? and e.at >= ? and e.type in ('task.created', 'task.available', "
    "'task.claimed', 'task.released', 'task.completed', 'task.retried', 'task.failed', "
    "'task.cancelled') order by e.position"
)
"""Of the last so many events of the store, those of a namespace since a moment, oldest first."""


class UsageRow(NamedTuple):
    """What one attempt told that it spent, whatever became of it."""

    position: int
    type: str
    at: Micros
    data: Json
    workflow: str
    target: str
    agent_id: str | None


_WHO = (
    "(select json_extract(c.data, '$.agent_id') from events c where c.session_id = e.session_id "
    "and c.seq < e.seq and c.type = 'task.claimed' "
    "and json_extract(c.data, '$.task_id') = t.task_id order by c.seq desc limit 1)"
)
USAGE = (
    f"select e.position, e.type, e.at, e.data, s.workflow, coalesce(t.capability, t.agent), {_WHO} "
    "from events e join sessions s on s.session_id = e.session_id "
    "join tasks t on t.task_id = json_extract(e.data, '$.task_id') "
    "where e.position > ? and e.position <= ? and s.namespace = ? and e.at >= ? "
    "and e.type in ('task.completed', 'task.retried', 'task.failed') "
    "and json_extract(e.data, '$.usage') is not null order by e.position"
)
"""Attempts that told what they spent, in a range of positions, with who had claimed them."""
