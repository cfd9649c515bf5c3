"""How the delay between attempts grows: one file each, and one entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opscore.core.backoffs import constant, exponential, linear
from opscore.core.types import Micros

Growth = Callable[[Micros, int], Micros]
"""(initial delay, failures so far, from 1) → the delay before the next attempt, without its cap."""

BACKOFFS: Mapping[str, Growth] = {
    "constant": constant.delay,
    "linear": linear.delay,
    "exponential": exponential.delay,
}
"""By the word that `retry.backoff` takes."""
