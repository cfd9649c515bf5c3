"""An agent in its own thread or process: blocking code and signals."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from opscore.sdk import Agent
from opscore.wire.stream import Draining, Progress
from tests.sdk.conftest import FakeServer, Link, attempt_of

PROGRAM = """
import asyncio, sys, threading
from opscore.sdk import Agent, Task

agent = Agent("worker", url=sys.argv[1])

@agent.task("line")
async def line(task: Task) -> str:
    await task.progress(0.5)
    return await asyncio.to_thread(sys.stdin.readline)

@agent.task("hang")
def hang(task: Task) -> None:
    task.progress(0.5)
    threading.Event().wait()

agent.run(drain_seconds=float(sys.argv[2]))
print("left cleanly")
"""


@asynccontextmanager
async def process(
    server: FakeServer, drain_seconds: float
) -> AsyncGenerator[tuple[Process, Link], None]:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, server.url, str(drain_seconds)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield program, await server.link()
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()


async def test_a_blocked_loop_loses_no_lease(server: FakeServer) -> None:
    server.heartbeat_seconds = 0.05
    gate = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    agent = Agent("worker", url=server.url, instance_id="one")

    @agent.task("block")
    async def block() -> str:
        loops.append(asyncio.get_running_loop())
        gate.wait()
        return "done"

    async with asyncio.TaskGroup() as group:
        thread = group.create_task(asyncio.to_thread(asyncio.run, agent.serve()))
        link = await server.link()
        await link.tasks(attempt_of("block", {}))
        beats = 0
        while beats < 3:
            beat = await server.beats.get()
            assert beat.instance_id == "one"
            beats += beat.attempts == [("tsk_1", 1)]
        gate.set()
        (settlement,) = await link.settlements()
        assert settlement.outcome == "completed"
        asyncio.run_coroutine_threadsafe(agent.stop(drain_seconds=0), loops[0])
        await thread


async def test_the_shortest_lease_sets_the_pace(server: FakeServer) -> None:
    server.heartbeat_seconds = 1000.0
    gate = asyncio.Event()
    agent = Agent("worker", url=server.url, instance_id="one", max_in_flight=2)

    @agent.task("wait")
    async def wait() -> None:
        await gate.wait()

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(agent.serve())
        link = await server.link()
        usual, short = attempt_of("wait", {}, number=1), attempt_of("wait", {}, number=2)
        short.lease_seconds = 0.1
        await link.tasks(usual)
        await link.tasks(short)
        beats = 0
        while beats < 3:
            beats += ("tsk_2", 1) in (await server.beats.get()).attempts
        gate.set()
        await link.settlements()
        serving.cancel()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
async def test_a_signal_drains(server: FakeServer, sent: signal.Signals) -> None:
    async with process(server, 30) as (program, link):
        await link.tasks(attempt_of("line", {}, number=1))
        await link.receive(Progress)
        program.send_signal(sent)
        await link.receive(Draining)
        await link.tasks(attempt_of("line", {}, number=2))
        (late,) = await link.settlements()
        assert (late.task_id, late.outcome) == ("tsk_2", "released")
        assert program.stdin is not None
        program.stdin.write(b"go on\n")
        (last,) = await link.settlements()
        assert (last.task_id, bytes(last.output)) == ("tsk_1", b'"go on\\n"')
        out, _ = await program.communicate()
        assert program.returncode == 0
        assert out.decode().strip() == "left cleanly"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
async def test_a_function_that_hangs_does_not_keep_the_process(server: FakeServer) -> None:
    async with process(server, 0) as (program, link):
        await link.tasks(attempt_of("hang", {}))
        await link.receive(Progress)
        program.terminate()
        await link.receive(Draining)
        (settlement,) = await link.settlements()
        assert settlement.outcome == "released"
        out, _ = await program.communicate()
        assert program.returncode == 0
        assert out.decode().strip() == "left cleanly"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
async def test_a_second_interrupt_stops_at_once(server: FakeServer) -> None:
    async with process(server, 600) as (program, link):
        await link.tasks(attempt_of("hang", {}))
        await link.receive(Progress)
        program.send_signal(signal.SIGINT)
        await link.receive(Draining)
        program.send_signal(signal.SIGINT)
        await program.communicate()
        assert program.returncode == 130
