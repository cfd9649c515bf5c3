"""Hostile texts through every field of every route and of the stream channel."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from opscore.api.examples import BODIES
from opscore.api.nouns import NOUNS
from opscore.api.settings import ServerSettings
from tests.api.conftest import BASE, KEY, ONE_STEP, Reply, Site, serving
from tests.hostile import HOSTILE, variants

PLAIN = {"application/json", "application/problem+json", "application/schema+json"}
OPERATIONS = [one for noun in NOUNS for one in noun.operations if one.path.startswith(BASE)]
CHANGING = [one for one in OPERATIONS if one.body in BODIES]
LIVE = {f"{BASE}/event", f"{BASE}/log/stream", f"{BASE}/session/{{sessionId}}/stream"}
READING = [one for one in OPERATIONS if one.method == "GET" and one.path not in LIVE]
NAMING = [one for one in OPERATIONS if "{" in one.path and one.path not in LIVE]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncGenerator[Site, None]:
    settings = ServerSettings(api_key=KEY, stop_seconds=2)
    async with serving(settings, headers={"Authorization": f"Bearer {KEY}"}) as one:
        await one.call("POST", "/workflow", ONE_STEP)
        await one.call("POST", "/session", {"workflow": "one-step", "input": {"x": 1}})
        yield one


def check(reply: Reply, what: object) -> None:
    """No crash, no page that a browser would run, no raw control character, no header of theirs."""
    assert reply.status < 500, (what, reply.raw)
    assert reply.status == 204 or reply.headers["Content-Type"].partition(";")[0] in PLAIN, what
    assert not [byte for byte in reply.raw if byte < 32 and byte != 10], what
    assert "Set-Cookie" not in reply.headers
    if reply.raw:
        json.loads(reply.raw)


async def whole(site: Site) -> None:
    """Nothing was dropped, and nobody got in."""
    assert (await site.call("GET", "/session?workflow=one-step")).good["sessions"]
    assert (await site.call("GET", "/audit?action=workflow.created")).good["records"]
    assert (await site.call("GET", "/session", headers={"Authorization": "Bearer x"})).status == 401


def filled(path: str, text: str) -> str:
    """A path with the text in place of its parameters."""
    parts = [quote(text, safe="") if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)


@pytest.mark.parametrize("one", CHANGING, ids=lambda one: f"{one.method} {one.path}")
async def test_every_field_of_every_body(site: Site, one: Any) -> None:
    path = one.path
    for name in ("agentId", "sessionId", "taskId", "approvalId", "keyId", "name"):
        path = path.replace(f"{{{name}}}", "nothing-1")
    for text in HOSTILE.values():
        for body in variants(BODIES[one.body], text):
            check(await site.call(one.method, path, body, root=True), body)
        if isinstance(BODIES[one.body], dict):
            extra = {**BODIES[one.body], text: text}
            check(await site.call(one.method, path, extra, root=True), extra)
    await whole(site)


@pytest.mark.parametrize("one", NAMING, ids=lambda one: f"{one.method} {one.path}")
async def test_every_part_of_every_path(site: Site, one: Any) -> None:
    for text in HOSTILE.values():
        body = BODIES.get(one.body) if one.body is not None else None
        reply = await site.call(one.method, filled(one.path, text), body, root=True)
        check(reply, (one.path, text))
    await whole(site)


@pytest.mark.parametrize("one", READING, ids=lambda one: one.path)
async def test_every_query_and_every_header(site: Site, one: Any) -> None:
    names = [] if one.query is None else list(one.query.__struct_encode_fields__)
    path = filled(one.path, "nothing")
    for text in HOSTILE.values():
        for name in [*names, "unknown"]:
            reply = await site.call("GET", f"{path}?{name}={quote(text, safe='')}", root=True)
            check(reply, (name, text))
        header = {"X-OpsCore-Namespace": quote(text, safe=" ;'\"<>{}$()[]%,")}
        check(await site.call("GET", path, headers=header, root=True), text)
    await whole(site)


async def test_what_is_stored_is_given_back_as_it_was_and_only_as_json(site: Site) -> None:
    for name, text in HOSTILE.items():
        body = {"agentName": f"agent {name}", "labels": {"a": text}, "metadata": {text: text}}
        made = (await site.call("POST", "/agent", body)).good
        found = await site.call("GET", f"/agent/{made['agentId']}")
        check(found, name)
        assert (found.body["labels"]["a"], found.body["metadata"]) == (text, {text: text})
        start = {"workflow": "one-step", "input": {"x": text}, "context": {"c": text}}
        session = (await site.call("POST", "/session", start)).good["sessionId"]
        read = await site.call("GET", f"/session/{session}")
        check(read, name)
        assert (read.body["input"], read.body["context"]) == ({"x": text}, {"c": text})
        listed = (await site.call("GET", f"/task?session={session}")).good["tasks"]
        assert listed[0]["input"] == {"x": text}  # an expression in data is data
    await whole(site)


async def test_every_field_of_the_stream_channel(site: Site) -> None:
    agent = await site.agent("streamed", "streamed")
    messages: list[dict[str, Any]] = [
        {"type": "hello", "instanceId": "i-1", "maxInFlight": 1, "sdk": "x"},
        {"type": "ready", "slots": 1},
        {"type": "progress", "taskId": "tsk_1-1", "attempt": 1, "message": "x"},
        {"type": "log", "taskId": "tsk_1-1", "attempt": 1, "level": "info", "message": "x"},
        {"type": "heartbeat", "attempts": [["tsk_1-1", 1]]},
        {"type": "settle", "settlements": [{"taskId": "tsk_1-1", "attempt": 1, "outcome": "x"}]},
    ]
    for text in HOSTILE.values():
        for message in messages:
            for one in variants(message, text):
                await _told(site, agent, one)
    await whole(site)


async def _told(site: Site, agent: str, message: dict[str, Any]) -> None:
    """Whatever is said, the answers are JSON, and the server lives."""
    async with site.stream(agent) as socket:
        if message["type"] != "hello" and "instanceId" not in message:
            hello = {"type": "hello", "instanceId": "hostile-1", "maxInFlight": 1}
            await socket.send_json(hello)
        await socket.send_json(message)
        await socket.send_bytes(b"\x00")  # which ends the conversation, whatever it was
        async for answer in socket:
            if answer.type is aiohttp.WSMsgType.TEXT:
                assert not [one for one in answer.data if ord(one) < 32]
                json.loads(answer.data)
        assert socket.close_code is not None
