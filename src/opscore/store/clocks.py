"""The database's clock, as a server knows it without asking for every reading.

All servers of a store judge deadlines by one clock. Each keeps the difference between that clock
and its own monotonic one. A question that was sent at `sent` and answered at `heard` with the time
`told` shows that the difference lies between `told - heard` and `told - sent`: what is believed is
moved into these bounds and no further, so the answers that came back fastest decide.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from opscore.core.types import SECOND, Micros


def monotonic() -> Micros:
    """Microseconds by this machine's monotonic clock."""
    return time.monotonic_ns() // 1000


def process_time() -> Callable[[], Micros]:
    """A clock that begins at the wall clock's time and goes on by the monotonic one."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: (offset + time.monotonic_ns()) // 1000


async def pause(seconds: float) -> None:
    """Wait: for what goes on by itself beside the engine."""
    await asyncio.sleep(seconds)


class DatabaseClock:
    """Microseconds since the epoch by the database's clock."""

    def __init__(self) -> None:
        self._low: Micros | None = None
        self._offset: Micros = 0
        self._last: Micros = 0

    def hear(self, sent: Micros, told: Micros, heard: Micros) -> None:
        """Take in an answer; `sent` and `heard` by `monotonic`."""
        low, high = told - heard, told - sent
        if self._low is None:
            self._offset = (low + high) // 2
        else:
            self._offset = min(max(self._offset, low), high)
        self._low = low

    def now(self) -> Micros:
        """The time now. Goes back only when the database's clock was set back by a second."""
        now = monotonic() + self._offset
        if now < self._last and self._last - now < SECOND:
            return self._last
        self._last = now
        return now
