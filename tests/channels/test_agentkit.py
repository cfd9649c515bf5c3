"""The `agentkit` channel: replies, reports, and one task at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from opscore.channels.agentkit import DELIVERY, MESSAGE
from opscore.channels.called import PushChannels
from opscore.core.types import SessionStatus, TaskStatus
from opscore.engine.records import AgentRecord
from tests.channels.agents import Endpoint, Heard, Push, Said, done, endpoint, hang, pushing
from tests.engine.whole import until

ONCE = {"a": {"capability": "work", "retry": 1, "with": {"n": "${{ input.n }}"}}}
COMPLETED = done({"status": "completed", "result": {"n": 8}})


@asynccontextmanager
async def kit(says: Any) -> AsyncGenerator[tuple[Push, Endpoint, AgentRecord]]:
    async with pushing() as p, endpoint(says) as there:
        agent = await p.agent(there.url, channel="agentkit", agent_id="a1")
        await p.whole.apply(ONCE)
        await p.seated(agent)
        yield p, there, agent


async def start(p: Push, n: int = 7) -> str:
    return await p.whole.ops.start("t", input=b'{"n": %d}' % n, context=b'{"who": "ada"}')


async def say(p: Push, word: str, **details: Any) -> None:
    await p.whole.engine.lifecycle.set_state("a1", word, details or None)


async def test_a_task_is_posted_to_the_contact_endpoint() -> None:
    async with kit(COMPLETED) as (p, there, _):
        ended = await p.whole.ended(await start(p))
        assert ended.status is SessionStatus.COMPLETED
        (heard,) = there.heard
        body = heard.body
        task_id = body["opscore_task_id"]
        assert body.pop("timestamp").endswith("Z")
        assert body == {
            "senderId": "opscore",
            "messageType": "workflow_task",
            "payload": {
                "task_name": "work",
                "parameters": {"n": 7},
                "taskId": task_id,
                "sessionId": ended.session_id,
                "attempt": 1,
                "context": {"who": "ada"},
            },
            "task_name": "work",
            "opscore_session_id": ended.session_id,
            "opscore_task_id": task_id,
        }
        assert (await p.whole.ops.get_task(task_id)).output == b'{"n":8}'


def says(status: int, body: Any) -> Any:
    def answer(_: Heard) -> Said:
        return web.json_response(body, status=status)

    return answer


@pytest.mark.parametrize(
    ("answer", "error_class", "message"),
    [
        (says(200, {"status": "ignored"}), "ignored", "ignored"),
        (says(200, {"status": "error", "message": "no"}), "agent_error", "no"),
        (says(500, {"detail": "it broke"}), "agent_error", "it broke"),
        (says(200, {"status": "singing"}), "invalid_reply", "singing"),
        (says(200, ["completed"]), "invalid_reply", "not a JSON object"),
        (says(404, {"detail": "no such agent"}), "fatal", "no such agent"),
    ],
)
async def test_what_a_reply_decides(answer: Any, error_class: str, message: str) -> None:
    async with kit(answer) as (p, _, _agent):
        ended = await p.whole.ended(await start(p))
        failed = ended.steps["a"].error
        assert failed is not None
        assert failed.error_class == error_class
        assert message in failed.message


async def test_reports_do_not_decide_in_direct_mode() -> None:
    async with kit(hang) as (p, there, _):
        await start(p)
        body = (await there.got(1))[0].body
        for word in ("active", "idle", "error"):
            await say(p, word)
        await p.whole.calm()
        task = await p.whole.ops.get_task(body["opscore_task_id"])
        assert task.status is TaskStatus.RUNNING


async def test_one_task_at_a_time_and_none_before_it_is_idle() -> None:
    """`active` and `idle` come after the reply, and the next task must not meet them."""
    async with kit(COMPLETED) as (p, there, agent):
        await p.whole.engine.lifecycle.patch_agent("a1", {"max_in_flight": 5})
        first, second = await start(p, 1), await start(p, 2)
        assert (await p.whole.ended(first)).status is SessionStatus.COMPLETED
        await p.whole.calm()
        assert (len(there.heard), p.slots(agent)) == (1, 0)
        await say(p, "active")
        await p.whole.calm()
        assert len(there.heard) == 1
        await say(p, "idle")
        assert (await p.whole.ended(second)).status is SessionStatus.COMPLETED
        assert len(there.heard) == 2


async def test_finished_means_idle() -> None:
    async with kit(COMPLETED) as (p, there, _):
        first, second = await start(p, 1), await start(p, 2)
        await p.whole.ended(first)
        await say(p, "finished")
        await p.whole.ended(second)
        state = await p.whole.engine.lifecycle.get_state("a1")
        assert (state.state.value, state.reported_state) == ("idle", "finished")
        assert len(there.heard) == 2


async def test_half_a_second_is_enough_when_it_says_nothing() -> None:
    async with kit(COMPLETED) as (p, there, agent):
        first, second = await start(p, 1), await start(p, 2)
        await p.whole.ended(first)
        await p.whole.pass_by(0.4, 0.1)
        assert len(there.heard) == 1
        await p.whole.pass_by(0.2, 0.1)
        await p.whole.ended(second)
        # What it says about our task does not make it look busy with somebody else's.
        await p.whole.pass_by(0.1)
        await say(p, "active")
        await p.whole.pass_by(0.6, 0.1)
        assert p.slots(agent) == 1


async def test_a_lost_task_keeps_it_occupied_for_its_timeout() -> None:
    async with kit(hang) as (p, there, agent):
        step = {"capability": "work", "retry": 1, "timeout": "60s"}
        await p.whole.apply({"a": step}, "bounded")
        session = await p.whole.ops.start("bounded")
        await there.got(1)
        await p.whole.ops.cancel(session, "enough")
        await p.whole.ended(session)
        await p.whole.pass_by(50, 5)
        assert p.slots(agent) == 0
        await p.whole.pass_by(20, 5)
        assert p.slots(agent) == 1


async def test_an_idle_report_ends_that_too() -> None:
    async with kit(hang) as (p, there, agent):
        session = await start(p)
        await there.got(1)
        await p.whole.ops.cancel(session, "enough")
        await p.whole.ended(session)
        await p.whole.calm()
        assert p.slots(agent) == 0
        await say(p, "idle")
        await until(lambda: p.slots(agent) == 1)


async def test_an_agent_that_nobody_registered_cannot_be_called() -> None:
    async with pushing() as p:
        await p.whole.engine.lifecycle.set_state("stranger", "idle")
        agent = await p.whole.engine.lifecycle.get_agent("stranger")
        await p.seated(agent)
        assert (agent.channel, p.slots(agent)) == ("agentkit", 0)


@asynccontextmanager
async def relayed(says: Any, **labels: str) -> AsyncGenerator[tuple[Push, Endpoint, AgentRecord]]:
    """The agent is called through AgentKit, which is the endpoint here."""
    async with endpoint(says) as there, pushing(agentkit=there.url) as p:
        marks = {DELIVERY: "relay", **labels}
        agent = await p.agent(None, channel="agentkit", agent_id="a1", labels=marks)
        await p.whole.apply(ONCE)
        await p.seated(agent)
        yield p, there, agent


ACCEPTED = says(202, {"status": "accepted"})


async def test_a_relayed_task_is_completed_by_active_and_idle() -> None:
    async with relayed(ACCEPTED) as (p, there, agent):
        session = await start(p)
        await there.got(1)
        assert there.paths == ["/agent/v1/agents/a1/run"]
        await p.whole.calm()
        await say(p, "idle")
        await p.whole.calm()
        assert (await p.whole.ops.get_session(session)).status is SessionStatus.PROCESSING
        await say(p, "active")
        await say(p, "idle", path="done")
        ended = await p.whole.ended(session)
        assert ended.status is SessionStatus.COMPLETED
        await until(lambda: p.slots(agent) == 1)


async def test_a_relayed_task_fails_by_an_error() -> None:
    async with relayed(ACCEPTED) as (p, there, _):
        session = await start(p)
        await there.got(1)
        await p.whole.calm()
        await say(p, "error", errorCode="E7", message="no disk")
        ended = await p.whole.ended(session)
        assert ended.steps["a"].error is not None
        assert ended.steps["a"].error.message == "E7: no disk"


async def test_a_relayed_task_that_nobody_reports_on_times_out() -> None:
    async with relayed(ACCEPTED) as (p, there, _):
        session = await start(p)
        await there.got(1)
        await p.whole.calm()
        await p.whole.pass_by(305, 5)
        ended = await p.whole.ended(session)
        assert ended.steps["a"].error is not None
        assert ended.steps["a"].error.error_class == "timeout"


async def test_two_reports_in_one_commit_complete_it_too() -> None:
    async with relayed(ACCEPTED) as (p, there, _):
        session = await start(p)
        await there.got(1)
        await p.whole.calm()
        await asyncio.gather(say(p, "active"), say(p, "idle"))
        assert (await p.whole.ended(session)).status is SessionStatus.COMPLETED


async def test_a_late_idle_of_the_task_before_completes_nothing() -> None:
    async with relayed(ACCEPTED) as (p, there, _):
        first = await start(p, 1)
        await there.got(1)
        await p.whole.calm()
        await say(p, "active")
        await p.whole.ops.cancel(first, "enough")
        await p.whole.ended(first)
        second = await start(p, 2)
        await p.whole.pass_by(310, 10)
        await there.got(2)
        await p.whole.calm()
        await say(p, "idle")
        await p.whole.calm()
        assert (await p.whole.ops.get_session(second)).status is SessionStatus.PROCESSING


@pytest.mark.parametrize(
    ("body", "output"),
    [({"status": "success", "result": {"sum": 3}}, b'{"sum":3}'), ({"sum": 3}, b'{"sum":3}')],
)
async def test_a_tool_invocation_answers_in_the_body(body: Any, output: bytes) -> None:
    async with relayed(says(202, body), **{MESSAGE: "tool_invocation"}) as (p, there, _):
        ended = await p.whole.ended(await start(p))
        assert ended.status is SessionStatus.COMPLETED
        sent = there.heard[0].body
        assert sent["messageType"] == "tool_invocation"
        assert sent["payload"]["tool_name"] == "work"
        assert sent["payload"]["arguments"] == {"n": 7}
        assert (await p.whole.ops.get_task(sent["opscore_task_id"])).output == output


async def test_a_tool_invocation_that_failed() -> None:
    answer = says(202, {"status": "error", "message": "no such tool"})
    async with relayed(answer, **{MESSAGE: "tool_invocation"}) as (p, _, _agent):
        ended = await p.whole.ended(await start(p))
        assert ended.steps["a"].error is not None
        assert ended.steps["a"].error.message == "no such tool"


async def test_without_agentkit_nothing_is_relayed() -> None:
    async with pushing() as p:
        marks = {DELIVERY: "relay"}
        agent = await p.agent("http://x.example/", channel="agentkit", labels=marks)
        await p.seated(agent)
        assert p.slots(agent) == 0
        assert isinstance(p.channels, PushChannels)
