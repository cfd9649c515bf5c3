"""Agents that are functions of this process."""

from __future__ import annotations

from typing import Any

import pytest

from opscore import inprocess

TEMPLATE = """
name: named
version: "1"
steps:
  work: {agent: local}
output: "${{ steps.work.output }}"
"""


def one(_: Any) -> int:
    return 1


@pytest.mark.parametrize(
    ("functions", "status"),
    [
        ({"first": one}, "completed"),
        ({"first": one, "work": one}, "completed"),
        ({"first": one, "second": one}, "error"),
    ],
)
async def test_a_step_that_names_the_agent(functions: dict[str, Any], status: str) -> None:
    async with inprocess.open("sqlite:///:memory:") as ops:
        await ops.agent("local", functions)
        template = TEMPLATE.replace("local}", "local, retry: {maxAttempts: 1}}")
        await ops.orchestration.create_workflow(template)
        ended = await ops.orchestration.wait(await ops.orchestration.start("named"), 30)
        assert ended.status == status
        assert ops.engine.ready() == []
