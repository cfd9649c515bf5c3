"""An event loop whose time stands still, and that says when there is nothing left to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from opscore.core.types import SECOND, Micros

T = TypeVar("T")
INSTANT = 0.5 / SECOND
"""Time goes by in microseconds: what is due within less than this many seconds is due now."""


class _Watching(selectors.SelectSelector):
    """Instead of waiting for something to happen, tells that nothing will."""

    def __init__(self, nothing_to_do: Callable[[], bool]) -> None:
        super().__init__()
        self._nothing_to_do = nothing_to_do

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        due_now = timeout is not None and timeout < INSTANT
        if due_now or self._nothing_to_do():
            timeout = 0
        return super().select(timeout)


class RehearsalLoop(asyncio.SelectorEventLoop):
    """Work for threads is done at once, so that a rehearsal always takes the same course.

    `elapsed` is the loop's own time in microseconds; only `jump` moves it.
    """

    def __init__(self) -> None:
        self.elapsed: Micros = 0
        self._waiting: asyncio.Future[None] | None = None
        super().__init__(_Watching(self._nothing_to_do))
        self._clock_resolution = INSTANT

    def time(self) -> float:
        """Seconds; what timers of this loop go by."""
        return self.elapsed / SECOND

    def jump(self, elapsed: Micros) -> None:
        """Let time be this much; what is due by then runs next."""
        self.elapsed = max(self.elapsed, elapsed)

    async def idle(self) -> None:
        """Wait until nothing can happen any more before time moves."""
        self._waiting = self.create_future()
        await self._waiting

    def _nothing_to_do(self) -> bool:
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            return False
        waiting.set_result(None)
        return True

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do it now, on this thread."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the result
            future.set_exception(error)
        return future


class RehearsalClock:
    """The engine's clock: begins at a fixed time and goes with the loop."""

    def __init__(self, loop: RehearsalLoop, start: Micros) -> None:
        self._loop = loop
        self._start = start

    def now(self) -> Micros:
        """Microseconds since the epoch."""
        return self._start + self._loop.elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until `event` is set (True) or the time is up (False)."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True
