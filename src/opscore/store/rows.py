"""Rows as the store takes and gives them, and the changes of one commit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from opscore.core.audit import AuditEntry
from opscore.core.types import Json, Micros
from opscore.store.gate_rows import GateChanges, GateRows
from opscore.store.key_rows import KeyRow


class EventRow(NamedTuple):
    """One fact of a session's journal."""

    session_id: str
    seq: int
    at: Micros
    type: str
    version: int
    data: Json


class AgentEventRow(NamedTuple):
    """One fact of an agent's journal."""

    namespace: str
    agent_id: str
    seq: int
    at: Micros
    type: str
    version: int
    data: Json


class StoredEvent(NamedTuple):
    """An event of either journal with its position; `owner` is a session's or an agent's id."""

    position: int
    owner: str
    seq: int
    at: Micros
    type: str
    version: int
    data: Json


class SessionRow(NamedTuple):
    """A session's header: what lists and deadlines need. `labels` is a JSON object."""

    session_id: str
    namespace: str
    workflow: str
    version: str
    status: str
    priority: int
    labels: str
    agent_id: str | None
    trace_id: str
    created_at: Micros
    updated_at: Micros
    finished_at: Micros | None
    deadline: Micros | None


class TaskRow(NamedTuple):
    """A task. The columns from `priority` on change; those before are written once."""

    task_id: str
    session_id: str
    namespace: str
    step: str
    item_index: int | None
    member: int
    capability: str | None
    agent: str | None
    input: Json
    created_at: Micros
    priority: int
    status: str
    updated_at: Micros
    attempt: int
    failures: int
    agent_id: str | None
    instance_id: str | None
    due: Micros | None
    finished_at: Micros | None
    output: Json | None
    error: str | None


class TaskChange(NamedTuple):
    """The changing columns of a task."""

    task_id: str
    priority: int
    status: str
    updated_at: Micros
    attempt: int
    failures: int
    agent_id: str | None
    instance_id: str | None
    due: Micros | None
    finished_at: Micros | None
    output: Json | None
    error: str | None


class ReadyRow(NamedTuple):
    """A place in a queue."""

    namespace: str
    queue: str
    place: int
    task_id: str
    session_id: str
    expires_at: Micros | None


class QueueDepth(NamedTuple):
    """How many tasks of a queue may be claimed."""

    namespace: str
    queue: str
    tasks: int


class DelayedRow(NamedTuple):
    """A task that waits for its time."""

    due: Micros
    task_id: str
    session_id: str


class TimerRow(NamedTuple):
    """Until when a step waits."""

    session_id: str
    step: str
    due: Micros


class ApprovalRow(NamedTuple):
    """What people are or were asked; `data` is the engine's record as JSON."""

    approval_id: str
    namespace: str
    session_id: str
    step: str
    status: str
    data: Json


class CallbackRow(NamedTuple):
    """Whom to tell when a session has ended: pending, delivered or given_up."""

    session_id: str
    namespace: str
    url: str
    status: str = "pending"
    tries: int = 0
    due: Micros | None = None
    error: str | None = None


class ScheduleRow(NamedTuple):
    """When a workflow starts next; `queued` is a JSON list of times that wait for a session."""

    namespace: str
    workflow: str
    version: str
    origin: Micros
    paused: int
    next_at: Micros | None
    last_session: str | None
    last_at: Micros | None
    queued: str
    missed: int


class LeaseRow(NamedTuple):
    """An attempt in flight. `heartbeat`: how long its lease is, when its step says so.

    `terms`: the limits under which it found room, as JSON.
    """

    task_id: str
    attempt: int
    session_id: str
    namespace: str
    agent_id: str
    instance_id: str
    until: Micros
    deadline: Micros | None
    heartbeat: Micros | None = None
    terms: str | None = None


class TaskPicture(NamedTuple):
    """A task with the lease of its running attempt, if it runs: that it runs is told by it."""

    task: TaskRow
    lease: LeaseRow | None


class TemplateRow(NamedTuple):
    """A template version."""

    namespace: str
    name: str
    version: str
    description: str
    digest: str
    source: Json
    created_at: Micros


class AgentRow(NamedTuple):
    """A registered agent; `data` is the engine's record as JSON."""

    agent_id: str
    namespace: str
    name: str
    data: Json


class RequestName(NamedTuple):
    """Which request an `Idempotency-Key` names: the key counts for its sender and route only."""

    namespace: str
    owner: str
    route: str
    key: str


class RequestRow(NamedTuple):
    """A request that is carried out once. `digest` tells its content from another's.

    `results` is what its commands gave so far, `answer` what its sender was answered; both are the
    engine's own encoding.
    """

    namespace: str
    owner: str
    route: str
    key: str
    digest: bytes
    created_at: Micros
    results: Json | None
    answer: bytes | None


class DeadRow(NamedTuple):
    """A task given up for good, of a session that has ended."""

    task_id: str
    session_id: str
    namespace: str


class OutboxRow(NamedTuple):
    """Something one session's commit asks of another session, or of its own next commit."""

    outbox_id: str
    namespace: str
    kind: str
    session_id: str
    data: Json


@dataclass(slots=True)
class Wants:
    """What a batch must lock and read before it can decide.

    `claims` maps (namespace, queue) to how many tasks may be taken; `sessions` are those of which
    the caller needs more than it has in memory; `leases` names tasks, `holders`
    instances, and `agents` agents whose lease rows it needs.
    """

    sessions: set[str] = field(default_factory=set[str])
    claims: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    leases: set[str] = field(default_factory=set[str])
    holders: set[str] = field(default_factory=set[str])
    agents: set[str] = field(default_factory=set[str])
    ending: int = 0
    """How many attempts the batch may end: their slots may be given away in the same commit."""
    settled: bool = False
    """Decide only when the commit before is done: what it adds is known only then."""
    gates: bool = False
    """Read all that limits are made of: a commit failed that had changed some of it."""

    def nothing(self) -> bool:
        """Whether the batch can decide from memory alone."""
        rows = self.leases or self.holders or self.agents
        return not (self.sessions or self.claims or rows or self.settled or self.gates)


@dataclass(slots=True)
class Locked:
    """What was read under the lock, in the order of `Wants`."""

    journals: dict[str, list[StoredEvent]] = field(default_factory=dict[str, list[StoredEvent]])
    candidates: dict[tuple[str, str], list[ReadyRow]] = field(
        default_factory=dict[tuple[str, str], list[ReadyRow]]
    )
    leases: dict[str, LeaseRow] = field(default_factory=dict[str, LeaseRow])
    held: dict[str, list[LeaseRow]] = field(default_factory=dict[str, list[LeaseRow]])
    held_by_agent: dict[str, list[LeaseRow]] = field(default_factory=dict[str, list[LeaseRow]])
    gates: GateRows | None = None


@dataclass(slots=True)
class Changes:
    """The rows of one commit. Later changes of a row replace earlier ones."""

    events: list[EventRow] = field(default_factory=list[EventRow])
    agent_events: list[AgentEventRow] = field(default_factory=list[AgentEventRow])
    sessions: dict[str, SessionRow] = field(default_factory=dict[str, SessionRow])
    tasks: dict[str, TaskRow] = field(default_factory=dict[str, TaskRow])
    task_changes: dict[str, TaskChange] = field(default_factory=dict[str, TaskChange])
    ready: dict[str, ReadyRow] = field(default_factory=dict[str, ReadyRow])
    unready: dict[str, ReadyRow] = field(default_factory=dict[str, ReadyRow])
    limits: GateChanges = field(default_factory=GateChanges)
    delayed: dict[str, DelayedRow] = field(default_factory=dict[str, DelayedRow])
    undelayed: dict[str, DelayedRow] = field(default_factory=dict[str, DelayedRow])
    timers: dict[tuple[str, str], TimerRow] = field(default_factory=dict[tuple[str, str], TimerRow])
    untimed: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    callbacks: dict[str, CallbackRow] = field(default_factory=dict[str, CallbackRow])
    approvals: dict[str, ApprovalRow] = field(default_factory=dict[str, ApprovalRow])
    schedules: dict[tuple[str, str], ScheduleRow] = field(
        default_factory=dict[tuple[str, str], ScheduleRow]
    )
    schedules_gone: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    leases: dict[str, LeaseRow] = field(default_factory=dict[str, LeaseRow])
    unleased: set[str] = field(default_factory=set[str])
    extended: dict[str, Micros] = field(default_factory=dict[str, Micros])
    templates: list[TemplateRow] = field(default_factory=list[TemplateRow])
    agents: dict[str, AgentRow] = field(default_factory=dict[str, AgentRow])
    agents_gone: set[str] = field(default_factory=set[str])
    keys: dict[str, KeyRow] = field(default_factory=dict[str, KeyRow])
    key_uses: dict[str, Micros] = field(default_factory=dict[str, Micros])
    outbox: dict[str, OutboxRow] = field(default_factory=dict[str, OutboxRow])
    outbox_done: set[str] = field(default_factory=set[str])
    dead: list[DeadRow] = field(default_factory=list[DeadRow])
    revived: set[str] = field(default_factory=set[str])
    """Sessions whose dead letters are none any more; those of this batch's `dead` follow later."""
    sessions_gone: set[str] = field(default_factory=set[str])
    requests: dict[RequestName, RequestRow] = field(default_factory=dict[RequestName, RequestRow])
    audit: list[AuditEntry] = field(default_factory=list[AuditEntry])
    told: bytes = b""
    """What other servers of a shared store must know of this commit."""
    requests_before: Micros | None = None
    """Requests older than this are forgotten."""

    def enqueue(self, row: ReadyRow) -> None:
        """Give a task a place in a queue."""
        self.ready[row.task_id] = row

    def dequeue(self, row: ReadyRow) -> None:
        """Take a task out of its queue; `row` names the place it has in the store.

        The first place named in a batch is the stored one; later ones were this batch's own.
        """
        if not self.withdraw(row.task_id):
            self.unready.setdefault(row.task_id, row)

    def withdraw(self, task_id: str) -> bool:
        """Whether the task's place was this batch's own, and is given up."""
        return self.ready.pop(task_id, None) is not None

    def delay(self, row: DelayedRow) -> None:
        """Let a task wait for its time."""
        self.delayed[row.task_id] = row

    def undelay(self, row: DelayedRow) -> None:
        """End a task's waiting; `row` names the time it has in the store."""
        if self.delayed.pop(row.task_id, None) is None:
            self.undelayed.setdefault(row.task_id, row)

    def set_timer(self, row: TimerRow) -> None:
        """Let a step wait until then, in place of the time it may have waited for before."""
        self.timers[row[:2]] = row
        self.untimed.discard(row[:2])

    def stop_timer(self, session_id: str, step: str) -> None:
        """The step waits no longer."""
        self.timers.pop((session_id, step), None)
        self.untimed.add((session_id, step))

    def end_lease(self, task_id: str) -> None:
        """An attempt is over."""
        self.leases.pop(task_id, None)
        self.extended.pop(task_id, None)
        self.unleased.add(task_id)

    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not any(getattr(self, name) for name in type(self).__slots__)
