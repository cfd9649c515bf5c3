"""The one place where everything that goes wrong becomes `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
import structlog

from opscore.api.answer import Answer
from opscore.core.errors import Fault, Refusal
from opscore.wire.base import PointedError, Problem

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("opscore.api")

MEDIA_TYPE = b"application/problem+json"
_encode = msgspec.json.Encoder().encode


class UnknownPath(Refusal):
    """No route has this path."""

    code, status = "unknown_path", 404


class MethodNotAllowed(Refusal):
    """The path exists, the method does not."""

    code, status = "method_not_allowed", 405

    def __init__(self, detail: str, allowed: Sequence[str]) -> None:
        super().__init__(detail)
        self.allowed = tuple(allowed)


class TooSlow(Refusal):
    """The body did not arrive in time."""

    code, status = "body_timeout", 408


class UnsupportedMedia(Refusal):
    """The `Content-Type` is not one that this route reads."""

    code, status = "unsupported_media_type", 415


class UpgradeRequired(Refusal):
    """The path is a WebSocket."""

    code, status = "upgrade_required", 426


def problem_of(error: Exception, trace_id: str) -> Problem:
    """Describe any exception. What is not a refusal is a crash and tells nothing of its inside."""
    if not isinstance(error, Refusal):
        return _problem(500, "internal", "Something broke; the log has it under traceId.", trace_id)
    problem = _problem(error.status, error.code, error.detail, trace_id)
    problem.errors = [pointed(fault) for fault in error.faults]
    return problem


def logged_problem(error: Exception, trace_id: str) -> Problem:
    """As `problem_of`; a crash is logged with its trace id."""
    if not isinstance(error, Refusal):
        log.error("request crashed", trace_id=trace_id, exc_info=error)
    return problem_of(error, trace_id)


def answer_of(error: Exception, trace_id: str) -> Answer:
    """The answer to a request that failed."""
    problem = logged_problem(error, trace_id)
    return Answer(problem.status, _encode(problem), MEDIA_TYPE, _headers(error))


def pointed(fault: Fault) -> PointedError:
    """A core's fault on the wire."""
    return PointedError(
        pointer=fault.pointer,
        message=fault.message,
        hint=fault.hint,
        line=fault.line,
        column=fault.column,
    )


def _problem(status: int, code: str, detail: str, trace_id: str) -> Problem:
    return Problem(
        type=f"urn:opscore:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        trace_id=trace_id,
    )


def _headers(error: Exception) -> tuple[tuple[bytes, bytes], ...]:
    if not isinstance(error, Refusal):
        return ()
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None or error.status in {429, 503}:
        seconds = max(1, round(error.retry_after or 1))
        headers.append((b"retry-after", b"%d" % seconds))
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="opscore"'))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if error.status == 426:
        headers += [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
    if error.status in {408, 413}:
        # Whatever else the client is sending would be read as the next request.
        headers.append((b"connection", b"close"))
    return tuple(headers)
