"""The facts of a session's journal. A session's state is the fold of these.

Each class is one event type. `TYPE` is its stable name on disk, `VERSION` rises when its shape
changes; old versions are lifted on read (`engine/journal.py`). What an expression gave is recorded
here, so replay never evaluates anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from opscore.core.admission_events import SessionAdmitted, SessionHeld
from opscore.core.child_events import ChildAbandoned, ChildCreated, ChildEnded, ChildReleased
from opscore.core.record import record
from opscore.core.step_events import (
    CompensationFailed,
    ItemFailed,
    ItemValued,
    StepBounded,
    StepCompensated,
    StepCompensating,
    StepCompleted,
    StepExpanded,
    StepFailed,
    StepIterated,
    StepSkipped,
)
from opscore.core.task_events import (
    FallbackValued,
    TaskAllowed,
    TaskAvailable,
    TaskCancelled,
    TaskClaimed,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskReleased,
    TaskReprioritised,
    TaskResumed,
    TaskRetried,
)
from opscore.core.types import Json, Micros
from opscore.core.wait_events import (
    ApprovalApproved,
    ApprovalDecided,
    ApprovalEdited,
    ApprovalEscalated,
    ApprovalRequested,
    SignalReceived,
    SignalTaken,
    StepCancelled,
    StepWaiting,
    WaitFailed,
)


@record
class SessionStarted:
    """The session exists. `agent_id` binds it to an agent that has `agent_capabilities`.

    `env`: what it reads of the server's environment, as it was at the start. `versions`: in which
    version it runs each workflow that it names without one. `parent`: the session it is a child of,
    `cause`: the one that had it started. `traceparent`: of whoever asked for the first of them all.
    """

    TYPE: ClassVar[str] = "session.started"
    VERSION: ClassVar[int] = 1
    namespace: str
    workflow: str
    template_version: str
    input: Json
    context: Json
    priority: int
    labels: Mapping[str, str]
    trace_id: str
    actor: str
    agent_id: str | None = None
    agent_name: str | None = None
    agent_capabilities: tuple[str, ...] = ()
    deadline: Micros | None = None
    due: Micros | None = None
    on_error_version: str | None = None
    env: Mapping[str, str] | None = None
    versions: Mapping[str, str] | None = None
    parent: str | None = None
    depth: int = 0
    cause: str | None = None
    traceparent: str | None = None


@record
class SessionStopping:
    """Nothing new starts; running attempts are told, and fenced at `grace_until`."""

    TYPE: ClassVar[str] = "session.stopping"
    VERSION: ClassVar[int] = 1
    cancelled: bool
    error_class: str
    message: str
    grace_until: Micros
    actor: str


@record
class SessionHandling:
    """A failing session is quiet: now the steps run whose `when` is `failed` or `always`."""

    TYPE: ClassVar[str] = "session.handling"
    VERSION: ClassVar[int] = 1


@record
class SessionCompleted:
    """Every step ended, and none failed but where that is allowed."""

    TYPE: ClassVar[str] = "session.completed"
    VERSION: ClassVar[int] = 1
    output: Json


@record
class SessionFailed:
    """A step failed beyond its fallbacks, or the session's own bound was reached.

    `on_error_input` is the rendered input of the template's `onError` workflow, if it has one.
    `dead`: the tasks given up that a retry would run again.
    """

    TYPE: ClassVar[str] = "session.failed"
    VERSION: ClassVar[int] = 1
    error_class: str
    message: str
    on_error_input: Json | None = None
    dead: tuple[str, ...] = ()


@record
class SessionCancelled:
    """Somebody cancelled it, and nothing of it runs any more."""

    TYPE: ClassVar[str] = "session.cancelled"
    VERSION: ClassVar[int] = 1
    message: str
    dead: tuple[str, ...] = ()


@record
class SessionPaused:
    """Nothing new starts until it is resumed; deadlines stand still."""

    TYPE: ClassVar[str] = "session.paused"
    VERSION: ClassVar[int] = 1
    reason: str
    actor: str


@record
class SessionResumed:
    """It goes on; the time in pause is added to its deadlines."""

    TYPE: ClassVar[str] = "session.resumed"
    VERSION: ClassVar[int] = 1
    reason: str
    actor: str


@record
class SessionRetried:
    """The failed steps run again; completed outputs are kept. `deadline`: a new total bound."""

    TYPE: ClassVar[str] = "session.retried"
    VERSION: ClassVar[int] = 1
    steps: tuple[str, ...]
    reason: str
    actor: str
    deadline: Micros | None = None


@record
class SessionReopened:
    """A person had compensations tried again that had failed; the session ends as it had."""

    TYPE: ClassVar[str] = "session.reopened"
    VERSION: ClassVar[int] = 1
    steps: tuple[str, ...]
    actor: str


@record
class SessionUpdated:
    """Priority, labels or metadata changed; None is unchanged."""

    TYPE: ClassVar[str] = "session.updated"
    VERSION: ClassVar[int] = 1
    priority: int | None
    previous_priority: int
    labels: Mapping[str, str] | None
    metadata: Json | None
    actor: str


SessionEvent = (
    SessionStarted
    | SessionHeld
    | SessionAdmitted
    | StepExpanded
    | StepSkipped
    | StepCompleted
    | StepFailed
    | StepBounded
    | StepIterated
    | ItemFailed
    | ItemValued
    | ChildCreated
    | ChildReleased
    | ChildAbandoned
    | ChildEnded
    | StepCompensating
    | StepCompensated
    | CompensationFailed
    | TaskCreated
    | TaskAvailable
    | TaskClaimed
    | TaskCompleted
    | TaskRetried
    | TaskReleased
    | TaskFailed
    | FallbackValued
    | TaskCancelled
    | TaskAllowed
    | TaskResumed
    | TaskReprioritised
    | SessionStopping
    | SessionHandling
    | SessionCompleted
    | SessionFailed
    | SessionCancelled
    | SessionPaused
    | SessionResumed
    | SessionRetried
    | SessionReopened
    | SessionUpdated
    | StepWaiting
    | WaitFailed
    | StepCancelled
    | SignalReceived
    | SignalTaken
    | ApprovalRequested
    | ApprovalApproved
    | ApprovalEdited
    | ApprovalDecided
    | ApprovalEscalated
)
