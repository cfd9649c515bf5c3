"""What is known of a session, its steps and its tasks: the fold of the session's events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from opscore.core.limits import Terms
from opscore.core.types import (
    ErrorInfo,
    Json,
    Micros,
    Phase,
    SessionStatus,
    StepStatus,
    TaskStatus,
)


@dataclass(slots=True)
class TaskState:
    """One unit of work. `allowance`: failures allowed by hand instead of the policy's. `input` is dropped when the task ends; the task row keeps it.

    `own_priority`: its step's or a person's, which a change of the session's leaves alone.
    `terms`: the limits that it must find room under; None: none. `match`: what it asks of agents. `available_at`: since when it may be claimed (again); None: since it was made. `claimed_at`: when its last attempt began.
    """

    task_id: str
    step: str
    index: int | None
    member: int
    capability: str | None
    agent: str | None
    input: Json | None
    priority: int
    order: int
    status: TaskStatus
    created_at: Micros
    updated_at: Micros
    due: Micros | None = None
    queue_deadline: Micros | None = None
    available_at: Micros | None = None
    claimed_at: Micros = 0
    terms: Terms | None = None
    match: str | None = None
    attempt: int = 0
    failures: int = 0
    allowance: int | None = None
    own_priority: bool = False
    agent_id: str | None = None
    instance_id: str | None = None
    deadline: Micros | None = None
    finished_at: Micros | None = None
    output: Json | None = None
    error: ErrorInfo | None = None


@dataclass(slots=True)
class ChildState:
    """One child session. `failures`: how often the same work has failed before it.

    `due`: when it starts, if not at once. `abandoned`: its outcome is not wanted any more.
    """

    child_id: str
    step: str
    index: int | None
    member: int
    workflow: str
    version: str
    input: Json | None
    failures: int
    due: Micros | None = None
    abandoned: bool = False
    ended: bool = False


def running_attempt(task: TaskState) -> int:
    """The number of the attempt in flight, or 0."""
    return task.attempt if task.status is TaskStatus.RUNNING else 0


def _no_outputs() -> list[Json | None]:
    return []


def _no_tasks() -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal that no step has taken yet."""

    signal_id: str
    name: str
    payload: Json


@dataclass(slots=True)
class Inbox:
    """The signals of a session: those not taken yet, oldest first; `seen` has every id's name."""

    signals: list[Signal] = field(default_factory=list[Signal])
    seen: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Vote:
    """What an approver said."""

    by: str
    comment: str


@dataclass(slots=True)
class Approval:
    """What is asked of people, and what they said of the content as it is now.

    `outcome`: pending, approved, rejected or cancelled.
    """

    title: str
    details: Json
    content_hash: str
    approvers: tuple[str, ...]
    quorum: int
    requested_at: Micros
    votes: list[Vote] = field(default_factory=list[Vote])
    edited: bool = False
    escalated: bool = False
    outcome: str = "pending"
    reason: str = ""
    decided_at: Micros | None = None


@dataclass(slots=True)
class StepState:
    """Where a step stands. `items` and `outputs` have one place per item of a `foreach`.

    `errors`: the items that failed under `failures: collect`. `iteration`: the one of a `repeat`
    that runs or ran last; `output` is then that of the one before, while the step is open. `late`:
    it began, or was skipped, because the session failed. `due`: until when it waits, or may take;
    `signal`: for the signal of that name. `completed_seq`: the number of the event with which it
    completed. `undone_error`: why it could not be undone. `allowances` and `moved_on` are people's:
    attempts that an item may have, and items that went on to a fallback.
    """

    status: StepStatus = StepStatus.PENDING
    items: tuple[Json, ...] | None = None
    outputs: list[Json | None] = field(default_factory=_no_outputs)
    output: Json | None = None
    next_index: int = 0
    active: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    task_ids: list[str] = field(default_factory=_no_tasks)
    child_ids: list[str] | None = None
    started_at: Micros | None = None
    finished_at: Micros | None = None
    error: ErrorInfo | None = None
    errors: dict[int, ErrorInfo] | None = None
    iteration: int = 0
    late: bool = False
    due: Micros | None = None
    signal: str | None = None
    approval: Approval | None = None
    completed_seq: int = 0
    undone_error: ErrorInfo | None = None
    allowances: dict[int | None, int] | None = None
    moved_on: set[int] | None = None


@dataclass(frozen=True, slots=True)
class Stopping:
    """Why, how far, since and until when a session is winding down, and who made it."""

    cancelled: bool
    error: ErrorInfo
    grace_until: Micros
    since: Micros
    actor: str
    phase: Phase = Phase.DRAINING
    reopened: bool = False


def _pending_steps() -> defaultdict[str, StepState]:
    return defaultdict(StepState)


@dataclass(slots=True)
class SessionState:
    """The fold of a session's events; owned by whoever folds.

    A step that no event has named yet is pending: `steps` makes its state on first sight.
    `failure`: why it wound down last; `error` tells also what failed after that. `terms`: the limits of
    its template; while it is `held`, it waits for room under them at the place `order`, and goes on
    with the fallbacks of the tasks `resumed` then.
    """

    session_id: str
    namespace: str = ""
    workflow: str = ""
    version: str = ""
    status: SessionStatus = SessionStatus.WAITING
    seq: int = 0
    input: Json = b"{}"
    context: Json = b"{}"
    metadata: Json = b"{}"
    priority: int = 50
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    trace_id: str = ""
    traceparent: str | None = None
    agent_id: str | None = None
    agent_name: str | None = None
    agent_capabilities: tuple[str, ...] = ()
    on_error_version: str | None = None
    deadline: Micros | None = None
    terms: Terms | None = None
    held: bool = False
    order: int = 0
    resumed: tuple[str, ...] = ()
    due: Micros | None = None
    created_at: Micros = 0
    updated_at: Micros = 0
    finished_at: Micros | None = None
    paused_at: Micros | None = None
    paused_by: str = ""
    pause_reason: str = ""
    stopping: Stopping | None = None
    failure: ErrorInfo | None = None
    output: Json | None = None
    error: ErrorInfo | None = None
    steps: defaultdict[str, StepState] = field(default_factory=_pending_steps)
    tasks: dict[str, TaskState] = field(default_factory=dict[str, TaskState])
    parent: str | None = None
    depth: int = 0
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    children: dict[str, ChildState] = field(default_factory=dict[str, ChildState])
    open_children: int = 0
    started: bool = False
    running: int = 0
    queued: int = 0
    inbox: Inbox | None = None

    @property
    def quiet(self) -> bool:
        """Nothing that was begun is under way."""
        return not (self.running or self.queued or self.open_children)

    @property
    def draining(self) -> bool:
        """Nothing new starts: the session was cancelled, or failed and is not quiet yet."""
        return self.stopping is not None and self.stopping.phase is Phase.DRAINING

    @property
    def ending(self) -> bool:
        """No step starts any more: nothing new starts, or what completed is being undone."""
        return self.stopping is not None and self.stopping.phase is not Phase.HANDLING

    def waits(self) -> list[str]:
        """The steps that wait for a time, a signal or people."""
        return [name for name, s in self.steps.items() if s.status is StepStatus.WAITING]

    def clocked(self, step: StepState) -> bool:
        """Whether time is running for a step: it waits until then, or its work may take so long.

        A session that winds down has a grace instead.
        """
        if step.due is None or self.paused_at is not None:
            return False
        if step.status is StepStatus.RUNNING:
            return not self.draining
        return step.status is StepStatus.WAITING

    def bounded(self) -> list[str]:
        """The steps that are under way and have a time at which something follows."""
        under_way = (StepStatus.WAITING, StepStatus.RUNNING)
        return [n for n, s in self.steps.items() if s.due is not None and s.status in under_way]
