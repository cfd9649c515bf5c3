"""Log records, for programs that watch over a fleet."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Literal

from opscore.sdk.calls import Calls, body_of, decode
from opscore.sdk.follow import log_frames
from opscore.wire.log import LevelWord, LogPage, LogView, RecordsDropped


class LogRoutes:
    """`/log`: what agents and the server said."""

    def __init__(self, calls: Calls, patience: float) -> None:
        self._calls = calls
        self._patience = patience

    async def search(
        self,
        q: str | None = None,
        *,
        agent: str | None = None,
        session: str | None = None,
        task: str | None = None,
        trace: str | None = None,
        level: LevelWord | None = None,
        error_type: str | None = None,
        context: Mapping[str, str] | None = None,
        since: str | None = None,
        until: str | None = None,
        order: Literal["newest", "oldest"] | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> LogPage:
        """A page of records; all that is named must hold.

        `q`: words that must all occur (`word*` is a beginning); `agent` an id or a name; `level`
        the lowest; `context` values by their key; `since` and `until` RFC 3339, or how long ago
        (`10m`).
        """
        wanted = body_of(
            q=q,
            agent=agent,
            session=session,
            task=task,
            trace=trace,
            level=level,
            errorType=error_type,
            since=since,
            until=until,
            order=order,
            cursor=cursor,
            limit=limit,
        )
        return await self._calls.get("/log", LogPage, {**wanted, **_keys(context)})

    async def follow(
        self,
        q: str | None = None,
        *,
        agent: str | None = None,
        session: str | None = None,
        task: str | None = None,
        trace: str | None = None,
        level: LevelWord | None = None,
        error_type: str | None = None,
        context: Mapping[str, str] | None = None,
        since: str | None = None,
        after: int | None = None,
    ) -> AsyncGenerator[LogView | RecordsDropped, None]:
        """Records as they come, from now on, or from `since`, or after the record of that id.

        Endless, over lost connections too: what was kept meanwhile comes then. A `RecordsDropped`
        stands where records are missing, because they came faster than they can be sent. Raises
        `ServerUnreachable` when the server stays away, `OpsCoreProblem` when it refuses.
        """
        wanted = body_of(
            q=q,
            agent=agent,
            session=session,
            task=task,
            trace=trace,
            level=level,
            errorType=error_type,
            since=since,
            after=after,
        )
        found = log_frames(self._calls, {**wanted, **_keys(context)}, self._patience)
        async with aclosing(found) as frames:
            async for frame in frames:
                if frame.name == "dropped":
                    yield decode(frame.data, RecordsDropped)
                elif frame.name == "log":
                    yield decode(frame.data, LogView)


def _keys(context: Mapping[str, str] | None) -> dict[str, str]:
    return {f"ctx.{key}": value for key, value in (context or {}).items()}
