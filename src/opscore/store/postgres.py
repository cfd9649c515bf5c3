"""The store for several servers: PostgreSQL through asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from opscore.core.audit import AuditEntry, AuditRecord, vouching
from opscore.core.errors import Unavailable
from opscore.core.types import Micros
from opscore.store import postgres_statements as sql
from opscore.store.audit_rows import POSITION, AuditChain, Beginning
from opscore.store.clocks import DatabaseClock, monotonic
from opscore.store.postgres_connect import (
    FAILED,
    LOST,
    WRITING,
    Connection,
    Link,
    Readers,
    at_run_time,
)
from opscore.store.postgres_locked import read_locked
from opscore.store.postgres_marks import Marks
from opscore.store.postgres_migrate import prepare
from opscore.store.postgres_reads import PostgresReads
from opscore.store.postgres_side import Side
from opscore.store.postgres_tasks import Background, whole
from opscore.store.postgres_turns import END, LOCKS, Turns
from opscore.store.postgres_verbs import Part, statement, statements
from opscore.store.postgres_write import parts
from opscore.store.rows import Changes, Locked, Wants
from opscore.store.shared import Shared

_NAME = "select replace(gen_random_uuid()::text, '-', '')"
_TURN = "select pg_advisory_xact_lock($1, $2)"


class PostgresStore(PostgresReads):
    """A schema of a database, which other servers may use too.

    `now`: the clock that all deadlines are judged by; None: the database's.
    """

    def __init__(self, url: str, now: Callable[[], Micros] | None = None) -> None:
        super().__init__()
        self.url = url
        self._clock = DatabaseClock()
        self._now = now or self._clock.now
        self._turn = asyncio.Lock()
        self._failed = 0
        self._name = ""
        self._audit = AuditChain()
        self._audited: int | None = None
        self._marks = Marks()
        self._link = Link(url, WRITING)
        self._readers = Readers(url)
        self._background = Background()
        self._turns = Turns(
            self._link, self._readers, self._turn, self._clock, self._background, self._forget
        )
        self._side = Side(Link(url, WRITING), self._turns, self._clock, self._background)
        self.shared: Shared | None = self._side

    async def open(self) -> None:
        """Connect, create or upgrade the schema. Raises StoreRefused."""
        try:
            connection = await self._link.get()
            schema = await prepare(connection, self.url)
            self._name = await connection.fetchval(_NAME)
            sent = monotonic()
            number, position, now = await connection.fetchrow(END)
            self._clock.hear(sent, now, monotonic())
            self._turns.open(schema, number, position)
            await self._readers.open()
            await self._side.open(schema, f"srv_{self._name[:20]}")
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Give every connection back. Idempotent."""
        await self._background.close()
        async with self._turn:
            await self._side.close()
            await self._readers.close()
            await self._link.close()

    def _forget(self) -> None:
        """Others have committed."""
        self._marks.forget()
        self._audited = None

    @property
    def audit_writer(self) -> str | None:
        """See `Store.audit_writer`."""
        return self._audit.writer

    def now(self) -> Micros:
        """See `Store.now`."""
        return self._now()

    # -- the write path ---------------------------------------------------------------------

    async def transact(
        self,
        wants: Wants,
        after: Callable[[str], int | None],
        decide: Callable[[Locked], Changes],
    ) -> int:
        """See `Store.transact`.

        What is read beside a commit in progress can miss only rows of sessions that the caller has
        in memory; leases have no such second record, so a batch that needs them waits for it.
        """
        failed = self._failed
        locked = Locked()
        if wants.leases or wants.holders or wants.agents or wants.settled or wants.gates:
            await self._written()
        if not wants.nothing():
            async with self._readers.one() as connection:
                locked = await read_locked(connection, self._marks, wants, after)
        self._check(failed)
        changes = decide(locked)
        if changes.empty():
            await self._written()
            self._check(failed)
            return self._turns.end.position + 1
        return await self._commit_or_count(changes, failed)

    async def _written(self) -> None:
        """Wait until what was decided so far is committed, or has failed."""
        async with self._turn:
            pass

    async def _commit_or_count(self, changes: Changes, failed: int) -> int:
        """Commit when it is these changes' turn; the position of their first event.

        What was decided before a failure was counted is refused. A failure is counted and told to
        the caller in one step, so whoever begins later decides on what the caller has put right.
        """
        lows = self._marks.decided(changes.ready.values())
        try:
            async with self._turn:
                self._check(failed)
                first = self._turns.end.position + 1
                await whole(self._commit(changes))
                return first
        except BaseException:
            self._failed += 1
            raise
        finally:
            self._marks.settled(lows)

    def _check(self, failed: int) -> None:
        if failed != self._failed:
            raise Unavailable("an earlier commit failed; nothing was changed", retry_after=1)

    async def _commit(self, changes: Changes) -> None:
        """Write and commit. When the connection is lost, the outcome is not known.

        Then the newest commit known stays as it was: `Shared.begin_turn` tells of this one like of
        any other's, if it came through; and until somebody has heard of it, the guard lets nothing
        more be written.
        """
        end = self._turns.end
        last = end.position + len(changes.events) + len(changes.agent_events)
        try:
            await self._write(changes, last)
        except LOST as error:
            self._link.drop()
            raise Unavailable(
                "the connection to the database was lost during a commit; whether it was carried "
                f"out is not known yet ({error or type(error).__name__})",
                retry_after=1,
            ) from error
        except Exception as error:
            raise Unavailable(_refused(error), retry_after=1) from error
        end.number, end.position = end.number + 1, last
        if changes.audit:
            assert self._audited is not None
            self._audit.committed()
            self._audited += len(changes.audit)
        self._side.committed()

    async def _write(self, changes: Changes, last: int) -> None:
        connection = await self._link.get()
        end = self._turns.end
        audit = await self._audit_rows(connection, changes.audit) if changes.audit else []
        groups = statements(parts(changes, end.position, audit))
        guard = (end.number, end.position + 1, last, self._side.server, self._now(), changes.told)
        if len(groups) == 1:
            await _execute(connection, groups[0], guard)
            return
        await connection.execute("begin")
        try:
            await _execute(connection, groups[0], guard)
            for group in groups[1:]:
                await _execute(connection, group, ())
            await connection.execute("commit")
        except asyncpg.PostgresError:
            if not connection.is_closed():
                await connection.execute("rollback")
            raise

    async def _audit_rows(
        self, connection: Connection, entries: Sequence[AuditEntry]
    ) -> list[AuditRecord]:
        """The records, at the positions that follow those of all servers."""
        begun = await self._beginning(connection)
        rows = self._audit.rows(entries, lambda: begun)
        return [r._replace(position=p) for p, r in enumerate(rows, begun.position + 1)]

    async def _beginning(self, connection: Connection) -> Beginning:
        """How this server's chain begins, or goes on."""
        if self._audited is None:
            self._audited = int(await connection.fetchval(POSITION))
        if self._audit.writer is not None:
            return Beginning(self._audit.writer, self._audited, "")
        heads = (await self.audit_ends()).heads
        # Other servers' chains may go on.
        return Beginning(f"wrt_{self._name[:20]}", self._audited, vouching(heads, final=False))

    async def renew_leases(self, now: Micros, lease: Micros, accepted: Micros) -> None:
        """See `Store.renew_leases`. In turn, since commits take leases in another order."""
        with at_run_time("cannot renew leases"):
            async with self._turn:
                connection = await self._link.get()
                await connection.execute("begin")
                try:
                    await connection.execute(_TURN, LOCKS, self._turns.lock)
                    await connection.execute(sql.RENEW_LEASES, now, lease, accepted)
                    await connection.execute("commit")
                except FAILED:
                    self._link.drop()
                    raise

    async def keep_secret(self, name: str, fresh: str) -> str:
        """See `Store.keep_secret`."""
        with at_run_time("cannot keep a secret"):
            async with self._turn:
                connection = await self._link.get()
                await connection.execute(sql.KEEP_META, f"secret:{name}", fresh)
                return str(await connection.fetchval(sql.META, f"secret:{name}"))


def _refused(error: Exception) -> str:
    """Why a commit was refused."""
    taken = isinstance(error, asyncpg.UniqueViolationError)
    if isinstance(error, asyncpg.DivisionByZeroError) or (taken and "commits_pkey" in str(error)):
        return "another server has committed meanwhile; nothing was changed"
    return f"the database refused the commit: {error}"


async def _execute(connection: Connection, group: Sequence[Part], guard: Sequence[Any]) -> None:
    text = statement(tuple(part.verb for part in group), guarded=bool(guard))
    await connection.execute(text, *guard, *(column for part in group for column in part.columns))
