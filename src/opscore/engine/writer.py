"""THE write path: commands that arrive while a commit is in progress form the next batch.

Lock, decide, write, commit; only then does anybody hear of it. One batch at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import structlog

from opscore.core.errors import Refusal, Unavailable
from opscore.engine.unit import Means, Unit
from opscore.store.rows import Wants
from opscore.store.store import Store

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

BATCH = 500
"""Commands in one commit, at most; a command that carries many counts as many."""

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


class _Pending(Generic[T]):
    """A command that waits for its commit."""

    __slots__ = ("answer", "command", "error", "future")

    def __init__(self, command: Command[T], future: asyncio.Future[T]) -> None:
        self.command = command
        self.future = future
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
    """

    def __init__(self, store: Store, means: Means, published: Callable[[Unit, int], None]) -> None:
        self._store = store
        self._means = means
        self._published = published
        self._queue: deque[_Pending[Any]] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self.commits = 0

    def submit(self, command: Command[T]) -> asyncio.Future[T]:
        """Queue a command; the future resolves after its commit, or with a Refusal."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(Unavailable("the server is stopping", retry_after=1))
            return future
        self._queue.append(_Pending(command, future))
        self._arrived.set()
        return future

    async def run(self) -> None:
        """Commit batch after batch until `close`, and then what is left."""
        while not (self._closed and not self._queue):
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            batch = self._next_batch()
            if batch:
                await self._commit(batch)

    def close(self) -> None:
        """Take no more commands; `run` ends when the queue is empty."""
        self._closed = True
        self._arrived.set()

    def _next_batch(self) -> list[_Pending[Any]]:
        batch: list[_Pending[Any]] = []
        weight = 0
        while self._queue and (not batch or weight + self._queue[0].command.weight <= BATCH):
            pending = self._queue.popleft()
            weight += pending.command.weight
            batch.append(pending)
        return batch

    async def _commit(self, batch: Sequence[_Pending[Any]]) -> None:
        units: list[Unit] = []
        try:
            first = await self._transact(batch, units)
        except Unavailable as error:
            self._give_back(units)
            log.error("commit_failed", error=error.detail, commands=len(batch))
            for pending in batch:
                pending.fail(error)
        except Exception as error:
            self._give_back(units)
            await self._isolate(batch, error)
        else:
            self._publish(units[0], first)
            for pending in batch:
                pending.resolve()

    async def _transact(self, batch: Sequence[_Pending[Any]], units: list[Unit]) -> int:
        wants = Wants()
        for pending in batch:
            pending.command.want(wants, self._means)

        def decide(locked: Any) -> Any:
            unit = Unit(self._means, self._store.now(), locked)
            units.append(unit)
            for pending in batch:
                _apply(pending, unit)
            return unit.seal()

        return await self._store.transact(wants, self._means.sessions.has, decide)

    def _give_back(self, units: Sequence[Unit]) -> None:
        for unit in units:
            unit.forget_all()

    async def _isolate(self, batch: Sequence[_Pending[Any]], error: Exception) -> None:
        """One command broke a batch: each gets a commit of its own, so that only it fails."""
        if len(batch) == 1:
            log.error(
                "command_failed",
                command=type(batch[0].command).__name__,
                exc_info=error,
            )
            batch[0].fail(error)
            return
        for pending in batch:
            await self._commit([pending])

    def _publish(self, unit: Unit, first_position: int) -> None:
        self.commits += 1
        unit.forget_ended()
        self._means.sessions.trim()
        self._published(unit, first_position)
        for call in unit.after:
            call()


def _apply(pending: _Pending[Any], unit: Unit) -> None:
    try:
        pending.answer = pending.command.apply(unit)
    except Refusal as refusal:
        pending.error = refusal
