"""Workflows that start by themselves: the calls of `/schedule`."""

from __future__ import annotations

from opscore.sdk.calls import Calls, decode
from opscore.sdk.server import segment
from opscore.wire.schedule import SchedulePage, ScheduleView, Triggered


class Schedules:
    """`/schedule`; each has the name of its workflow."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def list(self, *, next: int = 1) -> list[ScheduleView]:
        """Every schedule, each with so many (1 to 100) of its next times."""
        return (await self._calls.get("/schedule", SchedulePage, {"next": str(next)})).schedules

    async def get(self, workflow: str, *, next: int = 10) -> ScheduleView:
        """One, with so many (1 to 100) of its next times; it has none while it is paused."""
        path = f"/schedule/{segment(workflow)}"
        return await self._calls.get(path, ScheduleView, {"next": str(next)})

    async def pause(self, workflow: str) -> ScheduleView:
        """Let it start nothing until it is resumed."""
        return decode(await self._change(workflow, "pause"), ScheduleView)

    async def resume(self, workflow: str) -> ScheduleView:
        """Let it go on with the next time from now."""
        return decode(await self._change(workflow, "resume"), ScheduleView)

    async def trigger(self, workflow: str) -> str:
        """Start a session now, whatever runs; gives its id."""
        return decode(await self._change(workflow, "trigger"), Triggered).session_id

    async def _change(self, workflow: str, verb: str) -> bytes:
        return await self._calls.change("POST", f"/schedule/{segment(workflow)}/{verb}")
