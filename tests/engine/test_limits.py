"""Limits of concurrency and rate in a whole engine: never exceeded, never leaked, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from opscore.core.types import ErrorInfo, SessionStatus
from tests.engine.whole import Whole, Worker, until, whole
from tests.stores import allow, refuse


def limited(key: str = "k", limit: int = 2, **more: Any) -> dict[str, Any]:
    return {"capability": "work", "concurrency": {"key": key, "limit": limit, **more}}


def rated(limit: int, per: str) -> dict[str, Any]:
    return {"capability": "work", "rate": {"key": "r", "limit": limit, "per": per}}


async def settled(w: Whole, worker: Worker, number: int, **more: Any) -> None:
    await worker.settle(worker.given[number], **more)
    await w.calm()


async def test_no_more_than_the_limit_run_and_a_release_lets_the_next_through_by_order() -> None:
    async with whole() as w:
        await w.apply({"a": limited()})
        worker = await w.worker(slots=10)
        started = [await w.ops.start("t") for _ in range(3)]
        urgent = await w.ops.start("t", priority=90)
        await w.calm()
        assert [a.session_id for a in worker.given] == started[:2]
        await settled(w, worker, 0)
        assert worker.given[2].session_id == urgent
        for number in (1, 2):
            await settled(w, worker, number)
        assert [a.session_id for a in worker.given[3:]] == [started[2]]
        await settled(w, worker, 3)
        assert await w.engine.debugging.limits() == []


async def test_every_way_in_which_an_attempt_ends_gives_its_slot_back() -> None:
    async with whole() as w:
        await w.apply({"a": {**limited(limit=1), "retry": 1}})
        worker = await w.worker(slots=10)
        sessions = [await w.ops.start("t") for _ in range(6)]
        await w.calm()
        await settled(w, worker, 0, outcome="failed", error=ErrorInfo("boom", ""))
        await settled(w, worker, 1, outcome="released")
        assert worker.given[2].session_id == sessions[1], "a released task keeps its place"
        await w.ops.cancel_task(worker.given[2].task_id, "enough")
        await w.calm()
        assert worker.given[3].session_id == sessions[2]
        await w.pass_by(17)
        assert worker.given[4].session_id == sessions[3], "the third lost its lease"
        await w.ops.cancel(sessions[3])
        await w.pass_by(11)
        assert worker.given[5].session_id == sessions[4], "and the fourth was fenced"
        await settled(w, worker, 5)
        await settled(w, worker, 6)
        assert (await w.ended(sessions[5])).status is SessionStatus.COMPLETED
        assert await w.engine.debugging.limits() == []


async def test_a_key_may_be_computed_and_is_shared_by_capabilities_and_templates() -> None:
    async with whole() as w:
        step = limited("${{ item.who }}", 1)
        await w.apply({"a": {**step, "foreach": "${{ input.all }}"}})
        await w.apply({"b": {**limited("ann", 1), "capability": "other"}}, name="u")
        worker, other = await w.worker(slots=9), await w.worker(["other"], name="o", instance="o")
        items = [{"who": who} for who in ("ann", "bob", "ann", "bob", "cleo")]
        await w.ops.start("t", input=msgspec.json.encode({"all": items}))
        await w.ops.start("u")
        await w.calm()
        assert len(worker.given) == 3 and not other.given
        report = {s.key: (s.in_use, s.limit, s.ahead) for s in await w.engine.debugging.limits()}
        assert report == {"ann": (1, 1, 2), "bob": (1, 1, 1), "cleo": (1, 1, 0)}


async def test_somebody_else_of_the_key_goes_first_when_the_first_has_no_agent() -> None:
    async with whole() as w:
        await w.apply({"a": {**limited(limit=1), "capability": "nobody"}})
        await w.apply({"a": limited(limit=1)}, name="u")
        worker = await w.worker(slots=9)
        await w.ops.start("t")
        session = await w.ops.start("u")
        (attempt,) = await worker.got(1)
        assert attempt.session_id == session


async def test_a_rate_lets_a_burst_through_and_then_one_at_a_time() -> None:
    async with whole() as w:
        await w.apply({"a": {**rated(2, "10s"), "foreach": [1, 2, 3, 4, 5]}})
        worker = await w.worker(slots=9)
        session = await w.ops.start("t")
        await w.calm()
        seen = [len(worker.given)]
        for _ in range(4):
            await w.pass_by(2.5)
            seen.append(len(worker.given))
        assert seen == [2, 2, 3, 3, 4]
        (reason, _) = (await w.engine.debugging.why(session)).reasons[::-1]
        assert reason.message.startswith("the rate r (2 per 10s) is used up; the next may begin at")
        await w.pass_by(5)
        assert len(worker.given) == 5


async def test_a_task_that_does_not_wait_is_rejected_and_its_fallback_follows() -> None:
    async with whole() as w:
        step = {**limited(limit=1, onFull="reject"), "fallback": [{"value": "busy"}]}
        await w.apply({"a": step}, output="${{ steps.a.output }}")
        worker = await w.worker(slots=9)
        await w.ops.start("t")
        await worker.got(1)
        record = await w.ended(await w.ops.start("t"))
        assert record.output is not None and bytes(record.output) == b'"busy"'
        (task,) = (await w.ops.list_tasks(session=record.session_id)).items
        assert task.error is not None
        assert task.error.error_class == "rejected"
        assert task.error.message.startswith("1 of 1 are running under the limit k (tsk_")
        assert len(worker.given) == 1


async def test_the_oldest_gives_way() -> None:
    async with whole() as w:
        await w.apply({"a": limited(limit=1, onFull="cancelOldest")})
        worker = await w.worker(slots=9)
        old = await w.ops.start("t")
        await worker.got(1)
        new = await w.ops.start("t")
        record = await w.ended(old)
        assert record.error is not None
        assert (record.status, record.error.error_class) == (SessionStatus.ERROR, "cancelled")
        assert worker.cancelled[0][0] == worker.given[0].task_id
        await until(lambda: len(worker.given) == 2)
        assert worker.given[1].session_id == new


async def test_a_task_that_waits_too_long_says_for_which_limit() -> None:
    async with whole() as w:
        await w.apply({"a": {**limited(limit=1), "timeout": {"queue": "5s"}}})
        worker = await w.worker(slots=9)
        await w.ops.start("t")
        (first,) = await worker.got(1)
        late = await w.ops.start("t")
        await w.calm()
        (reason,) = (await w.engine.debugging.why(late)).reasons
        assert reason.message == (
            f"1 of 1 are running under the limit k ({first.task_id}); number 1 in the queue"
        )
        await w.pass_by(6)
        record = await w.ended(late)
        assert record.error is not None
        assert record.error.error_class == "timeout"
        assert "1 of 1 are running under the limit k" in record.error.message


async def test_a_poll_is_let_through_too() -> None:
    async with whole() as w:
        await w.apply({"a": limited(limit=1)})
        worker = await w.worker(slots=0)
        for _ in range(2):
            await w.ops.start("t")
        given = await w.ops.claim(worker.agent_id, instance_id="p", max=5)
        assert len(given) == 1
        assert await w.ops.claim(worker.agent_id, instance_id="q", max=5) == []
        await worker.settle(given[0])
        assert len(await w.ops.claim(worker.agent_id, instance_id="q", max=5)) == 1


async def test_a_pause_takes_what_waits_out_and_brings_it_back() -> None:
    async with whole() as w:
        await w.apply({"a": limited(limit=1)})
        worker = await w.worker(slots=9)
        await w.ops.start("t")
        held, last = await w.ops.start("t"), await w.ops.start("t")
        await worker.got(1)
        await w.ops.pause(held)
        await settled(w, worker, 0)
        assert worker.given[1].session_id == last
        await w.ops.resume(held)
        await settled(w, worker, 1)
        assert worker.given[2].session_id == held


async def test_slots_and_waiting_tasks_outlive_the_server(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    async with whole(url) as w:
        await w.apply({"a": {**limited(limit=1), "rate": {"key": "r", "limit": 9, "per": "1s"}}})
        worker = await w.worker(slots=9)
        for _ in range(3):
            await w.ops.start("t")
        (attempt,) = await worker.got(1)
        before = await w.engine.debugging.limits()
    async with whole(url, clock=w.clock) as w:
        assert [s.ahead for s in before] == [2, 2]
        assert await w.engine.debugging.limits() == before
        again = await w.worker(slots=9, holding=[(attempt.task_id, attempt.attempt)])
        await w.calm()
        assert again.given == []
        await again.settle(attempt)
        assert len(await again.got(1)) == 1


async def test_a_commit_that_failed_took_no_slot(tmp_path: Path) -> None:
    async with whole(f"sqlite:///{tmp_path}/ops.db") as w:
        await w.apply({"a": limited(limit=1)})
        await w.ops.start("t")
        refuse(tmp_path / "ops.db", "before insert on leases")
        worker = await w.worker(slots=9)
        await w.calm()
        assert worker.given == []
        allow(tmp_path / "ops.db")
        await w.pass_by(2)
        (attempt,) = await worker.got(1)
        await w.ops.start("t")
        await w.calm()
        assert len(worker.given) == 1
        await worker.settle(attempt)
        assert len(await worker.got(2)) == 2
