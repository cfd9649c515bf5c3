"""Total timeouts of steps, and fallbacks of steps that wait, over restarts of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opscore.core.types import SessionStatus
from opscore.engine.records import SessionRecord
from tests.engine.whole import HandClock, Whole, whole

BOUND = {"capability": "work", "timeout": {"total": "1m"}, "fallback": [{"value": 1}]}
SIGNAL = {"signal": "go", "timeout": "1m", "fallback": [{"capability": "work"}]}


async def timers(w: Whole) -> int:
    return (await w.engine.store.counts())["timers"]


def error_of(record: SessionRecord) -> str | None:
    return None if record.error is None else record.error.error_class


async def test_a_total_timeout_outlives_the_server_and_its_agent_is_told(tmp_path: Path) -> None:
    clock, url = HandClock(), f"sqlite:///{tmp_path / 'ops.db'}"
    async with whole(url, clock=clock) as w:
        await w.apply({"a": BOUND})
        worker = await w.worker()
        session = await w.ops.start("t")
        (attempt,) = await worker.got(1)
    clock.move(30)
    async with whole(url, clock=clock) as w:
        worker = await w.worker(holding=[(attempt.task_id, 1)])
        assert worker.connection is not None
        for _ in range(4):
            await w.pass_by(7, 7)
            await worker.connection.heartbeat([(attempt.task_id, 1)])
        assert (await w.ops.get_session(session)).status is SessionStatus.PROCESSING
        await w.pass_by(3)
        record = await w.ended(session)
        assert error_of(record) == "timeout"
        assert worker.cancelled == [(attempt.task_id, 1, 0.0)]
        assert await timers(w) == 0


async def test_no_timer_is_left_however_a_bounded_step_ends() -> None:
    async with whole() as w:
        children = {"workflow": "u", "foreach": [1, 2], "timeout": "1m"}
        await w.apply({"a": {"capability": "work"}}, name="u")
        await w.apply({"a": BOUND, "b": {**BOUND, "foreach": [1, 2], "retry": 1}, "c": children})
        worker = await w.worker(slots=20)
        ends: list[Any] = []
        for number in range(4):
            before = len(worker.given)
            session = await w.ops.start("t")
            await worker.got(before + 5)
            assert await timers(w) == 3
            if number == 1:
                await w.ops.cancel(session)
            for attempt in worker.given[before:]:
                fails = number == 2 and attempt.step == "b"
                await worker.settle(attempt, outcome="failed" if fails else "completed")
            if number == 3:
                await w.ops.pause(await w.ops.start("t"))
                await w.calm()
            ends.append((await w.ended(session)).status)
            assert await timers(w) == 0, "a paused session has none either"
        assert ends == ["completed", "cancelled", "completed", "completed"]


async def test_a_signal_that_does_not_come_has_its_fallback_run_by_an_agent(
    tmp_path: Path,
) -> None:
    clock, url = HandClock(), f"sqlite:///{tmp_path / 'ops.db'}"
    async with whole(url, clock=clock) as w:
        await w.apply({"a": SIGNAL}, output="${{ steps.a.output }}")
        session = await w.ops.start("t")
    clock.move(61)
    async with whole(url, clock=clock) as w:
        worker = await w.worker()
        await w.pass_by(2)
        (attempt,) = await worker.got(1)
        why = await w.engine.debugging.why(session)
        assert [each.reason.KIND for each in why.reasons] == ["running"]
        await worker.settle(attempt, 5)
        record = await w.ended(session)
        assert record.output is not None and bytes(record.output) == b"5"
        assert await timers(w) == 0
