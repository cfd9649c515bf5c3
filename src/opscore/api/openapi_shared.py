"""What the operations of the OpenAPI document have in common: headers, refusals, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from opscore.api.route import Operation
from opscore.telemetry.otlp.encoding import PROTOBUF
from opscore.wire.agent import AgentView
from opscore.wire.session import SessionView
from opscore.wire.task import TaskView

ABOUT = """The operational backbone for fleets of AI agents.

Every refusal is a problem document (RFC 9457) with a stable `code`. A `traceparent` header (W3C
Trace Context) is kept. Fields may be added to answers; what a client does not know, it passes over.
What will be removed is announced by a `Deprecation` header (RFC 9745) and `Sunset` (RFC 8594)."""

_TEXT = {"type": "string"}
TRACE_EXAMPLE = "4bf92f3577b34da6a3ce929d0e0e4736"


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": _TEXT | schema}


PARAMETERS: Mapping[str, Any] = {
    "Namespace": _header(
        "X-OpsCore-Namespace", "The tenant", pattern="^[a-z0-9][a-z0-9_-]{0,63}$", default="default"
    ),
    "IdempotencyKey": _header(
        "Idempotency-Key",
        "The same request again, within 24 hours, gets the same answer and is not done again",
        pattern="^[!-~]{1,255}$",
    ),
    "IfMatch": _header(
        "If-Match",
        "The `ETag` of what was seen; 412 when it has changed since",
        pattern='^(\\*|(W/)?"[!#-+\\--~]*"(, ?(W/)?"[!#-+\\--~]*")*)$',
    ),
    "Prefer": _header(
        "Prefer",
        "`wait=N`: answer with the outcome if it is there within N seconds",
        pattern="^wait=[0-9]{1,3}$",
    ),
    "LastEventId": _header("Last-Event-ID", "Continue after this event", pattern="^[0-9]{1,18}$"),
}

HEADERS: Mapping[str, Any] = {
    "TraceId": {
        "description": "The W3C trace that the request belongs to",
        "required": True,
        "schema": _TEXT | {"pattern": "^[0-9a-f]{32}$"},
    },
    "ETag": {"description": "The revision, for `If-Match`", "schema": _TEXT},
    "PreferenceApplied": {"description": "`Prefer` was honoured", "schema": _TEXT},
    "IdempotencyReplayed": {
        "description": "This is the answer that the same request got before",
        "schema": {"const": "true"},
    },
    "RetryAfter": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 1}},
    "WwwAuthenticate": {"description": "How to show a key", "schema": _TEXT},
}
_WAIT, _AUTHENTICATE = {"Retry-After": "RetryAfter"}, {"WWW-Authenticate": "WwwAuthenticate"}

REFUSALS: Mapping[int, tuple[str, str]] = {
    400: ("invalid", "It cannot be read, or a field is not what it has to be"),
    401: ("unauthenticated", "No key, or not a valid one"),
    403: ("forbidden", "The key may not do this"),
    404: ("not_found", "There is nothing of that name in the namespace"),
    408: ("body_timeout", "The body did not arrive in time"),
    409: ("conflict", "It does not fit the present state"),
    412: ("outdated", "It has changed since it was seen"),
    413: ("too_large", "The body, or a document in it, is over its limit"),
    415: ("unsupported_media_type", "Another `Content-Type` than those of the request body"),
    422: ("impossible", "It contradicts itself, or names what is missing"),
    429: ("too_many_requests", "Too many requests; try again after a pause"),
    500: ("internal", "Something broke; the log has it under the trace id"),
    503: ("unavailable", "The server cannot take the request now; try again after a pause"),
}
_BINARY = {"type": "string", "format": "binary"}
OTLP: dict[str, Any] = {
    PROTOBUF: {"schema": _BINARY},
    "application/json": {"schema": {"type": "object"}, "example": {}},
}
"""Requests of OpenTelemetry's protocol, whose messages it describes itself."""
OTLP_REFUSED: dict[str, Any] = {
    "description": "A `google.rpc.Status`, in the encoding of the request",
    "content": {
        PROTOBUF: {"schema": _BINARY},
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
            },
            "example": {"code": 3, "message": "the body is not JSON"},
        },
    },
}
_PLURAL: Mapping[str, str] = {"name": "repo-health", "version": "1"}


def refusals() -> dict[str, Any]:
    """The responses that operations refer to, `Refused404` and so on."""
    return {f"Refused{status}": _refusal(status, *one) for status, one in REFUSALS.items()}


def _refusal(status: int, code: str, meaning: str) -> dict[str, Any]:
    named = {"X-Trace-Id": "TraceId"}
    named |= _WAIT if status in {429, 503} else _AUTHENTICATE if status == 401 else {}
    example: dict[str, Any] = {
        "type": f"urn:opscore:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": f"{meaning}.",
        "code": code,
        "errors": [],
        "traceId": TRACE_EXAMPLE,
    }
    content: dict[str, Any] = {
        "schema": {"$ref": "#/components/schemas/Problem"},
        "example": example,
    }
    return {
        "description": meaning,
        "headers": _refer(named),
        "content": {"application/problem+json": content},
    }


def refused_with(operation: Operation) -> set[int]:
    """With what an operation may be refused."""
    found = {500, 503}
    if operation.permission != "public":
        found |= {400, 401, 403, 429}
    if operation.query is not None or not operation.lenient:
        found.add(400)
    if "{" in operation.path:
        found.add(404)
    if operation.body is not None:
        found |= {400, 408, 413, 415}
    if operation.method != "GET" and operation.changes:
        found |= {404, 409, 422}
    if operation.if_match:
        found.add(412)
    return found


def headers_of(operation: Operation, answer: type | None) -> dict[str, Any]:
    """The headers of an accepted answer."""
    named = {"X-Trace-Id": "TraceId"}
    if answer in {AgentView, SessionView, TaskView}:
        named["ETag"] = "ETag"
    if operation.prefers_wait:
        named["Preference-Applied"] = "PreferenceApplied"
    if operation.method != "GET" and operation.changes:
        named["Idempotency-Replayed"] = "IdempotencyReplayed"
    return _refer(named)


def _refer(named: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{one}"} for name, one in named.items()}


def path_parameter(name: str) -> dict[str, Any]:
    """A part of a path: one segment."""
    schema = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^/]+$"}
    example = _PLURAL.get(name, f"{name.removesuffix('Id')[:3]}_01k0q8yzt4m7rnv2c5hx9dabfe")
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}
