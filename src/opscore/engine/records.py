"""What the verbs give back: read-only pictures of agents, sessions, tasks, templates, events.

Times are microseconds since the epoch; JSON fields are encoded documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import msgspec

from opscore.core.types import (
    AgentState,
    ErrorInfo,
    Json,
    Micros,
    SessionStatus,
    StepStatus,
    TaskStatus,
)
from opscore.debugging.spans import attempt_span_id
from opscore.debugging.usage import Spent, Usage

T = TypeVar("T")
ApprovalStatus = Literal["pending", "approved", "rejected", "cancelled"]


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One running process of an agent."""

    instance_id: str
    online: bool
    max_in_flight: int
    in_flight: int
    connected_at: Micros | None
    last_seen_at: Micros | None


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """A registered agent with its instances.

    `registered_at`: when what is known of it was last told, changed or not.
    """

    agent_id: str
    agent_name: str
    namespace: str
    version: str
    capabilities: tuple[str, ...]
    channel: str
    contact_endpoint: str | None
    max_in_flight: int
    labels: Mapping[str, str]
    metadata: Mapping[str, Any]
    schemas: Mapping[str, Any]
    state: AgentState
    reported_state: str | None
    details: Mapping[str, Any] | None
    online: bool
    instances: tuple[InstanceRecord, ...]
    last_error: str | None
    created_at: Micros
    updated_at: Micros
    registered_at: Micros
    created: bool = False
    revision: str = ""


@dataclass(frozen=True, slots=True)
class StateRecord:
    """An agent's state at one moment: who changed it, when, why, from what, to what."""

    agent_id: str
    state: AgentState
    previous: AgentState | None
    reported_state: str | None
    reported_at: str | None
    at: Micros
    actor: str
    reason: str
    details: Mapping[str, Any] | None
    seq: int


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """A stored template version."""

    name: str
    version: str
    description: str
    digest: str
    source: Json
    created_at: Micros
    created: bool = False


@dataclass(frozen=True, slots=True)
class WaitRecord:
    """What a step waits for: `time`, `signal` (`name`) or `approval` (`name` is its id).

    `until`: it ends then at the latest.
    """

    kind: Literal["time", "signal", "approval"]
    until: Micros | None
    name: str | None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step of a session: its status and how its tasks stand.

    Of a `repeat`: which iteration runs or ran last, from 1, and how many there may be.
    """

    status: StepStatus
    tasks: tuple[str, ...]
    total: int
    completed: int
    failed: int
    running: int
    started_at: Micros | None
    finished_at: Micros | None
    error: ErrorInfo | None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    description: str = ""
    iteration: int | None = None
    iterations: int | None = None
    waiting_for: WaitRecord | None = None
    children: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session as lists show it."""

    session_id: str
    namespace: str
    workflow: str
    version: str
    status: SessionStatus
    priority: int
    labels: Mapping[str, str]
    agent_id: str | None
    created_at: Micros
    updated_at: Micros
    finished_at: Micros | None
    trace_id: str


@dataclass(frozen=True, slots=True)
class SessionRecord(SessionSummary):
    """A session in full. `spent`: by its own attempts, when one told."""

    parent: str | None = None
    waiting_for: str | None = None
    cancelling: bool = False
    input: Json = b"{}"
    context: Json = b"{}"
    output: Json | None = None
    error: ErrorInfo | None = None
    steps: Mapping[str, StepRecord] = field(default_factory=dict[str, StepRecord])
    metadata: Json = b"{}"
    revision: str = ""
    spent: Spent | None = None


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A workflow that starts by itself: when next, and what became of the times before."""

    workflow: str
    version: str
    cron: str | None
    every: Micros | None
    timezone: str
    overlap: Literal["skip", "queue", "cancel"]
    catch_up: Micros
    paused: bool
    next_times: tuple[Micros, ...]
    last_session: str | None
    last_at: Micros | None
    queued: int
    missed: int


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """What a step asks of people. `status`: pending, approved, rejected or cancelled.

    `votes`: who approved the content as it is now, with a comment each.
    """

    approval_id: str
    namespace: str
    session_id: str
    step: str
    status: ApprovalStatus
    workflow: str
    version: str
    title: str
    details: Json
    content_hash: str
    approvers: tuple[str, ...]
    quorum: int
    votes: tuple[tuple[str, str], ...]
    edited: bool
    escalated: bool
    reason: str
    requested_at: Micros
    due_at: Micros | None
    decided_at: Micros | None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a task, as the journal tells it: what was asked, and what was answered.

    `reply`: the output of an attempt that completed its task.
    """

    attempt: int
    agent_id: str
    instance_id: str
    started_at: Micros
    ended_at: Micros | None = None
    outcome: str | None = None
    error: ErrorInfo | None = None
    usage: Usage | None = None
    input: Json | None = None
    reply: Json | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task. `agent` is the name the template asked for, `agent_id` who has or had it."""

    task_id: str
    session_id: str
    namespace: str
    step: str
    index: int | None
    member: int
    capability: str | None
    agent: str | None
    status: TaskStatus
    attempt: int
    failures: int
    priority: int
    input: Json
    output: Json | None
    error: ErrorInfo | None
    due_at: Micros | None
    created_at: Micros
    updated_at: Micros
    finished_at: Micros | None
    agent_id: str | None
    instance_id: str | None
    progress: float | None = None
    progress_message: str = ""
    attempts: tuple[AttemptRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One fact of a journal. `position` orders all events of a store."""

    position: int
    session_id: str | None
    agent_id: str | None
    seq: int
    at: Micros
    type: str
    version: int
    data: Json


@dataclass(frozen=True, slots=True)
class PartState:
    """How a part is: what is wrong with it (None: nothing), and how much waits for it."""

    problem: str | None
    waiting: int


@dataclass(frozen=True, slots=True)
class Paged(Generic[T]):
    """A page of records and where the next one begins."""

    items: Sequence[T]
    next_cursor: str | None


class ClaimedAttempt(msgspec.Struct, frozen=True):
    """One attempt handed to an instance. `heartbeat`: its lease, when its step sets one."""

    task_id: str
    attempt: int
    session_id: str
    namespace: str
    step: str
    capability: str | None
    agent: str | None
    input: Json
    context: Json
    lease_until: Micros
    deadline: Micros | None
    trace_id: str
    heartbeat: Micros | None = None

    @property
    def idempotency_key(self) -> str:
        """Stable over the attempts of a task."""
        return self.task_id

    @property
    def traceparent(self) -> str:
        """The W3C header that puts the agent's spans below the attempt's in the session's trace."""
        span_id = attempt_span_id(self.trace_id, self.task_id, self.attempt)
        return f"00-{self.trace_id}-{span_id}-01"


class SettlementReport(msgspec.Struct, frozen=True):
    """What an agent says of one attempt: `outcome` is completed, failed or released."""

    task_id: str
    attempt: int
    outcome: str
    output: Json = b"null"
    error: ErrorInfo | None = None
    usage: Json | None = None


class VerdictRecord(msgspec.Struct, frozen=True):
    """recorded, stale_attempt, unknown_task or invalid."""

    task_id: str
    attempt: int
    verdict: str
    detail: str = ""
