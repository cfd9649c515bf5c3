"""From what agents send over OTLP to spans and log records of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as SentRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from opscore.core.durations import rfc3339
from opscore.core.logs import LogRecord
from opscore.core.received import ReceivedEvent, ReceivedSpan, SpanStatus, Value
from opscore.core.types import Micros
from opscore.telemetry.otlp.values import attributes_of, text_of, value_of

T = TypeVar("T")
NAME = 256
EVENTS = 32
"""Of one span."""
ID = 128
OPERATION = 128
_STATUS: Mapping[int, SpanStatus] = {Status.STATUS_CODE_OK: "ok", Status.STATUS_CODE_ERROR: "error"}
_LEVELS = ((21, "critical"), (17, "error"), (13, "warning"), (9, "info"), (1, "debug"))
_LEVEL_WORDS = {
    **{word: word for _, word in _LEVELS},
    "trace": "debug",
    "warn": "warning",
    "fatal": "critical",
}


@dataclass(slots=True)
class Received(Generic[T]):
    """What can be kept of one request, how much of it cannot, and why."""

    items: list[T] = field(default_factory=list[T])
    rejected: int = 0
    why: str = ""

    def take(self, sent: int, item: T | None, why: str) -> None:
        """Count `sent` that came as one item, or as none."""
        if item is not None:
            self.items.append(item)
        else:
            self.rejected, self.why = self.rejected + sent, why


def spans_of(
    request: ExportTraceServiceRequest, namespace: str, now: Micros
) -> Received[ReceivedSpan]:
    """The spans of a request. One without proper ids is rejected."""
    found = Received[ReceivedSpan]()
    for group in request.resource_spans:
        source = _service(group.resource)
        for scope in group.scope_spans:
            for span in scope.spans:
                proper = _is_proper(span)
                one = _span(span, namespace, source, now) if proper else None
                found.take(1, one, "a span has a trace id of 16 and a span id of 8 bytes, not zero")
    return found


def _is_proper(span: SentSpan) -> bool:
    ids = len(span.trace_id) == 16 and any(span.trace_id)
    return ids and len(span.span_id) == 8 and any(span.span_id) and len(span.parent_span_id) in _ID


_ID = (0, 8)


def _span(span: SentSpan, namespace: str, source: str, now: Micros) -> ReceivedSpan:
    began = span.start_time_unix_nano // 1_000
    return ReceivedSpan(
        at=now,
        namespace=namespace,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else None,
        name=span.name[:NAME] or "unnamed",
        started_at=began,
        ended_at=max(began, span.end_time_unix_nano // 1_000),
        status=_STATUS.get(span.status.code, "unset"),
        message=span.status.message[:NAME],
        source=source,
        attributes=attributes_of(span.attributes),
        events=tuple(
            ReceivedEvent(
                one.name[:NAME] or "unnamed",
                one.time_unix_nano // 1_000,
                attributes_of(one.attributes),
            )
            for one in span.events[:EVENTS]
        ),
    )


def _service(resource: Resource) -> str:
    """Who recorded it (`service.name`); OpenTelemetry's word for nobody in particular is none."""
    for pair in resource.attributes:
        if pair.key == "service.name":
            name = str(value_of(pair.value))[:NAME]
            return "" if name.startswith("unknown_service") else name
    return ""


Session = Callable[[str], str | None]
"""The session of a trace, when it is known."""


def records_of(
    request: ExportLogsServiceRequest, namespace: str, now: Micros, session_of: Session
) -> Iterator[LogRecord]:
    """The log records of a request."""
    for group in request.resource_logs:
        source = _service(group.resource)
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield _record(record, namespace, source, scope.scope.name, now, session_of)


def _record(
    sent: SentRecord, namespace: str, source: str, scope: str, now: Micros, session_of: Session
) -> LogRecord:
    told = attributes_of(sent.attributes)
    trace_id = sent.trace_id.hex() if len(sent.trace_id) == 16 and any(sent.trace_id) else None
    session = _taken(told, "opscore.session.id", "gen_ai.conversation.id")
    if session is None and trace_id is not None:
        session = session_of(trace_id)
    attempt = told.pop("opscore.task.attempt", None)
    name = sent.event_name or _taken(told, "event.name") or scope or "log"
    return LogRecord(
        at=now,
        level=_level(sent),
        operation=name[:OPERATION],
        namespace=namespace,
        message=text_of(sent.body) or str(told.get("exception.message", "")) or name,
        agent=_taken(told, "gen_ai.agent.id", "gen_ai.agent.name") or source[:ID] or None,
        session_id=session,
        task_id=_taken(told, "opscore.task.id"),
        attempt=attempt if isinstance(attempt, int) and 0 < attempt < 2**31 else None,
        trace_id=trace_id,
        span_id=sent.span_id.hex() if len(sent.span_id) == 8 and any(sent.span_id) else None,
        error_type=_taken(told, "error.type", "exception.type"),
        reported_at=_moment(sent.time_unix_nano or sent.observed_time_unix_nano),
        context=told,
    )


def _taken(told: dict[str, Value], *names: str) -> str | None:
    """The first of these that is a short text; it is not part of the context then."""
    for name in names:
        value = told.get(name)
        if isinstance(value, str) and 0 < len(value) <= ID:
            del told[name]
            return value
    return None


def _level(sent: SentRecord) -> str:
    number = sent.severity_number
    if number > 0:
        return next(word for least, word in _LEVELS if number >= least)
    return _LEVEL_WORDS.get(sent.severity_text[:16].lower(), "info")


def _moment(nanos: int) -> str | None:
    return rfc3339(nanos // 1_000) if nanos else None
