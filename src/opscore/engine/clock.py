"""The only reader of time, and the only giver of sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from opscore.core.types import Micros


class Clock(Protocol):
    """Time as the engine sees it; a simulation brings its own."""

    def now(self) -> Micros:
        """Microseconds since the epoch; never goes back while the process lives."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until `event` is set (True) or the time is up (False)."""
        ...


class SystemClock:
    """Start wall time plus monotonic time: a step of the wall clock moves no deadline."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def now(self) -> Micros:
        """Microseconds since the epoch."""
        return (self._offset + time.monotonic_ns()) // 1000

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until `event` is set (True) or the time is up (False)."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True


async def every(clock: Clock, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` again and again with a pause between; it must see to its own errors."""
    while True:
        await clock.sleep(seconds)
        await work()
