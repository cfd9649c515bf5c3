"""The line of servers on PostgreSQL: who may commit, and what the others committed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from zlib import crc32

import asyncpg

from opscore.core.errors import Unavailable
from opscore.core.types import SECOND, Micros
from opscore.store.clocks import DatabaseClock, monotonic
from opscore.store.postgres_connect import FAILED, Connection, Link, Readers, at_run_time
from opscore.store.postgres_tasks import Background
from opscore.store.shared import Told

LOCKS = 0x4F707343
"""The first half of all our advisory locks: "OpsC"."""
TURN: Micros = 25_000
"""A turn that has lasted so long is over when somebody waits."""
LOOK: Micros = 10_000
"""How often the one whose turn it is looks whether somebody waits."""
PATIENCE: Micros = 15 * SECOND
"""So long somebody waits for a turn, ending those who have it and do nothing, and gives up."""
AT_ONCE = 1_000
"""Commits that are read at once."""

NOW = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
END = f"select number, last, {NOW} from commits order by number desc limit 1"
_NEWEST = "select number from commits order by number desc limit 1"
_MISSED = (
    f"select {NOW} as at, c.number, c.first, c.last, c.server, c.data from (select 1) one "
    f"left join commits c on c.number > $1 order by c.number limit {AT_ONCE}"
)
_TAKE = "select pg_advisory_lock($1, $2)"
_GIVE = "select pg_advisory_unlock($1, $2)"
_OURS = (
    "l.locktype = 'advisory' and l.classid = $1::bigint and l.objid = $2::bigint "
    "and l.objsubid = 2 "
    "and l.database = (select oid from pg_database where datname = current_database())"
)
_AWAITED = f"select exists (select 1 from pg_locks l where {_OURS} and not l.granted)"
END_IDLE = (
    "select count(pg_terminate_backend(a.pid)) from pg_locks l "
    f"join pg_stat_activity a on a.pid = l.pid where {_OURS} and l.granted "
    "and a.pid <> pg_backend_pid() and a.state like 'idle%' "
    "and a.state_change < clock_timestamp() - interval '2 seconds'"
)
"""End the session of a server that has a lock and does nothing: it was stopped, or cut off."""


def lock_number(name: str, schema: str) -> int:
    """The second half of an advisory lock of a schema."""
    return crc32(f"{name} {schema}".encode()) & 0x7FFFFFFF


class End:
    """The newest commit that this server knows: its number, and the position of its last event."""

    def __init__(self) -> None:
        self.number = 0
        self.position = 0


class Turns:
    """Takes the turn with the writing connection, and hears what was committed.

    `writing` gives that connection to one user at a time. `forget` is called when others have
    committed: what was remembered of the tables may not hold any more.
    """

    def __init__(
        self,
        link: Link,
        readers: Readers,
        writing: asyncio.Lock,
        clock: DatabaseClock,
        background: Background,
        forget: Callable[[], None],
    ) -> None:
        self.end = End()
        self._link, self._readers, self._writing = link, readers, writing
        self._clock, self._forget = clock, forget
        self.lock = 0
        self._held: Connection | None = None
        self._begun: Micros = 0
        self._looked: Micros = 0
        self._awaited = False
        self._looking = False
        self._background = background

    def open(self, schema: str, number: int, position: int) -> None:
        """Begin to know the store as it is."""
        self.lock = lock_number("turn", schema)
        self.end.number, self.end.position = number, position

    @property
    def held(self) -> bool:
        """Whether this server has the turn, as far as it knows."""
        return self._held is not None and not self._held.is_closed()

    @property
    def over(self) -> bool:
        """See `Shared.turn_over`."""
        now = monotonic()
        if not self.held or now - self._begun < TURN:
            return False
        if not self._looking and now - self._looked >= LOOK:
            self._looked, self._looking = now, True
            self._background.begin(self._look())
        return self._awaited

    async def _look(self) -> None:
        begun = self._begun
        try:
            with suppress(Unavailable):
                async with self._readers.one() as connection:
                    awaited = await connection.fetchval(_AWAITED, LOCKS, self.lock)
                    self._awaited = bool(awaited) and begun == self._begun
        finally:
            self._looking = False

    async def take(self) -> Sequence[Told]:
        """See `Shared.begin_turn`."""
        async with self._writing:
            if self.held:
                return ()
            with at_run_time("cannot take the turn"):
                connection = await self._link.get()
                try:
                    await self._wait(connection)
                    told = await self._missed(connection)
                except BaseException:
                    # It may have the lock, or get it in a moment: nobody is to wait for that.
                    self._link.drop()
                    raise
            self._held, self._begun, self._awaited = connection, monotonic(), False
            return self._hear(told)

    async def _wait(self, connection: Connection) -> None:
        since = monotonic()
        while True:
            try:
                await connection.execute(_TAKE, LOCKS, self.lock)
                return
            except asyncpg.LockNotAvailableError as error:
                if monotonic() - since > PATIENCE:
                    raise Unavailable("other servers keep the turn", retry_after=1) from error
            async with self._readers.one() as reader:
                await reader.fetchval(END_IDLE, LOCKS, self.lock)

    async def _missed(self, connection: Connection) -> list[Told]:
        """What was committed after the newest commit known."""
        found: list[Told] = []
        begun = known = self.end.number
        while True:
            sent = monotonic()
            rows: list[Any] = await connection.fetch(_MISSED, known)
            self._clock.hear(sent, rows[0]["at"], monotonic())
            found += [Told(*row[1:]) for row in rows if row["number"] is not None]
            if len(rows) < AT_ONCE:
                break
            known = found[-1].number
        if found and found[0].number != begun + 1:
            raise Unavailable(
                "this server was away for so long that what others did meanwhile is forgotten; "
                "restart it",
            )
        return found

    def _hear(self, found: Sequence[Told]) -> Sequence[Told]:
        """Of what was read, that of which nobody has heard while it was read."""
        told = [one for one in found if one.number > self.end.number]
        if told:
            self.end.number, self.end.position = told[-1].number, told[-1].last
            self._forget()
        return told

    async def give(self) -> None:
        """See `Shared.end_turn`."""
        async with self._writing:
            held, self._held = self._held, None
            if held is None or held.is_closed():
                return
            try:
                await held.execute(_GIVE, LOCKS, self.lock)
            except FAILED:
                self._link.drop()

    async def told(self) -> Sequence[Told]:
        """See `Shared.told`."""
        if self.held:
            return ()
        async with self._readers.one() as connection:
            told = await self._missed(connection)
        return () if self.held else self._hear(told)

    async def newest(self) -> int:
        """The number of the newest commit, told or not."""
        async with self._readers.one() as connection:
            return int(await connection.fetchval(_NEWEST))
