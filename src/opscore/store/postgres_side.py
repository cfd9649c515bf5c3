"""What a server tells and hears beside the line: wake-ups, who leads, who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from opscore.core.errors import OpsCoreError
from opscore.core.types import SECOND
from opscore.store.clocks import DatabaseClock, monotonic, pause
from opscore.store.postgres_connect import FAILED, Connection, Link, at_run_time
from opscore.store.postgres_tasks import Background
from opscore.store.postgres_turns import END_IDLE, LOCKS, NOW, Turns, lock_number
from opscore.store.shared import Announced, Told

POLL_SECONDS = 0.15
"""How often a server looks for commits of others that no notice told of."""
LEAD_SECONDS = 1.0
NOTICE_SECONDS = 0.01
"""So much apart are two notices at least."""
KEPT_SECONDS = 60
KEPT_COMMITS = 1_000
"""Commits can be heard of for so long, and at least so many of them."""

_LEAD = "select pg_try_advisory_lock($1, $2)"
_NOTICE = "select pg_notify($1, $2)"
_TRIM = (
    "delete from commits where "
    f"number < (select number from commits order by number desc limit 1) - {KEPT_COMMITS} "
    f"and at < {NOW} - {KEPT_SECONDS * SECOND}"
)
_GONE = "delete from servers where server = $1"
_ANNOUNCE = (
    f"with mine as (insert into servers (server, at, data) values ($1, {NOW}, $2) "
    "on conflict (server) do update set at = excluded.at, data = excluded.data), "
    f"old as (delete from servers where at < {NOW} - {60 * SECOND} and server <> $1) "
    f"select {NOW}, s.server, s.at, s.data from (select 1) one left join servers s "
    f"on s.server <> $1 and s.at >= {NOW} - {15 * SECOND} order by s.server"
)

log = structlog.get_logger("opscore.store")


class Side:
    """What `Shared` is on PostgreSQL.

    It has a connection of its own, on which nothing is committed that anybody waits for.
    """

    def __init__(
        self, link: Link, turns: Turns, clock: DatabaseClock, background: Background
    ) -> None:
        self._link, self._turns, self._clock = link, turns, clock
        self._using = asyncio.Lock()
        self.server = ""
        self._channel = ""
        self._lock = 0
        self._leading: Connection | None = None
        self._listening: Connection | None = None
        self._calls: list[Callable[[], None]] = []
        self._news = asyncio.Event()
        self._background = background

    async def open(self, schema: str, server: str) -> None:
        """Connect, listen, try to lead, and go on doing so."""
        self.server = server
        self._lock = lock_number("lead", schema)
        self._channel = f"opscore_{lock_number('turn', schema):x}"
        await self._lead()
        self._background.begin(self._again(LEAD_SECONDS, self._lead))
        self._background.begin(self._again(POLL_SECONDS, self._poll))
        self._background.begin(self._again(NOTICE_SECONDS, self._notice))

    async def close(self) -> None:
        """Lead no more, and be gone for the others at once; nothing of the background may be left."""
        with suppress(*FAILED, OpsCoreError):
            if self._link.alive:
                await (await self._link.get()).execute(_GONE, self.server)
        await self._link.close()

    @property
    def turn_over(self) -> bool:
        """See `Shared.turn_over`."""
        return self._turns.over

    async def begin_turn(self) -> Sequence[Told]:
        """See `Shared.begin_turn`."""
        return () if self._turns.held else await self._turns.take()

    async def end_turn(self) -> None:
        """See `Shared.end_turn`."""
        await self._turns.give()

    async def told(self) -> Sequence[Told]:
        """See `Shared.told`."""
        return await self._turns.told()

    @property
    def leads(self) -> bool:
        """See `Shared.leads`."""
        return self._leading is not None and not self._leading.is_closed()

    def listen(self, call: Callable[[], None]) -> None:
        """See `Shared.listen`."""
        self._calls.append(call)

    def committed(self) -> None:
        """Let the others know soon."""
        self._news.set()

    async def announce(self, data: bytes) -> Sequence[Announced]:
        """See `Shared.announce`."""
        with at_run_time("cannot announce this server"):
            async with self._using:
                connection = await self._link.get()
                sent = monotonic()
                rows: list[Any] = await connection.fetch(_ANNOUNCE, self.server, data)
                self._clock.hear(sent, rows[0][0], monotonic())
        return [Announced(*row[1:]) for row in rows if row[1] is not None]

    async def _again(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it again and again, also while the database is away."""
        while True:
            await pause(seconds)
            try:
                await work()
            except (*FAILED, OpsCoreError) as error:
                log.warning("database_away", error=str(error) or type(error).__name__)
                await pause(LEAD_SECONDS)

    async def _lead(self) -> None:
        async with self._using:
            connection = await self._link.get()
            if self._listening is not connection:
                await connection.add_listener(self._channel, self._noticed)
                self._listening = connection
                self._wake()
            if self._leading is connection:
                await connection.execute(_TRIM)
            elif await connection.fetchval(_LEAD, LOCKS, self._lock):
                self._leading = connection
            else:
                await connection.fetchval(END_IDLE, LOCKS, self._lock)

    async def _notice(self) -> None:
        await self._news.wait()
        self._news.clear()
        async with self._using:
            connection = await self._link.get()
            await connection.execute(_NOTICE, self._channel, self.server)

    async def _poll(self) -> None:
        if self._calls and not self._turns.held:
            known = self._turns.end.number
            if await self._turns.newest() > known and self._turns.end.number == known:
                self._wake()

    def _noticed(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        if payload != self.server:
            self._wake()

    def _wake(self) -> None:
        for call in self._calls:
            call()
