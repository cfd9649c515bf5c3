"""What a function returns or raises, as it is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from opscore.sdk import Agent, Cancelled, Fatal, Retryable, Task
from opscore.wire.stream import Settle
from opscore.wire.task import Usage
from tests.sdk.conftest import FakeServer, attempt_of

Serving = Callable[[Agent], Any]


@pytest.fixture
def agent(server: FakeServer) -> Agent:
    return Agent("worker", url=server.url, instance_id="one", max_in_flight=8)


class Odd(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "error_class", "message", "after"),
    [
        (Retryable("quota", after=30), "rate_limited", "quota", 30),
        (Retryable("again"), "retryable", "again", None),
        (Retryable("again", error_class="busy"), "busy", "again", None),
        (Fatal("no"), "fatal", "no", None),
        (Fatal("no", error_class="bad_file"), "fatal", "bad_file: no", None),
        (Fatal("no", error_class="invalid_input"), "invalid_input", "no", None),
        (Odd("what"), "Odd", "what", None),
        (SystemExit(3), "SystemExit", "3", None),
        (asyncio.CancelledError(), "cancelled", "the function was cancelled from within", None),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
async def test_how_errors_are_settled(
    server: FakeServer,
    serving: Serving,
    agent: Agent,
    error: BaseException,
    error_class: str,
    message: str,
    after: float | None,
    plain: bool,
) -> None:
    if plain and isinstance(error, asyncio.CancelledError):
        error = Cancelled(message)

    if plain:

        @agent.task("fail")
        def fail() -> None:
            raise error
    else:

        @agent.task("fail")
        async def fail_later() -> None:
            raise error

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("fail", {}))
        (settlement,) = await link.settlements()
    assert settlement.outcome == "failed"
    assert settlement.error is not None
    assert settlement.error.error_class == error_class
    assert settlement.error.message == message
    assert settlement.error.retry_after_seconds == after


async def test_an_unforeseen_error_leaves_its_traceback_in_the_log(
    server: FakeServer, serving: Serving, agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    @agent.task("fail")
    async def fail() -> None:
        raise Odd("what")

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("fail", {}))
        await link.settlements()
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "tsk_1" in record.getMessage()
    assert "raise Odd" in caplog.text


@pytest.mark.parametrize(
    ("value", "said"),
    [(object(), "not JSON"), ("x" * 100, "102 bytes of JSON, the server takes 64 at most")],
)
async def test_an_output_that_cannot_be_one(
    server: FakeServer, serving: Serving, agent: Agent, value: object, said: str
) -> None:
    server.payload_limit = 64

    @agent.task("make")
    async def make() -> object:
        return value

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("make", {}))
        (settlement,) = await link.settlements()
    assert settlement.error is not None
    assert settlement.error.error_class == "invalid_output"
    assert said in settlement.error.message


async def test_an_output_that_the_server_refuses_becomes_a_failure(
    server: FakeServer, serving: Serving, agent: Agent
) -> None:
    @agent.task("make")
    async def make() -> str:
        return "odd"

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("make", {}))
        await link.judge(await link.receive(Settle), "invalid", "not to my taste")
        (settlement,) = await link.settlements()
    assert settlement.outcome == "failed"
    assert settlement.error is not None
    assert settlement.error.error_class == "invalid_output"
    assert "not to my taste" in settlement.error.message


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("plain", [False, True])
async def test_what_was_spent_goes_with_the_outcome(
    server: FakeServer, serving: Serving, agent: Agent, plain: bool, fails: bool
) -> None:
    def think(task: Task) -> str:
        task.usage(model="small", input_tokens=10, cost_usd=0.5)
        task.usage(output_tokens=3, cost_usd=0.25)
        if fails:
            raise Retryable("cut off")
        return "done"

    if plain:
        agent.task("think")(think)
    else:

        @agent.task("think")
        async def think_later(task: Task) -> str:
            return think(task)

    async with serving(agent):
        link = await server.link()
        await link.tasks(attempt_of("think", {}))
        if not fails:
            await link.judge(await link.receive(Settle), "invalid", "not to my taste")
        (settlement,) = await link.settlements()
    assert settlement.outcome == "failed"
    assert settlement.usage == Usage(model="small", input_tokens=10, output_tokens=3, cost_usd=0.75)


def test_nothing_spent_is_negative() -> None:
    task = Task.example()
    with pytest.raises(ValueError, match="not negative"):
        task.usage(input_tokens=-1)
    assert task.spent is None
