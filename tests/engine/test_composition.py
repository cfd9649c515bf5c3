"""Parents and child sessions on a whole engine, with crashes in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opscore.core.errors import Conflict, Impossible
from opscore.core.types import SessionStatus, StepStatus
from opscore.engine.records import SessionRecord, SessionSummary
from opscore.store.rows import OutboxRow
from tests.engine.whole import Whole, until, whole
from tests.stores import allow, refuse

CHILD = {"work": {"capability": "work", "retry": 1, "with": {"n": "${{ input.n }}"}}}
OUT = "${{ steps.work.output }}"
PARENT = {"a": {"workflow": "child", "with": {"n": "${{ input.n }}"}}}
EACH = {"a": {"workflow": "child", "foreach": "${{ input.all }}", "with": {"n": "${{ item }}"}}}


async def family(w: Whole, parent: dict[str, Any] | None = None, **child: Any) -> None:
    await w.apply(CHILD, name="child", output=OUT, **child)
    await w.apply(parent or PARENT, output="${{ steps.a.output }}")


async def begin(w: Whole, given: Any = None, **more: Any) -> str:
    return await w.ops.start("t", input=msgspec.json.encode(given or {"n": 5}), **more)


async def children(w: Whole) -> Sequence[SessionSummary]:
    return (await w.ops.list_sessions(workflow="child", limit=500)).items


def decoded(record: SessionRecord) -> Any:
    return None if record.output is None else msgspec.json.decode(record.output)


async def test_a_child_runs_with_what_its_parent_has_and_gives_its_output_back() -> None:
    async with whole() as w:
        await family(w, priority=10, labels={"of": "child"})
        worker = await w.worker()
        session = await begin(w, priority=70, context=b'{"user": 1}', labels={"of": "parent"})
        (attempt,) = await worker.got(1)
        assert msgspec.json.decode(attempt.input) == {"n": 5}
        assert msgspec.json.decode(attempt.context) == {"user": 1}
        parent = await w.ops.get_session(session)
        assert parent.waiting_for == "child"
        (child,) = await children(w)
        assert parent.steps["a"].children == (child.session_id,)
        record = await w.ops.get_session(child.session_id)
        assert record.parent == session
        assert (record.priority, record.trace_id) == (70, parent.trace_id)
        assert record.labels == {"of": "child"}
        await worker.settle(attempt, "done")
        assert decoded(await w.ended(session)) == "done"
        assert not await w.engine.store.outbox()


async def test_versions_are_those_of_when_the_parent_started() -> None:
    async with whole() as w:
        twice = {
            "first": {"capability": "work", "retry": 1},
            "a": {**PARENT["a"], "needs": "first"},
        }
        await family(w, twice)
        worker = await w.worker()
        session = await begin(w)
        (attempt,) = await worker.got(1)
        tree = {"name": "child", "version": "2", "steps": CHILD, "output": "newer"}
        await w.ops.create_workflow(tree)
        await worker.settle(attempt)
        await worker.settle((await worker.got(2))[1], "older")
        assert decoded(await w.ended(session)) == "older"


async def test_a_workflow_that_is_not_there_refuses_the_parent() -> None:
    async with whole() as w:
        await w.apply(PARENT)
        with pytest.raises(Impossible, match="names workflow child, which does not exist"):
            await w.ops.start("t")
        await w.apply({"a": {"workflow": {"name": "t", "version": "9"}}}, name="other")
        with pytest.raises(Impossible, match="workflow t version 9"):
            await w.ops.start("other")


async def test_a_child_that_cannot_start_fails_its_step() -> None:
    async with whole() as w:
        await family(w, input={"type": "object", "properties": {"n": {"type": "string"}}})
        session = await begin(w)
        ended = await w.ended(session)
        assert ended.error is not None and ended.error.error_class == "invalid_input"
        assert "/input/n" in ended.error.message
        assert not await children(w)


async def test_a_failed_child_fails_its_parent_with_its_own_words() -> None:
    async with whole() as w:
        await family(w)
        worker = await w.worker()
        session = await begin(w)
        await worker.settle((await worker.got(1))[0], outcome="failed")
        ended = await w.ended(session)
        assert ended.error is not None and ended.error.message == "the agent gave no reason"
        (child,) = await children(w)
        with pytest.raises(Conflict, match="retry that one"):
            await w.ops.retry(child.session_id)


async def test_a_child_is_started_anew_after_its_delay() -> None:
    again = {"maxAttempts": 2, "initialDelay": "30s", "jitter": 0}
    async with whole() as w:
        await family(w, {"a": {**PARENT["a"], "retry": again}})
        worker = await w.worker()
        session = await begin(w)
        await worker.settle((await worker.got(1))[0], outcome="failed")
        await w.pass_by(29)
        assert len(await children(w)) == 1
        await w.pass_by(2)
        await worker.settle((await worker.got(2))[1], "second")
        assert decoded(await w.ended(session)) == "second"


async def test_loops_are_nested_through_children() -> None:
    async with whole() as w:
        inner = {"each": {"capability": "work", "foreach": "${{ input.n }}"}}
        await w.apply(inner, name="child", output="${{ steps.each.output }}")
        await w.apply(EACH, output="${{ steps.a.output }}")
        worker = await w.worker(slots=10)
        session = await begin(w, {"all": [[1, 2], [], [3]]})
        for attempt in await worker.got(3):
            await worker.settle(attempt, attempt.session_id[-1])
        assert decoded(await w.ended(session)) == [["1", "1"], [], ["3"]]


async def test_a_cancel_reaches_children_of_children() -> None:
    async with whole() as w:
        await w.apply(CHILD, name="child")
        await w.apply(PARENT, name="middle")
        await w.apply({"a": {**PARENT["a"], "workflow": "middle"}})
        worker = await w.worker()
        session = await begin(w)
        (attempt,) = await worker.got(1)
        await w.ops.cancel(session, "enough")
        await until(lambda: worker.cancelled)
        assert (await w.ops.get_session(session)).cancelling
        await worker.settle(attempt)
        assert (await w.ended(session)).status is SessionStatus.CANCELLED
        statuses = {s.status for s in (await w.ops.list_sessions()).items}
        assert statuses == {SessionStatus.CANCELLED}


async def test_a_pause_a_resume_and_a_priority_reach_the_children() -> None:
    async with whole() as w:
        await family(w, EACH)
        session = await begin(w, {"all": [1, 2]})
        while len(await children(w)) < 2:
            await w.calm()
        await w.ops.pause(session)
        while {c.status for c in await children(w)} != {SessionStatus.PAUSED}:
            await w.calm()
        await w.ops.resume(session)
        while {c.status for c in await children(w)} != {SessionStatus.WAITING}:
            await w.calm()
        await w.ops.patch_session(session, priority=90)
        while {c.priority for c in await children(w)} != {90}:
            await w.calm()


async def test_a_child_that_starts_while_its_parent_is_paused_is_paused(tmp_path: Path) -> None:
    async with whole(f"sqlite:///{tmp_path}/ops.db") as w:
        await family(w)
        refuse(tmp_path / "ops.db", "before delete on outbox")
        session = await begin(w)
        await w.calm()
        await w.ops.pause(session)
        allow(tmp_path / "ops.db")
        while not (found := await children(w)):
            await w.pass_by(1)
        await w.calm()
        assert found[0].status is SessionStatus.PAUSED


async def test_a_crash_between_parent_and_child_loses_nothing_and_starts_nothing_twice(
    tmp_path: Path,
) -> None:
    """The commit that would start the child, or tell the parent, is refused; the process dies."""
    url, path = f"sqlite:///{tmp_path}/ops.db", tmp_path / "ops.db"
    async with whole(url) as w:
        await family(w)
        refuse(path, "before delete on outbox")
        session = await begin(w)
        await w.calm()
        assert not await children(w)
    allow(path)
    async with whole(url) as w:
        worker = await w.worker()
        (attempt,) = await worker.got(1)
        refuse(path, "before delete on outbox")
        await worker.settle(attempt, "done")
        await w.calm()
        assert (await w.ops.get_session(session)).status is SessionStatus.PROCESSING
    allow(path)
    for _ in range(2):
        async with whole(url) as w:
            assert decoded(await w.ended(session)) == "done"
            assert len(await children(w)) == 1
            assert not await w.engine.store.outbox()


async def test_a_cancel_that_overtakes_the_start_leaves_nothing_running(tmp_path: Path) -> None:
    url, path = f"sqlite:///{tmp_path}/ops.db", tmp_path / "ops.db"
    async with whole(url) as w:
        await family(w, EACH)
        refuse(path, "before delete on outbox")
        session = await begin(w, {"all": [1, 2]})
        await w.calm()
        await w.ops.cancel(session)
        await w.calm()
        assert not await children(w)
    allow(path)
    # After a restart the rows come in the order of their names: cancels before starts.
    async with whole(url) as w:
        assert (await w.ended(session)).status is SessionStatus.CANCELLED
        assert not await children(w)
        assert not await w.engine.store.outbox()


async def test_a_row_that_comes_twice_changes_nothing() -> None:
    async with whole() as w:
        await family(w)
        worker = await w.worker()
        session = await begin(w)
        rows: list[OutboxRow] = []
        relay = w.engine._relay  # pyright: ignore[reportPrivateUsage]
        real = relay._command  # pyright: ignore[reportPrivateUsage]

        def twice(row: OutboxRow) -> Any:
            rows.append(row)
            return real(row)

        relay._command = twice  # pyright: ignore[reportPrivateUsage]
        (attempt,) = await worker.got(1)
        await worker.settle(attempt, "done")
        assert decoded(await w.ended(session)) == "done"
        before = len((await w.ops.history(session)).items)
        for row in rows:
            await w.engine._writer.submit(real(row))  # pyright: ignore[reportPrivateUsage]
        assert len((await w.ops.history(session)).items) == before
        assert len(await children(w)) == 1
        assert (await w.ops.get_session(session)).steps["a"].status is StepStatus.COMPLETED


async def test_two_hundred_children_come_and_go() -> None:
    async with whole() as w:
        await family(w, EACH)
        worker = await w.worker(slots=500)
        session = await begin(w, {"all": list(range(200))})
        for attempt in await worker.got(200):
            await worker.settle(attempt, msgspec.json.decode(attempt.input)["n"])
        assert decoded(await w.ended(session)) == list(range(200))
