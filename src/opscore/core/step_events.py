"""The facts of a session's journal that concern its steps and their items."""

from __future__ import annotations

from typing import ClassVar

from opscore.core.record import record
from opscore.core.types import Json, Micros


@record
class StepExpanded:
    """A `foreach` gave these items."""

    TYPE: ClassVar[str] = "step.expanded"
    VERSION: ClassVar[int] = 1
    step: str
    items: tuple[Json, ...]


@record
class StepSkipped:
    """The step does not run: its `if` or `when` says so, or the session failed before it began."""

    TYPE: ClassVar[str] = "step.skipped"
    VERSION: ClassVar[int] = 1
    step: str
    reason: str


@record
class StepCompleted:
    """A computed step has its value; a `foreach` (output None) has all its items' outputs."""

    TYPE: ClassVar[str] = "step.completed"
    VERSION: ClassVar[int] = 1
    step: str
    output: Json | None = None


@record
class StepFailed:
    """The step cannot complete any more."""

    TYPE: ClassVar[str] = "step.failed"
    VERSION: ClassVar[int] = 1
    step: str
    error_class: str
    message: str


@record
class ItemFailed:
    """Under `failures: collect`: an item is given up, which is its outcome.

    `ends_step` when no other item is open.
    """

    TYPE: ClassVar[str] = "item.failed"
    VERSION: ClassVar[int] = 1
    step: str
    index: int
    error_class: str
    message: str
    ends_step: bool


@record
class ItemValued:
    """A fallback value stands in for work that no task was made for (`index` None: the step's)."""

    TYPE: ClassVar[str] = "item.valued"
    VERSION: ClassVar[int] = 1
    step: str
    index: int | None
    member: int
    output: Json
    ends_step: bool


@record
class StepCompensating:
    """The session will not complete, so what this step did is undone. The step stays completed."""

    TYPE: ClassVar[str] = "step.compensating"
    VERSION: ClassVar[int] = 1
    step: str


@record
class StepCompensated:
    """What the step did is undone."""

    TYPE: ClassVar[str] = "step.compensated"
    VERSION: ClassVar[int] = 1
    step: str


@record
class CompensationFailed:
    """What the step did could not be undone; the others are undone all the same."""

    TYPE: ClassVar[str] = "step.compensation_failed"
    VERSION: ClassVar[int] = 1
    step: str
    error_class: str
    message: str


@record
class StepBounded:
    """The step has until `due`, with all its attempts and fallbacks; then it fails."""

    TYPE: ClassVar[str] = "step.bounded"
    VERSION: ClassVar[int] = 1
    step: str
    due: Micros


@record
class StepIterated:
    """Of a `repeat`: an iteration gave its output, and another one follows."""

    TYPE: ClassVar[str] = "step.iterated"
    VERSION: ClassVar[int] = 1
    step: str
    iteration: int
