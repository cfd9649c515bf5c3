"""What becomes of one attempt: an outcome or an expiry in, a settlement out."""

from __future__ import annotations

from opscore.core.record import record
from opscore.core.retry import is_retried, retry_delay
from opscore.core.state import TaskState
from opscore.core.template import RetryPolicy
from opscore.core.types import ErrorInfo, Json, Micros, TaskStatus


@record
class Completed:
    """The agent did the work."""

    output: Json
    usage: Json | None = None


@record
class Failed:
    """The attempt failed: the agent said so, or it timed out, or the agent was lost.

    What it used up is spent all the same.
    """

    error: ErrorInfo
    usage: Json | None = None


@record
class Released:
    """The attempt was given back unharmed; it costs nothing of the retry budget."""

    reason: str


Outcome = Completed | Failed | Released


@record
class Retry:
    """Try again at `due`."""

    error: ErrorInfo
    due: Micros
    usage: Json | None = None


@record
class Exhausted:
    """No further attempt of this task; its fallback may follow."""

    error: ErrorInfo
    usage: Json | None = None


Settlement = Completed | Retry | Exhausted | Released


def is_current(task: TaskState, attempt: int) -> bool:
    """The fence: only the running attempt of the highest number may speak for its task."""
    return task.status is TaskStatus.RUNNING and task.attempt == attempt


def was_settled(task: TaskState, attempt: int, outcome: Outcome) -> bool:
    """Whether this report of this attempt is known already: it came a second time."""
    if task.attempt != attempt or attempt == 0:
        return False
    match outcome:
        case Completed():
            return task.status is TaskStatus.COMPLETED
        case Failed(error):
            known = task.error is not None and task.error.error_class == error.error_class
            return known and task.status in _AFTER_FAILURE
        case Released():
            # With an error it may have been given up and be available for its next attempt.
            return task.status is TaskStatus.AVAILABLE and task.error is None


_AFTER_FAILURE = frozenset({TaskStatus.SCHEDULED, TaskStatus.AVAILABLE, TaskStatus.FAILED})


def settle(
    task: TaskState, policy: RetryPolicy, outcome: Outcome, now: Micros, chance: float
) -> Settlement:
    """Decide what an outcome of the current attempt means for the task."""
    match outcome:
        case Completed() | Released():
            return outcome
        case Failed(error):
            failures = task.failures + 1
            if is_retried(policy, error, failures, task.allowance):
                due = now + retry_delay(policy, error, failures, chance)
                return Retry(error, due, outcome.usage)
            return Exhausted(error, outcome.usage)
