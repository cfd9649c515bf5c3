"""OTLP as its exporters send it: answers, encodings, tenants, and whatever else somebody sends."""

from __future__ import annotations

import gzip
import json
from typing import Any, cast

import msgspec
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from opscore.engine import logs as engine_logs
from opscore.engine.logs import Logs, LogState
from opscore.telemetry.otlp import encoding
from tests.api.conftest import ONE_STEP, Reply, Site

PROTOBUF, JSON = "application/x-protobuf", "application/json"
NANOS = 1_000_000_000
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def value(given: Any) -> dict[str, Any]:
    """An AnyValue of OTLP's JSON."""
    match given:
        case bool():
            return {"boolValue": given}
        case int():
            return {"intValue": str(given)}
        case float():
            return {"doubleValue": given}
        case list():
            return {"arrayValue": {"values": [value(one) for one in cast("list[Any]", given)]}}
        case dict():
            return {"kvlistValue": {"values": attributes(cast("dict[str, Any]", given))}}
        case _:
            return {"stringValue": given}


def attributes(given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(one)} for key, one in given.items()]


def span(trace: str = TRACE, span_id: str = SPAN, parent: str = "", **more: Any) -> dict[str, Any]:
    told = {"attributes": attributes(more.pop("told", {}))}
    times = {
        "startTimeUnixNano": str(1_700_000_000 * NANOS),
        "endTimeUnixNano": 1_700_000_001 * NANOS,
    }
    ids = {"traceId": trace, "spanId": span_id, "parentSpanId": parent, "name": "chat small"}
    return {**ids, **times, "kind": 3, **told, **more}


def spans(*sent: dict[str, Any], service: str = "writer") -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": service})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(sent)}]}]}


def records(*sent: dict[str, Any], service: str = "writer") -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": service})}
    scope = {"scope": {"name": "my.logger"}, "logRecords": list(sent)}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}


def as_protobuf(document: dict[str, Any]) -> bytes:
    """The same request in the other encoding, by the reader of ours that JSON takes."""
    kind = ExportTraceServiceRequest if "resourceSpans" in document else ExportLogsServiceRequest
    return encoding.parsed(msgspec.json.encode(document), kind, JSON).SerializeToString()


async def send(site: Site, path: str, body: bytes, media: str = PROTOBUF, **headers: str) -> Reply:
    named = {"content-type": media} | headers
    return await site.call("POST", path, body, headers=named, root=True)


async def begun(site: Site) -> tuple[str, str, str]:
    """A session with one claimed attempt: its id, its trace and the attempt's span."""
    await site.call("POST", "/workflow", ONE_STEP)
    agent = await site.agent("writer")
    started = {"workflow": "one-step", "input": {"x": 1}}
    session = (await site.call("POST", "/session", started)).good["sessionId"]
    found = await site.claim(agent, max=100)
    (attempt,) = [one for one in found if one["sessionId"] == session]
    _, trace_id, span_id, _ = attempt["traceparent"].split("-")
    return session, trace_id, span_id


async def trace_of(site: Site, session: str) -> dict[str, dict[str, Any]]:
    shown = (await site.call("GET", f"/session/{session}/trace")).good
    return {one["name"]: one for one in shown["spans"]}


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
@pytest.mark.parametrize("packed", [False, True])
async def test_spans_stand_below_the_attempt_that_they_name(
    site: Site, media: str, packed: bool
) -> None:
    session, trace_id, attempt = await begun(site)
    chat = span(trace_id, "a" * 16, attempt, told={"gen_ai.usage.input_tokens": 12, "m": [1, "x"]})
    event = {"name": "exception", "timeUnixNano": "5000", "attributes": attributes({"e": 0.5})}
    status = {"code": 2, "message": "it broke"}
    tool = span(
        trace_id, "b" * 16, "a" * 16, name="execute_tool grep", status=status, events=[event]
    )
    document = spans(tool, chat)
    body = as_protobuf(document) if media == PROTOBUF else msgspec.json.encode(document)
    coding = {"content-encoding": "gzip"} if packed else {}
    reply = await send(site, "/v1/traces", gzip.compress(body) if packed else body, media, **coding)
    assert (reply.status, reply.headers["content-type"]) == (200, media)
    assert reply.raw == (b"" if media == PROTOBUF else b"{}")
    found = await trace_of(site, session)
    work = found["invoke_agent writer"]
    shown, below = found["chat small"], found["execute_tool grep"]
    assert (shown["parentId"], work["spanId"]) == (attempt, attempt)
    assert (shown["kind"], shown["seconds"], shown["critical"]) == ("reported", 1.0, False)
    assert shown["attributes"] == {
        "gen_ai.usage.input_tokens": 12,
        "m": '[1,"x"]',
        "service.name": "writer",
    }
    assert (below["parentId"], below["status"]) == ("a" * 16, "error")
    assert below["attributes"]["error.message"] == "it broke"
    assert below["events"] == [
        {"name": "exception", "at": "1970-01-01T00:00:00.000005Z", "attributes": {"e": 0.5}}
    ]
    again = await send(site, "/v1/traces", body, media)  # whose answer was lost
    assert again.status == 200
    assert len(await trace_of(site, session)) == len(found)


async def test_what_hangs_on_nothing_is_below_the_session_and_what_is_the_callers_is_not(
    site: Site,
) -> None:
    session, trace_id, attempt = await begun(site)
    lost = span(trace_id, "c" * 16, "d" * 16, name="of a killed process")
    ring = [span(trace_id, one * 16, other * 16, name="ring") for one, other in ("ef", "fe")]
    own_parent = span(trace_id, "9" * 16, "9" * 16, name="its own parent")
    mine = span(trace_id, attempt, "", name="not the attempt's")
    top = span(trace_id, "8" * 16, "", name="without a parent")
    sent = msgspec.json.encode(spans(lost, *ring, own_parent, mine, top))
    assert (await send(site, "/v1/traces", sent, JSON)).status == 200
    found = await trace_of(site, session)
    root = found["invoke_workflow one-step"]
    assert found["of a killed process"]["parentId"] == root["spanId"]
    assert found["of a killed process"]["attributes"]["opscore.parent.missing"] is True
    assert not {"ring", "its own parent", "not the attempt's", "without a parent"} & set(found)


async def test_spans_and_records_are_their_namespaces_own(site: Site) -> None:
    session, trace_id, attempt = await begun(site)
    made = await site.engine.keys.create("other", ["agent:report"], namespace="otlp-elsewhere")
    theirs = {"authorization": f"Bearer {made.token}"}
    sent = msgspec.json.encode(spans(span(trace_id, "a" * 16, attempt, name="a stranger's")))
    assert (await send(site, "/v1/traces", sent, JSON, **theirs)).status == 200
    said = msgspec.json.encode(records({"body": value("a stranger's"), "traceId": trace_id}))
    assert (await send(site, "/v1/logs", said, JSON, **theirs)).status == 200
    assert "a stranger's" not in await trace_of(site, session)
    assert (await site.call("GET", f"/log?trace={trace_id}")).good["records"] == []
    (kept,) = await site.engine.logs.spans("otlp-elsewhere", trace_id, 10)
    assert kept.name == "a stranger's"


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
async def test_records_become_ours_with_the_session_of_their_trace(site: Site, media: str) -> None:
    session, trace_id, attempt = await begun(site)
    told = {"file": "main.py", "error.type": "timeout", "password": "hunter2", "deep": {"n": 1}}
    sent = {
        "timeUnixNano": str(1_700_000_000 * NANOS),
        "severityNumber": 17,
        "body": value("the model is slow"),
        "attributes": attributes(told),
        "traceId": trace_id,
        "spanId": attempt,
    }
    document = records(sent, {"severityText": "WARN", "body": value({"a": 1})}, service=media)
    body = as_protobuf(document) if media == PROTOBUF else msgspec.json.encode(document)
    reply = await send(site, "/v1/logs", body, media)
    assert (reply.status, reply.raw) == (200, b"" if media == PROTOBUF else b"{}")
    (found,) = (await site.call("GET", f"/log?session={session}&agent={media}")).good["records"]
    assert (found["level"], found["operation"]) == ("error", "my.logger")
    assert (found["message"], found["errorType"]) == ("the model is slow", "timeout")
    assert (found["traceId"], found["spanId"]) == (trace_id, attempt)
    assert found["reportedAt"] == "2023-11-14T22:13:20Z"
    assert found["context"] == {"file": "main.py", "password": "***", "deep": '{"n":1}'}
    other = (await site.call("GET", f"/log?agent={media}&order=oldest")).good["records"][1]
    assert (other["level"], other["message"]) == ("warning", '{"a":1}')
    assert "sessionId" not in other


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
async def test_what_cannot_be_kept_is_counted_in_a_partial_success(site: Site, media: str) -> None:
    document = spans(span(), span("0" * 32), span(TRACE, "00" * 8), span(TRACE, "ab"))
    body = as_protobuf(document) if media == PROTOBUF else msgspec.json.encode(document)
    reply = await send(site, "/v1/traces", body, media)
    assert reply.status == 200
    if media == PROTOBUF:
        partial = ExportTraceServiceResponse.FromString(reply.raw).partial_success
    else:
        partial = json_format.ParseDict(reply.body, ExportTraceServiceResponse()).partial_success
    assert partial.rejected_spans == 3
    assert "trace id of 16" in partial.error_message


def status_of(reply: Reply, media: str) -> tuple[int, str]:
    """Code and message of a refusal, as OTLP has it."""
    assert reply.headers["content-type"] == media, reply.raw
    if media == JSON:
        return reply.body["code"], reply.body["message"]
    told = ExportTracePartialSuccess.FromString(reply.raw)
    return told.rejected_spans, told.error_message


def nested(depth: int) -> dict[str, Any]:
    """A list in a list, and so on."""
    found: Any = {}
    for _ in range(depth):
        found = {"arrayValue": {"values": [found]}}
    return found


BAD: dict[str, tuple[bytes, str, dict[str, str], int]] = {
    "no protobuf": (b"\xff\xff\xff", PROTOBUF, {}, 400),
    "cut protobuf": (as_protobuf(spans(span()))[:-3], PROTOBUF, {}, 400),
    "no JSON": (b"{", JSON, {}, 400),
    "no object": (b"[]", JSON, {}, 400),
    "another form": (b'{"resourceSpans": [{"scopeSpans": {"spans": 1}}]}', JSON, {}, 400),
    "spans that are texts": (b'{"resourceSpans": ["x", null, 7]}', JSON, {}, 400),
    "ids that are not hex": (msgspec.json.encode(spans(span("zz" * 16))), JSON, {}, 400),
    "too deep": (msgspec.json.encode(records({"body": nested(200)})), JSON, {}, 400),
    "half a character": (b'{"resourceSpans": [{"schemaUrl": "\xff"}]}', JSON, {}, 400),
    "another type": (b"<spans/>", "text/xml", {}, 415),
    "no type": (b"x", "", {}, 415),
    "another coding": (b"x", PROTOBUF, {"content-encoding": "br"}, 415),
    "no gzip": (b"x", PROTOBUF, {"content-encoding": "gzip"}, 400),
    "cut gzip": (gzip.compress(b"x" * 999)[:-9], PROTOBUF, {"content-encoding": "gzip"}, 400),
    "a bomb": (gzip.compress(bytes(2**26)), PROTOBUF, {"content-encoding": "gzip"}, 413),
    "too large": (bytes(2**21), PROTOBUF, {}, 413),
    "no key": (b"", PROTOBUF, {"authorization": "Bearer wrong"}, 401),
}


@pytest.mark.filterwarnings("ignore:Sending a large body")
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
@pytest.mark.parametrize("case", BAD)
async def test_bad_input_is_refused_as_otlp_has_it(site: Site, path: str, case: str) -> None:
    body, media, headers, status = BAD[case]
    if path == "/v1/logs":
        body = body.replace(b"resourceSpans", b"resourceLogs").replace(b"scopeSpans", b"scopeLogs")
        body = body.replace(b'"spans":', b'"logRecords":')
    if case == "too deep":
        path = "/v1/logs"
    reply = await send(site, path, body, media, **headers)
    assert reply.status == status, reply.raw
    code, message = status_of(reply, PROTOBUF if media == PROTOBUF else JSON)
    assert code == {400: 3, 401: 16, 413: 3, 415: 3}[status]
    assert message


async def test_texts_of_strangers_are_kept_bounded_and_struck_out(site: Site) -> None:
    session, trace_id, attempt = await begun(site)
    secret = "canary-7f3a"
    told: dict[str, Any] = {
        "http.request.header.authorization": f"Bearer {secret}",
        "api_key": secret,
        "nested": {"Password": secret, "list": [{"token": secret}]},
        "long": "ü" * 10_000,
        "control": "\x1b[2J\x00\u202e",
        "nan": "x",
        **{f"k{n}": n for n in range(100)},
    }
    sent = span(trace_id, "a" * 16, attempt, name="\x1b]0;title\x07" + "n" * 999, told=told)
    assert (await send(site, "/v1/traces", msgspec.json.encode(spans(sent)), JSON)).status == 200
    reply = await site.call("GET", f"/session/{session}/trace")
    assert secret.encode() not in reply.raw
    assert not [byte for byte in reply.raw if byte < 32 and byte != 10]
    (shown,) = [one for one in reply.body["spans"] if one["kind"] == "reported"]
    assert len(shown["name"]) == 256
    kept = shown["attributes"]
    assert (kept["api_key"], kept["control"]) == ("***", "\x1b[2J\x00\u202e")
    assert len(kept["long"]) == 4_097
    assert kept["opscore.attributes.dropped"] == 106 - 64
    said = records({"body": value("x"), "attributes": attributes(told), "traceId": trace_id})
    assert (await send(site, "/v1/logs", msgspec.json.encode(said), JSON)).status == 200
    reply = await site.call("GET", f"/log?trace={trace_id}")
    assert len(reply.good["records"]) == 1
    assert secret.encode() not in reply.raw


async def test_a_broken_store_and_one_that_cannot_keep_up_ask_to_come_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = msgspec.json.encode(spans(span()))
    monkeypatch.setattr(engine_logs, "CALM_LIMIT", 0)
    reply = await send(site, "/v1/traces", body, JSON)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert status_of(reply, JSON)[0] == 14
    monkeypatch.undo()
    monkeypatch.setattr(Logs, "state", LogState("the disk is full", 0, 0))
    for path in ("/v1/traces", "/v1/logs"):
        reply = await send(site, path, as_protobuf(spans(span())))
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert status_of(reply, PROTOBUF) == (14, "the disk is full")


async def test_an_empty_request_is_a_success(site: Site) -> None:
    for path, answer in (
        ("/v1/traces", ExportTraceServiceResponse),
        ("/v1/logs", ExportLogsServiceResponse),
    ):
        reply = await send(site, path, b"")
        assert (reply.status, answer.FromString(reply.raw)) == (200, answer())
        assert (await send(site, path, b"{}", JSON)).raw == b"{}"


async def test_other_methods_and_json_stay_problems_of_ours(site: Site) -> None:
    reply = await site.call("GET", "/v1/traces", root=True)
    assert (reply.status, json.loads(reply.raw)["code"]) == (405, "method_not_allowed")
