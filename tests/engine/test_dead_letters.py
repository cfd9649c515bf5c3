"""Dead letters: what is one, and retrying, falling back and cancelling by filter."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core.errors import Invalid
from opscore.core.types import SessionStatus
from opscore.engine.bulk import SessionFilter, TaskFilter
from tests.engine.whole import Whole, whole

ONE = {"a": {"capability": "work", "retry": 1}}
ANY = TaskFilter()


async def failed(w: Whole, times: int = 1) -> list[str]:
    """Sessions that ended in error, by a worker that fails whatever it is given."""
    worker = await w.worker(slots=100)
    done = len(worker.given)
    sessions = [await w.ops.start("t") for _ in range(times)]
    for attempt in (await worker.got(done + times))[done:]:
        await worker.settle(attempt, outcome="failed")
    for session in sessions:
        await w.ended(session)
    return sessions


async def dead(w: Whole, **filters: Any) -> list[str]:
    return [t.task_id for t in (await w.ops.list_tasks(dead=True, **filters)).items]


async def test_dead_is_what_a_retry_would_run_again() -> None:
    async with whole() as w:
        fine = {"capability": "work", "retry": 1, "fallback": [{"value": 1}]}
        allowed = {"capability": "work", "retry": 1, "continueOnError": True}
        last = {"capability": "work", "retry": 1, "needs": ["fine", "allowed"]}
        await w.apply({"fine": fine, "allowed": allowed, "last": last})
        worker = await w.worker(slots=9)
        session = await w.ops.start("t")
        for at in range(3):
            await worker.settle((await worker.got(at + 1))[at], outcome="failed")
        await w.ended(session)
        assert await dead(w) == [worker.given[2].task_id]
        await w.ops.retry(session)
        assert await dead(w) == []
        await worker.settle((await worker.got(4))[3], outcome="failed")
        await w.ended(session)
        assert await dead(w) == [worker.given[3].task_id]
        await w.ops.delete_session(session)
        assert await dead(w) == []


async def test_dead_letters_are_retried_by_filter_and_a_dry_run_changes_nothing() -> None:
    async with whole() as w:
        await w.apply(ONE)
        sessions = await failed(w, 3)
        assert len(await dead(w, error_class="error")) == 3
        assert await dead(w, error_class="other") == await dead(w, workflow="none") == []
        dry = await w.ops.retry_tasks(TaskFilter(capability="work"), dry_run=True)
        assert (dry.dry_run, len(dry.ids), dry.refused, dry.more) == (True, 3, (), False)
        assert len(await dead(w)) == 3
        one = await w.ops.retry_tasks(TaskFilter(session=sessions[0]))
        assert len(one.ids) == 1
        assert len(await dead(w)) == 2
        assert not (await w.ops.retry_tasks(TaskFilter(agent="nobody"))).ids
        assert len((await w.ops.retry_tasks(ANY)).ids) == 2
        assert await dead(w) == []
        with pytest.raises(Invalid):
            await w.ops.retry_tasks(ANY, retry_count=0)


async def test_several_dead_letters_of_one_session_are_retried_together() -> None:
    async with whole() as w:
        await w.apply({"a": ONE["a"], "b": ONE["a"]})
        worker = await w.worker(slots=2)
        session = await w.ops.start("t")
        for attempt in list(await worker.got(2)):
            await worker.settle(attempt, outcome="failed")
        await w.ended(session)
        assert len(await dead(w)) == 2
        record = await w.ops.retry_tasks(ANY, retry_count=2)
        assert (len(record.ids), list(record.refused)) == (2, [])
        for attempt in list((await worker.got(4))[2:]):
            await worker.settle(attempt, outcome="failed")
            assert (await w.ops.get_task(attempt.task_id)).status == "scheduled"


async def test_a_child_s_dead_letter_is_refused_with_its_parent_s_name() -> None:
    async with whole() as w:
        await w.apply(ONE, name="child")
        await w.apply({"a": {"workflow": "child"}})
        (parent,) = await failed(w)
        record = await w.ops.retry_tasks(ANY)
        ((_, why),) = record.refused
        assert parent in why


async def test_a_compensation_that_failed_is_a_dead_letter() -> None:
    async with whole() as w:
        undo = {"compensate": {"capability": "work", "retry": 1}}
        await w.apply({"a": {**ONE["a"], **undo}, "b": {"needs": "a", "value": "${{ input.no }}"}})
        worker = await w.worker()
        session = await w.ops.start("t")
        await worker.settle((await worker.got(1))[0])
        await worker.settle((await worker.got(2))[1], outcome="failed")
        await w.ended(session)
        assert await dead(w) == [worker.given[1].task_id]
        await w.ops.retry_tasks(ANY)
        await worker.settle((await worker.got(3))[2])
        assert (await w.ended(session)).steps["a"].status == "compensated"
        assert await dead(w) == []


async def test_waiting_tasks_go_to_their_fallbacks_by_filter() -> None:
    async with whole() as w:
        await w.apply({"a": {**ONE["a"], "fallback": [{"value": "instead"}]}})
        sessions = [await w.ops.start("t") for _ in range(2)]
        which = TaskFilter(status="available", capability="work")
        assert len((await w.ops.fallback_tasks(which, dry_run=True)).ids) == 2
        record = await w.ops.fallback_tasks(which)
        assert (len(record.ids), list(record.refused)) == (2, [])
        for session in sessions:
            assert (await w.ended(session)).steps["a"].status == "completed"
        assert not (await w.ops.fallback_tasks(ANY)).ids


async def test_sessions_are_cancelled_by_filter() -> None:
    async with whole() as w:
        await w.apply(ONE)
        await w.apply(ONE, name="other")
        with pytest.raises(Invalid, match="at least one filter"):
            await w.ops.cancel_sessions(SessionFilter())
        kept = await w.ops.start("other")
        gone = [await w.ops.start("t", labels={"k": "v"}) for _ in range(2)]
        await w.ops.pause(gone[0])
        which = SessionFilter(workflow="t", label="k=v")
        assert sorted((await w.ops.cancel_sessions(which, dry_run=True)).ids) == sorted(gone)
        assert not (await w.ops.cancel_sessions(SessionFilter(status="processing"))).ids
        await w.ops.cancel_sessions(which, "no more")
        for session in gone:
            assert (await w.ended(session)).status is SessionStatus.CANCELLED
        assert (await w.ops.get_session(kept)).status is SessionStatus.WAITING
