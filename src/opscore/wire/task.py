"""Tasks: enqueueing, settling, reading."""

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

TaskWord = Literal["scheduled", "available", "running", "completed", "failed", "cancelled"]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]


class EnqueueTask(Input):
    """`POST /task`: one task, run as a session of a built-in one-step template.

    `retry` and `timeout` have the form they have in a template.
    """

    capability: Name | None = None
    agent: Name | None = None
    input: msgspec.Raw = msgspec.field(default_factory=empty_object)
    context: msgspec.Raw = msgspec.field(default_factory=empty_object)
    priority: Priority = 50
    delay_seconds: Seconds | None = None
    due_at: str | None = None
    retry: Any = None
    timeout: Any = None
    labels: Labels = {}


class TaskAccepted(Output):
    """Answer of `POST /task`."""

    task_id: str
    session_id: str


class TaskError(msgspec.Struct, rename="camel", kw_only=True):
    """What an agent says went wrong. `class` is what retry policies match."""

    error_class: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] = msgspec.field(
        name="class", default="error"
    )
    message: str = ""
    retry_after_seconds: Seconds | None = None


class Usage(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """Tokens and cost of one attempt."""

    model: str | None = None
    input_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    output_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    cost_usd: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Settlement(Input):
    """What an agent reports of one attempt."""

    task_id: Id
    attempt: Annotated[int, msgspec.Meta(ge=1)]
    outcome: Literal["completed", "failed", "released"]
    output: msgspec.Raw = msgspec.field(default_factory=null)
    error: TaskError | None = None
    usage: Usage | None = None


class SettleTasks(Input):
    """`POST /task/settle`."""

    settlements: Annotated[list[Settlement], msgspec.Meta(max_length=500)]


VerdictWord = Literal["recorded", "stale_attempt", "unknown_task", "invalid"]


class Verdict(Output):
    """What became of one settlement."""

    task_id: str
    attempt: int
    verdict: VerdictWord
    detail: str = ""


class Verdicts(Output):
    """Answer of `POST /task/settle`, one verdict for each settlement in order."""

    verdicts: list[Verdict]


class AttemptBeat(Input):
    """`POST /task/{id}/heartbeat`."""

    attempt: int


class AttemptProgress(Input):
    """`POST /task/{id}/progress`."""

    attempt: int
    fraction: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    message: Text = ""


class CompleteAttempt(Input):
    """`POST /task/{id}/complete`."""

    attempt: int
    output: msgspec.Raw = msgspec.field(default_factory=null)
    usage: Usage | None = None


class FailAttempt(Input):
    """`POST /task/{id}/fail`."""

    attempt: int
    error: TaskError
    usage: Usage | None = None


class Exchanged(Output):
    """A document as it is shown to people: JSON as text, secrets struck out, long ones cut.

    `bytes`: how long the whole document is.
    """

    text: str
    bytes: int
    cut: bool = False


class AttemptView(Output):
    """One attempt of a task, as history tells it: what was asked, and what was answered.

    `input` is what the agent was given, `reply` what it gave back when it completed the task;
    `httpStatus` what an agent that we call answered when it failed. `seconds`: how long it took.
    """

    attempt: int
    agent_id: str
    instance_id: str
    started_at: str
    ended_at: str | None = None
    seconds: float | None = None
    outcome: str | None = None
    error: TaskError | None = None
    http_status: int | None = None
    usage: Usage | None = None
    input: Exchanged | None = None
    reply: Exchanged | None = None


class TaskView(Output):
    """A task; `attemptHistory` is filled by `GET /task/{id}` only."""

    task_id: str
    session_id: str
    step: str
    index: int | None
    member: int
    capability: str | None
    agent: str | None
    status: TaskWord
    attempt: int
    failures: int
    priority: int
    input: msgspec.Raw
    output: msgspec.Raw
    error: TaskError | None
    due_at: str | None
    created_at: str
    updated_at: str
    finished_at: str | None
    agent_id: str | None
    instance_id: str | None
    progress: float | None = None
    progress_message: str = ""
    attempt_history: list[AttemptView] = []


class TaskPage(Page, kw_only=True):
    """`GET /task`."""

    tasks: list[TaskView]


class PatchTask(Input):
    """`PATCH /task/{id}`."""

    priority: Priority
