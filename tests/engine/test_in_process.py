"""`opscore.open`: the example as it stands, and local agents in every weather."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

import opscore
from examples import in_process
from opscore.channels.local import LocalAgent, LocalRetry
from opscore.core.types import SessionStatus, TaskStatus
from opscore.engine.tools import TaskRequest
from tests.engine.whole import Whole, until, whole
from tests.stores import allow, refuse

WORK = {"a": {"capability": "work", "retry": 1}}


async def test_the_example_does_what_it_says(tmp_path: Path) -> None:
    said: list[str] = []
    url = f"sqlite:///{tmp_path}/ops.db"
    heard = await asyncio.wait_for(in_process.main(url, said.append), 60)
    shown = "\n".join(said)
    expected = '{"headline":"4 texts","lines":["agents","busy","could not read: ","what"]}'
    assert f"completed: {expected}" in shown
    assert "item 1: completed after 2 attempt(s)" in shown
    assert "item 2: failed after 3 attempt(s)" in shown
    assert "reporter is active: {'reading': 'chapter 3'}" in shown
    assert shown.count("task completed: ") == 3
    assert 'completed: "a person decided"' in shown
    assert {"session.completed", "task.retried", "agent.registered"} <= set(heard)
    async with opscore.open(url) as ops:
        sessions = (await ops.orchestration.list_sessions()).items
        assert {s.status for s in sessions} == {SessionStatus.COMPLETED}


def test_nothing_else_is_made_up() -> None:
    with pytest.raises(AttributeError, match="nowhere"):
        opscore.nowhere  # noqa: B018


# -- local agents ---------------------------------------------------------------------------


async def local(w: Whole, **functions: Any) -> LocalAgent:
    agent = LocalAgent("local", functions, w.engine)
    await agent.join(4)
    return agent


def double(x: Any) -> Any:
    return 2 * x


def same(x: Any) -> Any:
    return x


def no_json(_: Any) -> Any:
    return object()


def second_time(_: Any) -> str:
    return "second time"


async def output_of(w: Whole, session_id: str) -> Any:
    record = await w.ended(session_id)
    assert record.status is SessionStatus.COMPLETED, record.error
    (task,) = (await w.ops.list_tasks(session=session_id)).items
    assert task.output is not None
    return msgspec.json.decode(task.output)


async def test_coroutines_run_on_the_loop_and_functions_in_threads() -> None:
    async def name(_: Any) -> str:
        return threading.current_thread().name

    def thread_name(_: Any) -> str:
        return threading.current_thread().name

    async with whole() as w:
        await local(w, here=name, there=thread_name)
        main = threading.current_thread().name
        for capability, same in (("here", True), ("there", False)):
            _, session = await w.ops.enqueue_task(TaskRequest(capability=capability))
            assert ((await output_of(w, session)) == main) is same


async def test_an_agent_with_one_function_runs_it_for_tasks_that_only_name_the_agent() -> None:
    async with whole() as w:
        agent = await local(w, double=double)
        request = TaskRequest(capability="whatever", input=b"21")
        _, session = await w.ops.dispatch_task(agent.agent_id, request)
        assert await output_of(w, session) == 42


async def test_a_task_that_names_no_function_fails_and_the_engine_goes_on() -> None:
    async with whole() as w:
        agent = await local(w, one=same, two=same)
        _, session = await w.ops.dispatch_task(agent.agent_id, TaskRequest(capability="one"))
        record = await w.ended(session)
        assert record.error is not None and record.error.error_class == "fatal"
        assert "one, two" in record.error.message
        _, session = await w.ops.enqueue_task(TaskRequest(capability="two", input=b"7"))
        assert await output_of(w, session) == 7


async def test_what_a_function_raises_is_the_error_that_policies_see() -> None:
    def broken(_: Any) -> None:
        raise KeyError("bad \udcff name")

    async with whole() as w:
        await local(w, work=broken)
        await w.apply(WORK)
        record = await w.ended(await w.ops.start("t"))
        assert record.error is not None
        assert (record.error.error_class, record.error.message) == (
            "KeyError",
            "'bad \\udcff name'",
        )


async def test_an_output_that_is_no_json_is_an_error() -> None:
    async with whole() as w:
        await local(w, work=no_json)
        await w.apply(WORK)
        record = await w.ended(await w.ops.start("t"))
        assert record.status is SessionStatus.ERROR


async def test_a_function_that_asks_for_time_gets_it() -> None:
    asked: list[int] = []

    async def busy(_: Any) -> str:
        asked.append(1)
        if len(asked) == 1:
            raise LocalRetry("later", after=7)
        return "done"

    async with whole() as w:
        await local(w, work=busy)
        _, session = await w.ops.enqueue_task(TaskRequest(capability="work"))
        await until(lambda: asked)
        await w.pass_by(6)
        assert len(asked) == 1
        await w.pass_by(2)
        assert await output_of(w, session) == "done"


async def test_a_cancelled_session_cancels_the_coroutine() -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    async def endless(_: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with whole() as w:
        await local(w, work=endless)
        await w.apply(WORK)
        session = await w.ops.start("t")
        await began.wait()
        await w.ops.cancel(session)
        await stopped.wait()
        assert (await w.ended(session)).status is SessionStatus.CANCELLED


@pytest.mark.parametrize(
    ("timeout", "seconds", "step"), [(None, 60, 2), ({"heartbeat": "3s"}, 12, 0.5)]
)
async def test_heartbeats_keep_long_work(timeout: Any, seconds: float, step: float) -> None:
    go_on = asyncio.Event()

    async def long(_: Any) -> str:
        await go_on.wait()
        return "done"

    async with whole() as w:
        await local(w, work=long)
        _, session = await w.ops.enqueue_task(TaskRequest(capability="work", timeout=timeout))
        await w.calm()
        await w.pass_by(seconds, step)
        go_on.set()
        assert await output_of(w, session) == "done"
        (task,) = (await w.ops.list_tasks(session=session)).items
        assert task.attempt == 1


async def test_stopping_gives_back_what_runs_and_the_next_start_takes_it_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    began = asyncio.Event()

    async def endless(_: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    async with whole(url) as w:
        await local(w, work=endless)
        await w.apply(WORK)
        session = await w.ops.start("t")
        await began.wait()
    async with whole(url) as w:
        (task,) = (await w.ops.list_tasks(session=session)).items
        assert (task.status, task.failures) == (TaskStatus.AVAILABLE, 0)
        await local(w, work=second_time)
        assert await output_of(w, session) == "second time"


async def test_stopping_waits_for_what_is_nearly_done(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> str:
        began.set()
        await go_on.wait()
        return "done"

    async with whole(url) as w:
        await local(w, work=slow)
        _, session = await w.ops.enqueue_task(TaskRequest(capability="work"))
        await began.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(w.engine.close(10))
            await asyncio.sleep(0)
            go_on.set()
    async with whole(url) as w:
        assert await output_of(w, session) == "done"


async def test_a_settlement_that_is_refused_is_made_again(tmp_path: Path) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Any) -> str:
        began.set()
        await go_on.wait()
        return "done"

    async with whole(f"sqlite:///{tmp_path}/ops.db") as w:
        await local(w, work=slow)
        _, session = await w.ops.enqueue_task(TaskRequest(capability="work"))
        await began.wait()
        refuse(tmp_path / "ops.db", "before insert on events")
        go_on.set()
        await w.calm()
        allow(tmp_path / "ops.db")
        await w.pass_by(6)
        assert await output_of(w, session) == "done"
        (task,) = (await w.ops.list_tasks(session=session)).items
        assert task.attempt == 1
