"""`client.logs`: what is asked of the server, and what follows from its stream."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from opscore.sdk import Client
from opscore.wire.log import LogPage, LogView, RecordsDropped
from tests.sdk.conftest import FakeServer, json_answer


def record(log_id: int) -> LogView:
    return LogView(
        log_id=log_id,
        at="2026-01-01T00:00:00Z",
        level="error",
        operation="op",
        namespace="default",
        message=f"said {log_id}",
    )


ASKED: dict[str, Any] = {
    "agent": "measurer",
    "session": "ses_1",
    "task": "tsk_1",
    "trace": "a" * 32,
    "level": "error",
    "error_type": "timeout",
    "context": {"file": "main.py"},
    "since": "10m",
}
SENT = {
    "q": "refused slow*",
    "agent": "measurer",
    "session": "ses_1",
    "task": "tsk_1",
    "trace": "a" * 32,
    "level": "error",
    "errorType": "timeout",
    "ctx.file": "main.py",
    "since": "10m",
}


async def test_every_filter_is_asked_for(server: FakeServer) -> None:
    heard: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        heard.append(dict(request.query))
        return json_answer(LogPage(records=[record(2), record(1)], next_cursor="1"))

    server.answer("GET", "/log", answer)
    async with Client(server.url) as client:
        page = await client.logs.search(
            "refused slow*", **ASKED, until="1m", order="oldest", cursor="9", limit=2
        )
        assert [one.log_id for one in page.records] == [2, 1]
        await client.logs.search()
    more = {"until": "1m", "order": "oldest", "cursor": "9", "limit": "2"}
    assert heard == [{**SENT, **more}, {}]


class Stream:
    """`GET /log/stream`: two records, a break, then what was dropped and one more."""

    def __init__(self, server: FakeServer) -> None:
        self.asked: list[tuple[str | None, dict[str, str]]] = []
        server.answer("GET", "/log/stream", self.answer)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        last = request.headers.get("Last-Event-ID")
        self.asked.append((last, dict(request.query)))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if last is None:
            parts = [b"id: 4\n\n", self._frame(5), self._frame(6)]
        else:
            told = msgspec.json.encode(RecordsDropped(dropped=7))
            parts = [b":\n\n", b"event: dropped\ndata: %b\n\n" % told, self._frame(14)]
        await response.write(b"".join(parts))
        return response

    def _frame(self, log_id: int) -> bytes:
        return b"id: %d\nevent: log\ndata: %b\n\n" % (log_id, msgspec.json.encode(record(log_id)))


WANTED = [record(5), record(6), RecordsDropped(dropped=7), record(14)]


async def test_following_goes_on_after_a_break_and_tells_what_misses(server: FakeServer) -> None:
    stream = Stream(server)
    async with Client(server.url) as client:
        found = list[LogView | RecordsDropped]()
        async with aclosing(client.logs.follow("refused slow*", **ASKED)) as records:
            async for one in records:
                found.append(one)
                if len(found) == len(WANTED):
                    break
    assert found == WANTED
    assert stream.asked[0] == (None, SENT)
    assert stream.asked[1] == ("6", SENT)


async def test_plain_code_follows_too(server: FakeServer) -> None:
    Stream(server)

    def plain() -> list[LogView | RecordsDropped]:
        with Client.sync(server.url) as client:
            records = client.logs.follow()
            return [next(records) for _ in WANTED]

    assert await asyncio.to_thread(plain) == WANTED
