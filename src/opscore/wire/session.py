"""Sessions and templates."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from opscore.wire.base import (
    Id,
    Input,
    Labels,
    Name,
    Output,
    Page,
    Priority,
    Text,
    empty_object,
    null,
)
from opscore.wire.task import TaskError
from opscore.wire.trace import SpentView

SessionWord = Literal["waiting", "processing", "paused", "completed", "error", "cancelled"]


class Callback(Input):
    """Whom to tell when the session has ended."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]


class CallbackView(Output):
    """What became of a callback: pending, delivered, or given_up after the last try."""

    url: str
    status: str
    tries: int
    next_try_at: str | None
    error: str | None


class StartSession(Input):
    """`POST /session`."""

    workflow: Name
    version: str | None = None
    input: msgspec.Raw = msgspec.field(default_factory=empty_object)
    context: msgspec.Raw = msgspec.field(default_factory=empty_object)
    priority: Priority | None = None
    labels: Labels = {}
    callback: Callback | None = None


class StartSessions(Input):
    """`POST /session/batch`: up to 500 at once, all of them or, when one is refused, none."""

    sessions: Annotated[list[StartSession], msgspec.Meta(min_length=1, max_length=500)]


class SessionAccepted(Output):
    """Answer of `POST /session`. `callbackSecret` signs the callback; it is shown here only."""

    session_id: str
    status: SessionWord = "waiting"
    callback_secret: str | msgspec.UnsetType = msgspec.UNSET


class SessionsAccepted(Output):
    """Answer of `POST /session/batch`: an id each, in order; secrets of callbacks by id."""

    session_ids: list[str]
    callback_secrets: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class TriggerWorkflow(msgspec.Struct, rename="camel", kw_only=True):
    """`POST /agent/{agentId}/workflow`, exactly as AgentKit sends it; extras are tolerated."""

    workflow_definition_id: Id | None = None
    workflow_definition: dict[str, Any] | None = None
    initial_payload: msgspec.Raw = msgspec.field(default_factory=null)
    context: msgspec.Raw = msgspec.field(default_factory=null)
    callback: Callback | None = None


class TriggerAccepted(Output, omit_defaults=True):
    """Answer of a trigger: of a callback, the secret that is shown here only.

    `status`, `output` and `error` stand in it only under `Prefer: wait`.
    """

    session_id: str
    workflow_id: str
    message: str
    callback_secret: str | None = None
    status: str | None = None
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: TaskError | None = None


class StepWait(Output):
    """What a step waits for: `time`, `signal` (`name`) or `approval` (`name` is its id)."""

    kind: Literal["time", "signal", "approval"]
    until: str | None = None
    name: str | None = None


class StepView(Output):
    """A step of a session: counts for all, ids of tasks and child sessions for the first hundred.

    Of a `repeat`: `iteration` is the one that runs or ran last, from 1, of `iterations` at most.
    """

    status: str
    tasks: list[str]
    total: int
    completed: int
    failed: int
    running: int
    started_at: str | None = None
    finished_at: str | None = None
    error: TaskError | None = None
    waiting_for: StepWait | None = None
    labels: dict[str, str] = {}
    description: str = ""
    iteration: int | None = None
    iterations: int | None = None
    children: list[str] = []


class SessionView(Output):
    """A session as `GET /session/{id}` shows it.

    `callbackSecret` stands only in the answer to a start that waited for the end, `usage` once an
    attempt told what it spent (those of child sessions are in the trace).
    """

    session_id: str
    workflow: str
    version: str
    status: SessionWord
    waiting_for: str | None
    cancelling: bool
    input: msgspec.Raw
    context: msgspec.Raw
    output: msgspec.Raw
    error: TaskError | None
    steps: dict[str, StepView]
    priority: int
    labels: dict[str, str]
    agent_id: str | None
    created_at: str
    updated_at: str
    finished_at: str | None
    trace_id: str
    metadata: msgspec.Raw = msgspec.field(default_factory=empty_object)
    callback: CallbackView | None = None
    callback_secret: str | msgspec.UnsetType = msgspec.UNSET
    parent: str | None = None
    usage: SpentView | msgspec.UnsetType = msgspec.UNSET


class SessionSummary(Output):
    """A session in a list."""

    session_id: str
    workflow: str
    version: str
    status: SessionWord
    priority: int
    labels: dict[str, str]
    agent_id: str | None
    created_at: str
    updated_at: str
    finished_at: str | None
    trace_id: str


class SessionPage(Page, kw_only=True):
    """`GET /session`, newest first."""

    sessions: list[SessionSummary]


class PatchSession(Input):
    """`PATCH /session/{id}`: only the fields given change."""

    priority: Priority | msgspec.UnsetType = msgspec.UNSET
    labels: Labels | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Reason(Input):
    """Body of cancel, pause, resume, retry: why, for the journal."""

    reason: Text = ""


class EventView(Output):
    """One fact of a journal."""

    event_id: str
    position: int
    session_id: str | None
    agent_id: str | None
    seq: int
    at: str
    type: str
    version: int
    data: msgspec.Raw


class History(Page, kw_only=True):
    """`GET /session/{id}/history`, oldest first."""

    events: list[EventView]


class WorkflowView(Output):
    """A stored template version."""

    name: str
    version: str
    description: str
    digest: str
    created_at: str
    definition: msgspec.Raw


class WorkflowSummary(Output):
    """A template in a list: its latest created version."""

    name: str
    version: str
    description: str
    created_at: str


class WorkflowPage(Page, kw_only=True):
    """`GET /workflow`."""

    workflows: list[WorkflowSummary]


class WorkflowCreated(Output):
    """Answer of `POST /workflow`; `created` is false when the same content was there."""

    name: str
    version: str
    digest: str
    created: bool


class WorkflowChecked(Output):
    """Answer of `POST /workflow/validate`."""

    valid: bool
    errors: list[dict[str, Any]] = []
    warnings: list[dict[str, Any]] = []


class PlanRequest(Input):
    """`POST /workflow/plan`: a template as text (YAML or JSON) or as an object, and an input."""

    template: Any
    input: Any = None


class PlannedStep(Output):
    """One step of a plan. `attempts` and `seconds` are the worst case; null is without a bound."""

    name: str
    kind: str
    target: str | None
    needs: list[str]
    wave: int
    condition: str | None = msgspec.field(name="if")
    runs: bool | None
    items: int | None
    max_parallel: int | None
    attempts: int | None
    seconds: float | None
    unbounded: list[str]


class WorkflowPlan(Output):
    """Answer of `POST /workflow/plan`. Steps of one wave may run side by side."""

    workflow: str
    version: str
    waves: list[list[str]]
    attempts: int | None
    seconds: float | None
    longest_path: list[str]
    limits: list[str]
    bounded_by_timeout: bool
    steps: list[PlannedStep]
