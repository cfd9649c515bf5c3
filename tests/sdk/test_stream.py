"""An agent over the WebSocket: what it says in which order, and what survives a lost connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from opscore.sdk import Agent, Cancelled, OpsCoreProblem, Task
from opscore.wire.base import Problem
from opscore.wire.stream import Cancel, Draining, Heartbeat, Log, Progress, Refused, Settle, Stale
from tests.sdk.conftest import FakeServer, attempt_of, problem_answer

Serving = Callable[[Agent], Any]


@pytest.fixture
def agent(server: FakeServer) -> Agent:
    return Agent("worker", url=server.url, instance_id="one", max_in_flight=8)


async def test_it_registers_with_schemas_then_works(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    @agent.task("add")
    async def add(left: int, right: int = 2) -> int:
        return left + right

    assert await add(1, 1) == 2, "a decorated function stays directly callable"
    async with serving(agent):
        link = await server.link()
        assert link.hello.instance_id == "one"
        assert link.hello.max_in_flight == 8
        assert link.hello.holding == []
        await link.tasks(attempt_of("add", {"left": 40}))
        (settlement,) = await link.settlements()
    assert (settlement.task_id, settlement.attempt) == ("tsk_1", 1)
    assert (settlement.outcome, bytes(settlement.output)) == ("completed", b"42")
    (registration,) = server.registrations
    assert registration.capabilities == ["add"]
    schema = registration.schemas["add"]
    assert schema["required"] == ["left"]
    assert schema["properties"]["right"] == {"type": "integer", "default": 2}
    assert schema["additionalProperties"] is False


async def test_an_idle_agent_is_heard_on_its_connection(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    """Else the server, which drops whom it does not hear, would part with it again and again."""
    server.lease_seconds = 0.02
    async with serving(agent):
        link = await server.link()
        for _ in range(3):
            assert (await link.receive(Heartbeat)).attempts == []


async def test_what_is_ready_in_one_turn_travels_in_one_message(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    @agent.task("echo")
    async def echo(text: str) -> str:
        return text

    async with serving(agent):
        link = await server.link()
        await link.tasks(*(attempt_of("echo", {"text": "x"}, number=n) for n in range(8)))
        settle = await link.receive(Settle)
        assert [one.task_id for one in settle.settlements] == [f"tsk_{n}" for n in range(8)]


async def test_a_settlement_without_a_verdict_is_held_and_sent_again(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    gate = asyncio.Event()

    @agent.task("echo")
    async def echo(text: str) -> str:
        if text == "slow":
            await gate.wait()
        return text

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("echo", {"text": "fast"}, number=1))
        await link.tasks(attempt_of("echo", {"text": "slow"}, number=2))
        first = await link.receive(Settle)
        await link.close()
        link = await server.link()
        assert sorted(link.hello.holding) == [("tsk_1", 1), ("tsk_2", 1)]
        again = await link.receive(Settle)
        assert again.settlements[0].task_id == first.settlements[0].task_id == "tsk_1"
        await link.judge(again)
        gate.set()
        (late,) = await link.settlements()
        assert late.task_id == "tsk_2"
        await link.close()
        link = await server.link()
        assert link.hello.holding in ([], [("tsk_2", 1)])


async def test_a_recorded_settlement_is_let_go(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    @agent.task("echo")
    async def echo(text: str) -> str:
        return text

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("echo", {"text": "a"}, number=1))
        await link.settlements()
        # Its settlement shows that the verdict before it was read.
        await link.tasks(attempt_of("echo", {"text": "b"}, number=2))
        await link.receive(Settle)
        await link.close()
        assert (await server.link()).hello.holding == [("tsk_2", 1)]


async def test_what_the_welcome_calls_stale_is_dropped(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    stopped = asyncio.Event()

    @agent.task("wait")
    async def wait(text: str) -> str:
        if text == "b":
            return text
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "never"

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("wait", {"text": "a"}, number=1))
        await link.tasks(attempt_of("wait", {"text": "b"}, number=2))
        await link.receive(Settle)
        await link.close()
        link = await server.link(welcome=False)
        await link.send(server.welcome(stale=[("tsk_1", 1)]))
        await stopped.wait()
        (left,) = await link.settlements()
        assert left.task_id == "tsk_2", "nothing is reported of a stale attempt"


@pytest.mark.parametrize("over", ["channel", "heartbeat"])
async def test_stale_stops_the_work(
    server: FakeServer, serving: Serving, agent: Agent, over: str
) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()
    server.heartbeat_seconds = 0.05

    @agent.task("wait")
    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("wait", {}))
        await started.wait()
        if over == "channel":
            await link.send(Stale(attempts=[("tsk_1", 1)]))
        else:
            server.stale = [("tsk_1", 1)]
        await stopped.wait()
        await link.close()
        assert (await server.link()).hello.holding == []


async def test_cancel_reaches_a_coroutine(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    started = asyncio.Event()

    @agent.task("wait")
    async def wait(task: Task) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            assert task.cancelled

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("wait", {}))
        await started.wait()
        await link.send(Cancel(attempts=[("tsk_1", 1)], reason="not wanted", grace_seconds=10))
        (settlement,) = await link.settlements()
    assert settlement.error is not None
    assert (settlement.error.error_class, settlement.error.message) == ("cancelled", "not wanted")


async def test_cancel_before_the_first_step_is_settled_too(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    @agent.task("wait")
    async def wait() -> None:
        await asyncio.Event().wait()

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("wait", {}))
        await link.send(Cancel(attempts=[("tsk_1", 1)]))
        (settlement,) = await link.settlements()
    assert settlement.error is not None
    assert settlement.error.error_class == "cancelled"


async def test_cancel_reaches_a_thread(server: FakeServer, serving: Serving, agent: Agent) -> None:
    gate = threading.Event()
    seen: list[bool] = []

    @agent.task("work")
    def work(task: Task) -> None:
        task.progress(0.5, "half")
        gate.wait()
        seen.append(task.cancelled)
        with pytest.raises(Cancelled):
            task.progress(0.6)
        task.progress(0.7)

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("work", {}))
        await link.receive(Progress)
        await link.send(Cancel(attempts=[("tsk_1", 1)], reason="enough"))
        # The answer to this task shows that the cancel before it was read.
        await link.tasks(attempt_of("unknown", {}, number=2))
        await link.settlements()
        gate.set()
        (settlement,) = await link.settlements()
    assert seen == [True]
    assert settlement.error is not None
    assert (settlement.error.error_class, settlement.error.message) == ("cancelled", "enough")


async def test_progress_and_log_travel_before_the_settlement(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    @agent.task("work")
    async def work(task: Task) -> Any:
        await task.progress(0.25, "reading")
        task.log("read", level="warning", lines=3, odd={1, 2} and object)
        return [task.context, task.idempotency_key, task.attempt, str(task.deadline)]

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("work", {}, attempt=3))
        progress = await link.receive(Progress)
        assert (progress.task_id, progress.attempt) == ("tsk_1", 3)
        assert (progress.fraction, progress.message) == (0.25, "reading")
        log = await link.receive(Log)
        assert (log.level, log.message, log.fields["lines"]) == ("warning", "read", 3)
        assert "object" in log.fields["odd"]
        (settlement,) = await link.settlements()
    expected = b'[{"who":"me"},"key_1",3,"2030-01-02 03:04:05+00:00"]'
    assert bytes(settlement.output) == expected


async def test_an_attempt_sent_twice_runs_once(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    runs: list[int] = []

    @agent.task("count")
    async def count() -> None:
        runs.append(1)

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("count", {}), attempt_of("count", {}))
        await link.settlements()
        await link.tasks(attempt_of("count", {}, attempt=2))
        await link.settlements()
    assert len(runs) == 2, "a later attempt is another one"


async def test_a_step_that_names_the_agent_finds_its_function(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    @agent.task("first")
    async def first() -> int:
        return 1

    @agent.task("second")
    async def second() -> int:
        return 2

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of(None, {}, step="second"), attempt_of(None, {}, number=2))
        settlements = {one.task_id: one for one in await link.settlements()}
        settlements |= (
            {} if len(settlements) == 2 else {one.task_id: one for one in await link.settlements()}
        )
    assert bytes(settlements["tsk_1"].output) == b"2"
    error = settlements["tsk_2"].error
    assert error is not None
    assert error.error_class == "unknown_capability"
    assert "first, second" in error.message


@pytest.mark.parametrize(("named", "ran"), [("worker", True), (None, False)])
async def test_a_fallback_that_names_the_agent_runs_its_only_function(
    server: FakeServer, serving: Serving, agent: Agent, named: str | None, ran: bool
) -> None:
    @agent.task("count-lines")
    async def count() -> int:
        return 7

    async with serving(agent):
        link = await server.link()
        await link.tasks(msgspec.structs.replace(attempt_of("measure-file", {}), agent=named))
        (settlement,) = await link.settlements()
    assert (bytes(settlement.output) == b"7") is ran
    assert (settlement.error is None) is ran


async def test_a_refused_registration_ends_it(server: FakeServer, agent: Agent) -> None:
    async def refuse(_: Any) -> Any:
        return problem_answer(401, "unauthorized", "no such key")

    server.answer("POST", "/agent", refuse)
    with pytest.raises(OpsCoreProblem) as caught:
        await agent.serve()
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")


async def test_a_refused_hello_is_tried_again_after_registering(
    server: FakeServer, serving: Serving, agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(agent):
        link = await server.link()
        await link.close()
        link = await server.link(welcome=False)
        problem = Problem(type="", title="", status=404, detail="who are you?", code="not_found")
        await link.send(Refused(problem=problem))
        await link.close()
        await server.link()
    assert len(server.registrations) == 3
    lost = [record for record in caplog.records if "reconnecting" in record.getMessage()]
    assert len(lost) == 1, "one line for lost, however often it is tried"


async def test_stop_drains(server: FakeServer, serving: Serving, agent: Agent) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    @agent.task("wait")
    async def wait() -> str:
        started.set()
        await gate.wait()
        return "done"

    async with serving(agent) as task:
        link = await server.link()
        await link.tasks(attempt_of("wait", {}, number=1))
        await started.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.stop())
            await link.receive(Draining)
            await link.tasks(attempt_of("wait", {}, number=2))
            (late,) = await link.settlements()
            assert (late.task_id, late.outcome) == ("tsk_2", "released")
            gate.set()
            (last,) = await link.settlements()
            assert (last.task_id, last.outcome) == ("tsk_1", "completed")
        assert task.done()


async def test_what_does_not_end_in_time_is_released(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    started = asyncio.Event()

    @agent.task("wait")
    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("wait", {}))
        await started.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.stop(drain_seconds=0))
            await link.receive(Draining)
            (settlement,) = await link.settlements()
    assert settlement.outcome == "released"
