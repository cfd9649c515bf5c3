"""The fleet-wide feed over SSE and WebSocket: filters, places, restarts, and slow readers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from opscore.api import event as feed
from opscore.api.access import Principal
from opscore.api.body import ClientGone
from opscore.api.call import Call
from opscore.api.settings import ServerSettings
from opscore.core.types import Actor
from opscore.engine import following
from opscore.wire.queries import FollowEvents
from tests.api.conftest import BASE, Site, serving
from tests.api.test_live import HEADERS, begin, finish, next_event


class Follower:
    """One SSE connection; `next` passes over frames without data."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last_id = ""

    async def next(self) -> dict[str, Any] | None:
        while (fields := await next_event(self.response)) is not None:
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                return json.loads(fields["data"]) | {"_event": fields["event"]}
        return None

    async def until(self, kind: str) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["type"] != kind:
            event = await self.next()
            assert event is not None, seen
            seen.append(event)
        return seen


@asynccontextmanager
async def follow(
    site: Site, after: int | str | None = None, **filters: str
) -> AsyncGenerator[Follower, None]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    url = f"{site.url}{BASE}/event"
    async with site.http.get(url, params=filters, headers=headers) as response:
        assert response.status == 200, await response.read()
        assert response.headers["X-Trace-Id"]
        yield Follower(response)


async def work(site: Site, name: str) -> dict[str, str]:
    """One task of its own agent and capability, from registration to its end."""
    agent_id = await site.agent(name, name)
    task_id, session_id = await begin(site, name)
    await finish(site, task_id, agent_id)
    return {"agent": agent_id, "session": session_id, "task": task_id}


async def test_everything_is_told_once_and_in_order_and_can_be_gone_on_from(site: Site) -> None:
    async with follow(site) as live:
        await live.response.content.readline()
        made = await work(site, "feed-1")
        told = await live.until("session.completed")
    assert {one["agentId"] for one in told} >= {made["agent"], None}
    positions = [one["position"] for one in told]
    assert positions == sorted(set(positions))
    assert [one["_event"] for one in told] == [one["type"] for one in told]
    for index in (0, len(told) // 2):
        async with follow(site, positions[index]) as again:
            assert await again.until("session.completed") == told[index + 1 :]
    history = (await site.call("GET", f"/session/{made['session']}/history")).good["events"]
    assert [
        {k: v for k, v in one.items() if k != "_event"} for one in told if one["sessionId"]
    ] == history


async def test_filters_narrow_it(site: Site) -> None:
    async with follow(site) as probe:
        start = (await next_event(probe.response) or {})["id"]
    one, two = await work(site, "feed-2"), await work(site, "feed-3")
    for filters in (
        {"session": two["session"]},
        {"capability": "feed-3"},
        {"agent": two["agent"]},
        {"session": two["session"], "type": "session,task.claimed"},
    ):
        async with follow(site, start, **filters) as replayed:
            last = (
                "task.completed"
                if "capability" in filters or "agent" in filters
                else "session.completed"
            )
            told = await replayed.until(last)
        assert told, filters
        assert all(one["session"] != each["sessionId"] for each in told)
        assert all(one["agent"] != each["agentId"] for each in told)
        kinds = {each["type"] for each in told}
        if "type" in filters:
            assert kinds == {"session.started", "task.claimed", "session.completed"}
        elif "agent" in filters:
            assert {"agent.registered", "task.claimed", "task.completed"} <= kinds
        elif "capability" in filters:
            assert kinds == {"task.created", "task.claimed", "task.completed"}


async def test_live_and_replayed_are_filtered_alike(site: Site) -> None:
    for name, value in (("capability", "feed-4"), ("workflow", "feed-w"), ("type", "task")):
        async with follow(site, **{name: value}) as live:
            start = (await next_event(live.response) or {})["id"]
            await work(site, "feed-4")
            template = {"name": "feed-w", "version": "1", "steps": {"a": {"capability": "feed-5"}}}
            await site.call("POST", "/workflow", template)
            await site.call("POST", "/session", {"workflow": "feed-w"})
            agent = await site.agent("feed-5", "feed-5")
            (attempt,) = (await site.claim(agent))[:1]
            body = {"attempt": attempt["attempt"], "output": 1}
            await site.call("POST", f"/task/{attempt['taskId']}/complete", body)
            last = {"capability": 1, "workflow": 1, "type": 2}[name]
            told = [each for _ in range(last) for each in await live.until("task.completed")]
        async with follow(site, start, **{name: value}) as again:
            assert [
                each for _ in range(last) for each in await again.until("task.completed")
            ] == told


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?token=x", {}),
        ("?access_token=x", {}),
        ("?api_key=x", {}),
        ("?after=-1", {}),
        ("?after=x", {}),
        ("?after=99999999", {}),
        ("", {"Last-Event-ID": "99999999"}),
        ("", {"Last-Event-ID": "x"}),
    ],
)
async def test_what_makes_no_sense_is_refused(
    site: Site, query: str, headers: dict[str, str]
) -> None:
    assert (await site.call("GET", f"/event{query}", headers=headers)).status == 400
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await site.http.ws_connect(f"{site.url}{BASE}/event/ws{query}", headers=headers)
    assert refused.value.status == 400


async def test_a_key_in_the_query_opens_nothing(site: Site) -> None:
    key = HEADERS["Authorization"].removeprefix("Bearer ")
    async with aiohttp.ClientSession() as stranger:
        for name in ("token", "access_token", "api_key", "key", "authorization"):
            url = f"{site.url}{BASE}/event?{name}={key}"
            async with stranger.get(url) as reply:
                assert reply.status == 401
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await stranger.ws_connect(url.replace("/event?", "/event/ws?"))
            assert refused.value.status == 401


async def test_another_namespace_is_not_told(site: Site) -> None:
    elsewhere = {"X-OpsCore-Namespace": "feed-elsewhere"}
    url = f"{site.url}{BASE}/event"
    async with site.http.get(url, headers={**elsewhere, "Last-Event-ID": "0"}) as response:
        await work(site, "feed-6")
        await site.call("POST", "/task", {"capability": "there"}, headers=elsewhere)
        follower = Follower(response)
        told = await follower.until("task.created")
    assert {one["type"] for one in told} == {"session.started", "task.created"}


async def test_the_socket_tells_the_same(site: Site) -> None:
    url = f"{site.url}{BASE}/event/ws"
    async with site.http.ws_connect(url, params={"type": "task,session"}) as socket:
        first = await socket.receive_json()
        assert first["type"] == "following"
        await work(site, "feed-7")
        told = [await socket.receive_json()]
        while told[-1]["type"] != "session.completed":
            told.append(await socket.receive_json())
    async with follow(site, first["position"], type="task,session") as again:
        replayed = await again.until("session.completed")
    assert [{k: v for k, v in one.items() if k != "_event"} for one in replayed] == told
    async with site.http.ws_connect(url, params={"after": str(told[-2]["position"])}) as socket:
        assert (await socket.receive_json())["position"] == told[-2]["position"]
        assert await socket.receive_json() == told[-1]


async def test_what_has_happened_can_be_read_without_following(site: Site) -> None:
    made = await work(site, "feed-9")
    async with follow(site, 0, follow="false", session=made["session"]) as past:
        told = await past.until("ended")
        assert await past.next() is None
    history = (await site.call("GET", f"/session/{made['session']}/history")).good["events"]
    assert [one["seq"] for one in told[:-1]] == [one["seq"] for one in history]
    assert told[-1]["position"] == site.engine.feed.position >= history[-1]["position"]
    url = f"{site.url}{BASE}/event/ws"
    wanted = {"follow": "false", "after": "0", "session": made["session"]}
    async with site.http.ws_connect(url, params=wanted) as socket:
        said = [await socket.receive_json() for _ in range(len(history) + 2)]
        assert [said[0]["type"], said[-1]["type"]] == ["following", "ended"]
        assert said[1:-1] == history
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1000


async def test_a_follower_that_speaks_is_closed(site: Site) -> None:
    async with site.http.ws_connect(f"{site.url}{BASE}/event/ws") as socket:
        await socket.receive_json()
        await socket.send_str("hello")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1003


async def test_a_follower_that_falls_behind_is_let_go_and_can_come_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader's place in the queue is small; what it missed is in the journal."""
    original = following.Following.events

    def small(self: Any, wanted: Any, namespace: str, after: int) -> Any:
        return original(self, wanted, namespace, after, limit=2)

    monkeypatch.setattr(following.Following, "events", small)
    agent = await site.agent("feed-8", "feed-8")
    template = {
        "name": "feed-8",
        "version": "1",
        "steps": {f"s{n}": {"value": n} for n in range(9)},
    }
    await site.call("POST", "/workflow", template)
    async with follow(site) as slow:
        start = (await next_event(slow.response) or {})["id"]
        await site.call("POST", "/session", {"workflow": "feed-8"})
        told: list[Any] = []
        while (event := await slow.next()) is not None:
            told.append(event)
    assert told[-1] == {
        "type": "dropped",
        "reason": "more than 2 events behind",
        "_event": "dropped",
    }
    async with site.http.ws_connect(f"{site.url}{BASE}/event/ws") as socket:
        await socket.receive_json()
        await site.call("POST", "/session", {"workflow": "feed-8"})
        last: dict[str, Any] = {}
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            last = json.loads(message.data)
        assert (last["type"], socket.close_code) == ("dropped", 1013)
    monkeypatch.undo()
    async with follow(site, slow.last_id) as again:
        rest = await again.until("session.completed")
    async with follow(site, start) as whole:
        assert await whole.until("session.completed") == told[:-1] + rest
    assert agent


async def test_a_reader_that_stops_reading_is_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection takes nothing more: what is sent waits, and is given up after a bound."""
    monkeypatch.setattr(feed, "SLOW_SECONDS", 0.01)
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "headers": [],
        "query_string": b"",
        "path": "/event",
    }
    forever = asyncio.Event()
    began, sent = asyncio.Event(), list[dict[str, Any]]()

    async def receive() -> Any:
        await forever.wait()

    async def send(message: Any) -> None:
        if b"event:" in message.get("body", b""):
            await forever.wait()
        sent.append(message)
        began.set()

    access = Principal(Actor("operator", "o"), "default", frozenset())
    call = Call(site.application.context, scope, receive, access, {}, "0" * 32)
    stream = feed.EventStream(call, FollowEvents(), site.engine.feed.position)
    async with asyncio.TaskGroup() as group:
        streaming = group.create_task(_gone(stream, send))
        await began.wait()
        await begin(site, "never-read")
        assert await streaming
    assert sent[-1].get("more_body", True), "nothing is said to who does not read"


async def _gone(stream: feed.EventStream, send: Any) -> bool:
    with pytest.raises(ClientGone):
        await stream.send(send)
    return True


async def test_a_stop_ends_every_follower(site: Site) -> None:
    settings = ServerSettings(development=True, stop_seconds=2)
    async with (
        serving(settings) as local,
        local.http.ws_connect(f"{local.url}{BASE}/event/ws") as socket,
        local.http.get(f"{local.url}{BASE}/event") as response,
    ):
        await socket.receive_json()
        await response.content.readline()
        local.server.cancel()
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 1012
        await response.read()
