"""What one key, or one stranger, may take: never all of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from opscore.api.limits import BURST_SECONDS, KEYS_REMEMBERED, Shares, TooMany
from opscore.api.settings import ServerSettings
from opscore.api.tuning import most_connections
from opscore.core.types import SECOND, Micros
from tests.api.conftest import BASE, KEY, Site, serving

PARKED = [300, *([10_000] if os.environ.get("OPSCORE_FULL_TESTS") else [])]
"""Connections to park; with OPSCORE_FULL_TESTS=1 as many as a server must bear."""


class Shelf:
    """Shares on a clock that is moved by hand."""

    def __init__(self, requests: int = 10, connections: int = 2) -> None:
        self.now: Micros = 1_700_000_000 * SECOND
        self.shares = Shares(lambda: self.now, requests, connections)

    def taken(self, key_id: str, most: int = 1_000) -> int:
        """How many requests go through at once."""
        for count in range(most):
            try:
                self.shares.take(key_id)
            except TooMany:
                return count
        return most


def test_a_key_has_a_burst_and_then_its_rate() -> None:
    shelf = Shelf()
    assert shelf.taken("a") == 10 * BURST_SECONDS
    shelf.now += SECOND
    assert shelf.taken("a") == 10
    shelf.now += SECOND // 10
    assert shelf.taken("a") == 1
    shelf.now += 3600 * SECOND
    assert shelf.taken("a") == 10 * BURST_SECONDS


def test_one_key_takes_nothing_of_another() -> None:
    shelf = Shelf()
    shelf.taken("a")
    assert shelf.taken("b") == 10 * BURST_SECONDS


def test_the_time_told_is_the_time_after_which_there_is_room() -> None:
    shelf = Shelf()
    shelf.taken("a")
    with pytest.raises(TooMany) as refused:
        shelf.shares.take("a")
    assert refused.value.retry_after == pytest.approx(0.1)
    shelf.now += SECOND // 10
    shelf.shares.take("a")


def test_memory_is_bounded() -> None:
    shelf = Shelf()
    for number in range(KEYS_REMEMBERED):
        shelf.shares.take(str(number))
    shelf.now += 10 * SECOND
    shelf.shares.take("one more")
    assert len(shelf.shares._full_at) == 1  # pyright: ignore[reportPrivateUsage]


def test_connections_are_given_back() -> None:
    shares = Shelf(connections=2).shares
    with shares.connection("a"), shares.connection("b"):
        with shares.connection("a"):
            with pytest.raises(TooMany) as refused:
                shares.check_room("a")
            assert refused.value.code == "too_many_connections"
            shares.check_room("b")
        shares.check_room("a")
    with shares.connection(None), shares.connection(None), shares.connection(None):
        shares.check_room(None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tight() -> AsyncGenerator[Site, None]:
    """A server where a key may do little."""
    settings = ServerSettings(api_key=KEY, stop_seconds=2, key_requests=50, key_connections=1)
    async with serving(settings, headers={"Authorization": f"Bearer {KEY}"}) as one:
        yield one


async def own_key(site: Site) -> dict[str, str]:
    made = await site.engine.keys.create("x", ["admin"])
    return {"Authorization": f"Bearer {made.token}"}


async def test_too_many_requests_are_told_when_to_come_again(tight: Site) -> None:
    headers = await own_key(tight)
    replies = [await tight.call("GET", "/session", headers=headers) for _ in range(400)]
    refused = next(reply for reply in replies if reply.status != 200)
    assert (refused.status, refused.body["code"]) == (429, "too_many_requests")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await tight.call("GET", "/session", headers=await own_key(tight))).status == 200
    assert (await tight.call("GET", "/health", root=True)).status == 200


async def test_a_key_opens_no_more_connections_than_its_share(tight: Site) -> None:
    agent_id = await tight.agent("shared")
    headers = await own_key(tight)
    url = f"{tight.url}{BASE}/agent/{agent_id}/channel"
    claim: dict[str, Any] = {"instanceId": "p", "max": 1, "waitSeconds": 60}
    session = (await tight.call("POST", "/task", {"capability": "never"})).good["sessionId"]
    async with aiohttp.ClientSession(headers=headers) as http, http.ws_connect(url):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(url)
        assert refused.value.status == 429
        polled = await tight.call("POST", f"/agent/{agent_id}/claim", claim, headers=headers)
        assert (polled.status, polled.body["code"]) == (429, "too_many_connections")
        streamed = await tight.call("GET", f"/session/{session}/stream", headers=headers)
        assert streamed.status == 429
        assert (await tight.call("GET", "/event", headers=headers)).status == 429
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{tight.url}{BASE}/event/ws")
        assert refused.value.status == 429
        wait = {**headers, "Prefer": "wait=60"}
        started = await tight.call("POST", "/task", {"capability": "never"}, headers=wait)
        assert started.status == 202  # it was started, and is not waited for
        assert (await tight.call("GET", "/session", headers=headers)).status == 200


async def test_a_follower_takes_a_connection_of_its_key_and_gives_it_back(tight: Site) -> None:
    headers = await own_key(tight)
    url = f"{tight.url}{BASE}/event/ws"
    async with aiohttp.ClientSession(headers=headers) as http:
        for _ in range(2):
            async with http.ws_connect(url) as socket:
                await socket.receive_json()
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await http.ws_connect(url)
                assert refused.value.status == 429
                await socket.send_str("enough")
                assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def park(site: Site, count: int) -> list[asyncio.StreamWriter]:
    """Connections that send half a request and then nothing."""
    host, port = site.url.removeprefix("http://").split(":")
    parked: list[asyncio.StreamWriter] = []
    for _ in range(count):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        parked.append(writer)
    return parked


@pytest.mark.parametrize("count", PARKED)
@pytest.mark.parametrize("room", ["little", "enough"])
async def test_parked_connections_keep_nobody_out(count: int, room: str) -> None:
    most = 100 if room == "little" else most_connections()
    settings = ServerSettings(api_key=KEY, stop_seconds=1, connections=most, head_seconds=600)
    async with serving(settings) as site:
        # Both ends of a connection are this process's own.
        parked = await park(site, min(count, (most_connections() - 500) // 2))
        for _ in range(20):
            # Each time a connection of its own, as a load balancer's check is.
            async with aiohttp.ClientSession() as http, http.get(f"{site.url}/health") as reply:
                assert reply.status == 200
        for writer in parked:
            writer.close()


async def test_who_has_kept_us_waiting_for_longest_makes_room() -> None:
    settings = ServerSettings(api_key=KEY, stop_seconds=1, connections=10, head_seconds=600)
    async with serving(settings) as site:
        host, port = site.url.removeprefix("http://").split(":")
        lines = [await asyncio.open_connection(host, int(port)) for _ in range(10)]
        for _, writer in lines:
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        assert (await site.call("GET", "/health", root=True)).status == 200
        ended, waiting = lines[0][0], lines[9]
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await ended.readexactly(1)
        waiting[1].write(b"\r\n")
        assert (await waiting[0].readline()).startswith(b"HTTP/1.1 200")
        for _, writer in lines:
            writer.close()
