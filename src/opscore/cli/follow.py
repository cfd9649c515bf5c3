"""Following a session to its end: the server's event stream wakes, a fresh reading shows.

What is shown always comes from `GET /session/{id}`; the stream only says when to look again. So a
broken stream, a restarted server, or an event of a newer version costs nothing but a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from opscore.cli import exits
from opscore.cli.exits import Stop
from opscore.cli.nextup import command
from opscore.cli.output import complain, encode, print_lines

if TYPE_CHECKING:
    from opscore.cli.remote import Remote

ENDED = frozenset({"completed", "error", "cancelled"})
LOOK_SECONDS = 0.25
"""At most this often a session is read again, however many events come."""
IDLE_SECONDS = 2.0
"""And at least this often, should the stream be silent or gone."""
PATIENCE_SECONDS = 60.0
"""How long a server may be away before following it ends."""

Look = Callable[[Any], Awaitable[None]]
"""What to do with a new reading of the session."""


async def follow(
    server: Remote,
    session_id: str,
    look: Look,
    *,
    limit: float | None = None,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> dict[str, Any]:
    """Call `look` with every new reading of the session and return the one in which it ended.

    `beside` runs as long as that takes; it must not raise. Raises `Stop`: exit code 5 after `limit` seconds, 3 for an unknown session, 1 for a server that
    stays away.
    """
    try:
        async with asyncio.timeout(limit):
            return await _follow(server, session_id, look, beside)
    except TimeoutError:
        raise Stop(
            exits.TIMEOUT,
            f"error: {session_id} did not end within {limit:g} s; it goes on",
            f"  follow it: {command('session watch', session_id)}",
        ) from None


async def _follow(
    server: Remote,
    session_id: str,
    look: Look,
    beside: Callable[[], Coroutine[Any, Any, None]] | None,
) -> dict[str, Any]:
    news = asyncio.Event()
    ended: dict[str, Any] = {}
    stops: list[Stop] = []
    async with asyncio.TaskGroup() as group:
        others = [group.create_task(_listen(server, session_id, news))]
        if beside is not None:
            others.append(group.create_task(beside()))
        try:
            ended = await _watch(server, session_id, look, news)
        except Stop as stop:
            stops.append(stop)  # carried around the group, which would wrap it
        for other in others:
            other.cancel()
    if stops:
        raise stops[0]
    return ended


async def _watch(
    server: Remote, session_id: str, look: Look, news: asyncio.Event
) -> dict[str, Any]:
    while True:
        news.clear()
        session = await _read(server, session_id)
        await look(session)
        if session["status"] in ENDED:
            return session
        await asyncio.sleep(LOOK_SECONDS)
        await _within(news, IDLE_SECONDS)


async def _within(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return


async def _read(server: Remote, session_id: str) -> dict[str, Any]:
    """The session; a server that is away for a moment (a restart) is waited for."""
    from opscore.cli.remote import Unreachable, part

    clock = asyncio.get_running_loop().time
    patience = clock() + PATIENCE_SECONDS
    told = False
    while True:
        try:
            return await server.get(f"/session/{part(session_id)}")
        except Unreachable as problem:
            if clock() > patience:
                raise
            if not told:
                complain(*problem.lines[:1], "  trying again")
            told = True
        await asyncio.sleep(1)


async def _listen(server: Remote, session_id: str, news: asyncio.Event) -> None:
    """Set `news` at every event of the session's stream, for as long as anybody looks."""
    from opscore.cli.remote import part

    seen = 0
    while True:
        try:
            async for number in server.events(f"/session/{part(session_id)}/stream", seen):
                seen = number
                news.set()
        except Stop:
            news.set()
        await asyncio.sleep(1)


class EventLines:
    """Prints the session's journal as JSON lines, each event once, as far as it goes by now."""

    def __init__(self, server: Remote) -> None:
        self._server = server
        self._cursor: str | None = None
        self._seen = -1

    async def look(self, session: Any) -> None:
        """Print the events that came since the last look."""
        from opscore.cli.remote import part

        path = f"/session/{part(session['sessionId'])}/history"
        while True:
            page = await self._server.get(path, cursor=self._cursor, limit=500)
            fresh = [event for event in page["events"] if event["seq"] > self._seen]
            print_lines(encode(event) for event in fresh)
            self._seen = max((event["seq"] for event in fresh), default=self._seen)
            # The last page is read again next time: it may have grown.
            if not page.get("nextCursor"):
                return
            self._cursor = page["nextCursor"]
