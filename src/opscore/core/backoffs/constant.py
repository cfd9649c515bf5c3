"""The same delay every time."""

from __future__ import annotations

from opscore.core.types import Micros


def delay(initial: Micros, failures: int) -> Micros:
    """The initial delay."""
    return initial
