"""`POST /v1/traces` and `POST /v1/logs`: OTLP over HTTP, so that any OpenTelemetry exporter fits.

Every answer has the form and the encoding that OTLP asks for, refusals too
(opentelemetry.io/docs/specs/otlp, section OTLP/HTTP).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from opscore.api.answer import Answer
from opscore.api.call import Call
from opscore.api.problems import UnsupportedMedia, answer_of, problem_of
from opscore.api.route import Reply, Routes
from opscore.channels.documents import check_depth
from opscore.core.errors import Unavailable
from opscore.engine.logs import RETRY_AFTER
from opscore.telemetry.otlp.encoding import JSON, MEDIA_TYPES, PROTOBUF, parsed, unpacked, written
from opscore.telemetry.otlp.receiving import records_of, spans_of

M = TypeVar("M", bound=Message)
NO_ROOM = "they came faster than they can be kept"
FULL_AFTER = 1.0
_CODES = {400: 3, 401: 16, 403: 7, 408: 4, 413: 3, 415: 3, 429: 8, 503: 14}
"""Codes of gRPC by status of HTTP; 13 (internal) for all others."""

routes = Routes("telemetry", base="")


def refuse(error: Exception, trace_id: str, headers: Mapping[bytes, bytes]) -> Answer:
    """A refusal as OTLP has it: a `google.rpc.Status` in the encoding of the request."""
    usual = answer_of(error, trace_id)
    problem = problem_of(error, trace_id)
    code = _CODES.get(problem.status, 13)
    media_type = _media_type(headers)
    if media_type == JSON:
        body = msgspec.json.encode({"code": code, "message": problem.detail})
    else:
        # The fields of this message have the numbers and types of those of a Status.
        same = ExportTracePartialSuccess(rejected_spans=code, error_message=problem.detail)
        body = same.SerializeToString()
    return Answer(problem.status, body, media_type.encode(), usual.headers)


def _media_type(headers: Mapping[bytes, bytes]) -> str:
    sent = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return PROTOBUF if sent == PROTOBUF.encode() else JSON


@routes.body(
    "POST",
    "/v1/traces",
    "agent:report",
    bytes,
    {200: dict},
    media_types=MEDIA_TYPES,
    changes=False,
    refuse=refuse,
)
async def receive_spans(call: Call, body: bytes) -> Reply:
    """Take spans over OTLP; those of a session's trace are shown in it."""
    logs, now = call.engine.logs, call.engine.store.now()
    _check_store(call)
    request = await _request(call, body, ExportTraceServiceRequest)
    found = await asyncio.to_thread(spans_of, request, call.namespace, now)
    kept = sum(map(logs.put_span, found.items))
    if found.items and not kept:
        raise _full()
    rejected, why = _rejected(len(found.items) - kept, found.rejected, found.why)
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=why)
    return _answer(call, ExportTraceServiceResponse(partial_success=partial if rejected else None))


@routes.body(
    "POST",
    "/v1/logs",
    "agent:report",
    bytes,
    {200: dict},
    media_types=MEDIA_TYPES,
    changes=False,
    refuse=refuse,
)
async def receive_records(call: Call, body: bytes) -> Reply:
    """Take log records over OTLP; one of a session's trace is found with the session's."""
    _check_store(call)
    bound = call.acting_as
    request = await _request(call, body, ExportLogsServiceRequest)
    session_of = await call.context.known_traces.of(call.namespace, _traces(request))
    found = records_of(request, call.namespace, call.engine.store.now(), session_of)
    records = await asyncio.to_thread(lambda: list(found))
    ship, actor = call.engine.shipping.ship, str(call.actor)
    kept = sum(ship(one.sent_by(actor, bound)) for one in records)
    if records and not kept:
        raise _full()
    rejected, why = _rejected(len(records) - kept, 0, "")
    partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=why)
    return _answer(call, ExportLogsServiceResponse(partial_success=partial if rejected else None))


def _check_store(call: Call) -> None:
    if (problem := call.engine.logs.state.problem) is not None:
        raise Unavailable(problem, code="logs_unavailable", retry_after=RETRY_AFTER)


def _full() -> Unavailable:
    return Unavailable(NO_ROOM, code="logs_busy", retry_after=FULL_AFTER)


async def _request(call: Call, body: bytes, kind: type[M]) -> M:
    """The message of a body; on a thread, since a large one takes a while.

    Raises UnsupportedMedia, TooLarge, Invalid.
    """
    encoding = (call.header(b"content-encoding") or "identity").strip().lower()
    if encoding not in {"gzip", "identity"}:
        raise UnsupportedMedia("Content-Encoding must be gzip, or none.")
    media_type, depth = _media_type(call.headers), call.context.settings.depth_limit

    def read() -> M:
        plain = unpacked(body) if encoding == "gzip" else body
        if media_type == JSON:
            check_depth(plain, depth)
        return parsed(plain, kind, media_type)

    return await asyncio.to_thread(read)


def _traces(request: ExportLogsServiceRequest) -> set[str]:
    return {
        record.trace_id.hex()
        for group in request.resource_logs
        for scope in group.scope_logs
        for record in scope.log_records
        if len(record.trace_id) == 16
    }


def _rejected(dropped: int, rejected: int, why: str) -> tuple[int, str]:
    """How many were not taken, and all reasons."""
    reasons = [reason for count, reason in ((rejected, why), (dropped, NO_ROOM)) if count]
    return dropped + rejected, "; ".join(reasons)


def _answer(call: Call, message: Message) -> Answer:
    media_type = _media_type(call.headers)
    return Answer(200, written(message, media_type), media_type.encode())
