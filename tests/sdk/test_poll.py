"""The same agent over plain HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from opscore.sdk import Agent, OpsCoreProblem, Task
from opscore.wire.agent import Attempt, Claimed, ClaimTasks
from opscore.wire.task import AttemptProgress, Settlement, SettleTasks, Verdict, Verdicts
from tests.sdk.conftest import FakeServer, attempt_of, json_answer, problem_answer

Serving = Callable[[Agent], Any]


class Desk:
    """Claim and settle routes: tasks are put in, settlements come out."""

    def __init__(self, server: FakeServer) -> None:
        self.claims: asyncio.Queue[ClaimTasks] = asyncio.Queue()
        self.tasks: asyncio.Queue[list[Attempt]] = asyncio.Queue()
        self.settled: asyncio.Queue[Settlement] = asyncio.Queue()
        self.progress: list[AttemptProgress] = []
        self.break_settle = 0
        server.answer("POST", "/agent/agt_1/claim", self.claim)
        server.answer("POST", "/task/settle", self.settle)
        server.answer("POST", "/task/tsk_1/progress", self.take_progress)

    async def claim(self, request: web.Request) -> web.StreamResponse:
        await self.claims.put(msgspec.json.decode(await request.read(), type=ClaimTasks))
        return json_answer(Claimed(tasks=await self.tasks.get()))

    async def settle(self, request: web.Request) -> web.StreamResponse:
        body = msgspec.json.decode(await request.read(), type=SettleTasks)
        if self.break_settle:
            self.break_settle -= 1
            return problem_answer(503, "unavailable", "not now")
        for one in body.settlements:
            await self.settled.put(one)
        return json_answer(
            Verdicts(
                verdicts=[
                    Verdict(task_id=one.task_id, attempt=one.attempt, verdict="recorded")
                    for one in body.settlements
                ]
            )
        )

    async def take_progress(self, request: web.Request) -> web.StreamResponse:
        self.progress.append(msgspec.json.decode(await request.read(), type=AttemptProgress))
        return json_answer({})


def worker(server: FakeServer, transport: Any) -> Agent:
    agent = Agent("worker", url=server.url, max_in_flight=2, transport=transport)

    @agent.task("echo")
    async def echo(text: str, task: Task) -> str:
        await task.progress(0.5, text)
        return text

    return agent


async def test_it_claims_and_settles(server: FakeServer, serving: Serving) -> None:
    desk = Desk(server)
    async with serving(worker(server, "poll")):
        first = await desk.claims.get()
        assert (first.max, first.holding) == (2, [])
        await desk.tasks.put([attempt_of("echo", {"text": "a"})])
        settlement = await desk.settled.get()
        assert bytes(settlement.output) == b'"a"'
        assert (await desk.claims.get()).holding is None
        beat = await server.beats.get()
        assert beat.instance_id == first.instance_id
    assert [(one.attempt, one.message) for one in desk.progress] in ([], [(1, "a")])


async def test_a_settlement_that_was_not_taken_is_sent_again(
    server: FakeServer, serving: Serving
) -> None:
    desk = Desk(server)
    desk.break_settle = 2
    async with serving(worker(server, "poll")):
        await desk.tasks.put([attempt_of("echo", {"text": "a"})])
        assert (await desk.settled.get()).task_id == "tsk_1"
        claims = [await desk.claims.get() for _ in range(desk.claims.qsize())]
    assert [("tsk_1", 1)] in [one.holding for one in claims]


async def test_auto_polls_when_something_refuses_the_websocket(
    server: FakeServer, serving: Serving
) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=426, text="no upgrades here")

    server.answer("GET", "/agent/agt_1/channel", refuse)
    desk = Desk(server)
    async with serving(worker(server, "auto")):
        await desk.tasks.put([attempt_of("echo", {"text": "a"})])
        assert (await desk.settled.get()).outcome == "completed"


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_auto_does_not_poll_when_the_server_means_it(server: FakeServer, status: int) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    server.answer("GET", "/agent/agt_1/channel", refuse)
    with pytest.raises(OpsCoreProblem) as caught:
        await worker(server, "auto").serve()
    assert caught.value.status == status


async def test_leaving_waits_for_the_verdict(server: FakeServer, serving: Serving) -> None:
    desk = Desk(server)
    agent = worker(server, "poll")
    gate = asyncio.Event()
    started = asyncio.Event()

    @agent.task("wait")
    async def wait() -> str:
        started.set()
        await gate.wait()
        return "done"

    async with serving(agent) as task:
        await desk.tasks.put([attempt_of("wait", {})])
        await started.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.stop())
            gate.set()
            assert (await desk.settled.get()).outcome == "completed"
        assert task.done()
