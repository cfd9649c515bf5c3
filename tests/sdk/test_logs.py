"""What code says while it works on a task reaches the server under that task's ids."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from opscore.sdk import Agent, TaskLog
from opscore.sdk.logs import Captured, captured
from opscore.wire.log import ShipLogs
from opscore.wire.stream import Log
from tests.sdk.conftest import FakeServer, attempt_of, json_answer
from tests.sdk.test_poll import Desk

Serving = Callable[[Agent], Any]
user_log = logging.getLogger("the.users.code")


@pytest.fixture(autouse=True)
def attached() -> Iterator[None]:
    sink, before = TaskLog(), user_log.level
    user_log.addHandler(sink)
    logging.getLogger("opscore.agent").addHandler(sink)
    user_log.setLevel("DEBUG")
    yield
    user_log.removeHandler(sink)
    logging.getLogger("opscore.agent").removeHandler(sink)
    user_log.setLevel(before)


def worker(server: FakeServer, **options: Any) -> Agent:
    agent = Agent("worker", url=server.url, max_in_flight=2, **options)

    @agent.task("waits")
    async def waits(name: str) -> None:
        user_log.info("begun %s", name, extra={"file": name})
        await asyncio.sleep(0)
        try:
            raise KeyError(name)
        except KeyError:
            user_log.exception("no such key")

    @agent.task("threaded")
    def threaded(name: str) -> None:
        user_log.warning("in a thread with %s", name)
        logging.getLogger("opscore.agent").warning("the SDK's own words")
        print(f"printed {name}\nand a second", end=" line\n")

    return agent


async def test_records_carry_the_running_tasks_ids(server: FakeServer, serving: Serving) -> None:
    user_log.warning("outside of any task")
    async with serving(worker(server)):
        link = await server.link()
        one = attempt_of("waits", {"name": "a"}, attempt=3)
        await link.tasks(one)
        begun, failed = [await link.receive(Log) for _ in range(2)]
        await link.settlements()
        await link.tasks(attempt_of("threaded", {"name": "b"}, number=2))
        of_second = await link.receive(Log)
    assert {begun.task_id, failed.task_id, of_second.task_id} == {"tsk_1", "tsk_2"}
    assert (begun.message, begun.level, begun.attempt) == ("begun a", "info", 3)
    assert begun.fields == {"file": "a", "logger": "the.users.code"}
    assert begun.trace_id == one.traceparent.split("-")[1]
    assert begun.span_id == one.traceparent.split("-")[2]
    assert (failed.level, failed.error_type) == ("error", "KeyError")
    assert "KeyError: 'a'" in failed.fields["traceback"]
    assert (of_second.message, of_second.level) == ("in a thread with b", "warning")


async def test_what_a_task_prints_is_captured_by_lines(
    server: FakeServer,
    serving: Serving,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A handler that another test left may have lost its stream, and would complain on stderr.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with captured():
        print("outside of any task")
        async with serving(worker(server)):
            link = await server.link()
            await link.tasks(attempt_of("threaded", {"name": "b"}))
            logs = [await link.receive(Log) for _ in range(3)]
    assert [(each.operation, each.message) for each in logs] == [
        ("log", "in a thread with b"),
        ("stdout", "printed b"),
        ("stdout", "and a second line"),
    ]
    said = capsys.readouterr().out
    assert said == "outside of any task\nprinted b\nand a second line\n"
    assert not isinstance(sys.stdout, Captured)


def test_a_captured_stream_stays_the_stream_it_was() -> None:
    behind = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    stream = Captured(behind, "stdout")
    assert (stream.writable(), stream.isatty(), stream.encoding) == (True, False, "latin-1")
    assert stream.write("text") == 4
    stream.flush()
    assert behind.buffer.getvalue() == b"text"
    with pytest.raises(OSError, match="fileno"):
        stream.fileno()


async def test_an_agent_that_polls_ships_in_batches(server: FakeServer, serving: Serving) -> None:
    desk = Desk(server)
    shipped: asyncio.Queue[ShipLogs] = asyncio.Queue()

    async def take(request: web.Request) -> web.StreamResponse:
        await shipped.put(msgspec.json.decode(await request.read(), type=ShipLogs))
        return json_answer({"accepted": 1, "dropped": 0}, 202)

    server.answer("POST", "/log", take)
    async with serving(worker(server, transport="poll")):
        await desk.claims.get()
        await desk.tasks.put([attempt_of("waits", {"name": "a"})])
        found = (await shipped.get()).records
        while len(found) < 2:
            found += (await shipped.get()).records
    assert [one.level for one in found] == ["info", "error"]
    assert found[0].context["file"] == "a" and found[0].task_id == "tsk_1"
