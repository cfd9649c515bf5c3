"""A fixed dose of `make fuzz` for the WebSockets, what it once found, and that it finds things."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import structlog

from opscore.api import event_socket
from opscore.api.settings import ServerSettings
from opscore.channels import instance
from opscore.channels.peer import to_peer
from opscore.core.errors import Invalid
from opscore.engine.operation_log import SESSION_EVENTS
from tests.api.conftest import KEY, Site, serving
from tests.api.test_stream import Instance
from tools.fuzz import stream
from tools.fuzz.stream import Found


async def test_what_no_instance_should_say_does_no_harm(site: Site) -> None:
    with structlog.testing.capture_logs() as logged:
        told = await stream.run(site.url, KEY, 1, range(40), 600)
    assert told.startswith("fuzz: 40 connections, seed 1")
    errors = [one for one in logged if one["log_level"] == "error"]
    assert [one for one in errors if one["event"] not in SESSION_EVENTS] == []


async def test_a_close_for_an_error_of_ours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "_MIDWAY", {Invalid.status: 1011})
    async with serving(ServerSettings(api_key=KEY, stop_seconds=1)) as site:
        with pytest.raises(ExceptionGroup) as caught:
            await stream.run(site.url, KEY, 1, range(40), 600)
    assert "closed with 1011" in str(caught.value.exceptions[0])
    assert "of seed 1" in caught.value.exceptions[0].__notes__[0]


async def test_a_record_that_nobody_asked_for_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a settlement of the wrong form recorded, the fuzz would not have counted it."""

    def forget(_self: Any, _message: bytes) -> None:
        return

    monkeypatch.setattr(stream.Case, "_remember", forget)
    with pytest.raises(ExceptionGroup) as caught:
        await stream.run(site.url, KEY, 1, range(40), 600)
    assert isinstance(caught.value.exceptions[0], Found)
    assert "which nobody said" in str(caught.value.exceptions[0])


async def test_progress_of_an_unknown_task_is_stale_and_closes_nothing(site: Site) -> None:
    agent_id = await site.agent("guessing", "guess")
    async with site.stream(agent_id) as socket:
        peer = Instance(socket)
        await peer.hello()
        await peer.say(type="progress", taskId="tsk_unknown", attempt=1, fraction=0.5)
        assert (await peer.hear("stale"))["attempts"] == [["tsk_unknown", 1]]


async def test_an_agent_that_is_removed_is_told_so(site: Site) -> None:
    agent_id = await site.agent("removed", "removed")
    async with site.stream(agent_id) as socket:
        peer = Instance(socket)
        await peer.hello()
        await site.call("DELETE", f"/agent/{agent_id}")
        assert await peer.closed() != 1011


def _scope(path_params: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "websocket",
        "headers": [(b"authorization", f"Bearer {KEY}".encode()), (b"host", b"127.0.0.1")],
        "query_string": b"",
        "path": "/",
        "path_params": path_params,
        "client": ("127.0.0.1", 1),
        "extensions": {},
    }


@pytest.mark.parametrize("where", ["channel", "feed"])
async def test_a_connection_that_the_library_closed_is_no_crash(site: Site, where: str) -> None:
    """Uvicorn raises a RuntimeError when something is sent after a frame that breaks the rules."""
    agent_id = await site.agent("closed-by-us", "closed-by-us")
    hello = b'{"type":"hello","instanceId":"i"}'
    ahead = [{"type": "websocket.connect"}, {"type": "websocket.receive", "bytes": hello}]
    gone = asyncio.Event()

    async def receive() -> Any:
        if where == "channel" and ahead:
            return ahead.pop(0)
        if where == "feed" and len(ahead) == 2:
            return ahead.pop(0)
        await gone.wait()
        return {"type": "websocket.disconnect", "code": 1002}

    async def send(message: Any) -> None:
        if message["type"] != "websocket.accept":
            gone.set()
            raise RuntimeError("Unexpected ASGI message, after sending 'websocket.close'.")

    channel = site.application.channel
    feed = event_socket.EventSocket(site.application.context)
    with structlog.testing.capture_logs() as logged:
        await (channel if where == "channel" else feed)(
            _scope({"agentId": agent_id}), receive, send
        )
    assert gone.is_set()
    assert [one for one in logged if one["log_level"] == "error"] == []


async def test_only_what_the_library_raises_is_translated() -> None:
    async def bug(_: Any) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        await to_peer(bug)({"type": "websocket.send"})
