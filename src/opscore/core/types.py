"""Ids, enums and records that every room shares.

Times are integers: microseconds since the Unix epoch. Durations are microseconds too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Json: TypeAlias = bytes
"""One encoded JSON document. Opaque to the core: whatever object carries the bytes is passed on."""

Micros: TypeAlias = int

SECOND: Micros = 1_000_000
DEFAULT_NAMESPACE = "default"
DEFAULT_PRIORITY = 50
AGEING_STEP: Micros = 5 * SECOND
"""One point of priority is worth this much waiting."""

LEASE: Micros = 15 * SECOND
CANCEL_GRACE: Micros = 10 * SECOND
MAX_ITEMS_PER_COMMIT = 500
MAX_ITEMS = 10_000
"""Items of one `foreach`."""
PUSHED = "push:"
"""How the id of the one implied instance of an agent that we call begins."""


class AgentState(StrEnum):
    """What an agent is doing, as far as Ops-Core knows."""

    UNKNOWN = "unknown"
    INITIALIZING = "initializing"
    IDLE = "idle"
    ACTIVE = "active"
    ERROR = "error"
    DRAINING = "draining"
    OFFLINE = "offline"


class SessionStatus(StrEnum):
    """The words of the wire for a session."""

    WAITING = "waiting"
    PROCESSING = "processing"
    PAUSED = "paused"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """Where a step of a session stands."""

    PENDING = "pending"
    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    COMPENSATED = "compensated"


class Phase(StrEnum):
    """How far a session that will not complete any more has come.

    `draining`: nothing new starts, and what runs comes to its end. `handling` (of one that fails):
    the steps run whose `when` is `failed` or `always`. `compensating`: what completed is undone.
    """

    DRAINING = "draining"
    HANDLING = "handling"
    COMPENSATING = "compensating"


class When(StrEnum):
    """After which ends of its needs a step runs."""

    COMPLETED = "completed"
    FAILED = "failed"
    ALWAYS = "always"


class TaskStatus(StrEnum):
    """Where a task stands."""

    SCHEDULED = "scheduled"
    AVAILABLE = "available"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


SESSION_TRANSITIONS: Mapping[SessionStatus, frozenset[SessionStatus]] = {
    SessionStatus.WAITING: frozenset(
        {
            SessionStatus.PROCESSING,
            SessionStatus.PAUSED,
            SessionStatus.COMPLETED,
            SessionStatus.ERROR,
            SessionStatus.CANCELLED,
        }
    ),
    SessionStatus.PROCESSING: frozenset(
        {
            SessionStatus.PAUSED,
            SessionStatus.COMPLETED,
            SessionStatus.ERROR,
            SessionStatus.CANCELLED,
        }
    ),
    SessionStatus.PAUSED: frozenset(
        {SessionStatus.WAITING, SessionStatus.PROCESSING, SessionStatus.CANCELLED}
        | {SessionStatus.COMPLETED, SessionStatus.ERROR}
    ),
    SessionStatus.COMPLETED: frozenset(),
    SessionStatus.ERROR: frozenset({SessionStatus.PROCESSING}),
    # A compensation that failed may be tried again by hand.
    SessionStatus.CANCELLED: frozenset({SessionStatus.PROCESSING}),
}

STEP_TRANSITIONS: Mapping[StepStatus, frozenset[StepStatus]] = {
    StepStatus.PENDING: frozenset(
        {
            StepStatus.WAITING,
            StepStatus.RUNNING,
            StepStatus.COMPLETED,
            StepStatus.FAILED,
            StepStatus.SKIPPED,
            StepStatus.CANCELLED,
        }
    ),
    StepStatus.WAITING: frozenset(
        {
            StepStatus.RUNNING,
            StepStatus.COMPLETED,
            StepStatus.FAILED,
            StepStatus.CANCELLED,
        }
    ),
    StepStatus.RUNNING: frozenset({StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.CANCELLED}),
    # What came of the session's failure is open again when the session is retried.
    StepStatus.COMPLETED: frozenset({StepStatus.COMPENSATED, StepStatus.PENDING}),
    StepStatus.FAILED: frozenset({StepStatus.PENDING, StepStatus.RUNNING}),
    StepStatus.SKIPPED: frozenset({StepStatus.PENDING}),
    StepStatus.CANCELLED: frozenset({StepStatus.PENDING, StepStatus.RUNNING}),
    StepStatus.COMPENSATED: frozenset({StepStatus.PENDING}),
}

TASK_TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.SCHEDULED: frozenset(
        {TaskStatus.AVAILABLE, TaskStatus.FAILED, TaskStatus.CANCELLED}
    ),
    TaskStatus.AVAILABLE: frozenset({TaskStatus.RUNNING, TaskStatus.FAILED, TaskStatus.CANCELLED}),
    TaskStatus.RUNNING: frozenset(
        {
            TaskStatus.COMPLETED,
            TaskStatus.FAILED,
            TaskStatus.SCHEDULED,
            TaskStatus.AVAILABLE,
            TaskStatus.CANCELLED,
        }
    ),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.AVAILABLE}),
    TaskStatus.CANCELLED: frozenset(),
}

TASK_STARTS = (TaskStatus.SCHEDULED, TaskStatus.AVAILABLE)

# Tuples, because an enum's hash is a Python call: membership of a frozenset costs ten times as much.
SESSION_ENDED = (SessionStatus.COMPLETED, SessionStatus.ERROR, SessionStatus.CANCELLED)
STEP_PASSED = (StepStatus.COMPLETED, StepStatus.SKIPPED)
STEP_ENDED = (
    *STEP_PASSED,
    StepStatus.FAILED,
    StepStatus.CANCELLED,
    StepStatus.COMPENSATED,
)
TASK_QUEUED = (TaskStatus.AVAILABLE, TaskStatus.SCHEDULED)
TASK_ENDED = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why something failed: the class that policies match, and words for people.

    `http_status`: what an agent that we call answered with, when it is that which failed.
    """

    error_class: str
    message: str
    retry_after: Micros | None = None
    http_status: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asked for a change: a kind (`operator`, `agent`, `system`, `session`) and a name."""

    kind: str
    name: str
    key_id: str | None = field(default=None, compare=False)
    """The key that was shown, where one was."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


SYSTEM = Actor("system", "opscore")


COMPENSATION = -1
"""The member number of a task that undoes its step: it stands outside the fallback chain."""


MAX_DEPTH = 10
"""How deep child sessions may be nested."""


def child_id_of(session_id: str, number: int) -> str:
    """The id of a session's n-th child: pure, so that starting it twice starts it once.

    The mark sorts behind those of task ids, so that a session's tasks stay a range without its
    children's.
    """
    return f"{session_id}_{number}"


def on_error_id_of(session_id: str, seq: int) -> str:
    """The id of the session of an `onError` workflow, by the event of the failure: pure as well."""
    return f"{session_id}_e{seq}"


def task_id_of(session_id: str, number: int) -> str:
    """The id of a session's n-th task: pure, time-ordered, and it names its session."""
    return f"tsk_{session_id[4:]}-{number}"


def session_id_of(task_id: str) -> str | None:
    """The session of a task, or None when the text cannot be a task's id."""
    body, dash, number = task_id[4:].rpartition("-")
    if not dash or not body or not number.isdigit() or not task_id.startswith("tsk_"):
        return None
    return f"ses_{body}"


def approval_id_of(session_id: str, step: str) -> str:
    """The id of what a step asks of people: pure, and it names session and step."""
    return f"apr_{session_id[4:]}-{step}"


def step_of(approval_id: str) -> tuple[str, str] | None:
    """Session and step of an approval, or None when the text cannot be an approval's id."""
    body, dash, step = approval_id[4:].rpartition("-")
    if not dash or not body or not step or not approval_id.startswith("apr_"):
        return None
    return f"ses_{body}", step


def ready_order(enqueued: Micros, priority: int) -> int:
    """The one stored number by which tasks are claimed: smallest first, so nothing starves."""
    return enqueued + (100 - priority) * AGEING_STEP
