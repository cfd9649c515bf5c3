"""Tasks meet instances: in order, in fair shares, never over the slots, and back when lost."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from opscore.core.types import ErrorInfo, SessionStatus
from opscore.engine.tools import TaskRequest
from tests.engine.whole import until, whole

WORK = {"a": {"capability": "work"}}


async def test_higher_priority_goes_first_and_waiting_counts() -> None:
    async with whole() as w:
        await w.apply(WORK)
        started: dict[str, str] = {}
        for name, priority, wait in (
            ("old", 50, 60),
            ("low", 40, 1),
            ("high", 55, 1),
            ("new", 50, 0),
        ):
            started[await w.ops.start("t", priority=priority)] = name
            w.clock.move(wait)
        worker = await w.worker()
        order: list[str] = []
        for count in range(1, 5):
            attempt = (await worker.got(count))[-1]
            order.append(started[attempt.session_id])
            await worker.settle(attempt)
        # One point of priority is worth five seconds: "old" has waited sixty.
        assert order == ["old", "high", "new", "low"]


async def test_slots_are_never_exceeded() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work", "foreach": "${{ input.n }}"}})
        one = await w.worker(slots=2)
        two = await w.worker(instance="i2", slots=3)
        session = await w.ops.start("t", input=b'{"n": [1,2,3,4,5,6,7,8,9]}')
        await until(lambda: len(one.given) + len(two.given) == 5)
        await w.calm()
        assert (len(one.given), len(two.given)) == (2, 3)
        while len(one.given) + len(two.given) < 9:
            seen = len(one.given)
            await one.settle(one.given[seen - 2])
            await until(lambda seen=seen: len(one.given) == seen + 1)
            assert len(two.given) == 3
        for worker, attempt in [(one, a) for a in one.given] + [(two, a) for a in two.given]:
            await worker.settle(attempt)
        assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def test_ready_changes_the_slots() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work", "foreach": "${{ input.n }}"}})
        worker = await w.worker(slots=0)
        await w.ops.start("t", input=b'{"n": [1,2,3]}')
        await w.calm()
        assert not worker.given
        assert worker.connection is not None
        worker.connection.ready(2)
        await worker.got(2)
        await w.calm()
        assert len(worker.given) == 2


async def test_the_largest_free_share_is_asked_first() -> None:
    async with whole() as w:
        await w.apply(WORK)
        small = await w.worker(name="small", instance="s", slots=2)
        large = await w.worker(name="large", instance="l", slots=8)
        for _ in range(5):
            await w.ops.start("t")
        await until(lambda: len(small.given) + len(large.given) == 5)
        assert (len(small.given), len(large.given)) == (1, 4)


async def test_a_queue_that_lost_the_race_for_a_slot_is_not_forgotten() -> None:
    async with whole() as w:
        for name in ("x", "y"):
            await w.apply({"a": {"capability": name}}, name=name)
        worker = await w.worker(("x", "y"), slots=2)
        held = [await w.ops.start("x", priority=100) for _ in range(2)]
        assert [a.session_id for a in await worker.got(2)] == held
        for _ in range(2):
            await w.ops.start("x", priority=100)
        last = await w.ops.start("y", priority=0)
        await asyncio.gather(*[worker.settle(attempt) for attempt in worker.given])
        for attempt in (await worker.got(4))[2:4]:
            await worker.settle(attempt)
        assert (await worker.got(5))[4].session_id == last


async def test_a_task_for_one_agent_goes_to_no_other() -> None:
    async with whole() as w:
        one, two = await w.worker(), await w.worker(name="other", instance="i2")
        await w.ops.dispatch_task(two.agent_id, TaskRequest(capability="work"))
        await two.got(1)
        assert not one.given


async def test_an_attempt_that_shows_no_life_goes_to_another() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work", "retry": {"initialDelay": "1s", "jitter": 0}}})
        lost = await w.worker()
        session = await w.ops.start("t")
        (attempt,) = await lost.got(1)
        await w.pass_by(14)
        other = await w.worker(name="other", instance="i2")
        assert not other.given
        await w.pass_by(3)
        (again,) = await other.got(1)
        assert (again.task_id, again.attempt) == (attempt.task_id, 2)
        assert await lost.settle(attempt, "late") == "stale_attempt"
        assert await other.settle(again, "in time") == "recorded"
        task = await w.ops.get_task(attempt.task_id)
        assert [a.error and a.error.error_class for a in task.attempts] == ["agent_lost", None]
        assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def test_heartbeats_keep_an_attempt() -> None:
    async with whole() as w:
        await w.apply(WORK)
        worker = await w.worker()
        await w.ops.start("t")
        (attempt,) = await worker.got(1)
        assert worker.connection is not None
        for _ in range(8):
            await w.pass_by(5)
            pair = (attempt.task_id, attempt.attempt)
            assert await worker.connection.heartbeat([pair]) == []
        assert await worker.connection.heartbeat([(attempt.task_id, 2)]) == [(attempt.task_id, 2)]
        assert await worker.settle(attempt) == "recorded"


async def test_an_attempt_has_its_own_time_whatever_the_heartbeats() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work", "timeout": "8s", "retry": 1}})
        worker = await w.worker()
        session = await w.ops.start("t")
        (attempt,) = await worker.got(1)
        await w.ops.heartbeat_task(attempt.task_id, 1)
        await w.pass_by(9)
        record = await w.ended(session)
        assert record.error is not None and record.error.error_class == "timeout"


async def test_hello_returns_what_the_instance_does_not_list() -> None:
    async with whole() as w:
        await w.apply(WORK)
        sessions = [await w.ops.start("t") for _ in range(2)]
        first = await w.worker(slots=2)
        kept, dropped = await first.got(2)
        assert [kept.session_id, dropped.session_id] == sessions
        again = await w.worker(slots=2, holding=[(kept.task_id, 1), ("tsk_x-1", 3)])
        assert first.closed
        assert again.connection is not None
        assert again.connection.stale == [("tsk_x-1", 3)]
        (returned,) = await again.got(1)
        assert (returned.task_id, returned.attempt) == (dropped.task_id, 2)
        assert await again.settle(kept) == "recorded"
        assert await again.settle(returned) == "recorded"


async def test_a_broken_connection_alone_ends_no_attempt() -> None:
    async with whole() as w:
        await w.apply(WORK)
        await w.ops.start("t")
        worker = await w.worker()
        (attempt,) = await worker.got(1)
        assert worker.connection is not None
        await worker.connection.disconnect()
        other = await w.worker(instance="i2")
        await w.calm()
        assert not other.given
        assert await worker.settle(attempt) == "recorded"


async def test_what_was_claimed_for_an_instance_that_left_goes_back(tmp_path: Path) -> None:
    async with whole(f"sqlite:///{tmp_path}/ops.db") as w:
        await w.apply(WORK)
        worker = await w.worker()
        session = await w.ops.start("t")
        assert worker.connection is not None
        await worker.connection.disconnect()
        other = await w.worker(instance="i2")
        attempt = (await other.got(1))[0] if not worker.given else worker.given[0]
        await other.settle(attempt)
        assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def test_a_delayed_task_is_given_when_it_is_due_and_not_before() -> None:
    async with whole() as w:
        worker = await w.worker()
        await w.ops.schedule_task(TaskRequest(capability="work"), 5.0)
        await w.pass_by(4.5, 0.5)
        assert not worker.given
        w.clock.move(0.5)
        await worker.got(1)


async def test_the_sweeper_wakes_for_a_deadline_that_comes_sooner() -> None:
    async with whole() as w:
        worker = await w.worker()
        await w.calm()
        await w.ops.schedule_task(TaskRequest(capability="work"), 0.2)
        await w.calm()
        w.clock.move(0.2)
        await worker.got(1)


async def test_a_polled_claim_waits_for_work_and_gives_up_in_time() -> None:
    async with whole() as w:
        await w.apply(WORK)
        agent = await w.worker(slots=0)
        async with asyncio.TaskGroup() as group:
            poll = group.create_task(w.ops.claim(agent.agent_id, instance_id="p", wait_seconds=30))
            await w.calm()
            session = await w.ops.start("t")
            (attempt,) = await poll
            assert attempt.session_id == session
            nothing = group.create_task(
                w.ops.claim(agent.agent_id, instance_id="p", wait_seconds=3)
            )
            await w.calm()
            w.clock.move(3)
            assert await nothing == []


async def test_a_failure_is_tried_again_after_what_the_agent_asked_for() -> None:
    async with whole() as w:
        await w.apply(WORK)
        worker = await w.worker()
        await w.ops.start("t")
        (attempt,) = await worker.got(1)
        slow_down = ErrorInfo("rate_limited", "slow down", 3_000_000)
        await worker.settle(attempt, outcome="failed", error=slow_down)
        await w.pass_by(2.5, 0.5)
        assert len(worker.given) == 1
        w.clock.move(0.5)
        assert (await worker.got(2))[1].attempt == 2


async def test_a_paused_session_s_tasks_wait_for_its_resumption() -> None:
    async with whole() as w:
        await w.apply(WORK)
        session = await w.ops.start("t")
        await w.ops.pause(session)
        worker = await w.worker()
        await w.calm()
        assert not worker.given
        await w.ops.patch_session(session, priority=90)
        await w.ops.resume(session)
        await worker.settle((await worker.got(1))[0])
        assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def test_an_agent_hears_when_its_attempt_ran_out_of_time_or_was_given_up() -> None:
    async with whole() as w:
        step = {"capability": "work", "timeout": "8s", "retry": 2, "fallback": [{"value": 0}]}
        await w.apply({"a": step})
        worker = await w.worker()
        session = await w.ops.start("t")
        first = (await worker.got(1))[0]
        await w.pass_by(9)
        await until(lambda: worker.cancelled)
        await w.pass_by(2)
        second = (await worker.got(2))[1]
        await w.ops.fallback_task(second.task_id)
        assert (await w.ended(session)).status is SessionStatus.COMPLETED
        await until(lambda: len(worker.cancelled) == 2)
        assert [c[:2] for c in worker.cancelled] == [(first.task_id, 1), (second.task_id, 2)]


async def test_a_poll_of_a_draining_agent_waits_until_it_is_activated() -> None:
    async with whole() as w:
        await w.apply(WORK)
        agent = await w.worker(slots=0)
        await w.engine.lifecycle.drain(agent.agent_id, reason="upgrade")
        session = await w.ops.start("t")
        async with asyncio.TaskGroup() as group:
            for activated in (False, True):
                poll = group.create_task(
                    w.ops.claim(agent.agent_id, instance_id="p", wait_seconds=30)
                )
                await w.calm()
                w.clock.move(29)
                await w.calm()
                assert not poll.done()
                if activated:
                    await w.engine.lifecycle.activate(agent.agent_id)
                else:
                    w.clock.move(1)
                assert [a.session_id for a in await poll] == [session] * activated


async def test_a_drain_does_not_end_a_poll() -> None:
    async with whole() as w:
        agent = await w.worker(slots=0)
        async with asyncio.TaskGroup() as group:
            poll = group.create_task(w.ops.claim(agent.agent_id, instance_id="p", wait_seconds=30))
            await w.calm()
            await w.engine.lifecycle.drain(agent.agent_id, reason="upgrade")
            await w.calm()
            assert not poll.done()
            w.clock.move(30)
            assert await poll == []


async def test_claims_of_one_moment_share_out_what_there_is(tmp_path: Path) -> None:
    async with whole(f"sqlite:///{tmp_path / 'ops.db'}") as w:
        await w.apply(WORK)
        agent = await w.worker(slots=0)
        sessions = [await w.ops.start("t") for _ in range(40)]

        async def claim(number: int) -> list[str]:
            for _ in range(number % 5):
                await asyncio.sleep(0)  # so that some are decided while others are committed
            claimed = await w.ops.claim(agent.agent_id, instance_id=f"p{number}", max=2)
            return [attempt.session_id for attempt in claimed]

        shares = await asyncio.gather(*[claim(number) for number in range(20)])
        assert [len(share) for share in shares] == [2] * 20
        assert sorted(itertools.chain(*shares)) == sorted(sessions)


async def test_tasks_of_a_new_kind_may_be_enqueued_at_once(tmp_path: Path) -> None:
    """They share one built-in template, which the first of them makes."""
    async with whole(f"sqlite:///{tmp_path / 'ops.db'}") as w:

        async def enqueue(number: int) -> str:
            for _ in range(number):
                await asyncio.sleep(0)  # so that some are decided while others are committed
            return (await w.ops.enqueue_task(TaskRequest(capability="work")))[1]

        sessions = await asyncio.gather(*[enqueue(number) for number in range(30)])
        assert len(set(sessions)) == 30
