"""`GET /session/{id}/stream`, and everything else that waits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from opscore.api.settings import ServerSettings
from tests.api.conftest import BASE, KEY, Site, serving

HEADERS = {"Authorization": f"Bearer {KEY}"}


async def next_event(response: aiohttp.ClientResponse) -> dict[str, str] | None:
    """The next server-sent event as its fields; None at the end of the stream."""
    fields: dict[str, str] = {}
    while line := (await response.content.readline()).decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if line == "\n":
            return fields
        fields[name] = value
    return None


async def all_events(response: aiohttp.ClientResponse) -> list[dict[str, str]]:
    events: list[dict[str, str]] = []
    while (event := await next_event(response)) is not None:
        events.append(event)
    return events


async def begin(site: Site, capability: str) -> tuple[str, str]:
    reply = await site.call("POST", "/task", {"capability": capability})
    return reply.body["taskId"], reply.body["sessionId"]


async def finish(site: Site, task_id: str, agent_id: str) -> None:
    await site.claim(agent_id)
    reply = await site.call("POST", f"/task/{task_id}/complete", {"attempt": 1, "output": 1})
    assert reply.status == 200, reply.raw


async def test_a_finished_session_is_told_and_the_stream_ends(site: Site) -> None:
    agent_id = await site.agent("live-1", "live-1")
    task_id, session_id = await begin(site, "live-1")
    await finish(site, task_id, agent_id)
    url = f"{site.url}{BASE}/session/{session_id}/stream"
    async with site.http.get(url) as response:
        assert response.headers["content-type"] == "text/event-stream"
        events = await all_events(response)
    history = (await site.call("GET", f"/session/{session_id}/history")).good["events"]
    assert [json.loads(one["data"]) for one in events] == history
    assert [one["id"] for one in events] == [str(one["seq"]) for one in history]
    assert [one["event"] for one in events] == [one["type"] for one in history]
    assert events[-1]["event"] == "session.completed"


async def test_a_running_session_is_followed_to_its_end(site: Site) -> None:
    agent_id = await site.agent("live-2", "live-2")
    task_id, session_id = await begin(site, "live-2")
    url = f"{site.url}{BASE}/session/{session_id}/stream"
    async with site.http.get(url) as response:
        first = await next_event(response)
        assert first is not None
        assert first["event"] == "session.started"
        await finish(site, task_id, agent_id)
        rest = await all_events(response)
    seqs = [int(one["id"]) for one in [first, *rest]]
    assert seqs == sorted(set(seqs))
    assert rest[-1]["event"] == "session.completed"


async def test_a_stream_goes_on_after_the_last_event_seen(site: Site) -> None:
    agent_id = await site.agent("live-3", "live-3")
    task_id, session_id = await begin(site, "live-3")
    await finish(site, task_id, agent_id)
    url = f"{site.url}{BASE}/session/{session_id}/stream"
    async with site.http.get(url) as response:
        events = await all_events(response)
    async with site.http.get(url, headers={"Last-Event-ID": events[1]["id"]}) as response:
        assert await all_events(response) == events[2:]
    async with site.http.get(url, headers={"Last-Event-ID": events[-1]["id"]}) as response:
        assert await all_events(response) == []


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19])
async def test_a_wrong_last_event_id_is_refused(site: Site, last: str) -> None:
    _, session_id = await begin(site, "live-4")
    reply = await site.call("GET", f"/session/{session_id}/stream", headers={"Last-Event-ID": last})
    assert reply.status == 400


async def test_a_stream_of_an_unknown_session_is_404(site: Site) -> None:
    assert (await site.call("GET", "/session/ses_none/stream")).status == 404


async def test_a_long_poll_gets_a_task_as_soon_as_there_is_one(site: Site) -> None:
    agent_id = await site.agent("poll-1", "poll-1")
    async with asyncio.TaskGroup() as group:
        polling = group.create_task(site.claim(agent_id, waitSeconds=60))
        task_id, _ = await begin(site, "poll-1")
    assert [one["taskId"] for one in polling.result()] == [task_id]


async def test_what_a_poller_that_left_was_waiting_for_goes_to_others(site: Site) -> None:
    agent_id = await site.agent("poll-2", "poll-2")
    leaver = aiohttp.ClientSession(headers=HEADERS)
    body = {"instanceId": "leaver", "waitSeconds": 60}
    async with asyncio.TaskGroup() as group:
        url = f"{site.url}{BASE}/agent/{agent_id}/claim"
        polling = group.create_task(_swallow(leaver.post(url, json=body)))
        await waiting_requests(site, 1)
        await leaver.close()
        polling.cancel()
    await waiting_requests(site, 0)
    task_id, _ = await begin(site, "poll-2")
    assert [one["taskId"] for one in await site.claim(agent_id)] == [task_id]


async def _swallow(request: Any) -> None:
    try:
        async with request:
            raise AssertionError("nobody answers this poll")
    except aiohttp.ClientError:
        return


async def waiting_requests(site: Site, count: int) -> None:
    """Until so many requests wait for something; every round is a turn of the server's loop."""
    while len(site.application.context.waiting) != count:
        await site.call("GET", "/health", root=True)


async def test_prefer_wait_answers_with_the_finished_session(site: Site) -> None:
    reply = await site.call(
        "POST", "/session", {"workflow": "computed"}, headers={"Prefer": "wait=60"}
    )
    assert reply.status == 200
    assert reply.headers["preference-applied"] == "wait=60"
    assert (reply.body["status"], reply.body["output"]) == ("completed", 3)


async def test_prefer_wait_that_is_too_short_answers_202(site: Site) -> None:
    body = {"workflow": "one-step", "input": {"x": 1}}
    reply = await site.call("POST", "/session", body, headers={"Prefer": "wait=0"})
    assert reply.status == 202
    assert set(reply.body) == {"sessionId", "status"}


async def test_prefer_wait_on_a_task_answers_with_the_task(site: Site) -> None:
    agent_id = await site.agent("prefer", "prefer")
    async with asyncio.TaskGroup() as group:
        headers = {"Prefer": "respond-async, wait=60"}
        waiting = group.create_task(
            site.call("POST", "/task", {"capability": "prefer"}, headers=headers)
        )
        (task,) = await site.claim(agent_id, waitSeconds=60)
        await site.call("POST", f"/task/{task['taskId']}/complete", {"attempt": 1, "output": 5})
    assert waiting.result().status == 200
    assert waiting.result().body["output"] == 5


@pytest.mark.parametrize("wait", ["wait=soon", "wait=-1", "wait=inf", "wait=nan", "wait="])
async def test_a_wrong_preference_is_refused(site: Site, wait: str) -> None:
    reply = await site.call("POST", "/session", {"workflow": "computed"}, headers={"Prefer": wait})
    assert reply.status == 400


async def test_a_stop_ends_polls_waits_and_streams_at_once() -> None:
    settings = ServerSettings(api_key=KEY, stop_seconds=30)
    async with serving(settings, headers=HEADERS) as site, asyncio.TaskGroup() as group:
        agent_id = await site.agent("stop", "stop")
        _, session_id = await begin(site, "elsewhere")
        url = f"{site.url}{BASE}/session/{session_id}/stream"
        async with site.http.get(url) as stream:
            await next_event(stream)
            polling = group.create_task(site.claim(agent_id, waitSeconds=60))
            headers = {"Prefer": "wait=60"}
            waiting = group.create_task(
                site.call("POST", "/task", {"capability": "elsewhere"}, headers=headers)
            )
            await waiting_requests(site, 3)
            site.server.cancel()
            assert await polling == []
            assert (await waiting).status == 202
            await all_events(stream)
