"""How much one key may ask at once: requests per second, and connections that stay open.

Counted in this process alone: with several replicas the shares add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager

from opscore.core.errors import Refusal
from opscore.core.types import SECOND, Micros

BURST_SECONDS = 2
"""A key that was quiet may ask as much at once as it may in this time."""
KEYS_REMEMBERED = 10_000


class TooMany(Refusal):
    """More than the key's share; it may come again."""

    code, status = "too_many_requests", 429


class Shares:
    """One bucket of tokens for each key, and how many connections each has open.

    The bucket is kept as one number, the time at which it will be full again: the generic cell rate
    algorithm (ITU-T I.371), which gives the same answers as tokens that drip in.
    """

    def __init__(self, now: Callable[[], Micros], requests: int, connections: int) -> None:
        self._now = now
        self._each: Micros = SECOND // requests
        self._burst: Micros = BURST_SECONDS * SECOND
        self._requests = requests
        self._connections = connections
        self._full_at: dict[str, Micros] = {}
        self._open: Counter[str] = Counter()

    def take(self, key_id: str) -> None:
        """One request. Raises `TooMany` with the time after which there is room again."""
        now = self._now()
        full_at = max(self._full_at.get(key_id, 0), now) + self._each
        over = full_at - now - self._burst
        if over > 0:
            raise TooMany(
                f"This key has its share of requests: {self._requests} a second.",
                retry_after=over / SECOND,
            )
        if len(self._full_at) >= KEYS_REMEMBERED:
            self._forget(now)
        self._full_at[key_id] = full_at

    def _forget(self, now: Micros) -> None:
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}

    def check_room(self, key_id: str | None) -> None:
        """Raises `TooMany` when the key has no connection left."""
        if key_id is not None and self._open.get(key_id, 0) >= self._connections:
            raise TooMany(
                f"This key has {self._connections} connections open, which is its share.",
                code="too_many_connections",
                retry_after=1,
            )

    @contextmanager
    def connection(self, key_id: str | None) -> Generator[None, None, None]:
        """A connection that stays open meanwhile. Raises `TooMany`."""
        if key_id is None:
            yield
            return
        self.check_room(key_id)
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]
