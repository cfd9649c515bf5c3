"""The embedded store: SQLite through apsw. Rows are written by the caller, commits by a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from itertools import chain
from typing import Any, TypeVar

import apsw

from opscore.core.errors import Unavailable
from opscore.core.types import Micros
from opscore.store import statements as sql
from opscore.store.audit_rows import ADD_AUDIT, AuditChain, beginning
from opscore.store.checkpoint import Checkpoints
from opscore.store.clocks import process_time
from opscore.store.files import PATIENCE, Location, connect, locate, open_writer, own
from opscore.store.gate_rows import GateChanges
from opscore.store.reads import Reads
from opscore.store.rows import (
    Changes,
    LeaseRow,
    Locked,
    ReadyRow,
    StoredEvent,
    Wants,
)
from opscore.store.shared import Shared

T = TypeVar("T")


class SqliteStore(Reads):
    """One file (or memory) that this process alone owns.

    `now` is the clock that all deadlines are judged by; None: start wall time plus monotonic time.
    """

    def __init__(self, url: str, now: Callable[[], Micros] | None = None) -> None:
        self.url = url
        self.shared: Shared | None = None
        self._now = now or process_time()
        self._location: Location = locate(url, f"{id(self):x}")
        self._lock: apsw.Connection | None = None
        self._writer: apsw.Connection | None = None
        self._reader: apsw.Connection | None = None
        self._checkpoints: Checkpoints | None = None
        self._position = 0
        self._audit = AuditChain()
        self._failed = 0
        self._turn = asyncio.Lock()
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="opscore-write")
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="opscore-read")
        # A database in memory has no log to read beside a commit: there readers take turns too.
        on_disk = self._location.path is not None
        self._while_reading = nullcontext() if on_disk else self._turn

    async def open(self) -> None:
        """Open or create the file and take sole ownership. Raises StoreRefused."""
        try:
            await self._on_writer(self._open)
        except BaseException:
            self._end_threads()
            raise

    def _open(self) -> None:
        self._lock = own(self._location)
        try:
            self._writer = open_writer(self._location)
            self._writer.set_busy_timeout(0)  # nobody waits on the loop, see `_begin`
            self._reader = connect(self._location)
            if self._location.path is not None:
                self._checkpoints = Checkpoints(self._location, self._writer)
            self._position = self._w.execute(sql.LAST_POSITION).get
        except BaseException:
            self._close()
            raise

    async def close(self) -> None:
        """Checkpoint and close. Idempotent."""
        if self._writer is not None:
            await self._on_reader(self._close_reader)
            await self._on_writer(self._close)
        self._end_threads()

    def _end_threads(self) -> None:
        self._write_thread.shutdown(wait=True)
        self._read_thread.shutdown(wait=True)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _close(self) -> None:
        """The owner's lock is given back last."""
        if self._checkpoints is not None:
            self._checkpoints.close()
            self._checkpoints = None
        self._close_reader()
        for connection in (self._writer, self._lock):
            if connection is not None:
                connection.close()
        self._writer = self._lock = None

    @property
    def audit_writer(self) -> str | None:
        """See `Store.audit_writer`."""
        return self._audit.writer

    def now(self) -> Micros:
        """Microseconds since the epoch."""
        return self._now()

    # -- the write path ---------------------------------------------------------------------

    async def transact(
        self,
        wants: Wants,
        after: Callable[[str], int | None],
        decide: Callable[[Locked], Changes],
    ) -> int:
        """See `Store.transact`.

        The caller's single line of decisions is the lock. What is read beside a commit in progress
        can miss only rows of sessions that the caller has in memory; leases have no such second
        record, so a batch that needs them waits for the commit.

        A decided batch takes its turn at the writing connection at once, so commits keep their
        order.
        """
        failed = self._failed
        locked = Locked()
        if wants.leases or wants.holders or wants.agents or wants.settled or wants.gates:
            await self._written()
            locked = await self._on_reader(lambda: self._read_locked(wants, after))
        elif not wants.nothing():
            locked = await self._on_reader(lambda: self._read_locked(wants, after))
        self._check(failed)
        changes = decide(locked)
        if changes.empty():
            await self._written()
            self._check(failed)
            return self._position + 1
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
        try:
            async with self._turn:
                self._check(failed)
                first = self._position + 1
                await self._commit(changes)
                return first
        except BaseException:
            self._failed += 1
            raise

    def _check(self, failed: int) -> None:
        if failed != self._failed:
            raise Unavailable("an earlier commit failed; nothing was changed", retry_after=1)

    def _read_locked(self, wants: Wants, after: Callable[[str], int | None]) -> Locked:
        locked = Locked()
        sessions = set(wants.sessions)
        for (namespace, queue), limit in wants.claims.items():
            rows = self._rows(ReadyRow, sql.CANDIDATES, (namespace, queue, limit))
            locked.candidates[namespace, queue] = rows
            sessions.update(r.session_id for r in rows if after(r.session_id) is not None)
        for lease in self._in(LeaseRow, sql.LEASES_OF_TASKS, wants.leases):
            locked.leases[lease.task_id] = lease
            if after(lease.session_id) is not None:
                sessions.add(lease.session_id)
        for lease in self._in(LeaseRow, sql.LEASES_OF_INSTANCES, wants.holders):
            locked.held.setdefault(lease.instance_id, []).append(lease)
            if after(lease.session_id) is not None:
                sessions.add(lease.session_id)
        for lease in self._in(LeaseRow, sql.LEASES_OF_AGENTS, wants.agents):
            locked.held_by_agent.setdefault(lease.agent_id, []).append(lease)
            if after(lease.session_id) is not None:
                sessions.add(lease.session_id)
        if wants.gates:
            locked.gates = self._gates()
        for event in self._in(StoredEvent, sql.JOURNALS, sessions, sql.JOURNALS_END):
            locked.journals.setdefault(event.owner, []).append(event)
        return locked

    async def _commit(self, changes: Changes) -> None:
        """Write here, where nobody contends for the interpreter's lock; let a thread commit.

        Why, and what it costs: docs/decisions/026-rows-are-written-on-the-loop.md.
        """
        try:
            await self._begin()
            self._write(changes)
            await self._in_thread(lambda: self._end(changes))
        except Exception as error:
            raise Unavailable(f"the database refused the commit: {error}") from error
        finally:
            if not self._w.get_autocommit():
                self._w.execute("rollback")

    def _end(self, changes: Changes) -> None:
        self._w.execute("commit")
        self._position += len(changes.events) + len(changes.agent_events)
        if changes.audit:
            self._audit.committed()

    async def _begin(self) -> None:
        """Nobody else writes to this file as a rule; when somebody does, a thread waits for it."""
        try:
            self._w.execute("begin immediate")
        except apsw.BusyError:
            await self._in_thread(self._begin_patiently)

    def _begin_patiently(self) -> None:
        self._w.set_busy_timeout(PATIENCE)
        try:
            self._w.execute("begin immediate")
        finally:
            self._w.set_busy_timeout(0)

    def _write(self, c: Changes) -> None:
        self._put(sql.ADD_TEMPLATES, c.templates)
        # First those that are gone: their names may be taken over in the same commit.
        self._delete(sql.REMOVE_AGENTS, c.agents_gone)
        self._put(sql.PUT_AGENTS, c.agents.values(), sql.PUT_AGENTS_END)
        agents_first = self._position + 1 + len(c.events)
        self._put(
            sql.ADD_AGENT_EVENTS,
            [(p, *e) for p, e in enumerate(c.agent_events, agents_first)],
        )
        self._put(sql.PUT_KEYS, c.keys.values(), sql.PUT_KEYS_END)
        self._put(sql.USE_KEYS, c.key_uses.items(), sql.USE_KEYS_END)
        self._put(sql.PUT_SESSIONS, c.sessions.values(), sql.PUT_SESSIONS_END)
        self._put(
            sql.ADD_EVENTS,
            [(p, *e) for p, e in enumerate(c.events, self._position + 1)],
        )
        self._put(sql.ADD_TASKS, c.tasks.values())
        self._put(sql.CHANGE_TASKS, c.task_changes.values(), sql.CHANGE_TASKS_END)
        self._delete_rows(sql.DEQUEUE, [r[:4] for r in c.unready.values()])
        self._put(sql.ENQUEUE, c.ready.values())
        if c.limits:
            self._write_limits(c.limits)
        self._delete_rows(sql.UNDELAY, [r[:2] for r in c.undelayed.values()])
        self._put(sql.DELAY, c.delayed.values())
        self._delete_rows(sql.STOP_TIMERS, list(c.untimed))
        self._put(sql.SET_TIMERS, c.timers.values())
        self._put(sql.PUT_CALLBACKS, c.callbacks.values(), sql.PUT_CALLBACKS_END)
        self._put(sql.PUT_APPROVALS, c.approvals.values(), sql.PUT_APPROVALS_END)
        self._delete_rows(sql.REMOVE_SCHEDULES, list(c.schedules_gone))
        self._put(sql.PUT_SCHEDULES, c.schedules.values())
        self._delete(sql.END_LEASES, c.unleased)
        self._put(sql.ADD_LEASES, c.leases.values())
        self._put(sql.EXTEND_LEASES, c.extended.items(), sql.EXTEND_LEASES_END)
        self._put(sql.PUT_REQUESTS, c.requests.values(), sql.PUT_REQUESTS_END)
        if c.audit:
            self._put(ADD_AUDIT, self._audit.rows(c.audit, lambda: beginning(self._w)))
        if c.requests_before is not None:
            self._w.execute(sql.FORGET_REQUESTS, (c.requests_before,))
        self._delete(sql.REVIVE, c.revived)
        self._put(sql.ADD_DEAD, c.dead)
        self._put(sql.ADD_OUTBOX, c.outbox.values())
        self._delete(sql.END_OUTBOX, c.outbox_done)
        for statement in sql.REMOVE_SESSIONS:
            self._delete(statement, c.sessions_gone)
        if c.sessions_gone:
            # The newest events may be among them, and a feed's cursor must never see theirs again.
            self._w.execute(sql.KEEP_POSITION, (str(agents_first + len(c.agent_events) - 1),))

    def _write_limits(self, limits: GateChanges) -> None:
        self._delete_rows(sql.UNGATE, [r[:4] for r in limits.ungated.values()])
        self._put(sql.GATE, limits.gated.values())
        self._put(sql.PUT_RATES, limits.rates.values(), sql.PUT_RATES_END)
        self._delete_rows(sql.END_RATES, list(limits.rates_gone))
        self._delete(sql.LEAVE, limits.left)
        self._put(sql.ADMIT, limits.admitted.values())

    def _put(self, head: str, rows: Collection[Sequence[Any]], tail: str = "") -> None:
        if len(rows) == 0:
            return
        rows = list(rows)
        width = len(rows[0])
        for chunk in sql.chunks(rows, sql.most_rows(width)):
            statement = sql.values(head, width, len(chunk), tail)
            self._w.execute(statement, tuple(chain.from_iterable(chunk)))

    def _delete(self, head: str, keys: Collection[str]) -> None:
        if len(keys) == 0:
            return
        for chunk in sql.chunks(list(keys), sql.most_rows(1)):
            self._w.execute(sql.keys(head, len(chunk)), chunk)

    def _delete_rows(self, head: str, keys: Sequence[Sequence[Any]]) -> None:
        self._put(head, keys, ")")

    async def renew_leases(self, now: Micros, lease: Micros, accepted: Micros) -> None:
        """See `Store.renew_leases`."""
        await self._on_writer(lambda: self._w.execute(sql.RENEW_LEASES, (now, lease, accepted)))

    async def keep_secret(self, name: str, fresh: str) -> str:
        """See `Store.keep_secret`."""

        def keep() -> str:
            self._w.execute(sql.KEEP_META, (f"secret:{name}", fresh))
            return self._w.execute(sql.META, (f"secret:{name}",)).get

        return await self._on_writer(keep)

    # -- threads ----------------------------------------------------------------------------

    @property
    def _w(self) -> apsw.Connection:
        assert self._writer is not None, "the store is not open"
        return self._writer

    async def _on_writer(self, work: Callable[[], T]) -> T:
        """Do something else with the writing connection, in turn."""
        async with self._turn:
            return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Work of the commits' thread; who is cancelled leaves when it is done.

        Until then the connection is not free, and giving it to somebody else would be an error.
        """
        done = asyncio.get_running_loop().run_in_executor(self._write_thread, work)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            while not done.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({done})
            raise
