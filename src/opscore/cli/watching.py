"""Watching a session: its readings with what they need to be drawn, and its log lines beside."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from opscore.cli.exits import NOT_FOUND, Stop
from opscore.cli.follow import follow
from opscore.cli.graph import Needs, needs_of
from opscore.cli.progress import Look

if TYPE_CHECKING:
    from opscore.cli.progress import View
    from opscore.cli.remote import Remote

RUNNING_READ = 50
SINCE = "1m"
"""Log records of the last minute stand above what comes."""
LAST_WORDS_SECONDS = 0.5
"""Records are kept in batches: those of a failure come a moment after it."""


async def watch(
    server: Remote, session_id: str, view: View, *, limit: float | None = None
) -> dict[str, Any]:
    """Show a session until it ends; returns the reading in which it did. Raises `Stop`."""
    watched = Watched(server, session_id, view)
    return await follow(server, session_id, watched.look, limit=limit, beside=watched.listen)


class Watched:
    """A session that is watched."""

    def __init__(self, server: Remote, session_id: str, view: View) -> None:
        self._server = server
        self._session_id = session_id
        self._view = view
        self._needs: Needs | None = None

    async def look(self, session: Any) -> None:
        """Show a reading; the last one after what was said about its failure."""
        await self._view.look(await self._seen(session) if self._view.detailed else Look(session))
        if session["status"] == "error":
            await asyncio.sleep(LAST_WORDS_SECONDS)

    async def listen(self) -> None:
        """Show the session's log records for as long as it is watched."""
        records = self._server.logs(session=self._session_id, level="info", since=SINCE)
        try:
            async with aclosing(records):
                async for kind, told in records:
                    if kind == "log":
                        self._view.said(told)
                    elif kind == "dropped":
                        self._view.note(f"… {told['dropped']:,} log records were not shown")
        except Stop as stop:
            # The session is what counts; of its log lines it is said once that they miss. A server
            # without them, an older one, has nothing to miss.
            if stop.code != NOT_FOUND:
                words = stop.lines[0].removeprefix("error: ")
                self._view.note(f"log lines are not shown: {words}")

    async def _seen(self, session: Any) -> Look:
        from opscore.cli.remote import part

        if self._needs is None:
            path = f"/workflow/{part(session['workflow'])}/{part(session['version'])}"
            found = await self._spared(path)
            self._needs = None if found is None else needs_of(found["definition"])
        running: list[Any] = []
        if any(step.get("running") for step in session.get("steps", {}).values()):
            wanted = {"session": self._session_id, "status": "running", "limit": RUNNING_READ}
            found = await self._spared("/task", **wanted)
            running = [] if found is None else found["tasks"]
        return Look(session, self._needs or {}, tuple(running))

    async def _spared(self, path: str, **query: object) -> dict[str, Any] | None:
        """What makes the picture fuller; a server that is away is waited for elsewhere."""
        try:
            return await self._server.get(path, **query)
        except Stop:
            return None
