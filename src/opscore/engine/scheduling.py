"""The verbs of schedules."""

from __future__ import annotations

from collections.abc import Callable

from opscore.core.errors import NotFound
from opscore.core.schedule import preview
from opscore.core.template import Template
from opscore.core.types import DEFAULT_NAMESPACE, SYSTEM, Actor, Micros
from opscore.engine.audit import ordered
from opscore.engine.records import ScheduleRecord
from opscore.engine.schedules import (
    Fire,
    Hold,
    Key,
    StartEvent,
    Trigger,
    first_row,
    replace_schedule,
    times_of,
)
from opscore.engine.tools import Tools
from opscore.engine.unit import Unit
from opscore.store.rows import ScheduleRow


class Scheduling:
    """The part of `Orchestration` that concerns schedules. A schedule has its workflow's name."""

    def __init__(self, tools: Tools, event: StartEvent) -> None:
        self._t = tools
        self._start_event = event

    def fire(self, key: Key) -> Fire:
        """The command that looks at a schedule whose time may have come."""
        return Fire(key, self._t.schedules, lambda: self._t.ids.new("ses_"), self._start_event)

    def _schedule_of(
        self, template: Template, namespace: str, now: Micros
    ) -> Callable[[Unit], None]:
        row, key = first_row(template, namespace, now), (namespace, template.name)
        return lambda unit: replace_schedule(unit, self._t.schedules, key, row)

    async def list_schedules(
        self, *, count: int = 1, namespace: str = DEFAULT_NAMESPACE
    ) -> list[ScheduleRecord]:
        """All of them by workflow, each with its next `count` times."""
        rows = [row for row in self._t.schedules.rows.values() if row.namespace == namespace]
        return [self._record(row, count) for row in sorted(rows)]

    async def get_schedule(
        self, workflow: str, *, count: int = 10, namespace: str = DEFAULT_NAMESPACE
    ) -> ScheduleRecord:
        """One, with its next `count` times. Raises NotFound."""
        row = self._t.schedules.rows.get((namespace, workflow))
        if row is None:
            raise NotFound(f"workflow {workflow} has no schedule")
        return self._record(row, count)

    async def pause_schedule(
        self, workflow: str, *, namespace: str = DEFAULT_NAMESPACE, actor: Actor = SYSTEM
    ) -> ScheduleRecord:
        """Start nothing by itself until it is resumed. Raises NotFound, Conflict."""
        return await self._hold(workflow, namespace, actor, paused=True)

    async def resume_schedule(
        self, workflow: str, *, namespace: str = DEFAULT_NAMESPACE, actor: Actor = SYSTEM
    ) -> ScheduleRecord:
        """Go on with the next time from now; what passed in between is not caught up with."""
        return await self._hold(workflow, namespace, actor, paused=False)

    async def trigger_schedule(
        self, workflow: str, *, namespace: str = DEFAULT_NAMESPACE, actor: Actor = SYSTEM
    ) -> str:
        """Start a session now, whatever runs; its id. Raises NotFound."""
        command = Trigger(
            (namespace, workflow),
            self._t.schedules,
            lambda: self._t.ids.new("ses_"),
            self._start_event,
        )
        note = ordered(actor, "session.started", namespace, _same, schedule=workflow)
        return await self._t.writer.submit(command, note)

    async def _hold(
        self, workflow: str, namespace: str, actor: Actor, *, paused: bool
    ) -> ScheduleRecord:
        action = "schedule.paused" if paused else "schedule.resumed"
        note = ordered(actor, action, namespace, workflow)
        await self._t.writer.submit(Hold((namespace, workflow), self._t.schedules, paused), note)
        return await self.get_schedule(workflow, namespace=namespace)

    def _record(self, row: ScheduleRow, count: int) -> ScheduleRecord:
        template = self._t.templates.parsed(row.namespace, row.workflow, row.version)
        schedule = template.schedule
        assert schedule is not None
        # One that is due and not yet started is still the next.
        after = self._t.now() if row.next_at is None else row.next_at - 1
        return ScheduleRecord(
            workflow=row.workflow,
            version=row.version,
            cron=schedule.cron,
            every=schedule.every,
            timezone=schedule.timezone,
            overlap=schedule.overlap,
            catch_up=schedule.catch_up,
            paused=bool(row.paused),
            next_times=tuple(preview(schedule, row.origin, after, count)),
            last_session=row.last_session,
            last_at=row.last_at,
            queued=len(times_of(row)),
            missed=row.missed,
        )


def _same(session_id: str) -> str:
    """The answer of `Trigger` is the session it started."""
    return session_id
