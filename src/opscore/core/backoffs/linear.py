"""A delay that grows by the initial one."""

from __future__ import annotations

from opscore.core.types import Micros


def delay(initial: Micros, failures: int) -> Micros:
    """As many initial delays as there were failures."""
    return initial * failures
