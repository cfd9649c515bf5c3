"""What agents say of themselves, what operators order, and what is left of both."""

from __future__ import annotations

import pytest

from opscore.core.errors import Conflict, Invalid
from opscore.core.template import Target
from opscore.core.types import Actor, AgentState, TaskStatus
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.records import StateRecord
from tests.engine.house import Ears, House

ADA = Actor("operator", "ada")
SUMMARIZER = AgentDetails("summarizer", capabilities=("sum",), version="1", labels={"zone": "eu"})


async def history(house: House, agent_id: str) -> list[tuple[str, str | None, str]]:
    page = await house.lifecycle.state_history(agent_id)
    states: list[StateRecord] = list(page.items)
    return [(s.state.value, s.previous and s.previous.value, s.actor) for s in states]


async def test_a_report_of_an_unknown_agent_makes_it_known(house: House) -> None:
    record = await house.lifecycle.set_state("kit-7", "finished", {"took": 3})
    assert (record.state, record.reported_state) == (AgentState.IDLE, "finished")
    assert (record.details, record.actor) == ({"took": 3}, "agent:kit-7")
    registered = await house.lifecycle.register_agent(AgentDetails("kit", agent_id="kit-7"))
    assert (registered.created, registered.agent_name) == (True, "kit")
    assert registered.state is AgentState.IDLE
    assert await house.events("kit-7") == [
        "agent.registered",
        "agent.state_changed",
        "agent.changed",
    ]


async def test_a_provisional_agent_joins_the_one_of_its_name(house: House) -> None:
    await house.lifecycle.register_agent(AgentDetails("kit", agent_id="old"))
    await house.lifecycle.set_state("new", "idle")
    joined = await house.lifecycle.register_agent(AgentDetails("kit", agent_id="new"))
    assert joined.agent_id == "old"
    assert (await house.lifecycle.get_agent("new")).agent_id == "old"
    assert len((await house.lifecycle.list_agents()).items) == 1


async def test_a_provisional_agent_gives_way_to_a_name_that_is_taken(house: House) -> None:
    await house.lifecycle.register_agent(AgentDetails("kit", agent_id="1"))
    await house.lifecycle.set_state("kit", "idle")
    assert (await house.lifecycle.get_agent("kit")).agent_name == "provisional:kit"


async def test_every_report_is_in_the_history(house: House) -> None:
    for number, word in enumerate(["idle", "idle", "active", "zombie", "error"]):
        await house.clock.sleep(1)
        await house.lifecycle.set_state("a1", word, {"n": number}, reported_at="nonsense")
    page = await house.lifecycle.state_history("a1", limit=4)
    rest = await house.lifecycle.state_history("a1", limit=4, cursor=page.next_cursor)
    states: list[StateRecord] = [*page.items, *rest.items]
    assert len(page.items) == 4
    assert rest.next_cursor is None
    assert [s.state.value for s in states] == [
        "unknown",
        "idle",
        "idle",
        "active",
        "unknown",
        "error",
    ]
    assert [s.reported_state for s in states[1:]] == ["idle", "idle", "active", "zombie", "error"]
    assert [s.previous for s in states[1:]] == [s.state for s in states[:-1]]
    assert [s.at for s in states] == sorted(s.at for s in states)
    assert {s.reported_at for s in states[1:]} == {"nonsense"}
    with pytest.raises(Invalid):
        await house.lifecycle.state_history("a1", cursor="x")
    with pytest.raises(Invalid):
        await house.lifecycle.set_state("a1", "  ")


async def test_draining_and_activating(house: House) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    ears = Ears()
    await house.lifecycle.connect(
        agent.agent_id, instance_id="i1", max_in_flight=1, holding=[], receiver=ears
    )
    drained = await house.lifecycle.drain(agent.agent_id, reason="upgrade", actor=ADA)
    assert (drained.state, drained.reason) == (AgentState.DRAINING, "upgrade")
    assert ears.drained == ["upgrade"]
    await house.start()
    assert house.why_nobody(Target("sum")).endswith("1 draining")
    with pytest.raises(Invalid):
        await house.lifecycle.drain(agent.agent_id, deadline_seconds=-1)
    await house.lifecycle.activate(agent.agent_id, actor=ADA)
    attempt = await ears.given.get()
    await house.settle(attempt)
    with pytest.raises(Conflict):
        await house.lifecycle.activate(agent.agent_id)
    assert await history(house, agent.agent_id) == [
        ("unknown", None, "system:opscore"),
        ("idle", "unknown", f"agent:{agent.agent_id}"),
        ("draining", "idle", "operator:ada"),
        ("idle", "draining", "operator:ada"),
    ]


async def test_what_is_held_at_the_deadline_of_a_drain_is_released(house: House) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    ears = Ears()
    await house.lifecycle.connect(
        agent.agent_id, instance_id="i1", max_in_flight=1, holding=[], receiver=ears
    )
    await house.start()
    attempt = await ears.given.get()
    await house.lifecycle.drain(agent.agent_id, deadline_seconds=30)
    await house.sweep(29)
    assert ears.cancelled == []
    await house.sweep(1)
    assert ears.cancelled == [(attempt.task_id, attempt.attempt)]
    picture = await house.store.task(attempt.task_id)
    assert picture is not None
    task = picture.task
    assert (task.status, task.failures) == (TaskStatus.AVAILABLE, 0)
    assert (await house.settle(attempt)).verdict == "stale_attempt"
    await house.sweep(1)
    assert (await house.events(agent.agent_id)).count("agent.drained") == 1


async def test_deregistering_releases_what_the_agent_holds_and_ends_its_connections(
    house: House,
) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    ears = Ears()
    connection = await house.lifecycle.connect(
        agent.agent_id, instance_id="i1", max_in_flight=1, holding=[], receiver=ears
    )
    await house.start()
    attempt = await ears.given.get()
    await house.lifecycle.deregister(agent.agent_id)
    assert ears.cancelled == [(attempt.task_id, attempt.attempt)]
    assert ears.closed == ["the agent was deregistered"]
    assert house.dispatcher.seats() == []
    await connection.disconnect()
    assert house.why_nobody(Target("sum")) == ("no agent with the capability sum is registered")
    other, heard = (
        await house.lifecycle.register_agent(AgentDetails("b", capabilities=("sum",))),
        Ears(),
    )
    await house.lifecycle.connect(
        other.agent_id, instance_id="i2", max_in_flight=1, holding=[], receiver=heard
    )
    again = await heard.given.get()
    assert (again.task_id, again.attempt) == (attempt.task_id, attempt.attempt + 1)
