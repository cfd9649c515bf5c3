"""The facts of a session's journal that concern its child sessions."""

from __future__ import annotations

from typing import ClassVar

from opscore.core.record import record
from opscore.core.types import Json, Micros


@record
class ChildCreated:
    """A step's work is a session of its own, which starts now, or when it is `due`.

    `failures`: how often children of the same work have failed before.
    """

    TYPE: ClassVar[str] = "child.created"
    VERSION: ClassVar[int] = 1
    child_id: str
    step: str
    index: int | None
    member: int
    workflow: str
    version: str
    input: Json
    failures: int = 0
    due: Micros | None = None


@record
class ChildReleased:
    """A child that was due at `was_due` starts now."""

    TYPE: ClassVar[str] = "child.released"
    VERSION: ClassVar[int] = 1
    child_id: str
    was_due: Micros


@record
class ChildAbandoned:
    """The child's outcome is not wanted any more: it is cancelled, and its end waited for."""

    TYPE: ClassVar[str] = "child.abandoned"
    VERSION: ClassVar[int] = 1
    child_id: str
    reason: str


@record
class ChildEnded:
    """The child ended: `output` set, it completed; else why not.

    `ends_step` when the step has no other work to wait for.
    """

    TYPE: ClassVar[str] = "child.ended"
    VERSION: ClassVar[int] = 1
    child_id: str
    output: Json | None
    error_class: str = ""
    message: str = ""
    ends_step: bool = False
    was_due: Micros | None = None
