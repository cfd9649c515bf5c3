"""A template held against the agents that are registered."""

from __future__ import annotations

from typing import Any

import pytest

from opscore import inprocess
from opscore.engine.lifecycle import AgentDetails
from opscore.templates import check_template

SCHEMA = {
    "type": "object",
    "required": ["text", "size"],
    "properties": {"text": {"type": "string"}, "size": {"type": "integer", "maximum": 9}},
    "additionalProperties": False,
}


async def reviewed(
    steps: dict[str, Any], *agents: AgentDetails
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    async with inprocess.open("sqlite:///:memory:") as ops:
        for agent in agents:
            await ops.lifecycle.register_agent(agent)
        found = check_template(
            {"name": "t", "version": "1", "steps": steps},
            review=lambda template: ops.engine.review(template, "default"),
        )
    faults, warnings = (
        [(each.pointer, f"{each.message} ({each.hint})") for each in of]
        for of in (found.faults, found.warnings)
    )
    return faults, warnings


def agent(name: str = "x", schema: Any = None) -> AgentDetails:
    schemas = {} if schema is None else {"shout": schema}
    return AgentDetails(agent_name=name, capabilities=("shout",), schemas=schemas)


async def test_what_nobody_can_do_is_a_warning() -> None:
    step = {"capability": "shot", "fallback": [{"agent": "y"}, {"capability": "shout"}]}
    faults, warnings = await reviewed({"a": step}, agent())
    assert faults == []
    assert warnings == [
        (
            "/steps/a/capability",
            "no registered agent has the capability 'shot' (did you mean 'shout'?)",
        ),
        (
            "/steps/a/fallback/0/agent",
            "no agent named 'y' is registered (its tasks wait until it registers)",
        ),
    ]


@pytest.mark.parametrize(
    ("given", "where", "words"),
    [
        ({"text": "a"}, "/steps/a/with", '"size" is a required property'),
        ({"text": "a", "size": 10}, "/steps/a/with/size", "10 is greater than the maximum"),
        ({"text": 1, "size": "${{ input }}"}, "/steps/a/with/text", "1 is not of type"),
        (
            {"text": "a", "size": 1, "x": 1},
            "/steps/a/with",
            "Additional properties are not allowed ('x'",
        ),
        (
            {"text": "a", "size": "n ${{ input }}"},
            "/steps/a/with/size",
            "text with expressions inside is not",
        ),
    ],
)
async def test_an_input_that_every_agent_refuses_is_a_mistake(
    given: dict[str, Any], where: str, words: str
) -> None:
    [(pointer, told)], warnings = await reviewed(
        {"a": {"capability": "shout", "with": given}}, agent(schema=SCHEMA)
    )
    assert (pointer, warnings) == (where, [])
    assert f"agent 'x' refuses this input of 'shout': {words}" in told


@pytest.mark.parametrize(
    "given",
    [
        {"text": "${{ input.t }}", "size": "${{ input.n }}"},
        {"text": "a ${{ input.t }}", "size": 3},
        "${{ input }}",
    ],
)
async def test_what_is_only_known_later_is_none(given: Any) -> None:
    step = {"capability": "shout", "with": given}
    assert await reviewed({"a": step}, agent(schema=SCHEMA)) == ([], [])


async def test_what_only_some_refuse_is_a_warning() -> None:
    step = {"capability": "shout", "with": {"text": "a"}}
    faults, warnings = await reviewed(
        {"a": step}, agent("strict", SCHEMA), agent("mild", {"type": "object"}), agent("silent")
    )
    assert faults == []
    assert [where for where, _ in warnings] == ["/steps/a/with"]
    assert "agent 'strict' refuses" in warnings[0][1]


async def test_a_schema_that_is_none_says_nothing() -> None:
    step = {"capability": "shout", "with": {"text": "a"}}
    assert await reviewed({"a": step}, agent(schema={"type": "objct"})) == ([], [])
