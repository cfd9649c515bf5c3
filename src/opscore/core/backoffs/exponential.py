"""A delay that doubles."""

from __future__ import annotations

from opscore.core.types import Micros

MOST_DOUBLINGS = 40
"""Far beyond any cap; keeps the number small."""


def delay(initial: Micros, failures: int) -> Micros:
    """Twice the one before."""
    return initial << min(failures - 1, MOST_DOUBLINGS)
