"""What an agent's answer to a call means: an output, an error of a class, or a promise."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, cast

import msgspec

from opscore.channels.documents import check_depth
from opscore.core.errors import Invalid
from opscore.core.retry import FATAL, TIMEOUT
from opscore.core.types import SECOND, ErrorInfo, Json, Micros
from opscore.engine.records import ClaimedAttempt, SettlementReport
from opscore.outgoing.request import Answer, Failure, OutgoingFailed
from opscore.wire.task import TaskError

UNREACHABLE = "unreachable"
RATE_LIMITED = "rate_limited"
UNAVAILABLE = "unavailable"
AGENT_ERROR = "agent_error"
INVALID_REPLY = "invalid_reply"
INVALID_INPUT = "invalid_input"
INVALID_OUTPUT = "invalid_output"

DEPTH = 128
TEXT = 500
LONGEST_WAIT = 24 * 3600

_CLASSES = {
    400: INVALID_INPUT,
    408: TIMEOUT,
    413: INVALID_INPUT,
    422: INVALID_INPUT,
    425: UNAVAILABLE,
    429: RATE_LIMITED,
    503: UNAVAILABLE,
    504: TIMEOUT,
}
_FAILURES = {
    Failure.ADDRESS: FATAL,
    Failure.DENIED: FATAL,
    Failure.TIMEOUT: TIMEOUT,
    Failure.UNREACHABLE: UNREACHABLE,
    Failure.BROKEN: INVALID_REPLY,
    Failure.TOO_LARGE: INVALID_OUTPUT,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call led to; with neither output nor error the agent will report later.

    `sick`: the agent is in trouble, not the task.
    """

    output: Json | None = None
    error: ErrorInfo | None = None
    sick: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the agent will report later."""
        return self.output is None and self.error is None

    def report(self, attempt: ClaimedAttempt) -> SettlementReport:
        """The settlement of the attempt. Only for what is not `accepted`."""
        if self.error is not None:
            return failed(attempt, self.error)
        assert self.output is not None
        return SettlementReport(attempt.task_id, attempt.attempt, "completed", self.output)


def failed(attempt: ClaimedAttempt, error: ErrorInfo) -> SettlementReport:
    """The settlement of an attempt that failed."""
    return SettlementReport(attempt.task_id, attempt.attempt, "failed", error=error)


def no_answer(failure: OutgoingFailed) -> Reply:
    """A call without an answer."""
    sick = failure.failure is not Failure.TOO_LARGE
    return Reply(error=ErrorInfo(_FAILURES[failure.failure], str(failure)), sick=sick)


def wrong_content(why: str, status: int) -> Reply:
    """An answer, with this status, that is not in the form it should have."""
    return Reply(error=ErrorInfo(INVALID_REPLY, why, http_status=status), sick=True)


def refusal(answer: Answer, now: Micros) -> Reply:
    """An answer that is no success. What the agent says of the class goes before the status."""
    status = answer.status
    after = retry_after(answer, now)
    said = _said(answer.body)
    if status < 400:
        return wrong_content(f"the agent answered {status}; redirects are not followed", status)
    known = _CLASSES.get(status, AGENT_ERROR if status >= 500 else FATAL)
    message = said.message or f"the agent answered {status}"
    wait = said.retry_after_seconds
    retry = after if wait is None else round(wait * SECOND)
    sick = (
        known in {UNAVAILABLE, RATE_LIMITED, TIMEOUT, AGENT_ERROR, FATAL} and not said.error_class
    )
    return Reply(error=ErrorInfo(said.error_class or known, message, retry, status), sick=sick)


class _Error(msgspec.Struct, rename="camel"):
    """`TaskError` without a class of its own when none is said."""

    error_class: str = msgspec.field(name="class", default="")
    message: str = ""
    retry_after_seconds: float | None = None


def _said(body: bytes) -> _Error:
    """What a body tells of an error: `{"error": {…}}`, or `detail` or `message` as text."""
    try:
        document = read_object(body)
    except Invalid:
        return _Error()
    if isinstance(error := document.get("error"), dict):
        try:
            given = msgspec.convert(error, TaskError)
        except msgspec.ValidationError:
            return _Error()
        spoken = given.error_class if "class" in error else ""
        return _Error(spoken, given.message[:TEXT], given.retry_after_seconds)
    return _Error("", text_of(document))


def text_of(document: dict[str, Any]) -> str:
    """The first of the usual fields that holds text."""
    for name in ("detail", "message", "error", "reason"):
        value = document.get(name)
        if isinstance(value, str) and value:
            return value[:TEXT]
    return ""


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises `Invalid`."""
    found = read_json(body)
    if not isinstance(found, dict):
        raise Invalid("it is not a JSON object")
    return cast(dict[str, Any], found)


def read_json(body: bytes) -> Any:
    """Any JSON that is not nested too deeply. Raises `Invalid`."""
    check_depth(body, DEPTH)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"it is not JSON: {error}") from error


def is_json(answer: Answer) -> bool:
    """Whether the answer says that it is JSON, and plain."""
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    coded = answer.headers.get("content-encoding", "identity").lower() != "identity"
    return not coded and (media == "application/json" or media.endswith("+json"))


def retry_after(answer: Answer, now: Micros) -> Micros | None:
    """How long the agent asks to wait (RFC 9110, 10.2.3): seconds or a date; a day at most."""
    given = answer.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit():
        seconds = int(given[:9])
    else:
        try:
            seconds = round(parsedate_to_datetime(given).timestamp() - now / SECOND)
        except (ValueError, OverflowError):
            return None
    return max(0, min(seconds, LONGEST_WAIT)) * SECOND
