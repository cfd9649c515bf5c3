"""The attempt that a function is working on, as the function sees it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from opscore.sdk.errors import Cancelled
from opscore.wire.agent import Attempt
from opscore.wire.base import EMPTY_OBJECT
from opscore.wire.stream import Log, Progress
from opscore.wire.task import Usage

MAX_TEXT = 4096
TRACE_PARTS = 4
"""Of a W3C `traceparent`: version, trace id, span id, flags."""
LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


class Reporter(Protocol):
    """Takes what a task says while it runs; callable from every thread."""

    def report(self, note: Progress | Log) -> None:
        """Send it on, or drop it when there is no connection for long."""
        ...

    def in_thread(self) -> bool:
        """Is the caller outside the agent's loop?"""
        ...


class Sent:
    """Nothing to wait for. Awaiting it lets the loop turn once, so a cancel can arrive."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


_SENT = Sent()


class Task:
    """What is known of the attempt, and what it can say on its way.

    `attempt` counts claims from 1 and fences late ones; `idempotency_key` is the same over all
    attempts of the task, so that effects outside can be made once.
    """

    __slots__ = ("_attempt", "_reason", "_reporter", "spent")

    def __init__(self, attempt: Attempt, reporter: Reporter | None) -> None:
        self._attempt = attempt
        self._reporter = reporter
        self._reason: str | None = None
        self.spent: Usage | None = None

    @classmethod
    def example(
        cls,
        *,
        task_id: str = "tsk_example",
        attempt: int = 1,
        session_id: str = "ses_example",
        step: str = "example",
        capability: str | None = None,
        context: dict[str, Any] | None = None,
        idempotency_key: str = "example",
        deadline: datetime | None = None,
        traceparent: str = "",
    ) -> Task:
        """One for a test of your function; what it says goes nowhere."""
        return cls(
            Attempt(
                task_id=task_id,
                attempt=attempt,
                session_id=session_id,
                step=step,
                capability=capability,
                input=EMPTY_OBJECT,
                context=msgspec.Raw(msgspec.json.encode(context or {})),
                idempotency_key=idempotency_key,
                deadline=None if deadline is None else deadline.isoformat(),
                traceparent=traceparent,
            ),
            None,
        )

    @property
    def task_id(self) -> str:
        """The task's id, the same over its attempts."""
        return self._attempt.task_id

    @property
    def attempt(self) -> int:
        """Which claim of the task this is, from 1."""
        return self._attempt.attempt

    @property
    def session_id(self) -> str:
        """The session that the task belongs to."""
        return self._attempt.session_id

    @property
    def step(self) -> str:
        """The template's step."""
        return self._attempt.step

    @property
    def capability(self) -> str | None:
        """The capability asked for; None when the step names the agent."""
        return self._attempt.capability

    @property
    def context(self) -> Any:
        """The session's context (JSON)."""
        return msgspec.json.decode(self._attempt.context)

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of this task, and for no other task."""
        return self._attempt.idempotency_key

    @property
    def deadline(self) -> datetime | None:
        """When the attempt times out, by the server's clock."""
        text = self._attempt.deadline
        return None if text is None else msgspec.convert(text, datetime)

    @property
    def traceparent(self) -> str:
        """W3C trace context of the session, to pass on to what you call."""
        return self._attempt.traceparent

    @property
    def cancelled(self) -> bool:
        """Has the attempt been cancelled? A function in a thread should look now and then."""
        return self._reason is not None

    def progress(self, fraction: float | None = None, message: str = "") -> Sent:
        """Say how far the work is (0 to 1) and what it does now; shown, not kept.

        The same call everywhere: `await task.progress(…)` in a coroutine, `task.progress(…)`
        without await in a plain function. It never waits for the network. In a thread it raises
        `Cancelled` once the attempt is cancelled.
        """
        if fraction is not None and not 0 <= fraction <= 1:
            raise ValueError(f"progress is a fraction between 0 and 1, not {fraction}")
        self._stop_if_cancelled()
        if self._reporter is not None:
            self._reporter.report(
                Progress(
                    task_id=self.task_id,
                    attempt=self.attempt,
                    fraction=fraction,
                    message=shorten(message),
                )
            )
        return _SENT

    def log(self, message: str, *, level: str = "info", **fields: Any) -> None:
        """Record a message with fields under this attempt's session, task and trace.

        `level`: debug, info, warning, error or critical. A field that JSON cannot say is recorded
        as its text. Kept in the server's log store; it never waits for the network.
        """
        if level not in LEVELS:
            raise ValueError(f"{level!r} is not a level: {', '.join(sorted(LEVELS))}")
        self.record("log", message, level, fields)

    def record(
        self,
        operation: str,
        message: str,
        level: str,
        fields: Mapping[str, Any],
        *,
        error_type: str | None = None,
    ) -> None:
        """As `log`, for what is more than a message: `operation` says what was done."""
        if self._reporter is None:
            return
        parts = self.traceparent.split("-")
        self._reporter.report(
            Log(
                task_id=self.task_id,
                attempt=self.attempt,
                level=level,
                message=message,
                fields=msgspec.to_builtins(fields, enc_hook=str, str_keys=True),
                operation=operation,
                trace_id=parts[1] if len(parts) == TRACE_PARTS else None,
                span_id=parts[2] if len(parts) == TRACE_PARTS else None,
                error_type=error_type,
                at=datetime.now(UTC).isoformat(),
            )
        )

    def usage(
        self,
        *,
        model: str | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_usd: float = 0.0,
    ) -> None:
        """Count tokens and cost; their sum, with the last model, goes with the attempt's outcome.

        Also with a failure: what was spent in vain is to be seen. Raises ValueError below zero.
        """
        if min(input_tokens, output_tokens, cost_usd) < 0:
            raise ValueError("tokens and cost are not negative")
        before = self.spent or Usage()
        self.spent = Usage(
            model=model or before.model,
            input_tokens=before.input_tokens + input_tokens,
            output_tokens=before.output_tokens + output_tokens,
            cost_usd=before.cost_usd + cost_usd,
        )

    def cancel(self, reason: str) -> None:
        """Set the flag. The agent calls this; a test of your function may too."""
        self._reason = reason

    def _stop_if_cancelled(self) -> None:
        if self._reason is not None and (self._reporter is None or self._reporter.in_thread()):
            raise Cancelled(self._reason)


running: ContextVar[Task | None] = ContextVar("opscore_task", default=None)
"""The attempt that the present code works on: that of its coroutine, or of its thread."""


def shorten(text: str) -> str:
    """The text, cut to what one message may carry."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
