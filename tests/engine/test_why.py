"""Why, asked of a whole engine: the facts are those of its agents, its queues and its leases."""

from __future__ import annotations

import pytest

from opscore.core.errors import NotFound
from opscore.engine.explanations import WhyRecord
from tests.engine.whole import Whole, whole

WORK = {"a": {"capability": "work"}}


async def ask(w: Whole, any_id: str) -> WhyRecord:
    await w.calm()
    return await w.engine.debugging.why(any_id)


async def test_agents_are_busy_with_what_and_the_queue_has_an_order() -> None:
    async with whole() as w:
        await w.apply(WORK)
        first = await w.ops.start("t")
        (missing,) = (await ask(w, first)).reasons
        assert missing.message == "no agent with the capability work is registered"
        worker = await w.worker()
        (attempt,) = await worker.got(1)
        later = [await w.ops.start("t") for _ in range(2)]
        urgent = await w.ops.start("t", priority=90)
        (last,) = (await ask(w, later[1])).reasons
        assert last.message == (
            "of the one agent with the capability work: 1 busy "
            f"(worker has {attempt.task_id}); number 3 in the queue"
        )
        (next_one,) = (await ask(w, urgent)).reasons
        assert next_one.message.endswith("number 1 in the queue")
        (running,) = (await ask(w, first)).reasons
        assert running.message == f"agent {worker.agent_id} works on {attempt.task_id}, attempt 1"


async def test_one_task_is_asked_of_by_its_own_id() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work"}, "b": {"agent": "bob"}})
        session = await w.ops.start("t")
        task = (await w.ops.list_tasks(session=session)).items[0]
        record = await ask(w, task.task_id)
        assert (record.session_id, record.task_id) == (session, task.task_id)
        (reason,) = record.reasons
        assert reason.message == "no agent named bob is registered"


@pytest.mark.parametrize("unknown", ["ses_none", "tsk_none-1", "nonsense"])
async def test_what_nobody_knows_is_not_found(unknown: str) -> None:
    async with whole() as w:
        with pytest.raises(NotFound):
            await ask(w, unknown)


async def test_another_namespace_s_session_is_not_found() -> None:
    async with whole() as w:
        await w.apply(WORK)
        session = await w.ops.start("t")
        (task,) = (await w.ops.list_tasks(session=session)).items
        for any_id in (session, task.task_id):
            with pytest.raises(NotFound):
                await w.engine.debugging.why(any_id, namespace="other")
        with pytest.raises(NotFound):
            await ask(w, task.task_id[:-1] + "9")
