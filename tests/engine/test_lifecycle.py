"""Agents through the real write path: registration, sessions, what survives a restart and a failed commit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from opscore.core.agent import Agent
from opscore.core.agent_events import AgentContent
from opscore.core.errors import Conflict, Invalid, NotFound, Refusal, TooLarge, Unavailable
from opscore.core.types import SECOND, Actor, AgentState
from opscore.engine.agent_requests import Report
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.registration import Register
from opscore.engine.unit import Means, Unit
from opscore.store.rows import Wants
from opscore.store.sqlite import SqliteStore
from tests.engine.house import Ears, House, ManualClock, opened

ADA = Actor("operator", "ada")
SUMMARIZER = AgentDetails("summarizer", capabilities=("sum",), version="1", labels={"zone": "eu"})


# -- registration ---------------------------------------------------------------------------


async def test_registering_again_with_the_same_content_writes_nothing(house: House) -> None:
    first = await house.lifecycle.register_agent(SUMMARIZER, actor=ADA)
    again = await house.lifecycle.register_agent(SUMMARIZER)
    assert (first.created, again.created) == (True, False)
    assert again.agent_id == first.agent_id
    assert again.updated_at == first.updated_at
    assert await house.events(first.agent_id) == ["agent.registered"]


async def test_registering_again_with_other_content_updates(house: House) -> None:
    first = await house.lifecycle.register_agent(SUMMARIZER)
    changed = AgentDetails("summarizer", capabilities=("sum", "sum", "count"), max_in_flight=4)
    again = await house.lifecycle.register_agent(changed)
    assert (again.agent_id, again.created) == (first.agent_id, False)
    assert (again.capabilities, again.max_in_flight, again.version) == (("sum", "count"), 4, "")
    assert await house.events(first.agent_id) == ["agent.registered", "agent.changed"]


async def test_a_known_name_with_a_new_id_is_the_same_agent_under_both(house: House) -> None:
    await house.lifecycle.register_agent(AgentDetails("kit", agent_id="one"))
    again = await house.lifecycle.register_agent(AgentDetails("kit", agent_id="two"))
    assert (again.agent_id, again.created) == ("one", False)
    await house.lifecycle.set_state("two", "active")
    assert (await house.lifecycle.get_state("one")).state is AgentState.ACTIVE
    assert len((await house.lifecycle.list_agents()).items) == 1


async def test_an_id_can_take_a_new_name_but_not_anothers(house: House) -> None:
    await house.lifecycle.register_agent(AgentDetails("a", agent_id="1"))
    await house.lifecycle.register_agent(AgentDetails("b", agent_id="2"))
    renamed = await house.lifecycle.register_agent(AgentDetails("c", agent_id="1"))
    assert (renamed.agent_id, renamed.agent_name) == ("1", "c")
    with pytest.raises(Conflict, match="belongs to agent 2"):
        await house.lifecycle.register_agent(AgentDetails("b", agent_id="1"))
    with pytest.raises(Conflict, match="belongs to agent 2"):
        await house.lifecycle.patch_agent("1", {"agent_name": "b"})


async def test_agents_of_another_namespace_are_not_there(house: House) -> None:
    mine = await house.lifecycle.register_agent(SUMMARIZER)
    theirs = await house.lifecycle.register_agent(SUMMARIZER, namespace="theirs")
    assert mine.agent_id != theirs.agent_id
    for verb in (
        house.lifecycle.get_agent(mine.agent_id, namespace="theirs"),
        house.lifecycle.get_state(mine.agent_id, namespace="theirs"),
        house.lifecycle.drain(mine.agent_id, namespace="theirs"),
        house.lifecycle.deregister(mine.agent_id, namespace="theirs"),
    ):
        with pytest.raises(NotFound):
            await verb


async def test_commands_of_one_batch_see_each_others_effect(house: House) -> None:
    def register(name: str, agent_id: str | None = None) -> asyncio.Future[tuple[Agent, bool]]:
        content = AgentContent(name, "", (), "stream", None, 1, {}, {}, {}, ())
        fresh = house.ids.new("agt_")
        command = Register(house.registry, "default", agent_id, fresh, content, "operator:ada")
        return house.writer.submit(command)

    first, second = register("kit"), register("kit")
    report = Report(
        house.registry, "default", "new", "idle", None, None, "agent:new", "", house.ids.new
    )
    reported = house.writer.submit(report)
    named, found = register("newcomer", "new"), register("newcomer")
    await asyncio.gather(first, second, reported, named, found)
    assert len(house.commits) == 1
    assert first.result()[0] == second.result()[0]
    assert (first.result()[1], second.result()[1]) == (True, False)
    assert (named.result()[1], found.result()[1]) == (True, False)
    assert {named.result()[0].agent_id, found.result()[0].agent_id} == {"new"}
    agent = await house.lifecycle.get_agent("new")
    assert (agent.agent_name, agent.state) == ("newcomer", AgentState.IDLE)


async def test_an_agent_that_replaces_a_removed_one_in_the_same_batch(house: House) -> None:
    await house.lifecycle.register_agent(AgentDetails("kit", agent_id="old"))
    await asyncio.gather(
        house.lifecycle.deregister("old"),
        house.lifecycle.register_agent(AgentDetails("kit", agent_id="new")),
    )
    assert (await house.lifecycle.get_agent("new")).agent_name == "kit"
    await asyncio.gather(
        house.lifecycle.deregister("new"),
        house.lifecycle.register_agent(AgentDetails("kit", agent_id="new", version="2")),
    )
    assert (await house.lifecycle.get_agent("new")).version == "2"
    assert [row.agent_id for row in await house.store.agents()] == ["new"]
    assert await house.events("new") == [
        "agent.registered",
        "agent.deregistered",
        "agent.registered",
    ]


async def test_patching_changes_what_is_named_only(house: House) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    patched = await house.lifecycle.patch_agent(
        agent.agent_id, {"capabilities": ["count"], "labels": {"zone": "us"}}, actor=ADA
    )
    assert (patched.capabilities, patched.labels) == (("count",), {"zone": "us"})
    assert (patched.version, patched.agent_name) == ("1", "summarizer")
    for bad in ({"agent_id": "x"}, {"nonsense": 1}, {"max_in_flight": "many"}, {"channel": "fax"}):
        with pytest.raises(Invalid):
            await house.lifecycle.patch_agent(agent.agent_id, bad)
    assert await house.lifecycle.get_agent(agent.agent_id) == patched


@pytest.mark.parametrize(
    ("details", "pointer"),
    [
        (AgentDetails(""), "/agentName"),
        (AgentDetails("x" * 129), "/agentName"),
        (AgentDetails("x", agent_id=""), "/agentId"),
        (AgentDetails("x", capabilities=("ok", "")), "/capabilities/1"),
        (AgentDetails("x", channel="fax"), "/channel"),
        (AgentDetails("x", max_in_flight=0), "/maxInFlight"),
    ],
)
async def test_bad_details_are_refused_and_placed(
    house: House, details: AgentDetails, pointer: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await house.lifecycle.register_agent(details)
    assert [fault.pointer for fault in refused.value.faults] == [pointer]
    assert house.commits == []


async def test_what_is_no_json_or_too_much_is_refused(house: House) -> None:
    with pytest.raises(Invalid, match="metadata"):
        await house.lifecycle.register_agent(AgentDetails("x", metadata={"a": object()}))
    with pytest.raises(TooLarge):
        await house.lifecycle.register_agent(AgentDetails("x", metadata={"a": "x" * 300_000}))
    with pytest.raises(TooLarge):
        await house.lifecycle.set_state("x", "error", {"message": "x" * 300_000})
    assert (await house.lifecycle.list_agents()).items == []


async def test_deregistering_and_coming_back_continues_the_journal(house: House) -> None:
    agent = await house.lifecycle.register_agent(AgentDetails("x", agent_id="a1"))
    await house.lifecycle.deregister(agent.agent_id, reason="moved", actor=ADA)
    with pytest.raises(NotFound):
        await house.lifecycle.get_agent("a1")
    assert (await house.lifecycle.register_agent(AgentDetails("x", agent_id="a1"))).created
    rows = await house.store.agent_journal("a1", 0, 10)
    assert [row.seq for row in rows] == [1, 2, 3]


async def test_lists_are_filtered_and_paged_by_name(house: House) -> None:
    for number in range(5):
        labels = {"zone": "eu" if number % 2 else "us"}
        details = AgentDetails(f"agent{number}", capabilities=(f"c{number % 2}",), labels=labels)
        await house.lifecycle.register_agent(details)
    await house.lifecycle.set_state("reporter", "error")

    async def names(**filters: Any) -> list[str]:
        page = await house.lifecycle.list_agents(**filters)
        return [agent.agent_name for agent in page.items]

    assert await names(capability="c1") == ["agent1", "agent3"]
    assert await names(label="zone=us") == ["agent0", "agent2", "agent4"]
    assert await names(label="zone") == [f"agent{n}" for n in range(5)]
    assert await names(state="error") == ["reporter"]
    assert await names(q="GENT3") == ["agent3"]
    page = await house.lifecycle.list_agents(limit=4)
    assert [a.agent_name for a in page.items] == ["agent0", "agent1", "agent2", "agent3"]
    rest = await house.lifecycle.list_agents(limit=4, cursor=page.next_cursor)
    assert [a.agent_name for a in rest.items] == ["agent4", "reporter"]
    assert rest.next_cursor is None
    with pytest.raises(Invalid):
        await house.lifecycle.list_agents(state="asleep")


# -- sessions -------------------------------------------------------------------------------


async def test_sessions_are_started_for_and_changed_by_the_agent_they_are_bound_to(
    house: House,
) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    other = await house.lifecycle.register_agent(AgentDetails("other"))
    session_id = await house.lifecycle.start_session(agent.agent_id, "one", actor=ADA)
    await house.lifecycle.update_session(agent.agent_id, session_id, {"priority": 80}, actor=ADA)
    assert house.sessions.patched[0]["priority"] == 80
    with pytest.raises(NotFound):
        await house.lifecycle.update_session(other.agent_id, session_id, {"priority": 80})
    with pytest.raises(Invalid):
        await house.lifecycle.update_session(agent.agent_id, session_id, {"status": "done"})
    with pytest.raises(NotFound):
        await house.lifecycle.start_session("nobody", "one")
    assert len(house.sessions.patched) == 1


# -- durability -----------------------------------------------------------------------------


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ops.db'}"
    clock = ManualClock()
    async with opened(url, clock) as house:
        kept = await house.lifecycle.register_agent(SUMMARIZER)
        await house.lifecycle.register_agent(AgentDetails("kit", agent_id="one"))
        await house.lifecycle.register_agent(AgentDetails("kit", agent_id="two"))
        await house.lifecycle.set_state("one", "error", {"message": "quota"})
        await house.lifecycle.register_agent(AgentDetails("gone", agent_id="gone"))
        await house.lifecycle.deregister("gone")
        await house.lifecycle.drain(kept.agent_id, deadline_seconds=60, reason="upgrade")
        before = await house.lifecycle.list_agents()
        states = await house.lifecycle.state_history(kept.agent_id)
    async with opened(url, clock) as house:
        assert await house.lifecycle.list_agents() == before
        assert await house.lifecycle.state_history(kept.agent_id) == states
        assert (await house.lifecycle.get_state("two")).details == {"message": "quota"}
        assert not (await house.lifecycle.register_agent(SUMMARIZER)).created
        await house.lifecycle.register_agent(AgentDetails("gone", agent_id="gone"))
        assert [r.seq for r in await house.store.agent_journal("gone", 0, 9)] == [1, 2, 3]
        await house.sweep(60)
        assert (await house.events(kept.agent_id)).count("agent.drained") == 1


async def test_a_batch_sees_what_the_one_before_it_is_committing(house: House) -> None:
    await house.lifecycle.register_agent(AgentDetails("old", agent_id="1"))
    async with asyncio.TaskGroup() as group, house.slow_commit():
        renamed = group.create_task(house.lifecycle.patch_agent("1", {"agent_name": "new"}))
        first = group.create_task(house.lifecycle.register_agent(AgentDetails("kit")))
        await house.decided()
        again = group.create_task(house.lifecycle.register_agent(AgentDetails("kit", version="2")))
        freed = group.create_task(house.lifecycle.register_agent(AgentDetails("old")))
        joined = group.create_task(house.lifecycle.register_agent(AgentDetails("new")))
        await house.decided()
        assert not first.done()
    assert (first.result().created, again.result().created) == (True, False)
    assert again.result().agent_id == first.result().agent_id
    assert freed.result().agent_id != renamed.result().agent_id == "1"
    assert joined.result().agent_id == "1", "the name is its own, though nobody was told yet"
    assert await house.events(first.result().agent_id) == ["agent.registered", "agent.changed"]
    rows = await house.store.agents()
    assert sorted(row.name for row in rows) == ["kit", "new", "old"]


@pytest.mark.sqlite
async def test_what_was_decided_over_a_failed_commit_fails_too(house: House) -> None:
    assert isinstance(house.store, SqliteStore)
    known = await house.lifecycle.register_agent(AgentDetails("known"))
    writer = house.store._w  # pyright: ignore[reportPrivateUsage]
    pages = writer.execute("pragma max_page_count = 1").get
    assert isinstance(pages, int)
    too_much = AgentDetails("kit", metadata={"much": "x" * 200_000})
    async with house.slow_commit():
        first = asyncio.gather(house.lifecycle.register_agent(too_much), return_exceptions=True)
        await house.decided()
        second = asyncio.gather(
            house.lifecycle.register_agent(AgentDetails("kit", version="2")),
            house.lifecycle.drain(known.agent_id),
            return_exceptions=True,
        )
        await house.decided()
    results = [*await first, *await second]
    assert [type(result) for result in results] == [Unavailable] * 3
    assert [a.agent_name for a in (await house.lifecycle.list_agents()).items] == ["known"]
    writer.execute("pragma max_page_count = 1000000")
    assert (await house.lifecycle.register_agent(AgentDetails("kit"))).created
    assert (await house.lifecycle.drain(known.agent_id)).seq == 2


class Explodes:
    """A command with a bug."""

    weight = 1

    def want(self, wants: Wants, means: Means) -> None:
        assert wants.nothing()
        assert means.lease

    def apply(self, unit: Unit) -> None:
        assert unit.now
        raise ZeroDivisionError


async def test_a_command_that_breaks_its_batch_takes_nobody_with_it(house: House) -> None:
    registered, broken = await asyncio.gather(
        house.lifecycle.register_agent(SUMMARIZER),
        house.writer.submit(Explodes()),
        return_exceptions=True,
    )
    assert isinstance(broken, ZeroDivisionError)
    assert not isinstance(registered, BaseException)
    assert await house.events(registered.agent_id) == ["agent.registered"]


@pytest.mark.sqlite
async def test_a_commit_that_fails_leaves_the_registry_as_it_was(house: House) -> None:
    assert isinstance(house.store, SqliteStore)
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    before = await house.lifecycle.get_agent(agent.agent_id)
    full = house.store._w.execute("pragma max_page_count = 1")  # pyright: ignore[reportPrivateUsage]
    assert full.get is not None
    ears = Ears()
    results = await asyncio.gather(
        house.lifecycle.register_agent(
            AgentDetails("summarizer", metadata={"much": "x" * 100_000})
        ),
        house.lifecycle.set_state("newcomer", "idle", {"much": "x" * 100_000}),
        house.lifecycle.drain(agent.agent_id),
        house.lifecycle.connect(
            agent.agent_id, instance_id="i1", max_in_flight=1, holding=[], receiver=ears
        ),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [Unavailable] * 4
    assert await house.lifecycle.get_agent(agent.agent_id) == before
    assert len((await house.lifecycle.list_agents()).items) == 1
    assert house.dispatcher.seats() == []
    house.store._w.execute("pragma max_page_count = 1000000")  # pyright: ignore[reportPrivateUsage]
    drained = await house.lifecycle.drain(agent.agent_id)
    assert drained.seq == 2


async def test_nothing_is_taken_once_the_server_stops(house: House) -> None:
    house.writer.close()
    with pytest.raises(Refusal):
        await house.lifecycle.register_agent(SUMMARIZER)
    assert (await house.lifecycle.list_agents()).items == []


async def test_a_deadline_is_in_the_future_of_the_commit(house: House) -> None:
    agent = await house.lifecycle.register_agent(SUMMARIZER)
    await house.lifecycle.drain(agent.agent_id, deadline_seconds=1.5)
    found = house.registry.by_id(agent.agent_id)
    assert found is not None
    assert found.drain_deadline == house.clock.now() + 3 * SECOND // 2
