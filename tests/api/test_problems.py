"""Every way in which a request can be wrong gives a problem document, and nothing else."""

from __future__ import annotations

import asyncio
import io
import json
import re
from typing import Any

import pytest

from opscore.api.app import by_path
from opscore.api.problems import problem_of
from opscore.core.errors import Unavailable
from tests.api.conftest import BASE, KEY, Site

MEGABYTE = 1024 * 1024
START = f"{BASE}/session"


def assert_problem(reply: Any, status: int, code: str) -> dict[str, Any]:
    assert reply.status == status, reply.raw
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.body
    assert problem["status"] == status
    assert problem["code"] == code
    assert isinstance(problem["detail"], str)
    assert problem["detail"]
    assert isinstance(problem["title"], str)
    assert len(problem["traceId"]) == 32
    return problem


BAD_BODIES = [
    (b"", "malformed", None),
    (b"{", "malformed", None),
    (b'{"workflow": "x",}', "malformed", ""),
    (b'{"workflow": "x"} {}', "malformed", ""),
    (b'{"workflow": NaN}', "malformed", ""),
    (b"[]", "invalid", ""),
    (b"null", "invalid", ""),
    (b"{}", "invalid", "/workflow"),
    (b'{"workflow": 7}', "invalid", "/workflow"),
    (b'{"workflow": ""}', "invalid", "/workflow"),
    (b'{"workflow": "x", "surprise/~": 1}', "invalid", "/surprise~1~0"),
    (b'{"workflow": "x", "priority": 101}', "invalid", "/priority"),
    (b'{"workflow": "x", "priority": "high"}', "invalid", "/priority"),
    (b'{"workflow": "x", "labels": {"a": 1}}', "invalid", "/labels"),
    (b'{"workflow": "x", "input": {"a": "\xff"}}', "malformed", "/input"),
    (b'{"workflow": "x", "input": {"a": 1e999}}', "invalid", "/input"),
    (b'{"workflow": "x", "input": {"a": "\\ud800"}}', "malformed", None),
    (b'{"workflow": "x", "input": ' + b"[" * 129 + b"]" * 129 + b"}", "too_deep", None),
    (b"[" * MEGABYTE, "too_deep", None),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep", None),
]


@pytest.mark.parametrize(("body", "code", "pointer"), BAD_BODIES)
async def test_a_wrong_body_is_refused_with_a_pointer(
    site: Site, body: bytes, code: str, pointer: str | None
) -> None:
    headers = {"content-type": "application/json"}
    reply = await site.call("POST", START, data=body, headers=headers)
    problem = assert_problem(reply, 400, code)
    if pointer is not None:
        assert [one["pointer"] for one in problem["errors"]] == [pointer]


async def test_a_syntax_error_has_line_and_column(site: Site) -> None:
    reply = await site.call("POST", START, b'{"workflow": "x",\n  "input": nope}')
    problem = assert_problem(reply, 400, "malformed")
    assert (problem["errors"][0]["line"], problem["errors"][0]["column"]) == (2, 13)


async def test_deep_nesting_within_the_limit_is_read(site: Site) -> None:
    body = b'{"workflow": "one-step", "input": {"x": ' + b"[" * 120 + b"]" * 120 + b"}}"
    assert (await site.call("POST", START, body)).status == 202


async def test_brackets_inside_strings_are_not_nesting(site: Site) -> None:
    body = {"workflow": "one-step", "input": {"x": '[{"\\' * 500}}
    assert (await site.call("POST", START, body)).status == 202


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""],
)
async def test_another_media_type_is_415(site: Site, media_type: str) -> None:
    headers = {"content-type": media_type}
    reply = await site.call("POST", START, data=b'{"workflow": "x"}', headers=headers)
    assert_problem(reply, 415, "unsupported_media_type")


async def test_a_charset_of_utf8_is_read(site: Site) -> None:
    headers = {"content-type": "Application/JSON; charset=UTF-8"}
    body = b'{"workflow": "one-step", "input": {"x": 1}}'
    assert (await site.call("POST", START, data=body, headers=headers)).status == 202


@pytest.mark.parametrize("path", ["/nowhere", f"{BASE}/nowhere", f"{BASE}/agent/a/b/c/d", "/"])
async def test_an_unknown_path_is_404(site: Site, path: str) -> None:
    assert_problem(await site.call("GET", path, root=True), 404, "unknown_path")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", f"{BASE}/session", "GET, HEAD, POST"),
        ("PUT", f"{BASE}/agent/a", "DELETE, GET, HEAD, PATCH"),
        ("OPTIONS", f"{BASE}/session", "GET, HEAD, POST"),
        ("POST", "/health", "GET, HEAD"),
        ("TRACE", "/health", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405(site: Site, method: str, path: str, allowed: str) -> None:
    reply = await site.call(method, path, root=True)
    assert_problem(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == allowed


async def test_a_request_to_the_channel_without_upgrade_is_426(site: Site) -> None:
    assert_problem(await site.call("GET", f"{BASE}/agent/a/channel"), 426, "upgrade_required")


async def test_a_trailing_slash_is_no_redirect(site: Site) -> None:
    reply = await site.call("GET", f"{BASE}/session/", allow_redirects=False)
    assert reply.status == 200


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=501", "/limit"),
        ("limit=many", "/limit"),
        ("colour=red", "/colour"),
        ("status=finished", "/status"),
        ("since=yesterday", "/since"),
        ("since=2026-01-01T00:00:00", "/since"),
    ],
)
async def test_a_wrong_query_is_refused(site: Site, query: str, pointer: str) -> None:
    problem = assert_problem(await site.call("GET", f"/session?{query}"), 400, "invalid")
    assert [one["pointer"] for one in problem["errors"]] == [pointer]


@pytest.mark.parametrize("query", ["limit=1&limit=2", "q=%ff"])
async def test_an_unreadable_query_is_refused(site: Site, query: str) -> None:
    from yarl import URL

    url = URL(f"{site.url}{BASE}/agent?{query}", encoded=True)
    async with site.http.get(url) as response:
        assert response.status == 400
        assert (await response.json(content_type=None))["code"] == "invalid"


LENIENT = {
    "GET /health",
    "GET /ready",
    f"POST {BASE}/agent/{{agentId}}/state",
    f"GET {BASE}/agent/{{agentId}}/state",
    f"POST {BASE}/agent/{{agentId}}/workflow",
    f"POST {BASE}/internal/agent/notify",
}
"""What AgentKit, its agents, and probes call; every other route knows its parameters."""
OTLP = {"/v1/traces", "/v1/logs"}
INVALID_ARGUMENT = 3
"""The code of google.rpc.Status, in which these refuse."""


@pytest.mark.parametrize("surprise", ["surprise=1", "limit=1&surprise=1", "surprise"])
async def test_every_route_refuses_a_parameter_that_it_does_not_know(
    site: Site, surprise: str
) -> None:
    tried: set[str] = set()
    for one in (one for operations in by_path().values() for one in operations):
        path = re.sub(r"\{\w+\}", "problem.json", one.path)
        reply = await site.call(one.method, f"{path}?{surprise}", root=True)
        name = f"{one.method} {one.path}"
        if name in LENIENT:
            assert b"surprise" not in reply.raw, name
            tried.add(name)
        elif one.path in OTLP:
            assert (reply.status, reply.body["code"]) == (400, INVALID_ARGUMENT), name
        else:
            problem = assert_problem(reply, 400, "invalid")
            assert problem["errors"][0]["pointer"] in {"/surprise", "/limit"}, name
    assert tried == LENIENT


async def test_a_body_over_the_limit_is_413(site: Site) -> None:
    body = io.BytesIO(b'{"workflow": "x", "input": "' + b"a" * MEGABYTE + b'"}')
    headers = {"content-type": "application/json"}
    reply = await site.call("POST", START, data=body, headers=headers)
    assert_problem(reply, 413, "body_too_large")


async def test_a_chunked_body_over_the_limit_is_413(site: Site) -> None:
    async def chunks() -> Any:
        for _ in range(40):
            yield b"a" * 65536

    headers = {"content-type": "application/json"}
    reply = await site.call("POST", START, data=chunks(), headers=headers)
    assert_problem(reply, 413, "body_too_large")


async def test_a_payload_over_its_limit_is_413(site: Site) -> None:
    body = {"workflow": "one-step", "input": {"x": "a" * 300_000}}
    assert_problem(await site.call("POST", START, body), 413, "payload_too_large")


HEAD = (
    f"POST {START} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    "Content-Type: application/json\r\n"
)


async def answer_to(site: Site, *parts: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes on a bare socket, keep it open, and read until the server closes it."""
    host, port = site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


async def test_a_body_that_never_ends_is_408_and_the_connection_closes(site: Site) -> None:
    head = (HEAD + "Content-Length: 1000\r\n\r\n").encode()
    status, problem = await answer_to(site, head, b'{"workflow"')
    assert (status, problem["code"]) == (408, "body_timeout")


async def test_a_body_that_never_begins_is_408(site: Site) -> None:
    status, problem = await answer_to(site, (HEAD + "Content-Length: 10\r\n\r\n").encode())
    assert (status, problem["code"]) == (408, "body_timeout")


async def test_a_body_announced_as_huge_is_refused_before_it_is_read(site: Site) -> None:
    head = (HEAD + "Content-Length: 99999999999\r\n\r\n").encode()
    status, problem = await answer_to(site, head)
    assert (status, problem["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("head", [b"", b"GET /health HTT", b"GET /health HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_never_ends_is_408(site: Site, head: bytes) -> None:
    status, problem = await answer_to(site, head)
    assert (status, problem["code"]) == (408, "head_timeout")


async def test_a_head_that_never_ends_after_a_request_is_408(site: Site) -> None:
    first = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    host, port = site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(first + b"GET /hea")
    answers = await reader.read()
    writer.close()
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answers


async def test_a_head_without_bounds_is_431(site: Site) -> None:
    lines = [b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(70)]
    status, problem = await answer_to(site, b"GET / HTTP/1.1\r\n", *lines)
    assert (status, problem["code"]) == (431, "head_too_large")


async def test_a_client_that_leaves_in_the_middle_does_no_harm(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write((HEAD + "Content-Length: 1000\r\n\r\n{").encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await site.call("GET", "/health", root=True)).status == 200


async def test_a_crash_tells_nothing_of_its_inside(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(site.engine.orchestration, "get_session", broken, raising=False)
    reply = await site.call("GET", "/session/ses_x")
    assert_problem(reply, 500, "internal")
    assert b"hunter2" not in reply.raw


async def test_an_unavailable_engine_is_503_with_retry_after(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: Any, **__: Any) -> None:
        raise Unavailable("The disk is full.", retry_after=7)

    monkeypatch.setattr(site.engine.orchestration, "get_session", busy, raising=False)
    reply = await site.call("GET", "/session/ses_x")
    assert_problem(reply, 503, "unavailable")
    assert reply.headers["retry-after"] == "7"


def test_what_is_not_a_refusal_is_internal() -> None:
    assert problem_of(KeyError("x"), "0" * 32).code == "internal"


@pytest.mark.parametrize(
    "body",
    [
        {"agentName": "a\0"},
        {"agentName": "a", "agentId": "i\0"},
        {"agentName": "a", "capabilities": ["c\0"]},
    ],
)
async def test_a_word_with_a_nul_is_refused(site: Site, body: dict[str, Any]) -> None:
    """No column of text in PostgreSQL holds one: it would take a whole commit down with it."""
    assert_problem(await site.call("POST", "/agent", body), 400, "invalid")


async def test_a_report_of_an_id_with_a_nul_is_refused(site: Site) -> None:
    reply = await site.call("POST", "/agent/a%00b/state", {"state": "idle"})
    assert_problem(reply, 400, "invalid")
