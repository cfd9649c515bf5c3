"""Schedules on a whole engine: firing once, overlaps, pauses, restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from opscore.core.errors import Conflict, Invalid, NotFound
from opscore.core.types import SessionStatus
from opscore.engine.records import SessionSummary
from tests.engine.whole import HandClock, Whole, whole
from tests.stores import allow, refuse

NOW = {"a": {"value": 1}}
WAITS = {"a": {"signal": "go"}}
HOURLY: dict[str, Any] = {"every": "1h"}
HOUR = 3600.0


async def started(w: Whole) -> list[SessionSummary]:
    """Oldest first."""
    return list(reversed((await w.ops.list_sessions(workflow="t")).items))


async def hours(w: Whole, count: float, seen: int) -> list[SessionSummary]:
    """Let time pass, and wait until that many sessions have been started in all."""
    for _ in range(round(count * 4)):
        await w.pass_by(HOUR / 4, step=HOUR / 4)
        while any(s.next_times[0] <= w.clock.now() for s in await w.ops.list_schedules()):
            await w.calm()
    while len(found := await started(w)) < seen:
        await w.calm()
    return found


async def shown(w: Whole, **wanted: int) -> None:
    """Wait until the schedule stands so; a session is seen a moment before what follows it."""
    while True:
        record = await w.ops.get_schedule("t")
        if all(getattr(record, name) == value for name, value in wanted.items()):
            return
        await w.calm()


async def test_a_schedule_starts_its_workflow_at_its_times() -> None:
    async with whole() as w:
        await w.apply(NOW, schedule=HOURLY)
        assert not await hours(w, 0.75, 0)
        first, _ = await hours(w, 1.25, 2)
        record = await w.ops.get_session(first.session_id)
        assert msgspec.json.decode(record.context) == {"scheduledAt": "2023-11-14T23:13:20Z"}
        (found,) = await w.ops.list_schedules(count=2)
        assert (found.workflow, found.every, found.missed) == ("t", 3_600_000_000, 0)
        assert len(found.next_times) == 2 and found.next_times[0] > w.clock.now()


async def test_a_time_that_overlaps_is_skipped_queued_or_cancels() -> None:
    async with whole() as w:
        await w.apply(WAITS, schedule=HOURLY)
        assert len(await hours(w, 3, 1)) == 1
        await shown(w, missed=2)
    async with whole() as w:
        await w.apply(WAITS, schedule={**HOURLY, "overlap": "cancel"})
        first, second = await hours(w, 2, 2)
        assert (first.status, second.status) == (SessionStatus.CANCELLED, SessionStatus.PROCESSING)


async def test_queued_times_start_one_after_the_other(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/ops.db", HandClock()
    async with whole(url, clock=clock) as w:
        await w.apply(WAITS, schedule={**HOURLY, "overlap": "queue"})
        (first,) = await hours(w, 3, 1)
        await shown(w, queued=2)
        await w.ops.signal(first.session_id, "go")
        _, second = await hours(w, 0, 2)
    async with whole(url, clock=clock) as w:
        await w.ops.signal(second.session_id, "go")
        assert len(await hours(w, 0, 3)) == 3
        await shown(w, queued=0)


async def test_a_paused_schedule_starts_nothing_unless_it_is_triggered() -> None:
    async with whole() as w:
        await w.apply(NOW, schedule=HOURLY)
        assert (await w.ops.pause_schedule("t")).paused
        with pytest.raises(Conflict, match="is paused"):
            await w.ops.pause_schedule("t")
        assert not await hours(w, 2, 0)
        session = await w.ops.trigger_schedule("t")
        assert (await w.ended(session)).status is SessionStatus.COMPLETED
        await w.ops.resume_schedule("t")
        assert len(await hours(w, 1, 2)) == 2
        for verb in (w.ops.pause_schedule, w.ops.trigger_schedule, w.ops.get_schedule):
            with pytest.raises(NotFound, match="has no schedule"):
                await verb("other")


async def test_a_newer_version_replaces_the_schedule() -> None:
    async with whole() as w:
        await w.apply(NOW, schedule=HOURLY)
        await w.ops.create_workflow(
            {"name": "t", "version": "2", "steps": NOW, "schedule": {"every": "2h"}}
        )
        assert [s.version for s in await hours(w, 2, 1)] == ["2"]
        await w.ops.create_workflow({"name": "t", "version": "3", "steps": NOW})
        assert not await w.ops.list_schedules()
        assert len(await hours(w, 4, 1)) == 1


async def test_what_needs_an_input_cannot_be_scheduled() -> None:
    async with whole() as w:
        with pytest.raises(Invalid, match="does not fit workflow t"):
            await w.apply(NOW, schedule=HOURLY, input={"type": "object", "required": ["x"]})
        assert not await w.ops.list_schedules()


async def test_a_time_is_started_once_also_when_the_process_dies(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/ops.db", HandClock()
    async with whole(url, clock=clock) as w:
        await w.apply(NOW, schedule=HOURLY)
        # The commit that starts the session is refused; then the process is gone.
        refuse(tmp_path / "ops.db", "before insert on schedules")
        await w.pass_by(1.5 * HOUR, step=HOUR / 4)
        assert not await started(w)
    allow(tmp_path / "ops.db")
    for _ in range(2):
        async with whole(url, clock=clock) as w:
            assert len(await hours(w, 0, 1)) == 1


async def test_of_what_was_missed_the_newest_is_started_and_more_within_the_window(
    tmp_path: Path,
) -> None:
    for name, catch_up, wanted in (("a", "0s", 1), ("b", "3h", 3)):
        url, clock = f"sqlite:///{tmp_path}/{name}.db", HandClock()
        async with whole(url, clock=clock) as w:
            await w.apply(NOW, schedule={**HOURLY, "catchUp": catch_up})
        clock.move(5.5 * HOUR)
        async with whole(url, clock=clock) as w:
            assert len(await hours(w, 0, wanted)) == wanted
            await shown(w, missed=5 - wanted)


async def test_a_schedule_whose_start_is_refused_goes_on_with_the_next_time() -> None:
    async with whole() as w:
        await w.apply(NOW, schedule=HOURLY, onError={"workflow": "later"})
        await w.pass_by(1 * HOUR, step=HOUR / 4)
        await shown(w, missed=1)
        await w.apply(NOW, name="later")
        assert len(await hours(w, 1, 1)) == 1
