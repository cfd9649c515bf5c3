"""Sessions on a whole engine: cancel, fan-out, onError, following, deleting, restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from opscore.core.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable
from opscore.core.types import SessionStatus, StepStatus, TaskStatus
from opscore.engine.records import SettlementReport
from opscore.engine.tools import StartRequest, TaskRequest
from tests.engine.whole import HandClock, Whole, until, whole
from tests.stores import allow, refuse

WORK = {"a": {"capability": "work"}}
FAN = {"a": {"capability": "work", "foreach": "${{ input.n }}"}}


def items(count: int) -> bytes:
    return msgspec.json.encode({"n": list(range(count))})


# -- cancel ---------------------------------------------------------------------------------


async def test_a_cancel_reaches_the_agent_and_its_late_completion_is_recorded() -> None:
    async with whole() as w:
        await w.apply(WORK)
        worker = await w.worker()
        session = await w.ops.start("t")
        (attempt,) = await worker.got(1)
        await w.ops.cancel(session, "no more")
        await until(lambda: worker.cancelled)
        assert worker.cancelled == [(attempt.task_id, 1, 10.0)]
        assert (await w.ops.get_session(session)).cancelling
        assert await worker.settle(attempt) == "recorded"
        record = await w.ended(session)
        assert record.status is SessionStatus.CANCELLED and not record.cancelling
        assert (await w.ops.get_task(attempt.task_id)).status is TaskStatus.COMPLETED


async def test_an_agent_that_does_not_stop_is_fenced_after_the_grace() -> None:
    async with whole() as w:
        await w.apply(WORK)
        worker = await w.worker()
        session = await w.ops.start("t")
        (attempt,) = await worker.got(1)
        await w.ops.cancel(session)
        await w.pass_by(11)
        assert (await w.ended(session)).status is SessionStatus.CANCELLED
        assert worker.cancelled[-1] == (attempt.task_id, 1, 0.0)
        assert await worker.settle(attempt) == "stale_attempt"
        await w.ops.start("t")
        assert len(await worker.got(2)) == 2, "the slot is free again"


# -- what one commit cannot hold, and onError -----------------------------------------------


async def test_two_thousand_items_are_all_made_and_done() -> None:
    async with whole() as w:
        await w.apply(FAN)
        worker = await w.worker(slots=4_000)
        session = await w.ops.start("t", input=items(2_000))
        await worker.got(2_000)
        assert len({a.task_id for a in worker.given}) == 2_000
        reports = [worker.settle(a, n) for n, a in enumerate(worker.given)]
        assert set(await asyncio.gather(*reports)) == {"recorded"}
        record = await w.ended(session)
        assert (record.status, record.steps["a"].completed) == (SessionStatus.COMPLETED, 2_000)
        assert not await w.engine.store.outbox()


async def _on_error(w: Whole) -> None:
    await w.apply({"tell": {"capability": "tell", "with": "${{ input.why }}"}}, name="notify")
    steps = {"a": {"capability": "work", "retry": 1}}
    on_error = {"workflow": "notify", "with": {"why": "${{ error.message }}"}}
    await w.apply(steps, onError=on_error)


async def _notified(w: Whole) -> list[Any]:
    return list((await w.ops.list_sessions(workflow="notify")).items)


async def test_a_failed_session_starts_its_onerror_workflow_once() -> None:
    async with whole() as w:
        await _on_error(w)
        worker, told = await w.worker(), await w.worker(("tell",), name="told", instance="i2")
        await w.ops.start("t")
        await worker.settle((await worker.got(1))[0], outcome="failed")
        (attempt,) = await told.got(1)
        assert msgspec.json.decode(attempt.input) == "the agent gave no reason"
        assert len(await _notified(w)) == 1


async def test_onerror_starts_once_also_when_the_process_dies_in_between(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    async with whole(url) as w:
        await _on_error(w)
        worker = await w.worker()
        session = await w.ops.start("t")
        (attempt,) = await worker.got(1)
        # The commit that would carry the row out is refused; then the process is gone.
        refuse(tmp_path / "ops.db", "before delete on outbox")
        await worker.settle(attempt, outcome="failed")
        await w.ended(session)
        await w.calm()
        assert not await _notified(w)
    allow(tmp_path / "ops.db")
    for _ in range(2):
        async with whole(url) as w:
            while not (found := await _notified(w)):
                await w.calm()
            await w.calm()
            assert len(found) == len(await _notified(w)) == 1


async def test_onerror_starts_once_after_its_commit_was_refused(tmp_path: Path) -> None:
    async with whole(f"sqlite:///{tmp_path}/ops.db") as w:
        await _on_error(w)
        worker = await w.worker()
        await w.ops.start("t")
        refuse(tmp_path / "ops.db", "before delete on outbox")
        await worker.settle((await worker.got(1))[0], outcome="failed")
        await w.calm()
        assert not await _notified(w)
        allow(tmp_path / "ops.db")
        while not await _notified(w):
            await w.pass_by(1)
        await w.pass_by(3)
        assert len(await _notified(w)) == 1


async def test_the_engine_goes_on_after_commits_were_refused(tmp_path: Path) -> None:
    async with whole(f"sqlite:///{tmp_path}/ops.db") as w:
        await _on_error(w)
        worker = await w.worker(slots=3)
        sessions = [await w.ops.start("t")]
        (attempt,) = await worker.got(1)
        refuse(tmp_path / "ops.db", "before insert on events")
        with pytest.raises(Unavailable):
            await w.ops.start("t")
        with pytest.raises(Unavailable):
            await worker.settle(attempt)
        await w.pass_by(20)
        allow(tmp_path / "ops.db")
        sessions.append(await w.ops.start("t"))
        again = (await worker.got(2))[-1]
        assert again.session_id == sessions[-1]
        await worker.settle(again)
        assert (await w.ended(sessions[-1])).status is SessionStatus.COMPLETED
        assert w.engine.ready() == []


async def test_a_claim_that_was_refused_is_made_again(tmp_path: Path) -> None:
    async with whole(f"sqlite:///{tmp_path}/ops.db") as w:
        await w.apply(WORK)
        await w.ops.start("t")
        refuse(tmp_path / "ops.db", "before insert on leases")
        worker = await w.worker()
        await w.calm()
        assert not worker.given
        allow(tmp_path / "ops.db")
        await w.pass_by(2)
        assert len(await worker.got(1)) == 1


# -- following and waiting ------------------------------------------------------------------


async def test_the_feed_tells_every_event_in_order() -> None:
    async with whole() as w:
        await w.apply(WORK)
        worker = await w.worker()
        everything = w.engine.feed.subscribe()
        session, other = await w.ops.start("t"), await w.ops.start("t")
        one = w.engine.feed.subscribe(session_id=other)
        for count in (1, 2):
            await worker.settle((await worker.got(count))[-1])
        await w.ended(other)
        for subscription in (everything, one):
            subscription.close()
        events = [e async for e in everything]
        assert [e.position for e in events] == sorted({e.position for e in events})
        history = (await w.ops.history(session)).items
        assert [e.type for e in events if e.session_id == session] == [e.type for e in history]
        told = [e async for e in one]
        assert {e.session_id for e in told} == {other}
        assert told[-1].type == "session.completed"


async def test_a_follower_that_falls_behind_is_let_go() -> None:
    async with whole() as w:
        await w.apply(WORK)
        slow = w.engine.feed.subscribe(limit=3)
        await w.ops.start("t")
        await w.ops.start("t")
        assert slow.dropped == "more than 3 events behind"
        assert len([e async for e in slow]) == 3


async def test_wait_gives_the_session_as_it_stands_when_time_is_up() -> None:
    async with whole() as w:
        await w.apply(WORK)
        session = await w.ops.start("t")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(w.ops.wait(session, 5))
            await w.calm()
            w.clock.move(5)
        assert waiting.result().status is SessionStatus.WAITING
        with pytest.raises(NotFound):
            await w.ops.wait("ses_none", 5)


async def test_hooks_hear_of_changes_and_cannot_undo_them() -> None:
    async with whole() as w:
        heard: list[str] = []

        def broken(event: Any) -> None:
            heard.append(event.type)
            raise ZeroDivisionError

        w.engine.hooks.on("session", broken)
        await w.apply({"a": {"value": 1}})
        session = await w.ops.start("t")
        assert (await w.ended(session)).status is SessionStatus.COMPLETED
        assert heard == ["session.started", "session.completed"]


# -- templates, starting, deleting ----------------------------------------------------------


async def test_a_template_applied_twice_is_stored_once() -> None:
    async with whole() as w:
        tree = {"name": "t", "version": "1", "steps": WORK}
        records = await asyncio.gather(*[w.ops.create_workflow(tree) for _ in range(3)])
        assert sorted(r.created for r in records) == [False, False, True]
        with pytest.raises(Conflict) as caught:
            await w.ops.create_workflow({**tree, "description": "another"})
        assert caught.value.code == "version_exists"
        with pytest.raises(Invalid, match="own"):
            await w.ops.create_workflow({**tree, "name": "opscore.mine"})


async def test_starts_are_refused_before_anything_is_written() -> None:
    async with whole(payload_limit=100) as w:
        await w.apply(WORK, input={"type": "object", "required": ["x"]})
        for request, error in (
            (StartRequest("nowhere"), NotFound),
            (StartRequest("t"), Invalid),
            (StartRequest("t", input=b'{"x": "%b"}' % (b"y" * 100)), TooLarge),
            (StartRequest("t", input=b'{"x": 1}', agent_id="agt_none"), NotFound),
        ):
            with pytest.raises(error):
                await w.ops.start_many([StartRequest("t", input=b'{"x": 1}'), request])
        assert not (await w.ops.list_sessions()).items


@pytest.mark.parametrize(
    "request_",
    [
        TaskRequest(),
        TaskRequest(capability="x", agent="y"),
        TaskRequest(capability="x", delay_seconds=-1),
        TaskRequest(capability="x", delay_seconds=float("nan")),
        TaskRequest(capability="x", delay_seconds=1e300),
        TaskRequest(capability="x", due_at=2**80),
        TaskRequest(capability="x", priority=101),
        TaskRequest(capability="x", priority=2**80),
    ],
)
async def test_an_impossible_task_is_refused(request_: TaskRequest) -> None:
    async with whole() as w:
        with pytest.raises(Invalid):
            await w.ops.enqueue_task(request_)
        assert not (await w.ops.list_sessions()).items


async def test_an_ended_session_can_be_deleted() -> None:
    async with whole() as w:
        await w.apply(WORK)
        session = await w.ops.start("t")
        with pytest.raises(Conflict):
            await w.ops.delete_session(session)
        await w.ops.cancel(session)
        await w.ops.delete_session(session)
        for gone in (w.ops.get_session(session), w.ops.history(session), w.ops.retry(session)):
            with pytest.raises(NotFound):
                await gone


async def test_a_computed_session_reads_back_in_full() -> None:
    async with whole() as w:
        steps = {"a": {"value": {"x": "${{ input.n }}"}}, "b": {"value": None, "if": "false"}}
        await w.apply(steps, output="${{ steps.a.output }}")
        record = await w.ended(await w.ops.start("t", input=b'{"n": [1, null]}'))
        assert record.output is not None
        assert msgspec.json.decode(record.output) == {"x": [1, None]}
        assert record.steps["b"].status is StepStatus.SKIPPED


async def test_metadata_and_labels_are_kept() -> None:
    async with whole() as w:
        await w.apply(WORK)
        session = await w.ops.start("t")
        await w.ops.patch_session(session, metadata={"k": [1]}, labels={"a": "b"})
        record = await w.ops.get_session(session)
        assert (msgspec.json.decode(record.metadata), record.labels) == ({"k": [1]}, {"a": "b"})


async def test_steps_that_never_ran_are_shown_as_cancelled() -> None:
    async with whole() as w:
        await w.apply({**WORK, "b": {"capability": "work", "needs": ["a"]}})
        session = await w.ops.start("t")
        await w.ops.cancel(session)
        steps = (await w.ops.get_session(session)).steps
        assert [s.status for s in steps.values()] == [StepStatus.CANCELLED] * 2


# -- restarts -------------------------------------------------------------------------------


async def test_a_job_goes_on_over_restarts_and_completes_every_item_once(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/ops.db", HandClock()
    async with whole(url, clock=clock) as w:
        await w.apply(
            {**FAN, "b": {"value": "${{ steps.a.output }}", "needs": ["a"]}},
            output="${{ steps.b.output }}",
        )
        session = await w.ops.start("t", input=items(700))
    outputs: dict[str, int] = {}
    held: list[tuple[str, int]] = []
    for run in range(5):
        async with whole(url, clock=clock) as w:
            worker = await w.worker(slots=200, holding=held[::2])
            await worker.got(min(200, 700 - len(outputs)) - len(held[::2]))
            for task_id, attempt in held[::2]:
                outputs[task_id] = run
                assert await w.ops.settle([_report(task_id, attempt, run)])
            held = [(a.task_id, a.attempt) for a in worker.given[:50]] if run < 4 else []
            rest = worker.given[50:] if run < 4 else worker.given
            for attempt in rest:
                outputs[attempt.task_id] = run
            verdicts = await w.ops.settle([_report(a.task_id, a.attempt, run) for a in rest])
            assert {v.verdict for v in verdicts} <= {"recorded"}
    async with whole(url, clock=clock) as w:
        record = await w.ended(session)
    assert record.output is not None
    assert len(msgspec.json.decode(record.output)) == 700 == len(outputs)
    path = apsw.Connection(str(tmp_path / "ops.db"))
    done = "select count(*), count(distinct json_extract(data, '$.task_id')) from events where type = ?"
    assert path.execute(done, ("task.completed",)).get == (700, 700)
    path.close()


def _report(task_id: str, attempt: int, output: int) -> SettlementReport:
    encoded = msgspec.Raw(msgspec.json.encode(output))
    return SettlementReport(task_id, attempt, "completed", encoded)


async def test_after_a_restart_attempts_in_flight_get_a_whole_lease(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/ops.db", HandClock()
    async with whole(url, clock=clock) as w:
        await w.apply(WORK)
        worker = await w.worker()
        await w.ops.start("t")
        (attempt,) = await worker.got(1)
    clock.move(3_600)
    async with whole(url, clock=clock) as w:
        await w.pass_by(14)
        verdict = (await w.ops.settle([_report(attempt.task_id, 1, 1)]))[0]
        assert verdict.verdict == "recorded"


async def test_a_template_without_an_output_gives_null() -> None:
    async with whole() as w:
        await w.apply({"a": {"value": 1}})
        session = await w.ops.start("t")
        assert bytes((await w.ended(session)).output or b"") == b"null"
        last = (await w.ops.history(session)).items[-1]
        assert (last.type, bytes(last.data)) == ("session.completed", b'{"output":null}')
