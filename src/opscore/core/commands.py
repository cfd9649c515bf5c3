"""What can be asked of a session. Each command meets `decide` together with the state."""

from __future__ import annotations

from collections.abc import Mapping

from opscore.core.events import SessionStarted
from opscore.core.record import record
from opscore.core.task import Outcome
from opscore.core.types import ErrorInfo, Json, Micros


@record
class Start:
    """Begin; the event says with what."""

    event: SessionStarted


@record
class Advance:
    """Go on with what one commit could not hold."""


@record
class Claim:
    """An instance takes a task."""

    task_id: str
    agent_id: str
    instance_id: str


@record
class Settle:
    """An attempt ended. `chance` is uniform in [0, 1) and feeds the backoff's jitter."""

    task_id: str
    attempt: int
    outcome: Outcome
    chance: float


@record
class ChildDue:
    """The time has come at which a child session starts."""

    child_id: str


@record
class ChildOver:
    """A child session ended: `output` set, it completed. `chance` feeds the backoff's jitter."""

    child_id: str
    output: Json | None
    error: ErrorInfo | None
    chance: float


@record
class TaskDue:
    """A scheduled task's time has come."""

    task_id: str


@record
class QueueTimeout:
    """Nobody took the task in time; `why` says why nobody did."""

    task_id: str
    why: str


@record
class RejectTask:
    """The limit of a task that does not wait for one is full; `why` says which."""

    task_id: str
    why: str


@record
class Admit:
    """There is room under the limits of the session's template."""


@record
class RejectSession:
    """There is none, and the session does not wait for any; `why` says which limit is full."""

    why: str


@record
class DeadlinePassed:
    """The session's total bound, or the grace of one that is stopping, is over."""


@record
class TimerDue:
    """The time until which a step waits has come."""

    step: str


@record
class Signal:
    """Somebody sends a signal; one whose id came before changes nothing."""

    name: str
    signal_id: str
    payload: Json
    actor: str


@record
class Approve:
    """Say yes to the content of that hash, or to other `details` in its place."""

    step: str
    by: str
    comment: str
    content_hash: str
    details: Json | None = None


@record
class Reject:
    """Say no. `content_hash`, when given, must be that of the content as it is."""

    step: str
    by: str
    comment: str
    content_hash: str | None = None


@record
class Cancel:
    """Stop: nothing new, running attempts are told and fenced after `grace`."""

    reason: str
    actor: str
    grace: Micros


@record
class Pause:
    """Start nothing new until resumed."""

    reason: str
    actor: str


@record
class Resume:
    """Go on."""

    reason: str
    actor: str


@record
class RetrySession:
    """Run the failed steps again, keeping completed outputs."""

    reason: str
    actor: str


@record
class UpdateSession:
    """Change priority, labels or metadata; None leaves as it is."""

    priority: int | None
    labels: Mapping[str, str] | None
    metadata: Json | None
    actor: str


@record
class RetryTask:
    """By hand: try a waiting task now, or a failed one again, `attempts` times at most if given.

    `others`: more failed tasks of the same session, for which the same holds.
    """

    task_id: str
    actor: str
    attempts: int | None = None
    others: tuple[str, ...] = ()


@record
class FallbackTask:
    """By hand: give the task up and go to the next member of its fallback chain.

    `others`: more failed tasks of the same session, for which the same holds.
    """

    task_id: str
    actor: str
    others: tuple[str, ...] = ()


@record
class CancelTask:
    """By hand: the task, and with it its step, ends."""

    task_id: str
    reason: str


@record
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
    | ChildDue
    | ChildOver
    | QueueTimeout
    | RejectTask
    | Admit
    | RejectSession
    | DeadlinePassed
    | TimerDue
    | Signal
    | Approve
    | Reject
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
