"""What a kind of step is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opscore.core.expressions import ExpressionScope
from opscore.core.types import Json, Micros

if TYPE_CHECKING:
    from opscore.core.progress import Draft
    from opscore.core.reading import Reader
    from opscore.core.template import Step

ReadWork = Callable[["Reader", Mapping[str, object], str, ExpressionScope], object]
"""(reader, the step's node, the step's pointer, its scope) → the work record kept in the step.

Called for a step that has one of the kind's keys. What is refused is noted, and the record then
holds a harmless default.
"""

Start = Callable[["Draft", "Step"], None]
"""Emit what starting the step means; its condition held. May raise ExpressionFailed."""

Due = Callable[["Draft", "Step"], None]
"""Emit what it means that the time has come until which the step waited."""

StartItem = Callable[["Draft", "Step", Json, int], None]
"""The same for one item of a `foreach`, and its index."""


@dataclass(frozen=True, slots=True)
class Worst:
    """The most that one item of a step may cost; None is without a bound, and `why` says why."""

    attempts: int | None = 0
    time: Micros | None = 0
    why: tuple[str, ...] = ()


WorstOf = Callable[["Step"], Worst]


def no_time(_step: Step) -> Worst:
    """What is done within one decision."""
    return Worst()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of step. A new one is a file in this folder and an entry in its registry.

    `keys` are the keys of a template, one of which a step of this kind has; `modifiers` those of
    `kinds.MODIFIERS` that mean something beside them, and `why_not` says why the others do not.
    `start_item` None: under `foreach`, `start` sees to the items itself. `due` is of kinds whose
    steps wait. `bounded_by` is the only bound that its `timeout` may give, None for those of a task.
    `worst` is for plans.
    """

    name: str
    keys: tuple[str, ...]
    modifiers: frozenset[str]
    why_not: str
    read: ReadWork
    start: Start
    start_item: StartItem | None = None
    worst: WorstOf = no_time
    due: Due | None = None
    bounded_by: str | None = None
