"""What became of an attempt, as the settlement to report."""

from __future__ import annotations

import logging

import msgspec

from opscore.sdk.errors import Cancelled, Fatal, Retryable
from opscore.sdk.task import shorten
from opscore.wire.agent import Attempt
from opscore.wire.task import Settlement, TaskError

logger = logging.getLogger("opscore.agent")
_encode = msgspec.json.Encoder().encode


def completed(attempt: Attempt, value: object, limit: int | None) -> Settlement:
    """The function's value as output; raises `Fatal` (`invalid_output`) when it cannot be one."""
    try:
        output = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise Fatal(f"the result is not JSON: {error}", error_class="invalid_output") from error
    if limit is not None and len(output) > limit:
        raise Fatal(
            f"the result is {len(output):,} bytes of JSON, the server takes {limit:,} at most; "
            "store it and return where it is",
            error_class="invalid_output",
        )
    return Settlement(
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        outcome="completed",
        output=msgspec.Raw(output),
    )


def failed(
    attempt: Attempt, error_class: str, message: str, after: float | None = None
) -> Settlement:
    """A failure with the class that retry policies match."""
    return Settlement(
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        outcome="failed",
        error=TaskError(
            error_class=error_class[:128], message=shorten(message), retry_after_seconds=after
        ),
    )


def released(attempt: Attempt) -> Settlement:
    """Given back unharmed: nothing counts as a failure and another instance may have it."""
    return Settlement(task_id=attempt.task_id, attempt=attempt.attempt, outcome="released")


def of_error(attempt: Attempt, error: BaseException) -> Settlement:
    """The settlement of what the function raised; an unforeseen error's traceback is logged."""
    match error:
        case Retryable():
            return failed(attempt, error.error_class, str(error), error.after)
        case Fatal():
            return failed(attempt, error.error_class, str(error))
        case Cancelled():
            return failed(attempt, "cancelled", str(error))
        case _:
            logger.error(
                "%s failed (step %s, task %s, attempt %d)",
                attempt.capability or "the task",
                attempt.step,
                attempt.task_id,
                attempt.attempt,
                exc_info=error,
            )
            return failed(attempt, type(error).__name__, str(error))
