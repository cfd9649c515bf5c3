"""Hooks hear of what was committed, and can undo nothing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from opscore.core.types import AgentState
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.records import EventRecord, PartState
from tests.engine.house import Ears, House

SUMMARIZER = AgentDetails("summarizer", capabilities=("sum",))


@pytest.mark.parametrize(
    ("pattern", "types"),
    [
        ("*", ["agent.registered", "session.started", "task.created"]),
        ("agent", ["agent.registered"]),
        ("agent.*", ["agent.registered"]),
        ("session.started", ["session.started"]),
        ("task", ["task.created"]),
        ("sess", []),
        ("session.failed", []),
    ],
)
async def test_patterns(house: House, pattern: str, types: list[str]) -> None:
    heard: list[EventRecord] = []
    house.hooks.on(pattern, heard.append)
    await house.lifecycle.register_agent(SUMMARIZER)
    await house.start()
    assert [event.type for event in heard] == types


async def test_an_event_is_told_as_people_read_it_after_everything_followed(house: House) -> None:
    seen: list[tuple[AgentState, str, dict[str, object]]] = []

    def on_state(event: EventRecord) -> None:
        assert event.agent_id is not None
        agent = house.registry.by_id(event.agent_id)
        assert agent is not None
        seen.append((agent.state, event.type, msgspec.json.decode(event.data)))

    house.hooks.on("agent.state_changed", on_state)
    await house.lifecycle.set_state("a1", "error", {"message": "quota"}, reported_at="now")
    ((state, _, data),) = seen
    assert state is AgentState.ERROR
    assert data["previous"] == "unknown"
    assert data["state"] == "error"
    assert data["reportedAt"] == "now"
    assert data["actor"] == "agent:a1"
    assert data["details"] == {"message": "quota"}


async def test_positions_are_those_of_the_journal(house: House) -> None:
    heard: list[EventRecord] = []
    house.hooks.on("session", heard.append)
    await house.start()
    session_id = await house.start()
    (stored, *_) = await house.store.journal(session_id, 0, 10)
    assert heard[-1].position == stored.position
    assert heard[-1].session_id == session_id


async def test_a_hook_that_raises_undoes_nothing_and_stops_nobody(house: House) -> None:
    heard: list[str] = []

    def breaks(event: EventRecord) -> None:
        raise RuntimeError(event.type)

    async def breaks_later(event: EventRecord) -> None:
        raise RuntimeError(event.type)

    house.hooks.on("*", breaks)
    house.hooks.on("*", breaks_later)
    house.hooks.on("*", lambda event: heard.append(event.type))
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    await house.lifecycle.set_state(agent.agent_id, "idle")
    assert heard == ["agent.registered", "agent.state_changed"]
    assert (await house.lifecycle.get_state(agent.agent_id)).state is AgentState.IDLE


async def test_coroutine_hooks_hear_one_event_at_a_time_in_order(house: House) -> None:
    heard: list[str] = []
    running = 0
    done = asyncio.Event()

    async def slow(event: EventRecord) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        heard.append(msgspec.json.decode(event.data)["reported"])
        running -= 1
        if len(heard) == 5:
            done.set()

    house.hooks.on("agent.state_changed", slow)
    await asyncio.gather(*[house.lifecycle.set_state("a1", f"w{n}") for n in range(5)])
    await done.wait()
    assert heard == [f"w{n}" for n in range(5)]


async def test_a_hook_may_use_the_verbs(house: House) -> None:
    drained = asyncio.Event()

    async def on_error(event: EventRecord) -> None:
        assert event.agent_id is not None
        if msgspec.json.decode(event.data)["state"] == "error":
            await house.lifecycle.drain(event.agent_id, reason="it failed")
            drained.set()

    house.hooks.on("agent.state_changed", on_error)
    await house.lifecycle.set_state("a1", "error")
    await drained.wait()
    assert (await house.lifecycle.get_state("a1")).state is AgentState.DRAINING


async def test_a_closed_subscription_hears_nothing_more(house: House) -> None:
    heard: list[str] = []
    subscription = house.hooks.on("agent", lambda event: heard.append(event.type))
    await house.lifecycle.register_agent(SUMMARIZER)
    subscription.close()
    subscription.close()
    await house.lifecycle.set_state("a1", "idle")
    assert heard == ["agent.registered"]


async def test_failures_are_heard(house: House) -> None:
    heard: list[str] = []
    house.hooks.on("task.failed", lambda event: heard.append(event.type))
    house.hooks.on("session.failed", lambda event: heard.append(event.type))
    agent, ears = await house.lifecycle.register_agent(SUMMARIZER), Ears()
    await house.lifecycle.connect(
        agent.agent_id, instance_id="i1", max_in_flight=1, holding=[], receiver=ears
    )
    await house.start()
    await house.settle(await ears.given.get(), "failed")
    assert heard == ["task.failed", "session.failed"]


async def test_without_hooks_a_commit_is_not_looked_at(house: House) -> None:
    await house.lifecycle.register_agent(SUMMARIZER)
    (unit,) = house.commits
    house.hooks.committed(unit, 1)
    assert unit.after == []


async def test_a_hook_that_raises_is_named_until_it_works_again(house: House) -> None:
    broken, called = [True], asyncio.Event()

    def plain(_: EventRecord) -> None:
        if broken[0]:
            raise ValueError("with a secret in it")

    async def later(_: EventRecord) -> None:
        called.set()
        plain(_)

    house.hooks.on("agent.registered", plain)
    house.hooks.on("agent", later)
    assert house.hooks.state == PartState(None, 0)
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    await called.wait()
    await asyncio.sleep(0)
    told = house.hooks.state.problem or ""
    assert told.count("ValueError") == 2 and "plain: " in told and "later: " in told
    assert "secret" not in told
    broken[0] = False
    called.clear()
    await house.lifecycle.deregister(agent.agent_id)
    await called.wait()
    await asyncio.sleep(0)
    assert "later" not in (house.hooks.state.problem or "")
    await house.lifecycle.register_agent(SUMMARIZER)
    assert house.hooks.state == PartState(None, 0)
