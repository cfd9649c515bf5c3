"""From spans of ours to requests of OTLP."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan

from opscore import __version__
from opscore.core.received import Value
from opscore.debugging.session_spans import CONVENTIONS
from opscore.debugging.spans import Span

SPANS_AT_ONCE = 2_000
SCHEMA = f"https://opentelemetry.io/schemas/{CONVENTIONS}"
FAST = 1
"""Of gzip: more effort costs more than the network gains."""
_STATUS = {"unset": Status.STATUS_CODE_UNSET, "ok": Status.STATUS_CODE_OK}
_CALLS = SentSpan.SPAN_KIND_CLIENT
_INSIDE = SentSpan.SPAN_KIND_INTERNAL


def requests_of(traces: Sequence[tuple[str, str, Sequence[Span]]]) -> Iterator[tuple[bytes, int]]:
    """Gzipped requests and how many spans each has, for (namespace, trace id, spans)."""
    sent = (
        _span(span, bytes.fromhex(trace_id), namespace)
        for namespace, trace_id, spans in traces
        for span in spans
    )
    while some := list(islice(sent, SPANS_AT_ONCE)):
        yield gzip.compress(_request(some).SerializeToString(), FAST), len(some)


def rejected_of(body: bytes) -> tuple[int, str]:
    """How many spans the answer to a request says were not taken, and why. Raises DecodeError."""
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    return partial.rejected_spans, partial.error_message


def _request(spans: Sequence[SentSpan]) -> ExportTraceServiceRequest:
    named = {"service.name": "opscore", "service.version": __version__}
    scope = InstrumentationScope(name="opscore", version=__version__)
    group = ResourceSpans(
        resource=Resource(attributes=_attributes(named)),
        scope_spans=[ScopeSpans(scope=scope, spans=spans, schema_url=SCHEMA)],
    )
    return ExportTraceServiceRequest(resource_spans=[group])


def _span(span: Span, trace_id: bytes, namespace: str) -> SentSpan:
    attributes: dict[str, Value] = {"opscore.namespace": namespace, **span.attributes}
    code = _STATUS.get(span.status, Status.STATUS_CODE_ERROR)
    return SentSpan(
        trace_id=trace_id,
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id or ""),
        name=span.name,
        kind=_CALLS if span.kind == "work" else _INSIDE,
        start_time_unix_nano=span.started_at * 1_000,
        end_time_unix_nano=(span.ended_at or span.started_at) * 1_000,
        attributes=_attributes(attributes),
        events=[
            SentSpan.Event(
                name=event.name,
                time_unix_nano=event.at * 1_000,
                attributes=_attributes(event.attributes),
            )
            for event in span.events
        ],
        status=Status(code=code, message=str(span.attributes.get("error.message", ""))),
    )


def _attributes(named: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in named.items()]


def _value(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
