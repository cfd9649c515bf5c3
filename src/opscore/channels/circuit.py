"""Whether an agent that failed again and again is called: closed, open, half-open.

The pattern is Michael Nygard's circuit breaker ("Release It!", 2007). Time is passed in.
"""

from __future__ import annotations

from opscore.core.types import SECOND, Micros

FAILURES = 5
FIRST_PAUSE: Micros = 5 * SECOND
LONGEST_PAUSE: Micros = 60 * SECOND


class Circuit:
    """Counts what went wrong with one agent, not with its tasks."""

    def __init__(self) -> None:
        self._failures = 0
        self._tripped = False
        self._pause = FIRST_PAUSE
        self._until: Micros = 0

    def room(self, slots: int, accepted: int, now: Micros) -> int:
        """How many of `slots` may be taken. Half-open: one call beside what it has accepted."""
        if now < self._until:
            return 0
        return min(slots, accepted + 1) if self._tripped else slots

    def good(self) -> None:
        """The agent answered as it should."""
        self._failures = 0
        self._tripped = False
        self._pause = FIRST_PAUSE

    def bad(self, now: Micros) -> None:
        """It did not. Calls that were under way when the circuit opened are not counted again."""
        if now < self._until:
            return
        self._failures += 1
        if self._tripped or self._failures >= FAILURES:
            self._tripped = True
            self._until = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def hold(self, until: Micros) -> None:
        """The agent asked not to be called before."""
        self._until = max(self._until, until)
