"""Tasks that choose among agents, in a whole engine: by labels that are required, by preference."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from opscore.core.types import SessionStatus
from opscore.engine import seats
from opscore.engine.lifecycle import AgentDetails
from tests.engine.whole import HandClock, Whole, Worker, whole

A100, T4 = {"gpu": "a100"}, {"gpu": "t4"}


def work(match: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"capability": "work", "match": match, **more}


LABELLED = {"a": work({"labels": A100})}


async def agent(w: Whole, name: str, labels: dict[str, str], **more: Any) -> Worker:
    return await w.worker(name=name, instance=f"i-{name}", labels=labels, **more)


async def why(w: Whole, session: str) -> str:
    return (await w.engine.debugging.why(session)).reasons[0].message


async def test_only_an_agent_with_the_labels_is_given_the_task() -> None:
    async with whole() as w:
        await w.apply(LABELLED)
        small, big = await agent(w, "small", T4, slots=9), await agent(w, "big", A100, slots=9)
        sessions = [await w.ops.start("t") for _ in range(3)]
        await big.got(3)
        assert small.given == []
        for attempt in big.given:
            await big.settle(attempt)
        assert {(await w.ended(each)).status for each in sessions} == {SessionStatus.COMPLETED}


async def test_it_waits_for_one_and_why_says_what_is_missing() -> None:
    async with whole() as w:
        await w.apply(LABELLED)
        session = await w.ops.start("t")
        missing = "no agent with the capability work and labels {gpu: a100} is registered"
        assert await why(w, session) == missing
        await agent(w, "one", T4)
        assert await why(w, session) == "1 agent provides work, none has labels {gpu: a100}"
        await agent(w, "two", {})
        assert await why(w, session) == "2 agents provide work, none has labels {gpu: a100}"
        big = await agent(w, "big", A100)
        await big.got(1)
        second = await w.ops.start("t")
        busy = "of the one agent with the capability work and labels {gpu: a100}: 1 busy"
        assert (await why(w, second)).startswith(busy)


async def test_a_queue_timeout_says_it_too() -> None:
    async with whole() as w:
        await w.apply({"a": work({"labels": A100}, timeout={"queue": "5s"})})
        await agent(w, "small", T4)
        session = await w.ops.start("t")
        await w.pass_by(6)
        record = await w.ended(session)
        assert record.error is not None
        said = "nobody took the task in time: 1 agent provides work, none has labels {gpu: a100}"
        assert record.error.message == said


async def test_an_agent_that_registers_anew_has_the_labels_that_it_says_then() -> None:
    async with whole() as w:
        await w.apply(LABELLED)
        worker = await agent(w, "one", T4, slots=9)
        first = await w.ops.start("t")
        await w.calm()
        assert worker.given == []
        details = AgentDetails(agent_name="one", capabilities=("work",), labels=A100)
        await w.engine.lifecycle.register_agent(details)
        await worker.got(1)
        assert worker.given[0].session_id == first
        details = AgentDetails(agent_name="one", capabilities=("work",), labels=T4)
        await w.engine.lifecycle.register_agent(details)
        await w.ops.start("t")
        await w.calm()
        assert len(worker.given) == 1, "what it was given it keeps, but it is given nothing new"


async def test_what_waits_is_found_again_by_another_server(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path / 'ops.db'}", HandClock()
    limited = work({"labels": T4}, concurrency={"key": "k", "limit": 1})
    async with whole(url, clock=clock) as w:
        await w.apply({**LABELLED, "b": limited})
        session = await w.ops.start("t")
    async with whole(url, clock=clock) as w:
        small, big = await agent(w, "small", T4), await agent(w, "big", A100)
        for worker in (small, big):
            (attempt,) = await worker.got(1)
            await worker.settle(attempt)
        assert [small.given[0].step, big.given[0].step] == ["b", "a"]
        assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def test_agents_that_poll_are_chosen_as_others_are() -> None:
    async with whole() as w:
        await w.apply({**LABELLED, "b": work({"labels": T4}, concurrency={"key": "k", "limit": 1})})
        ids: list[str] = []
        for name, labels in (("small", T4), ("big", A100)):
            details = AgentDetails(agent_name=name, capabilities=("work",), labels=labels)
            ids.append((await w.engine.lifecycle.register_agent(details)).agent_id)

        async def polled(which: int, wait: float = 0.0) -> list[str]:
            claim = w.ops.claim(ids[which], instance_id=f"i{which}", wait_seconds=wait)
            return [attempt.step for attempt in await claim]

        await w.ops.start("t")
        assert await polled(0) == ["b"]
        assert await polled(1) == ["a"]
        async with asyncio.TaskGroup() as group:
            later = group.create_task(polled(1, 60))
            await w.calm()
            await w.ops.start("t")
        assert later.result() == ["a"]


async def test_a_preferred_agent_comes_first_and_any_other_takes_it_at_once() -> None:
    async with whole() as w:
        await w.apply({"a": work({"prefer": "agent.metadata.cost < 5"})})
        dear = await agent(w, "dear", {}, slots=5, metadata={"cost": 9})
        cheap = await agent(w, "cheap", {}, slots=2, metadata={"cost": 1})
        silent = await agent(w, "silent", {}, slots=5)
        for _ in range(2):
            await w.ops.start("t")
            await w.calm()
        assert (len(cheap.given), len(dear.given), len(silent.given)) == (2, 0, 0)
        await w.ops.start("t")
        await w.calm()
        assert len(dear.given) + len(silent.given) == 1, "nobody waits for the preferred one"
        await cheap.settle(cheap.given[0])
        await w.ops.start("t")
        await w.calm()
        assert len(cheap.given) == 3


async def test_a_preference_may_look_at_what_an_agent_is_at() -> None:
    async with whole() as w:
        step = work({"labels": A100, "prefer": "agent.state == 'idle' || agent.free > 2"})
        await w.apply({"a": {**step, "foreach": [1, 2, 3]}})
        big = await agent(w, "big", A100, slots=2)
        other = await agent(w, "other", A100, slots=1)
        stranger = await agent(w, "stranger", T4, slots=9)
        await w.apply({"a": {"agent": "big"}}, name="own")
        await w.ops.start("own")
        await big.got(1)
        await w.ops.start("t")
        await w.calm()
        assert [a.step for a in other.given] == ["a"], "an idle one before an active one"
        assert len(big.given) == 2
        assert stranger.given == []


async def test_more_such_queues_than_are_kept_in_mind_are_learned_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seats, "QUEUES_KNOWN", 3)
    async with whole() as w:
        names = [f"n{n}" for n in range(10)]
        step = work({"labels": {"name": "${{ item }}"}}, foreach="${{ input.names }}")
        await w.apply({"a": step})
        workers = [await agent(w, name, {"name": name}) for name in names]
        session = await w.ops.start("t", input=b'{"names": ["%s"]}' % '","'.join(names).encode())
        for worker in workers:
            (attempt,) = await worker.got(1)
            await worker.settle(attempt)
        assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def test_one_agent_serves_its_plain_queue_and_all_that_choose_it_in_order() -> None:
    async with whole() as w:
        await w.apply({"a": {"capability": "work"}}, name="plain")
        await w.apply(LABELLED)
        await w.apply({"a": work({"prefer": "true"})}, name="liked")
        started = [await w.ops.start(name) for name in ("t", "plain", "liked", "t")]
        urgent = await w.ops.start("t", priority=90)
        worker = await agent(w, "one", A100)
        for number, session in enumerate([urgent, *started]):
            attempts = await worker.got(number + 1)
            assert attempts[number].session_id == session
            await worker.settle(attempts[number])
