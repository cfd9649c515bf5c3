"""An event loop whose time is simulated, and on which a process can die between any two steps.

The loop's time moves to the next timer when nothing else is left to do. Work that the product hands
to threads is done here, after a delay that the seed chooses, and its answer comes after another one:
between the two it is durable and nobody knows. What a server's process does carries its `Life` in its
context; when that dies, nothing of it runs any more, as after `kill -9`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar
from weakref import WeakSet

T = TypeVar("T")
SECOND = 1_000_000
IN_TIME = 0.5 / SECOND


class Mortal:
    """What may die: `strike` is asked before each piece of work for threads, and may raise."""

    dead = False

    def __init__(self) -> None:
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()

    def strike(self, work: Callable[..., object]) -> None:
        """Let this work fail instead."""

    def stepped(self, handle: Any) -> None:
        """Something of this process ran."""


LIFE: ContextVar[Mortal | None] = ContextVar("torture_life", default=None)


class Stuck(Exception):
    """Nothing is left to do, and somebody still waits."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """`micros` is its time. Everything that happens on it follows from `chance`.

    `slow`: how often the disk takes its time.
    """

    _ready: Any
    _scheduled: Any

    def __init__(self, chance: Random, slow: float = 0.02) -> None:
        super().__init__()
        self._slow = slow
        self.micros = 0
        self._chance = chance
        self._busy_until: dict[Executor | None, int] = {}
        self.broken: list[str] = []
        self.world = copy_context()
        self.set_exception_handler(self._broke)

    def _check_closed(self) -> None:
        """What is thrown away later than the loop does no harm."""

    def time(self) -> float:
        return self.micros / SECOND

    def _broke(self, _: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None:
            self.broken.append(f"{context['message']}: {error!r}")

    # What dies does not run

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not _is_dead(handle):
            self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if not _is_dead(timer):
            heapq.heappush(self._scheduled, timer)
            timer._scheduled = True
        return timer

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and (scheduled[0]._cancelled or _is_dead(scheduled[0])):
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise Stuck
            self.micros = max(self.micros, round(scheduled[0]._when * SECOND))
        now = self.micros / SECOND + IN_TIME
        while scheduled and scheduled[0]._when <= now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            life = handle._context.get(LIFE)
            if life is None:
                handle._run()
            elif not life.dead:
                handle._run()
                life.stepped(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is thrown away when its time comes."""

    # Threads

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Each executor here is one thread: what it is given is done in that order."""
        future: asyncio.Future[T] = self.create_future()
        begin = max(self.micros, self._busy_until.get(executor, 0)) + self._delay()
        end = self._busy_until[executor] = begin + self._delay()
        self.call_at(begin / SECOND, self._work, future, end, func, args)
        return future

    def _delay(self) -> int:
        """Mostly a fraction of a millisecond; now and then the disk takes its time."""
        if self._chance.random() < self._slow:
            return self._chance.randrange(300_000)
        return self._chance.randrange(20, 800)

    def _work(
        self, future: asyncio.Future[Any], end: int, func: Callable[..., Any], args: Any
    ) -> None:
        life = LIFE.get()
        result, error = None, None
        try:
            if life is not None:
                life.strike(func)
            result = func(*args)
        except Exception as raised:  # noqa: BLE001 - it belongs to whoever waits for the result
            error = raised
        self.call_at(end / SECOND, _answer, future, result, error)

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is not None:
            life.tasks.add(task)
        return task

    # The world outside of the server

    def outside(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Call back later, whatever becomes of the process that asks for it."""
        self.call_later(seconds, callback, *args, context=self.world)

    def within(self, life: Mortal, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin something in a process of the server."""
        context = copy_context()
        context.run(LIFE.set, life)
        return self.create_task(work, context=context)


def _is_dead(handle: Any) -> bool:
    life = handle._context.get(LIFE)
    return life is not None and life.dead


def _answer(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
