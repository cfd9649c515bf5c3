"""Limits of templates in a whole engine: how many sessions at once, and how many in a while."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opscore.core.errors import Unavailable
from opscore.core.types import SessionStatus
from tests.engine.whole import HandClock, Whole, Worker, until, whole
from tests.stores import allow, refuse

STEPS = {"a": {"capability": "work", "retry": 1}}


def one(**more: Any) -> dict[str, Any]:
    return {"concurrency": {"key": "k", "limit": 1, **more}}


async def begun(w: Whole, worker: Worker) -> list[str]:
    """The sessions of which something was begun, in order."""
    await w.calm()
    return [attempt.session_id for attempt in worker.given]


async def end(w: Whole, worker: Worker, number: int, **more: Any) -> None:
    await worker.settle(worker.given[number], **more)
    await w.calm()


async def why(w: Whole, session: str) -> str:
    (reason,) = (await w.engine.debugging.why(session)).reasons
    return reason.message


async def limits(w: Whole) -> list[tuple[str, str, int, int]]:
    found = await w.engine.debugging.limits()
    return [(each.kind, each.key, each.in_use, each.ahead) for each in found]


async def test_so_many_sessions_at_once_and_the_next_by_priority() -> None:
    async with whole() as w:
        await w.apply(STEPS, concurrency={"key": "k", "limit": 2})
        worker = await w.worker(slots=9)
        started = [await w.ops.start("t") for _ in range(4)]
        urgent = await w.ops.start("t", priority=90)
        assert await begun(w, worker) == started[:2]
        record = await w.ops.get_session(started[2])
        assert (record.status, record.waiting_for) == (SessionStatus.WAITING, "limit")
        first = f"2 of 2 sessions are under way under the limit k ({started[0]}, {started[1]})"
        assert await why(w, started[2]) == f"{first}; number 2 in the queue"
        assert await limits(w) == [("sessions", "k", 2, 3)]
        await w.ops.patch_session(started[3], priority=95)
        await end(w, worker, 0)
        assert await begun(w, worker) == [*started[:2], started[3]]
        await end(w, worker, 1, outcome="failed")
        assert (await begun(w, worker))[3] == urgent
        await w.ops.cancel(urgent)
        await w.pass_by(11)
        assert (await begun(w, worker))[4] == started[2]
        for number in (2, 4):
            await end(w, worker, number)
        assert await limits(w) == []


async def test_a_slot_is_held_over_all_steps_waits_and_pauses() -> None:
    async with whole() as w:
        steps = {"a": {"wait": "1m"}, "b": {"needs": "a", "signal": "go"}, "c": {"value": 1}}
        await w.apply(steps, **one())
        first, second = await w.ops.start("t"), await w.ops.start("t")
        await w.pass_by(70, 10)
        await w.ops.pause(first)
        await w.ops.resume(first)
        assert (await w.ops.get_session(second)).status is SessionStatus.WAITING
        await w.ops.signal(first, "go")
        await w.ended(first)
        await w.calm()
        assert (await w.ops.get_session(second)).status is SessionStatus.PROCESSING


async def test_nothing_is_forgotten_and_nothing_doubled_by_another_server(tmp_path: Path) -> None:
    clock, url = HandClock(), f"sqlite:///{tmp_path / 'ops.db'}"
    async with whole(url, clock=clock) as w:
        await w.apply(STEPS, **one())
        started = [await w.ops.start("t") for _ in range(3)]
    for session in started:
        async with whole(url, clock=clock) as w:
            assert await limits(w) == [("sessions", "k", 1, 2 - started.index(session))]
            worker = await w.worker()
            await worker.got(1)
            assert await begun(w, worker) == [session]
            await end(w, worker, 0)
            assert (await w.ended(session)).status is SessionStatus.COMPLETED
    async with whole(url, clock=clock) as w:
        assert await limits(w) == []


async def test_one_that_does_not_wait_is_rejected() -> None:
    async with whole() as w:
        await w.apply(STEPS, **one(onFull="reject"))
        worker = await w.worker(slots=9)
        first = await w.ops.start("t")
        record = await w.ended(await w.ops.start("t"))
        assert record.error is not None
        assert (record.status, record.error.error_class) == (SessionStatus.ERROR, "rejected")
        said = f"1 of 1 sessions are under way under the limit k ({first})"
        assert record.error.message == said
        await worker.got(1)
        await end(w, worker, 0)
        third = await w.ops.start("t")
        assert await begun(w, worker) == [first, third]


async def test_the_oldest_gives_way_and_the_newcomer_waits_until_it_has() -> None:
    async with whole() as w:
        await w.apply(STEPS, **one(onFull="cancelOldest"))
        worker = await w.worker(slots=9)
        old = await w.ops.start("t")
        await worker.got(1)
        new = await w.ops.start("t")
        await w.calm()
        assert worker.cancelled[0][0] == worker.given[0].task_id
        assert (await w.ops.get_session(new)).status is SessionStatus.WAITING, "not over the limit"
        assert await limits(w) == [("sessions", "k", 1, 1)]
        await w.pass_by(11)
        assert (await w.ended(old)).status is SessionStatus.CANCELLED
        assert await begun(w, worker) == [old, new]


async def test_no_more_give_way_than_are_waited_for(tmp_path: Path) -> None:
    clock, url = HandClock(), f"sqlite:///{tmp_path / 'ops.db'}"
    async with whole(url, clock=clock) as w:
        await w.apply(STEPS, concurrency={"key": "k", "limit": 3, "onFull": "cancelOldest"})
        worker = await w.worker(slots=9)
        held = [await w.ops.start("t") for _ in range(3)]
        await worker.got(3)
        new = [await w.ops.start("t") for _ in range(2)]
        await w.calm()
    async with whole(url, clock=clock) as w:
        worker = await w.worker(slots=9, holding=[(a.task_id, 1) for a in worker.given])
        await w.pass_by(12)
        for session in held[:2]:
            await w.ended(session)
        await worker.got(2)
        found = [(await w.ops.get_session(each)).status for each in (*held, *new)]
        assert found == ["cancelled", "cancelled", *["processing"] * 3]


async def test_a_rate_of_starts() -> None:
    async with whole() as w:
        await w.apply(STEPS, rate={"key": "r", "limit": 2, "per": "10s"})
        worker = await w.worker(slots=9)
        started = [await w.ops.start("t") for _ in range(4)]
        assert await begun(w, worker) == started[:2]
        said = await why(w, started[2])
        assert said.startswith("the rate r (2 per 10s) is used up; the next may begin at ")
        await w.pass_by(5)
        assert await begun(w, worker) == started[:3]
        await w.pass_by(5)
        assert await begun(w, worker) == started


async def test_children_and_parents_are_held_by_their_own_limits() -> None:
    async with whole() as w:
        await w.apply(STEPS, name="child", **one())
        await w.apply({"each": {"workflow": "child", "foreach": [1, 2, 3]}})
        worker = await w.worker(slots=9)
        session = await w.ops.start("t")
        for number in range(3):
            await until(lambda number=number: len(worker.given) == number + 1)
            await w.calm()
            assert len(worker.given) == number + 1, "one child at a time"
            await end(w, worker, number)
        assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def test_keys_are_computed_at_the_start_and_are_those_of_one_namespace() -> None:
    async with whole() as w:
        key = {"key": "${{ input.who + '-' + session.labels.team }}", "limit": 1}
        await w.apply(STEPS, concurrency=key, labels={"team": "x"})
        worker = await w.worker(slots=9)
        who = (b'{"who": "ann"}', b'{"who": "bob"}', b'{"who": "ann"}')
        started = [await w.ops.start("t", input=each) for each in who]
        assert await begun(w, worker) == started[:2]
        assert await limits(w) == [("sessions", "ann-x", 1, 1), ("sessions", "bob-x", 1, 0)]


async def test_a_retry_takes_a_slot_again() -> None:
    async with whole() as w:
        await w.apply(STEPS, **one())
        worker = await w.worker(slots=9)
        first = await w.ops.start("t")
        await worker.got(1)
        await end(w, worker, 0, outcome="failed")
        second = await w.ops.start("t")
        await worker.got(2)
        await w.ops.retry(first)
        assert await begun(w, worker) == [first, second]
        assert (await why(w, first)).startswith("1 of 1 sessions are under way")
        await end(w, worker, 1)
        assert await begun(w, worker) == [first, second, first]


@pytest.mark.parametrize("table", ["admitted", "gated", "events"])
async def test_a_commit_that_fails_changes_no_count(tmp_path: Path, table: str) -> None:
    path = tmp_path / "ops.db"
    async with whole(f"sqlite:///{path}") as w:
        await w.apply(STEPS, **one())
        worker = await w.worker(slots=9)
        started = [await w.ops.start("t") for _ in range(2)]
        await worker.got(1)
        refuse(path, f"before insert on {table}")
        try:
            await w.ops.start("t")
        except Exception:  # noqa: BLE001 - it depends on the table whether this commit failed
            await w.calm()
        allow(path)
        await end(w, worker, 0)
        assert (await begun(w, worker))[:2] == started
        while len(worker.given) < len((await w.ops.list_sessions()).items):
            await end(w, worker, len(worker.given) - 1)
        await end(w, worker, len(worker.given) - 1)
        await until(lambda: not w.engine.orchestration._t.writer.gates.waits)  # pyright: ignore[reportPrivateUsage]
        assert await limits(w) == []


async def test_who_ended_in_a_commit_that_failed_still_has_its_room(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    async with whole(f"sqlite:///{path}") as w:
        await w.apply(STEPS, **one())
        worker = await w.worker(slots=9)
        first = await w.ops.start("t")
        await begun(w, worker)
        refuse(path, "before insert on events")
        with pytest.raises(Unavailable):
            await worker.settle(worker.given[0])
        allow(path)
        second = await w.ops.start("t")
        assert await begun(w, worker) == [first]
        assert await limits(w) == [("sessions", "k", 1, 1)]
        await end(w, worker, 0)
        assert await begun(w, worker) == [first, second]
