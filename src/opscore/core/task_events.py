"""The facts of a session's journal that concern its tasks and their attempts."""

from __future__ import annotations

from typing import ClassVar

from opscore.core.limits import Terms
from opscore.core.record import record
from opscore.core.types import Json, Micros


@record
class TaskCreated:
    """A unit of work for one agent. `due` set: it waits; else it is available at `order`.

    `terms`: the limits under which it must find room before an agent may claim it. `match`: what it
    asks of those agents (`core.match_rules`).
    """

    TYPE: ClassVar[str] = "task.created"
    VERSION: ClassVar[int] = 1
    task_id: str
    step: str
    index: int | None
    member: int
    capability: str | None
    agent: str | None
    input: Json
    priority: int
    order: int
    due: Micros | None = None
    queue_deadline: Micros | None = None
    terms: Terms | None = None
    match: str | None = None


@record
class TaskAvailable:
    """A scheduled task, which was due at `was_due`, may be claimed from now on."""

    TYPE: ClassVar[str] = "task.available"
    VERSION: ClassVar[int] = 1
    task_id: str
    was_due: Micros
    order: int
    queue_deadline: Micros | None = None


@record
class TaskClaimed:
    """An attempt began. `heartbeat`: its lease, when its step sets one."""

    TYPE: ClassVar[str] = "task.claimed"
    VERSION: ClassVar[int] = 1
    task_id: str
    attempt: int
    agent_id: str
    instance_id: str
    deadline: Micros | None = None
    heartbeat: Micros | None = None


@record
class TaskCompleted:
    """An attempt completed its task; `ends_step` when the step has no other task to wait for."""

    TYPE: ClassVar[str] = "task.completed"
    VERSION: ClassVar[int] = 1
    task_id: str
    attempt: int
    output: Json
    ends_step: bool
    usage: Json | None = None


@record
class TaskRetried:
    """An attempt failed and the task will be tried again at `due`.

    `http_status`: what an agent that we called answered with.
    """

    TYPE: ClassVar[str] = "task.retried"
    VERSION: ClassVar[int] = 1
    task_id: str
    attempt: int
    error_class: str
    message: str
    due: Micros
    usage: Json | None = None
    http_status: int | None = None


@record
class TaskReleased:
    """An attempt was given back unharmed; the task is available again and nothing is counted."""

    TYPE: ClassVar[str] = "task.released"
    VERSION: ClassVar[int] = 1
    task_id: str
    attempt: int
    reason: str
    order: int


@record
class TaskFailed:
    """The task is given up. `attempt` 0: it never ran (queue timeout)."""

    TYPE: ClassVar[str] = "task.failed"
    VERSION: ClassVar[int] = 1
    task_id: str
    attempt: int
    error_class: str
    message: str
    usage: Json | None = None
    http_status: int | None = None


@record
class FallbackValued:
    """A fallback value stands in for the failed task's output."""

    TYPE: ClassVar[str] = "fallback.valued"
    VERSION: ClassVar[int] = 1
    task_id: str
    member: int
    output: Json
    ends_step: bool


@record
class TaskCancelled:
    """The task will not run (`attempt` 0), or its running attempt is fenced."""

    TYPE: ClassVar[str] = "task.cancelled"
    VERSION: ClassVar[int] = 1
    task_id: str
    attempt: int
    reason: str


@record
class TaskAllowed:
    """A person gave the task a budget of its own: so many attempts from now on."""

    TYPE: ClassVar[str] = "task.allowed"
    VERSION: ClassVar[int] = 1
    task_id: str
    attempts: int
    actor: str


@record
class TaskResumed:
    """A person had a task that was given up go on: again, or with its next fallback.

    `attempts`: the budget of its own that the work then has. The session is open again.
    """

    TYPE: ClassVar[str] = "task.resumed"
    VERSION: ClassVar[int] = 1
    task_id: str
    fallback: bool
    attempts: int | None
    actor: str


@record
class TaskReprioritised:
    """The task's priority changed; `order` is its new place in the queue."""

    TYPE: ClassVar[str] = "task.reprioritised"
    VERSION: ClassVar[int] = 1
    task_id: str
    priority: int
    order: int
    previous_order: int
