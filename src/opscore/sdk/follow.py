"""Following a session's journal: server-sent events, or its history where these are missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import aiohttp
import msgspec

from opscore.sdk.calls import Calls
from opscore.sdk.errors import OpsCoreProblem, ServerUnreachable
from opscore.sdk.server import Backoff
from opscore.wire.session import EventView, History

ENDINGS = frozenset({"session.completed", "session.failed", "session.cancelled"})
"""The events after which a session changes only if somebody retries it."""

# A server that is alive says so at least this often (a comment line, if nothing else).
SILENCE_SECONDS = 60.0
POLL_SECONDS = 0.5
PAGE = 500
# Answers of a server, or of something before it, that has no such stream.
_NO_STREAM = frozenset({404, 405, 406, 501})
_PASSING = frozenset({429, 502, 503, 504})


class Follower:
    """Yields each event once, in order, over as many connections as it takes."""

    def __init__(self, calls: Calls, path: str, patience: float) -> None:
        self._calls = calls
        self._path = path
        self._patience = patience
        self._last_id: str | None = None
        self._seq = -1
        self._away_since: float | None = None
        self._backoff = Backoff()

    async def events(self) -> AsyncGenerator[EventView, None]:
        """Endless: the caller knows which event is the last one."""
        while True:
            try:
                async with aclosing(self._stream()) as stream:
                    async for event in stream:
                        yield event
            except ServerUnreachable as lost:
                self._endure(lost)
            except OpsCoreProblem as problem:
                if problem.status in _NO_STREAM:
                    break
                if problem.status not in _PASSING:
                    raise
                self._endure(problem)
            await asyncio.sleep(self._backoff.next())
        async with aclosing(self._poll()) as polled:
            async for event in polled:
                yield event

    async def _stream(self) -> AsyncGenerator[EventView, None]:
        headers = {"Accept": "text/event-stream"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=SILENCE_SECONDS)
        async with self._calls.open(
            "GET", f"{self._path}/stream", headers=headers, timeout=timeout
        ) as answer:
            if answer.content_type != "text/event-stream":
                raise OpsCoreProblem(406, "no_stream", "the answer is not a stream of events")
            async for identity, data in frames(answer.content):
                self._last_id = identity or self._last_id
                event = msgspec.json.decode(data, type=EventView)
                if self._is_new(event):
                    yield event

    async def _poll(self) -> AsyncGenerator[EventView, None]:
        cursor: str | None = None
        while True:
            page = await self._page(cursor)
            for event in page.events:
                if self._is_new(event):
                    yield event
            if page.next_cursor is None:
                await asyncio.sleep(POLL_SECONDS)
            else:
                cursor = page.next_cursor

    async def _page(self, cursor: str | None) -> History:
        while True:
            try:
                page = await self._calls.get(
                    f"{self._path}/history", History, {"cursor": cursor, "limit": PAGE}
                )
            except ServerUnreachable as lost:
                self._endure(lost)
                await asyncio.sleep(self._backoff.next())
            else:
                self._away_since = None
                return page

    def _is_new(self, event: EventView) -> bool:
        """A server may tell more than was asked; every event is passed on once."""
        self._away_since = None
        self._backoff.reset()
        if event.seq <= self._seq:
            return False
        self._seq = event.seq
        return True

    def _endure(self, error: Exception) -> None:
        """Wait on, or raise the error when the server has been away for too long."""
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since > self._patience:
            raise error


async def frames(content: aiohttp.StreamReader) -> AsyncGenerator[tuple[str, bytes], None]:
    """The (id, data) of each event in a stream of server-sent events.

    Source: WHATWG HTML, section 9.2.6. Comments, names and reconnection times are passed over; a
    frame without data is none.
    """
    identity, data = "", list[bytes]()
    async for raw in _lines(content):
        name, _, value = raw.partition(b":")
        value = value.removeprefix(b" ")
        if not raw:
            if data:
                yield identity, b"\n".join(data)
            data = []
        elif name == b"data":
            data.append(value)
        elif name == b"id":
            identity = value.decode()


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Lines of any length (`readline` stops at the reader's limit, which one event may pass)."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
