"""Compensation on a whole engine: what agents are given, and a crash half-way."""

from __future__ import annotations

from pathlib import Path

import msgspec

from opscore.core.types import SessionStatus, StepStatus
from tests.engine.whole import Whole, whole

SAGA = {
    name: {
        "capability": "work",
        "retry": 1,
        **({"needs": need} if need else {}),
        "compensate": {"capability": "undo", "with": {"id": f"${{{{ steps.{name}.output }}}}"}},
    }
    for name, need in (("hotel", None), ("flight", "hotel"), ("car", "flight"))
}


async def _until_car(w: Whole) -> str:
    await w.apply(SAGA)
    worker = await w.worker()
    session = await w.ops.start("t")
    for at, output in enumerate(("h1", "f1")):
        await worker.settle((await worker.got(at + 1))[at], output)
    await worker.settle((await worker.got(3))[2], outcome="failed")
    return session


async def test_what_completed_is_undone_also_when_the_process_dies_half_way(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    async with whole(url) as w:
        session = await _until_car(w)
        undoer = await w.worker(("undo",), name="undoer", instance="i2")
        (first,) = await undoer.got(1)
        assert (first.step, msgspec.json.decode(first.input)) == ("flight", {"id": "f1"})
    async with whole(url) as w:
        undoer = await w.worker(("undo",), name="undoer", instance="i2", holding=None)
        assert await undoer.settle(first) == "recorded"
        (second,) = await undoer.got(1)
        assert (second.step, msgspec.json.decode(second.input)) == ("hotel", {"id": "h1"})
        task = await w.ops.get_task(second.task_id)
        assert task.member == -1
        await undoer.settle(second)
        ended = await w.ended(session)
        assert ended.status is SessionStatus.ERROR
        assert [ended.steps[n].status for n in ("hotel", "flight", "car")] == [
            *(StepStatus.COMPENSATED, StepStatus.COMPENSATED, StepStatus.FAILED)
        ]


async def test_a_cancelled_session_is_undone_before_it_is_cancelled() -> None:
    async with whole() as w:
        await w.apply(SAGA)
        worker = await w.worker()
        undoer = await w.worker(("undo",), name="undoer", instance="i2")
        session = await w.ops.start("t")
        await worker.settle((await worker.got(1))[0], "h1")
        await worker.got(2)
        await w.ops.cancel(session)
        await w.pass_by(11)
        (attempt,) = await undoer.got(1)
        record = await w.ops.get_session(session)
        assert record.cancelling and record.status is SessionStatus.PROCESSING
        await undoer.settle(attempt)
        assert (await w.ended(session)).status is SessionStatus.CANCELLED
