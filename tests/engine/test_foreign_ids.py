"""Two tenants that call their agents alike find nothing of each other, and take nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from opscore.core.errors import Conflict, Forbidden
from opscore.engine.lifecycle import AgentDetails
from tests.engine.whole import Whole, whole

WORD = "a-word-of-tenant-a"


async def register(
    house: Whole, namespace: str, name: str = "kit", bound: str | None = None
) -> str:
    record = await house.engine.lifecycle.register_agent(
        AgentDetails(name, agent_id="a1"), namespace=namespace, bound=bound
    )
    return record.agent_id


async def test_the_same_id_names_an_agent_of_each_tenant() -> None:
    async with whole() as house:
        life = house.engine.lifecycle
        ids = [await register(house, namespace) for namespace in ("a", "b", "b", "a")]
        assert ids[0] == ids[3] == "a1" and ids[1] == ids[2] != "a1"
        await life.set_state("a1", WORD, namespace="a")
        await life.set_state("a1", "idle", namespace="b")
        assert (await life.get_state("a1", namespace="b")).reported_state == "idle"
        assert (await life.get_state("a1", namespace="a")).reported_state == WORD
        history = await life.state_history("a1", namespace="b")
        assert WORD not in str(history.items)
        await life.deregister("a1", namespace="b")
        assert (await life.get_agent("a1", namespace="a")).agent_id == "a1"


async def test_a_report_for_anothers_id_makes_an_agent_of_ones_own() -> None:
    async with whole() as house:
        life = house.engine.lifecycle
        await register(house, "a")
        await life.set_state("a1", "active", namespace="b")
        assert (await life.get_state("a1", namespace="b")).reported_state == "active"
        assert (await life.get_state("a1", namespace="a")).reported_state is None
        assert len((await life.list_agents(namespace="b")).items) == 1


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_id_that_is_free_again_brings_no_history_along(
    tmp_path: Path, restarted: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'ops.db'}"
    async with whole(url) as house:
        await register(house, "a")
        await house.engine.lifecycle.set_state("a1", WORD, namespace="a")
        await house.engine.lifecycle.deregister("a1", namespace="a")
        if not restarted:
            await check_no_history(house)
    if restarted:
        async with whole(url) as house:
            await check_no_history(house)


async def check_no_history(house: Whole) -> None:
    life = house.engine.lifecycle
    await register(house, "b")
    await life.set_state("a1", "idle", namespace="b")
    assert WORD not in str((await life.state_history("a1", namespace="b")).items)
    assert await register(house, "a") == "a1"
    assert WORD in str((await life.state_history("a1", namespace="a")).items)


async def test_an_instance_of_another_agent_is_refused() -> None:
    async with whole() as house:
        worker = await house.worker(name="one", instance="i1")
        other = await house.engine.lifecycle.register_agent(AgentDetails("two"), namespace="b")
        for wait in (0, 5):
            with pytest.raises(Conflict):
                await house.ops.claim(
                    other.agent_id, instance_id="i1", wait_seconds=wait, namespace="b"
                )
        assert worker.closed == []


async def test_a_binding_registers_its_own_agent_and_no_other() -> None:
    async with whole() as house:
        life = house.engine.lifecycle
        assert await register(house, "a", "kit", bound="kit") == "a1"
        assert await register(house, "a", "kit", bound="kit") == "a1"
        await life.register_agent(AgentDetails("cat", agent_id="c1"), namespace="a")
        refused = [
            AgentDetails("cat"),  # another agent, by name
            AgentDetails("kit", agent_id="c1"),  # another agent, by id
            AgentDetails("dog"),  # a new agent
            AgentDetails("kit", agent_id="k2"),  # another id for its own
        ]
        for details in refused:
            with pytest.raises(Forbidden):
                await life.register_agent(details, namespace="a", bound="kit")
        names = [one.agent_name for one in (await life.list_agents(namespace="a")).items]
        assert names == ["cat", "kit"]
