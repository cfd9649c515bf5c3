"""What a batch leaves behind: its rows, and nothing in memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from opscore.engine.lifecycle import AgentDetails
from opscore.engine.unit import Unit
from tests.engine.house import House

SUMMARIZER = AgentDetails("summarizer", capabilities=("sum",))


def batches() -> int:
    return sum(type(each) is Unit for each in gc.get_objects())


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_committed_batch_is_freed_without_the_cycle_collector(house: House) -> None:
    house.hooks.on("*", lambda _: None)
    await house.lifecycle.register_agent(SUMMARIZER)
    await house.start()
    await house.decided()
    house.commits.clear()
    assert batches() == 0
