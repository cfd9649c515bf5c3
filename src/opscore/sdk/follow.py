"""Following journals: server-sent events over as many connections as it takes.

A session's own journal is read as pages where a server has no such stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import NamedTuple

import aiohttp

from opscore.sdk.calls import Calls, decode
from opscore.sdk.errors import OpsCoreProblem, ServerUnreachable
from opscore.sdk.server import Backoff
from opscore.wire.event import FeedDropped, FeedEnded
from opscore.wire.session import EventView, History

ENDINGS = frozenset({"session.completed", "session.failed", "session.cancelled"})
"""The events after which a session changes only if somebody retries it."""

# A server that is alive says so at least this often (a comment line, if nothing else).
SILENCE_SECONDS = 60.0
POLL_SECONDS = 0.5
PAGE = 500
LINE_LIMIT = 32 * 1024 * 1024
"""No event is as large as that; what is would fill the memory."""
# Answers of a server, or of something before it, that has no such stream.
_NO_STREAM = frozenset({404, 405, 406, 501})
_PASSING = frozenset({429, 502, 503, 504})
_DROPPED = str(FeedDropped.__struct_config__.tag)
_ENDED = str(FeedEnded.__struct_config__.tag)


class Patience:
    """How long a server may be away: so many seconds since it was last heard."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._away_since: float | None = None
        self._backoff = Backoff()

    def heard(self) -> None:
        """The server is there."""
        self._away_since = None

    def told(self) -> None:
        """It even has something to tell: come again soon after that."""
        self.heard()
        self._backoff.reset()

    async def bear(self, error: Exception | None = None) -> None:
        """Wait a moment; raises the error when the server has been away for too long."""
        now = asyncio.get_running_loop().time()
        if error is not None and self._away_since is None:
            self._away_since = now
        elif error is not None and now - (self._away_since or now) > self._seconds:
            raise error
        await asyncio.sleep(self._backoff.next())


class Frame(NamedTuple):
    """One event of a stream: its id (the last one that was told), its name, its data."""

    identity: str
    name: str
    data: bytes


class Source:
    """The events of one address, gone on with after the last id when a connection breaks."""

    def __init__(
        self, calls: Calls, path: str, patience: Patience, params: Mapping[str, object]
    ) -> None:
        self._calls = calls
        self._path = path
        self._params = params
        self._patience = patience
        self._last_id: str | None = None

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Endless: the caller knows which event is the last one.

        Raises `OpsCoreProblem` for a refusal, `ServerUnreachable` when the patience is over.
        """
        while True:
            error: Exception | None = None
            try:
                async with aclosing(self._connection()) as connection:
                    async for frame in connection:
                        yield frame
            except ServerUnreachable as lost:
                error = lost
            except OpsCoreProblem as problem:
                if problem.status not in _PASSING:
                    raise
                error = problem
            await self._patience.bear(error)

    async def _connection(self) -> AsyncGenerator[Frame, None]:
        headers = {"Accept": "text/event-stream"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=SILENCE_SECONDS)
        async with self._calls.open(
            "GET", self._path, params=self._params, headers=headers, timeout=timeout
        ) as answer:
            if answer.content_type != "text/event-stream":
                raise OpsCoreProblem(406, "no_stream", "the answer is not a stream of events")
            self._patience.heard()
            async for frame in frames(answer.content):
                self._last_id = frame.identity or self._last_id
                if frame.data:
                    self._patience.told()
                    yield frame


class SessionFollower:
    """The events of one session, each once and in order; endless."""

    def __init__(self, calls: Calls, path: str, patience: float) -> None:
        self._calls = calls
        self._path = path
        self._patience = Patience(patience)
        self._seq = -1

    async def events(self) -> AsyncGenerator[EventView, None]:
        """Endless: the caller knows which event is the last one."""
        source = Source(self._calls, f"{self._path}/stream", self._patience, {})
        try:
            async with aclosing(source.frames()) as frames:
                async for frame in frames:
                    event = decode(frame.data, EventView)
                    if self._is_new(event):
                        yield event
        except OpsCoreProblem as problem:
            if problem.status not in _NO_STREAM:
                raise
        async with aclosing(self._poll()) as polled:
            async for event in polled:
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
                await self._patience.bear(lost)
            else:
                self._patience.heard()
                return page

    def _is_new(self, event: EventView) -> bool:
        """A server may tell more than was asked; every event is passed on once."""
        new = event.seq > self._seq
        self._seq = max(event.seq, self._seq)
        return new


async def feed(
    calls: Calls, wanted: Mapping[str, object], patience: float
) -> AsyncGenerator[bytes, None]:
    """The namespace's events that are `wanted` (the query of `GET /event`), as they were sent.

    Each comes once and in order. A follower that was let go for being slow comes again after its
    last event; the journal has what it missed. With `follow` false it ends with what has happened.
    """
    source, position = Source(calls, "/event", Patience(patience), wanted), -1
    async with aclosing(source.frames()) as frames:
        async for frame in frames:
            if frame.name == _ENDED:
                return
            if frame.name != _DROPPED and int(frame.identity) > position:
                position = int(frame.identity)
                yield frame.data


async def log_frames(
    calls: Calls, wanted: Mapping[str, object], patience: float
) -> AsyncGenerator[Frame, None]:
    """Log records as they are kept: frames named `log`, and `dropped` where some are missing.

    `wanted` is the query of `GET /log/stream`. Endless; over a lost connection it goes on after the
    last record.
    """
    source = Source(calls, "/log/stream", Patience(patience), wanted)
    async with aclosing(source.frames()) as frames:
        async for frame in frames:
            yield frame


async def frames(content: aiohttp.StreamReader) -> AsyncGenerator[Frame, None]:
    """Each frame of a stream of server-sent events that has an id or data.

    Source: WHATWG HTML, section 9.2.6. Comments and reconnection times are passed over.
    """
    identity, name, data, fresh = "", "", list[bytes](), False
    async for raw in _lines(content):
        field, _, value = raw.partition(b":")
        value = value.removeprefix(b" ")
        if not raw:
            if data or fresh:
                yield Frame(identity, name, b"\n".join(data))
            name, data, fresh = "", [], False
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode()
        elif field == b"id":
            identity, fresh = value.decode(), True


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Lines of any length (`readline` stops at the reader's limit, which one event may pass)."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_LIMIT:
            raise OpsCoreProblem(200, "bad_answer", "the stream has a line without an end")
        for line in lines:
            yield line.removesuffix(b"\r")
