"""Routes of schedules. A schedule has the name of its workflow."""

from __future__ import annotations

from opscore.api.answer import accepted, ok
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.channels.attempts import moment, moment_or_none
from opscore.core.types import SECOND
from opscore.engine.records import ScheduleRecord
from opscore.wire import schedule as wire

routes = Routes("schedule")


@routes.query("/schedule", "session:read", wire.LookAhead, {200: wire.SchedulePage})
async def list_schedules(call: Call, query: wire.LookAhead) -> Reply:
    """List every schedule with its next times."""
    found = await call.engine.orchestration.list_schedules(
        count=query.next, namespace=call.namespace
    )
    return ok(wire.SchedulePage(schedules=[schedule_view(one) for one in found]))


@routes.query("/schedule/{scheduleId}", "session:read", wire.LookAhead, {200: wire.ScheduleView})
async def get_schedule(call: Call, query: wire.LookAhead) -> Reply:
    """Read a workflow's schedule with its next times."""
    record = await call.engine.orchestration.get_schedule(
        call.part("scheduleId"), count=query.next, namespace=call.namespace
    )
    return ok(schedule_view(record))


@routes.plain("POST", "/schedule/{scheduleId}/pause", "operate", {200: wire.ScheduleView})
async def pause_schedule(call: Call) -> Reply:
    """Start nothing by itself until it is resumed."""
    record = await call.engine.orchestration.pause_schedule(
        call.part("scheduleId"), namespace=call.namespace, actor=call.actor
    )
    return ok(schedule_view(record))


@routes.plain("POST", "/schedule/{scheduleId}/resume", "operate", {200: wire.ScheduleView})
async def resume_schedule(call: Call) -> Reply:
    """Go on with the next time from now."""
    record = await call.engine.orchestration.resume_schedule(
        call.part("scheduleId"), namespace=call.namespace, actor=call.actor
    )
    return ok(schedule_view(record))


@routes.plain("POST", "/schedule/{scheduleId}/trigger", "operate", {202: wire.Triggered})
async def trigger_schedule(call: Call) -> Reply:
    """Start a session now, whatever runs."""
    session_id = await call.engine.orchestration.trigger_schedule(
        call.part("scheduleId"), namespace=call.namespace, actor=call.actor
    )
    return accepted(wire.Triggered(session_id=session_id))


def schedule_view(record: ScheduleRecord) -> wire.ScheduleView:
    """A schedule as the wire shows it."""
    return wire.ScheduleView(
        workflow=record.workflow,
        version=record.version,
        cron=record.cron,
        every_seconds=None if record.every is None else record.every / SECOND,
        timezone=record.timezone,
        overlap=record.overlap,
        catch_up_seconds=record.catch_up / SECOND,
        paused=record.paused,
        next_times=[] if record.paused else [moment(at) for at in record.next_times],
        last_session=record.last_session,
        last_at=moment_or_none(record.last_at),
        queued=record.queued,
        missed=record.missed,
    )
