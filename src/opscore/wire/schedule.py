"""Schedules: workflows that start by themselves."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from opscore.wire.base import Input, Output


class ScheduleView(Output):
    """A workflow's schedule; `everySeconds` or `cron`. `missed` counts times not started."""

    workflow: str
    version: str
    cron: str | None
    every_seconds: float | None
    timezone: str
    overlap: Literal["skip", "queue", "cancel"]
    catch_up_seconds: float
    paused: bool
    next_times: list[str]
    last_session: str | None
    last_at: str | None
    queued: int
    missed: int


class SchedulePage(Output):
    """`GET /schedule`, by workflow."""

    schedules: list[ScheduleView]


class LookAhead(Input):
    """How many of the next times are told."""

    next: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1


class Triggered(Output):
    """Answer of a trigger."""

    session_id: str
