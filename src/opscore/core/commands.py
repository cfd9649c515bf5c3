"""What can be asked of a session. Each command meets `decide` together with the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from opscore.core.events import SessionStarted
from opscore.core.task import Outcome
from opscore.core.types import Json, Micros


@dataclass(frozen=True, slots=True)
class Start:
    """Begin; the event says with what."""

    event: SessionStarted


@dataclass(frozen=True, slots=True)
class Advance:
    """Go on with what one commit could not hold."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An instance takes a task."""

    task_id: str
    agent_id: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class Settle:
    """An attempt ended. `chance` is uniform in [0, 1) and feeds the backoff's jitter."""

    task_id: str
    attempt: int
    outcome: Outcome
    chance: float


@dataclass(frozen=True, slots=True)
class TaskDue:
    """A scheduled task's time has come."""

    task_id: str


@dataclass(frozen=True, slots=True)
class QueueTimeout:
    """Nobody took the task in time; `why` says why nobody did."""

    task_id: str
    why: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The session's total bound, or the grace of one that is stopping, is over."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop: nothing new, running attempts are told and fenced after `grace`."""

    reason: str
    actor: str
    grace: Micros


@dataclass(frozen=True, slots=True)
class Pause:
    """Start nothing new until resumed."""

    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on."""

    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class RetrySession:
    """Run the failed steps again, keeping completed outputs."""

    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class UpdateSession:
    """Change priority, labels or metadata; None leaves as it is."""

    priority: int | None
    labels: Mapping[str, str] | None
    metadata: Json | None
    actor: str


@dataclass(frozen=True, slots=True)
class RetryTask:
    """By hand: try a waiting task now, or a failed one again."""

    task_id: str
    actor: str


@dataclass(frozen=True, slots=True)
class FallbackTask:
    """By hand: give the task up and go to the next member of its fallback chain."""

    task_id: str
    actor: str


@dataclass(frozen=True, slots=True)
class CancelTask:
    """By hand: the task, and with it its step, ends."""

    task_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReprioritiseTask:
    """By hand: another place in the queue."""

    task_id: str
    priority: int


SessionCommand = (
    Start
    | Advance
    | Claim
    | Settle
    | TaskDue
    | QueueTimeout
    | DeadlinePassed
    | Cancel
    | Pause
    | Resume
    | RetrySession
    | UpdateSession
    | RetryTask
    | FallbackTask
    | CancelTask
    | ReprioritiseTask
)
