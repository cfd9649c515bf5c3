"""Time-ordered ids: a prefix, 48 bits of milliseconds, 80 bits of chance, in Crockford's base 32.

The form is that of ULID (github.com/ulid/spec); within a millisecond ids rise by a counter, so
that those made by one process sort in the order in which they were made.
"""

from __future__ import annotations

from random import Random

from opscore.engine.clock import Clock

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]


class Ids:
    """Makes ids; `random` is injected so that a simulation repeats."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._last = 0

    def new(self, prefix: str) -> str:
        """A fresh id such as `ses_01k0…`."""
        stamp = (self._clock.now() // 1000) << 80
        self._last = max(self._last + 1, stamp | self._random.getrandbits(79))
        number = self._last
        return prefix + "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])

    def hex(self, bits: int) -> str:
        """Random hexadecimal digits, as trace ids are written."""
        return f"{self._random.getrandbits(bits) | 1:0{bits // 4}x}"
