"""THE write path: commands that arrive while a commit is in progress form the next batch.

Lock, decide, write, commit; only then does anybody hear of it. One batch at a time.
"""

from __future__ import annotations

import asyncio
from collections import ChainMap, deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import structlog

from opscore.core.errors import Refusal, Unavailable
from opscore.core.expressions import Expressions
from opscore.engine.audit import Note
from opscore.engine.gates import Gates
from opscore.engine.news import news_of
from opscore.engine.others import Turns
from opscore.engine.repeats import CURRENT
from opscore.engine.unit import Means, Unit
from opscore.store.rows import Changes, Locked, Wants
from opscore.store.store import Store

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

BATCH = 500
"""Commands in one commit, at most; a command that carries many counts as many."""

UNDER_WAY = ((0, 1), (25, 2), (100, 4))
"""When so many commands wait, so many batches may be under way.

One is decided while another is committed, and with four the disk never runs dry. But a commit costs
most of a millisecond however little it holds, as much as deciding on 25 commands: few commands are
better merged into one batch than put into the next one beside it.
"""

log = structlog.get_logger("opscore.writer")


class Command(Protocol[T_co]):
    """Something to be decided in a batch."""

    weight: int

    def want(self, wants: Wants, means: Means) -> None:
        """Name what must be locked and read."""
        ...

    def apply(self, unit: Unit) -> T_co:
        """Decide. Raises Refusal, having changed nothing."""
        ...


class Nothing:
    """The command that asks for nothing and changes nothing."""

    weight = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing."""

    def apply(self, unit: Unit) -> None:
        """Cannot be refused."""


class _Pending(Generic[T]):
    """A command that waits for its commit."""

    __slots__ = ("answer", "command", "error", "future", "note")

    def __init__(self, command: Command[T], future: asyncio.Future[T], note: Note | None) -> None:
        self.command = command
        self.future = future
        self.note = note
        self.answer: T | None = None
        self.error: Refusal | None = None

    def resolve(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast(T, self.answer))

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Writer:
    """Collects commands and commits them in batches.

    `published` is called after each commit with the batch and the position of its first event.
    `under_way`: how many batches may be, see `UNDER_WAY`.
    """

    def __init__(
        self,
        store: Store,
        means: Means,
        published: Callable[[Unit, int], None],
        under_way: Sequence[tuple[int, int]] = UNDER_WAY,
    ) -> None:
        self._under_way_at = under_way
        self.turns = Turns(store.shared)
        self._store = store
        self._means = means
        self._published = published
        self._queue: deque[_Pending[Any]] = deque()
        self._waiting = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._under_way = 0
        self._suspect = False
        self._forgotten: set[str] = set()
        self._in_flight: list[Unit] = []
        self._last: Callable[[], Command[None]] = Nothing
        self.commits = 0
        self.failures = 0
        """Batches that the store refused."""

    @property
    def gates(self) -> Gates:
        """The limits as the batches decide them."""
        return self._means.gates

    @property
    def expressions(self) -> Expressions:
        """What evaluates expressions."""
        return self._means.expressions

    def end_batches_with(self, command: Callable[[], Command[None]]) -> None:
        """Every batch from now on ends with a command that this gives; it must not be refused."""
        self._last = command

    def submit(self, command: Command[T], note: Note | None = None) -> asyncio.Future[T]:
        """Queue a command; the future resolves after its commit, or with a Refusal.

        `note`: what the audit records of it, in the same commit.
        """
        once = CURRENT.get()
        if once is None:
            return self._queued(command, note)
        return once.submit(command, lambda each: self._queued(each, note))

    def _queued(self, command: Command[T], note: Note | None) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(Unavailable("the server is stopping", retry_after=1))
            return future
        self._queue.append(_Pending(command, future, note))
        self._waiting += command.weight
        self._changed.set()
        return future

    async def run(self) -> None:
        """Commit batch after batch until `close`, and then what is left.

        A batch is decided while others before it are being committed. When a commit fails, those
        decided after it fail too, and all are out of the way before the next one begins.
        """
        try:
            async with asyncio.TaskGroup() as group:
                while await self._something():
                    try:
                        await self.turns.begin()
                    except Unavailable as error:
                        self._fail(self._next_batch(), error)
                        continue
                    batch = self._next_batch()
                    self._under_way += 1
                    decided = asyncio.Event()
                    group.create_task(self._carry_out(batch, decided))
                    await decided.wait()
        finally:
            self._end()
            await self.turns.end()

    def _end(self) -> None:
        """Nobody waits for ever, also when a bug ended the loop."""
        self._closed = True
        while self._queue:
            self._queue.popleft().fail(Unavailable("the server has stopped", retry_after=1))

    async def _carry_out(self, batch: Sequence[_Pending[Any]], decided: asyncio.Event) -> None:
        try:
            await self._commit(batch, decided)
        finally:
            decided.set()
            self._under_way -= 1
            self._changed.set()

    def close(self) -> None:
        """Take no more commands; `run` ends when the queue is empty."""
        self._closed = True
        self._changed.set()

    async def _something(self) -> bool:
        """Wait until a batch may begin; False when the writer is closed and done.

        Meanwhile the turn is given back, unless something is still under way in it.
        """
        while not self._may_begin():
            if self.turns.held and self._under_way == 0:
                await self.turns.end()
                continue
            self._changed.clear()
            await self._changed.wait()
        return bool(self._queue)

    def _next_batch(self) -> list[_Pending[Any]]:
        """What has arrived, up to the bound."""
        self._suspect = False
        batch: list[_Pending[Any]] = []
        weight = 0
        while self._queue and (not batch or weight + self._queue[0].command.weight <= BATCH):
            weight += self._queue[0].command.weight
            batch.append(self._queue.popleft())
        self._waiting -= weight
        return batch

    def _may_begin(self) -> bool:
        if not self._queue:
            return self._closed
        if self._suspect:
            return self._under_way == 0
        if self.turns.over:
            return False
        return self._under_way < max(
            most for waiting, most in self._under_way_at if self._waiting >= waiting
        )

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait until something that commands or commits bring about holds."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    async def _commit(self, batch: Sequence[_Pending[Any]], decided: asyncio.Event) -> None:
        units: list[Unit] = []
        try:
            first = await self._transact(batch, units, decided)
        except Exception as error:  # noqa: BLE001 - a bug in one command must not stop the others
            self._forget(units)
            if isinstance(error, Unavailable) or decided.is_set():
                self._fail(batch, error)
            else:
                await self._isolate(batch, error)
        else:
            self._over(units)
            self._publish(units[0], first)
            for pending in batch:
                pending.resolve()

    def _fail(self, batch: Sequence[_Pending[Any]], error: Exception) -> None:
        self.failures += 1
        log.error("commit_failed", commands=len(batch), exc_info=error)
        self._suspect = True
        for pending in batch:
            pending.fail(error)

    async def _isolate(self, batch: Sequence[_Pending[Any]], error: Exception) -> None:
        """One command broke a batch: each gets a commit of its own, so that only it fails."""
        if len(batch) == 1:
            log.error("command_failed", command=type(batch[0].command).__name__, exc_info=error)
            batch[0].fail(error)
            return
        await self._until(lambda: self._under_way == 1)
        for pending in batch:
            await self._commit([pending], asyncio.Event())

    async def _transact(
        self, batch: Sequence[_Pending[Any]], units: list[Unit], decided: asyncio.Event
    ) -> int:
        self._make_room()
        wants = Wants()
        for pending in batch:
            pending.command.want(wants, self._means)
        last = self._last()
        last.want(wants, self._means)
        shared = self._store.shared is not None

        def decide(locked: Locked) -> Changes:
            unit = Unit(self._means, self._store.now(), locked)
            units.append(unit)
            self._in_flight.append(unit)
            for pending in batch:
                unit.commands += pending.command.weight
                _apply(pending, unit)
            last.apply(unit)
            decided.set()
            changes = unit.seal()
            if shared and (unit.seated or not changes.empty()):
                changes.told = news_of(unit)
            return changes

        return await self._store.transact(wants, self._means.sessions.after, decide)

    def _make_room(self) -> None:
        """Forget sessions, here only: between a batch's reading and deciding, none may vanish.

        Those of a commit in flight stay: the journal does not have all of them yet.
        """
        busy = ChainMap(*(unit.touched for unit in self._in_flight))
        gone = [session_id for session_id in self._forgotten if session_id not in busy]
        for session_id in gone:
            self._means.sessions.evict(session_id)
        self._forgotten.difference_update(gone)
        self._means.sessions.trim(busy)

    def _forget(self, units: Sequence[Unit]) -> None:
        """A batch failed: what memory has may not be what the journal has."""
        self._over(units)
        for unit in units:
            self._forgotten.update(unit.touched)
            for call in unit.undone:
                call()
            unit.let_go()

    def _over(self, units: Sequence[Unit]) -> None:
        """These are committed, or never will be."""
        self._in_flight = [unit for unit in self._in_flight if unit not in units]

    def _publish(self, unit: Unit, first_position: int) -> None:
        self.commits += 1
        self._forgotten.update(unit.ended())
        self._published(unit, first_position)
        for call in unit.after:
            call()
        unit.let_go()


def _apply(pending: _Pending[Any], unit: Unit) -> None:
    try:
        pending.answer = pending.command.apply(unit)
        if pending.note is not None:
            pending.note.put(unit, pending.command, pending.answer)
    except Refusal as refusal:
        pending.error = refusal
