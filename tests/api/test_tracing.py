"""Every answer names its trace, and a caller's trace goes on in the sessions it starts."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from opscore.api.tracing import trace_of
from tests.api.conftest import BASE, Site

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
TASK = {"capability": "traced"}


async def test_every_answer_names_its_trace(site: Site) -> None:
    paths = [("GET", "/agent"), ("GET", "/agent/none"), ("PUT", "/agent"), ("GET", "/nothing")]
    for method, path in paths:
        reply = await site.call(method, path)
        trace = reply.headers["X-Trace-Id"]
        assert re.fullmatch(r"[0-9a-f]{32}", trace), (method, path)
        assert reply.status < 400 or reply.body["traceId"] == trace
        reply = await site.call(method, path, headers=PARENT)
        assert reply.headers["X-Trace-Id"] == TRACE, (method, path)
    for path in ("/health", "/docs", "/openapi.json", "/nowhere"):
        assert "X-Trace-Id" in (await site.call("GET", path, root=True)).headers, path


async def test_what_cannot_be_parsed_is_a_problem_with_a_trace(site: Site) -> None:
    host, _, port = site.url.removeprefix("http://").partition(":")
    for sent in (
        b"GET\t/ HTTP/1.1\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b"content-type: application/problem+json" in answer
        assert b"malformed_request" in answer and b"x-trace-id: " in answer
        writer.close()


async def test_a_refused_websocket_is_a_problem_with_a_trace(site: Site) -> None:
    url = f"{site.url}{BASE}/agent/x/channel"
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.get(url, headers={**_upgrade(), **PARENT}) as reply,
    ):
        assert reply.status == 401
        assert reply.content_type == "application/problem+json"
        assert reply.headers["X-Trace-Id"] == TRACE
        assert (await reply.json(content_type=None))["traceId"] == TRACE


def _upgrade() -> dict[str, str]:
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }


async def test_a_session_belongs_to_the_trace_of_its_request(site: Site) -> None:
    for headers in (PARENT, {}):
        reply = await site.call("POST", "/task", TASK, headers=headers)
        session = (await site.call("GET", f"/session/{reply.good['sessionId']}")).good
        assert session["traceId"] == reply.headers["X-Trace-Id"]
        assert (session["traceId"] == TRACE) == bool(headers)
    await site.call(
        "POST", "/workflow", {"name": "tr", "version": "1", "steps": {"a": {"value": 1}}}
    )
    both = {"sessions": [{"workflow": "tr"}, {"workflow": "tr"}]}
    for headers, traces in ((PARENT, 1), ({}, 2)):
        reply = await site.call("POST", "/session/batch", both, headers=headers)
        found = [await site.call("GET", f"/session/{one}") for one in reply.good["sessionIds"]]
        assert len({one.good["traceId"] for one in found}) == traces


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
    ],
)
def test_a_malformed_parent_is_none(header: bytes) -> None:
    assert trace_of(header) is None


def test_a_parent_of_a_later_version_counts() -> None:
    assert trace_of(b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more") == TRACE
