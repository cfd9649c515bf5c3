"""Following the log: live, over pauses and lost connections, and through a burst."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from opscore.api import log_stream
from opscore.core.logs import LogRecord
from opscore.engine import logs as logs_module
from tests.api.conftest import BASE, Site
from tests.api.test_live import next_event

URL = f"{BASE}/log/stream"


def put(site: Site, message: str, level: str = "info", **more: Any) -> bool:
    now = site.engine.store.now()
    return site.engine.logs.put(LogRecord(now, level, "op", "default", message, **more))


class Follower:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last_id = ""

    async def next(self) -> tuple[str, Any]:
        while (fields := await next_event(self.response)) is not None:
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                return fields["event"], json.loads(fields["data"])
        return "end", None


@asynccontextmanager
async def follow(
    site: Site, after: str | None = None, **filters: str
) -> AsyncGenerator[Follower, None]:
    headers = {} if after is None else {"Last-Event-ID": after}
    async with site.http.get(site.url + URL, params=filters, headers=headers) as response:
        assert response.status == 200, await response.read()
        follower = Follower(response)
        follower.last_id = (await next_event(response) or {})["id"]
        yield follower


async def test_what_is_kept_is_told_as_it_comes_and_filtered(site: Site) -> None:
    put(site, "before")
    async with follow(site, agent="agt_f", errorType="timeout") as live:
        put(site, "other agent", error_type="timeout")
        put(site, "no error", agent_id="agt_f")
        put(site, "wanted", agent_id="agt_f", error_type="timeout")
        kind, told = await live.next()
        assert (kind, told["message"], live.last_id) == ("log", "wanted", str(told["logId"]))
        put(site, "again", agent_id="agt_f", error_type="timeout")
        assert (await live.next())[1]["message"] == "again"


async def test_what_came_meanwhile_is_not_lost(site: Site) -> None:
    async with follow(site) as live:
        put(site, "m0")
        await live.next()
        last = live.last_id
    for number in range(1, 1500):
        put(site, f"m{number}")
    async with follow(site, last) as again:
        told = [(await again.next())[1]["message"] for _ in range(1499)]
    assert told == [f"m{number}" for number in range(1, 1500)]
    async with follow(site, since="10m", q="m1499") as since:
        put(site, "m1499 too")
        assert [(await since.next())[1]["message"] for _ in range(2)] == ["m1499", "m1499 too"]


async def test_a_follower_that_pauses_loses_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client reads nothing while far more comes than its connection holds."""
    monkeypatch.setattr(log_stream, "RATE", 1_000_000)
    async with follow(site, q="pause") as live:
        for number in range(3_000):
            put(site, f"pause {number} " + "x" * 4_000)
            if number % 500 == 499:
                await site.call("GET", "/log?limit=1")  # all so far is kept
        seen = [await live.next() for _ in range(3_000)]
    assert [told["message"].split()[1] for _, told in seen] == [str(n) for n in range(3_000)]


async def test_of_a_burst_the_newest_are_told_and_how_many_are_missing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_stream, "RATE", 1)
    monkeypatch.setattr(log_stream, "AT_LEAST", 10)
    async with follow(site, q="burst") as live:
        put(site, "burst begins")
        assert (await live.next())[1]["message"] == "burst begins"
        for number in range(500):
            put(site, f"burst {number}")
        put(site, "burst ends")
        dropped, told = 0, list[str]()
        while not told or told[-1] != "burst ends":
            kind, message = await live.next()
            if kind == "dropped":
                dropped += message["dropped"]
            else:
                told.append(message["message"])
    assert dropped > 400
    assert dropped + len(told) == 501


async def test_what_the_store_had_no_room_for_is_told_to_who_follows(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with follow(site, q="roomless") as live:
        monkeypatch.setattr(logs_module, "CALM_LIMIT", 0)
        assert not put(site, "roomless")
        monkeypatch.undo()
        assert put(site, "roomless still")
        assert await live.next() == ("dropped", {"dropped": 1})
        assert (await live.next())[1]["message"] == "roomless still"


async def test_what_makes_no_sense_is_refused(site: Site) -> None:
    for query, headers in (("?q=%22", {}), ("?after=-1", {}), ("", {"Last-Event-ID": "x"})):
        refused = await site.call("GET", f"/log/stream{query}", headers=headers)
        assert refused.status == 400


async def test_another_namespace_is_not_told(site: Site) -> None:
    elsewhere = {"X-OpsCore-Namespace": "stream-elsewhere"}
    async with site.http.get(site.url + URL, headers=elsewhere) as response:
        put(site, "here")
        now = site.engine.store.now()
        site.engine.logs.put(LogRecord(now, "info", "op", "stream-elsewhere", "there"))
        assert (await Follower(response).next())[1]["message"] == "there"


async def test_followers_that_leave_leave_nothing_behind(site: Site) -> None:
    async with follow(site):
        assert len(site.engine.logs._followers) == 1  # pyright: ignore[reportPrivateUsage]
    put(site, "gone")
    while site.engine.logs._followers:  # pyright: ignore[reportPrivateUsage] # noqa: ASYNC110
        await asyncio.sleep(0)
