"""The facts of a session's journal that concern waits, signals and approvals."""

from __future__ import annotations

from typing import ClassVar

from opscore.core.record import record
from opscore.core.types import Json, Micros


@record
class StepWaiting:
    """The step waits: for a time (`due`), or for a signal of that `name`, until `due` at most."""

    TYPE: ClassVar[str] = "step.waiting"
    VERSION: ClassVar[int] = 1
    step: str
    kind: str
    due: Micros | None = None
    name: str | None = None


@record
class WaitFailed:
    """What the step waited for will not come; its fallback follows."""

    TYPE: ClassVar[str] = "wait.failed"
    VERSION: ClassVar[int] = 1
    step: str
    error_class: str
    message: str


@record
class StepCancelled:
    """A step that waited will not go on: its session winds down."""

    TYPE: ClassVar[str] = "step.cancelled"
    VERSION: ClassVar[int] = 1
    step: str
    reason: str


@record
class SignalReceived:
    """Somebody sent a signal; it is kept until a step takes it."""

    TYPE: ClassVar[str] = "signal.received"
    VERSION: ClassVar[int] = 1
    name: str
    signal_id: str
    payload: Json
    actor: str


@record
class SignalTaken:
    """A step took a signal and is completed: the payload is its output."""

    TYPE: ClassVar[str] = "signal.taken"
    VERSION: ClassVar[int] = 1
    step: str
    signal_id: str


@record
class ApprovalRequested:
    """The step waits for `quorum` of `approvers` (of anybody, when it names none), until `due`.

    `content_hash` is that of title and details: what approvers see, and what is used then.
    """

    TYPE: ClassVar[str] = "approval.requested"
    VERSION: ClassVar[int] = 1
    step: str
    title: str
    details: Json
    content_hash: str
    approvers: tuple[str, ...]
    quorum: int
    due: Micros | None = None


@record
class ApprovalApproved:
    """One approver said yes to the content of that hash."""

    TYPE: ClassVar[str] = "approval.approved"
    VERSION: ClassVar[int] = 1
    step: str
    by: str
    comment: str
    content_hash: str


@record
class ApprovalEdited:
    """An approver changed the details: what others said of the old content has lapsed."""

    TYPE: ClassVar[str] = "approval.edited"
    VERSION: ClassVar[int] = 1
    step: str
    by: str
    details: Json
    content_hash: str


@record
class ApprovalDecided:
    """It is `approved` or `rejected`: by enough approvers, by one, or (`by` None) by its timeout."""

    TYPE: ClassVar[str] = "approval.decided"
    VERSION: ClassVar[int] = 1
    step: str
    outcome: str
    reason: str
    by: str | None = None


@record
class ApprovalEscalated:
    """Nobody decided in time: from now on others are asked, until `due`."""

    TYPE: ClassVar[str] = "approval.escalated"
    VERSION: ClassVar[int] = 1
    step: str
    approvers: tuple[str, ...]
    quorum: int
    due: Micros | None = None
