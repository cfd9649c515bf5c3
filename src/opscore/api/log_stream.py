"""`GET /log/stream`: log records as server-sent events, as they are kept.

A follower is a place in the log store, not a queue: it reads on from the last record it was sent, as
fast as its client takes them. So a client that pauses loses nothing. What it would be sent is bounded
by time: of a burst it gets the newest records, and is told how many are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from opscore.api.answer import Send
from opscore.api.body import ClientGone
from opscore.api.call import Call
from opscore.api.event import SLOW_SECONDS
from opscore.api.live import HEADERS, KEEP_ALIVE_SECONDS
from opscore.api.log_view import log_view
from opscore.core.errors import Unavailable
from opscore.core.logs import LogRecord, LogSearch
from opscore.core.types import SECOND
from opscore.wire.log import RecordsDropped

PAGE = 500
PACE_SECONDS = 0.1
RATE = 2_000
"""Records a second that a follower is sent at most, reckoned since it was sent some last."""
AT_LEAST = 1_000
"""So many it is sent at once, however short the time was."""
_encode = msgspec.json.Encoder().encode


class LogStream:
    """One follower. `after`: the id of the last record that it has."""

    def __init__(self, call: Call, search: LogSearch, after: int) -> None:
        self._call = call
        self._logs = call.engine.logs
        self._search = search
        self._after = after
        self._lost = self._logs.lost(search.namespaces)
        self._read_at: int | None = None

    async def send(self, send: Send) -> None:
        """Stream until the client leaves, the store breaks, or the server stops."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send(_part(b"id: %d\n\n" % self._after))
        if self._call.scope["method"] == "GET" and not self._call.context.stopping:
            await self._call.while_present(self._follow(send))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, send: Send) -> None:
        news = self._logs.follow()
        try:
            async with asyncio.TaskGroup() as group:
                beating = group.create_task(self._keep_alive(send))
                try:
                    await self._read_on(send, news)
                finally:
                    beating.cancel()
        finally:
            self._logs.unfollow(news)

    async def _read_on(self, send: Send, news: asyncio.Event) -> None:
        try:
            while True:
                news.clear()
                await self._catch_up(send)
                await news.wait()
                await self._call.context.clock.sleep(PACE_SECONDS)
        except Unavailable:
            return  # whoever comes again is told why

    async def _keep_alive(self, send: Send) -> None:
        while True:
            await self._call.context.clock.sleep(KEEP_ALIVE_SECONDS)
            await send(_part(b":\n\n"))

    async def _catch_up(self, send: Send) -> None:
        """Send what was kept since the last time, or the newest of it when that is too much.

        What comes meanwhile is the next time's, so that it is measured as well.
        """
        wanted = replace(self._search, before=1 + await self._logs.newest())
        await self._skip(send, wanted)
        while records := await self._next(wanted):
            self._after = records[-1].log_id
            await self._write(send, b"".join(map(_frame, records)))

    async def _next(self, wanted: LogSearch) -> Sequence[LogRecord]:
        page = await self._logs.search(wanted, cursor=self._after, limit=PAGE, newest_first=False)
        return page.items

    async def _skip(self, send: Send, wanted: LogSearch) -> None:
        """Pass over what is more than the time since the last look allows.

        What was kept before the first look is wanted in full: the follower comes back for it.
        """
        now, dropped = self._call.context.clock.now(), 0
        if self._read_at is not None:
            allowed = max(AT_LEAST, round((now - self._read_at) / SECOND * RATE))
            ahead = replace(wanted, after=self._after)
            count = await self._logs.count(ahead)
            if count > allowed:
                self._after = await self._logs.newest_but(ahead, allowed)
                dropped = count - allowed
        self._read_at = now
        lost, self._lost = self._lost, self._logs.lost(self._search.namespaces)
        dropped += self._lost - lost
        if dropped:
            told = _encode(RecordsDropped(dropped=dropped))
            await self._write(send, b"event: dropped\ndata: %b\n\n" % told)

    async def _write(self, send: Send, body: bytes) -> None:
        try:
            async with asyncio.timeout(SLOW_SECONDS):
                await send(_part(body))
        except TimeoutError:
            raise ClientGone from None


def _part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def _frame(record: LogRecord) -> bytes:
    return b"id: %d\nevent: log\ndata: %b\n\n" % (record.log_id, _encode(log_view(record)))
