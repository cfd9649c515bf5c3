"""`Run`: one session as the one who started it follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from opscore.sdk.calls import Calls, body_of, decode
from opscore.sdk.errors import SessionCancelled, SessionFailed
from opscore.sdk.follow import ENDINGS, SessionFollower
from opscore.sdk.server import segment
from opscore.wire.approval import SignalAccepted
from opscore.wire.session import EventView, Reason, SessionView
from opscore.wire.trace import TraceView
from opscore.wire.why import WhyView

ENDED = frozenset({"completed", "error", "cancelled"})


class Run:
    """A session by its id. Nothing is asked of the server until a method is called.

    `patience`: for how many seconds `result` and `events` go on trying while the server is away.
    `callback_secret` is known to the run whose start asked for a callback, and nowhere else.
    """

    def __init__(self, calls: Calls, session_id: str, patience: float) -> None:
        self.id = session_id
        self.callback_secret: str | None = None
        self._calls = calls
        self._patience = patience
        self._path = f"/session/{segment(session_id)}"

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    async def status(self) -> SessionView:
        """The session now, with its steps."""
        return await self._calls.get(self._path, SessionView)

    async def why(self) -> WhyView:
        """What the session waits for now, since when, and who holds it up."""
        return await self._calls.get(f"{self._path}/why", WhyView)

    async def trace(self) -> TraceView:
        """Where the session's time went so far, and what it cost."""
        return await self._calls.get(f"{self._path}/trace", TraceView)

    async def events(self) -> AsyncGenerator[EventView, None]:
        """Every event of the session from its start, in order, live, until it has ended.

        Follows over broken connections without gaps or repeats. Raises `OpsCoreProblem` for an
        unknown session and `ServerUnreachable` when the server stays away.
        """
        follower = SessionFollower(self._calls, self._path, self._patience)
        async with aclosing(follower.events()) as events:
            async for event in events:
                yield event
                if event.type in ENDINGS:
                    return

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and give the output.

        Raises `SessionFailed`, `SessionCancelled`, `TimeoutError` after `timeout` seconds (the
        session goes on), and what `events` raises.
        """
        async with asyncio.timeout(timeout):
            session = await self._ended()
        return output_of(session)

    async def _ended(self) -> SessionView:
        """The session once it has ended: looked at again whenever its journal says so."""
        session = await self.status()
        while session.status not in ENDED:
            async with aclosing(self.events()) as events:
                async for _ in events:
                    pass
            session = await self.status()
        return session

    async def signal(self, name: str, payload: Any = None, *, signal_id: str | None = None) -> str:
        """Send a signal; gives its id. The same `signal_id` a second time changes nothing."""
        body = body_of(payload=payload, signalId=signal_id)
        path = f"{self._path}/signal/{segment(name)}"
        return decode(await self._calls.change("POST", path, body), SignalAccepted).signal_id

    async def cancel(self, reason: str = "") -> None:
        """Stop it: nothing new starts, running attempts are told."""
        await self._calls.change("POST", f"{self._path}/cancel", Reason(reason=reason))


def output_of(session: SessionView) -> Any:
    """The output of an ended session; raises `SessionFailed` or `SessionCancelled`."""
    if session.status == "cancelled":
        raise SessionCancelled(session.session_id)
    if session.status == "error":
        error = session.error
        raise SessionFailed(
            session.session_id,
            "error" if error is None else error.error_class,
            "no reason was recorded" if error is None else error.message,
        )
    return msgspec.json.decode(session.output)
