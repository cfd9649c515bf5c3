"""Instances: connections, seats, signs of life and their absence."""

from __future__ import annotations

import asyncio

import pytest

from opscore.core.errors import Conflict, NotFound
from opscore.core.template import Target
from opscore.core.types import AgentState
from opscore.engine.engine import Engine
from opscore.engine.lifecycle import AgentDetails, Connection
from opscore.engine.records import AgentRecord
from opscore.engine.seats import Seat, queues_of
from tests.engine.house import Ears, House

SUMMARIZER = AgentDetails("summarizer", capabilities=("sum",))


async def connect(
    house: House,
    agent: AgentRecord,
    ears: Ears,
    *,
    instance: str = "i1",
    slots: int = 1,
    holding: list[tuple[str, int]] | None = None,
    polling: bool = False,
) -> Connection:
    return await house.lifecycle.connect(
        agent.agent_id,
        instance_id=instance,
        max_in_flight=slots,
        holding=holding,
        receiver=ears,
        polling=polling,
    )


async def test_an_instance_works_and_the_agent_is_shown_as_active(house: House) -> None:
    agent, ears = await house.lifecycle.register_agent(SUMMARIZER), Ears()
    assert (agent.state, agent.online) == (AgentState.UNKNOWN, False)
    await connect(house, agent, ears)
    idle = await house.lifecycle.get_agent(agent.agent_id)
    assert (idle.state, idle.online) == (AgentState.IDLE, True)
    await house.start()
    attempt = await ears.given.get()
    busy = await house.lifecycle.get_agent(agent.agent_id)
    assert (busy.state, busy.instances[0].in_flight) == (AgentState.ACTIVE, 1)
    assert house.why_nobody(Target("sum")) == ("of the one agent with the capability sum: 1 busy")
    journal = await house.events(agent.agent_id)
    assert (await house.settle(attempt)).verdict == "recorded"
    done = await house.lifecycle.get_agent(agent.agent_id)
    assert (done.state, done.instances[0].in_flight) == (AgentState.IDLE, 0)
    assert await house.events(agent.agent_id) == journal, "working writes no agent events"


async def test_a_reconnect_gets_back_what_it_does_not_list_and_loses_nothing(house: House) -> None:
    agent, ears = await house.lifecycle.register_agent(SUMMARIZER), Ears()
    first = await connect(house, agent, ears, slots=2)
    await house.start()
    await house.start()
    kept, dropped = await ears.given.get(), await ears.given.get()
    await first.disconnect()
    again = Ears()
    holding = [(kept.task_id, kept.attempt), ("tsk_unknown-1", 1)]
    second = await connect(house, agent, again, slots=2, holding=holding)
    assert second.stale == [("tsk_unknown-1", 1)]
    back = await again.given.get()
    assert (back.task_id, back.attempt) == (dropped.task_id, dropped.attempt + 1)
    seat = house.dispatcher.seat("i1")
    assert seat is not None
    assert (seat.free, set(seat.holding)) == (0, {kept.task_id, dropped.task_id})


async def test_an_attempt_settled_in_the_batch_of_the_hello_takes_no_slot(house: House) -> None:
    agent, ears = await house.lifecycle.register_agent(SUMMARIZER), Ears()
    first = await connect(house, agent, ears)
    await house.start()
    attempt = await ears.given.get()
    await first.disconnect()
    before = len(house.commits)
    holding = [(attempt.task_id, attempt.attempt)]
    _, verdict = await asyncio.gather(
        connect(house, agent, Ears(), holding=holding), house.settle(attempt)
    )
    assert (len(house.commits), verdict.verdict) == (before + 1, "recorded")
    seat = house.dispatcher.seat("i1")
    assert seat is not None
    assert seat.free == 1


async def test_a_newer_connection_of_an_instance_replaces_the_older_one(house: House) -> None:
    agent, old, new = await house.lifecycle.register_agent(SUMMARIZER), Ears(), Ears()
    first = await connect(house, agent, old)
    await connect(house, agent, new)
    assert len(old.closed) == 1
    await first.disconnect()
    assert (await house.lifecycle.get_agent(agent.agent_id)).online
    first.ready(0)
    await house.start()
    assert (await new.given.get()).attempt == 1
    assert (await house.events(agent.agent_id)).count("instance.connected") == 1
    assert "instance.disconnected" not in await house.events(agent.agent_id)


async def test_an_instance_id_belongs_to_one_agent(house: House) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    other = await house.lifecycle.register_agent(AgentDetails("other"))
    ears = Ears()
    await connect(house, agent, ears)
    with pytest.raises(Conflict):
        await connect(house, other, Ears())
    assert ears.closed == []
    with pytest.raises(NotFound):
        await house.lifecycle.connect(
            "nobody", instance_id="i2", max_in_flight=1, holding=[], receiver=Ears()
        )


async def test_whoever_gives_up_connecting_leaves_no_seat(house: House) -> None:
    agent, ears = await house.lifecycle.register_agent(SUMMARIZER), Ears()
    async with asyncio.TaskGroup() as group:
        connecting = group.create_task(connect(house, agent, ears))
        await asyncio.sleep(0)
        connecting.cancel()
    await house.lifecycle.set_state(agent.agent_id, "idle")
    assert house.dispatcher.seats() == []
    await house.start()
    assert ears.given.empty()


async def test_slots_can_be_given_back_and_offered_again(house: House) -> None:
    agent, ears = await house.lifecycle.register_agent(SUMMARIZER), Ears()
    connection = await connect(house, agent, ears)
    connection.ready(0)
    await house.start()
    await house.lifecycle.get_agent(agent.agent_id)
    assert ears.given.empty()
    connection.ready(2)
    await ears.given.get()
    (instance,) = (await house.lifecycle.get_agent(agent.agent_id)).instances
    assert (instance.max_in_flight, instance.in_flight) == (2, 1)


async def test_new_capabilities_reach_a_connected_instance(house: House) -> None:
    agent, ears = await house.lifecycle.register_agent(AgentDetails("summarizer")), Ears()
    await connect(house, agent, ears)
    await house.start()
    assert ears.given.empty()
    await house.lifecycle.register_agent(SUMMARIZER)
    first = await ears.given.get()
    await house.lifecycle.patch_agent(agent.agent_id, {"capabilities": []})
    await house.settle(first)
    await house.start()
    other = Ears()
    taker = await house.lifecycle.register_agent(AgentDetails("b", capabilities=("sum",)))
    await connect(house, taker, other, instance="i2")
    await other.given.get()
    assert ears.given.empty()


async def test_an_agent_goes_offline_when_its_last_instance_was_gone_long_enough(
    house: House,
) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    one = await connect(house, agent, Ears())
    two = await connect(house, agent, Ears(), instance="i2")
    await one.disconnect()
    await house.sweep(60)
    assert (await house.lifecycle.get_agent(agent.agent_id)).state is AgentState.IDLE
    await two.disconnect()
    gone = await house.lifecycle.get_agent(agent.agent_id)
    assert (gone.state, gone.online) == (AgentState.IDLE, False), "it may be a blip"
    await house.sweep(44)
    assert (await house.lifecycle.get_state(agent.agent_id)).state is AgentState.IDLE
    await house.sweep(1)
    offline = await house.lifecycle.get_state(agent.agent_id)
    assert (offline.state, offline.actor) == (AgentState.OFFLINE, "system:opscore")
    assert house.why_nobody(Target(agent="summarizer")) == ("agent summarizer is offline")
    written = len(house.commits)
    await house.sweep(100)
    assert len(house.commits) == written, "said once"
    await connect(house, agent, Ears(), instance="i3")
    assert (await house.lifecycle.get_state(agent.agent_id)).state is AgentState.IDLE


async def test_agents_that_we_call_do_not_go_offline_by_silence(house: House) -> None:
    details = AgentDetails("pushed", channel="http", contact_endpoint="http://agent")
    agent = await house.lifecycle.register_agent(details)
    await house.sweep(1000)
    found = await house.lifecycle.get_agent(agent.agent_id)
    assert (found.state, found.online) == (AgentState.UNKNOWN, True)


async def test_heartbeats_without_a_connection_are_presence(house: House) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    assert await house.lifecycle.heartbeat(agent.agent_id, "i1") == []
    assert (await house.lifecycle.get_agent(agent.agent_id)).online
    for _ in range(5):
        await house.sweep(30)
        await house.lifecycle.heartbeat(agent.agent_id, "i1")
    assert (await house.events(agent.agent_id)).count("instance.connected") == 1
    await house.sweep(45)
    assert not (await house.lifecycle.get_agent(agent.agent_id)).online
    journal = await house.events(agent.agent_id)
    assert journal[-2:] == ["instance.disconnected", "agent.state_changed"]
    assert (await house.lifecycle.get_state(agent.agent_id)).state is AgentState.OFFLINE
    await house.lifecycle.heartbeat(agent.agent_id, "i1")
    back = await house.lifecycle.get_agent(agent.agent_id)
    assert (back.online, back.state) == (True, AgentState.IDLE)
    with pytest.raises(NotFound):
        await house.lifecycle.heartbeat("nobody", "i1")


async def test_heartbeats_extend_leases_and_name_the_stale(house: House) -> None:
    agent, ears = await house.lifecycle.register_agent(SUMMARIZER), Ears()
    connection = await connect(house, agent, ears)
    await house.start()
    attempt = await ears.given.get()
    held = (attempt.task_id, attempt.attempt)
    await house.clock.sleep(10)
    wrong = (attempt.task_id, 9)
    assert await connection.heartbeat([held, wrong]) == [wrong]
    assert await house.lifecycle.heartbeat(agent.agent_id, "i1", [held]) == []
    await house.clock.sleep(10)
    assert (await house.store.due(house.clock.now(), 10)).leases == []
    await house.lifecycle.register_agent(AgentDetails("other", agent_id="other"))
    assert await house.lifecycle.heartbeat("other", "i9", [held]) == [held]


async def test_a_poller_comes_and_goes_without_writing_each_time(house: House) -> None:
    agent, ears = await house.lifecycle.register_agent(SUMMARIZER), Ears()
    for _ in range(3):
        poll = await connect(house, agent, ears, polling=True)
        await poll.disconnect()
        assert (await house.lifecycle.get_agent(agent.agent_id)).online
    assert (await house.events(agent.agent_id)).count("instance.connected") == 1
    poll = await connect(house, agent, ears, polling=True)
    await house.start()
    attempt = await ears.given.get()
    await poll.disconnect()
    (instance,) = (await house.lifecycle.get_agent(agent.agent_id)).instances
    assert (instance.in_flight, instance.connected_at) == (1, None)
    full = await connect(house, agent, ears, polling=True)
    seat = house.dispatcher.seat("i1")
    assert seat is not None
    assert seat.free == 0, "a poll that lists nothing does not forget what it holds"
    await full.disconnect()
    await house.settle(attempt)
    (instance,) = (await house.lifecycle.get_agent(agent.agent_id)).instances
    assert instance.in_flight == 0


async def test_instances_long_gone_are_forgotten(house: House) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    connection = await connect(house, agent, Ears())
    await connection.disconnect()
    await house.sweep(45 * 20 - 1)
    assert len((await house.lifecycle.get_agent(agent.agent_id)).instances) == 1
    await house.sweep(1)
    assert (await house.lifecycle.get_agent(agent.agent_id)).instances == ()


async def test_an_instance_of_a_drained_agent_is_told_when_it_connects(house: House) -> None:
    agent, ears = await house.lifecycle.register_agent(SUMMARIZER), Ears()
    await house.lifecycle.drain(agent.agent_id, reason="upgrade")
    await connect(house, agent, ears)
    assert ears.drained == ["upgrade"]
    await house.start()
    assert ears.given.empty()
    state = await house.lifecycle.get_state(agent.agent_id)
    assert state.state is AgentState.DRAINING


async def test_leaving_while_the_server_stops_is_no_error(house: House) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    connection = await connect(house, agent, Ears())
    house.writer.close()
    await connection.disconnect()
    assert house.dispatcher.seats() == []


async def test_an_instance_that_waits_in_a_poll_is_there(house: House) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    await house.lifecycle.heartbeat(agent.agent_id, "i1")
    queues = queues_of("default", "summarizer", ())
    seat = Seat("default", agent.agent_id, "i1", queues, 1, Ears(), house.clock.now())
    house.dispatcher.sit(seat)
    await house.sweep(60)
    assert (await house.lifecycle.get_agent(agent.agent_id)).online
    house.dispatcher.leave(seat)
    await house.sweep(60)
    assert not (await house.lifecycle.get_agent(agent.agent_id)).online


async def test_claiming_is_a_sign_of_life() -> None:
    async with await Engine.open("sqlite:///:memory:") as engine:
        agent = await engine.lifecycle.register_agent(SUMMARIZER)
        assert await engine.orchestration.claim(agent.agent_id, instance_id="i1") == []
        found = await engine.lifecycle.get_agent(agent.agent_id)
        assert (found.online, found.state) == (True, AgentState.IDLE)
        assert [i.instance_id for i in found.instances] == ["i1"]
