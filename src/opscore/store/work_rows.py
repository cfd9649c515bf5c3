"""The newest events of tasks, for figures of how long things take."""

from __future__ import annotations

from typing import NamedTuple

from opscore.core.types import Micros


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
