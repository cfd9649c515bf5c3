"""How an input fills a function's parameters, and what is published of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest

from opscore.sdk import Agent, Cancelled, Fatal, Task
from opscore.sdk.capability import Capability


@dataclass
class Point:
    x: int
    y: int = 0


def area(corner: Point, unit: Literal["m", "cm"] = "m", *, tags: list[str] = []) -> None:  # noqa: B006
    pass


def typed(count: Annotated[int, msgspec.Meta(ge=1)]) -> None:
    pass


def rest(first: str, **others: Any) -> None:
    pass


def alone(task: Task) -> None:
    pass


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


@pytest.mark.parametrize(
    ("function", "given", "arguments"),
    [
        (area, {"corner": {"x": 1}}, {"corner": Point(1), "unit": "m", "tags": []}),
        (typed, {"count": 2}, {"count": 2}),
        (typed, 3, {"count": 3}),
        (rest, {"first": "a", "n": [1]}, {"first": "a", "n": [1]}),
        (rest, "a", {"first": "a"}),
        (alone, {}, {"task": None}),
        (alone, None, {"task": None}),
    ],
)
def test_what_fits(function: Callable[..., Any], given: object, arguments: dict[str, Any]) -> None:
    assert Capability("it", function).arguments(raw(given), None) == arguments


@pytest.mark.parametrize(
    ("function", "given", "said"),
    [
        (typed, {}, "missing required field `count`"),
        (typed, {"count": 1, "more": 2}, "unknown field `more`"),
        (typed, {"count": "1"}, "Expected `int`, got `str` - at `$.count`"),
        (typed, {"count": 0}, "Expected `int` >= 1 - at `$.count`"),
        (typed, "1", "Expected `int`, got `str`"),
        (area, {"corner": {"x": 1}, "unit": "mile"}, "Invalid enum value 'mile' - at `$.unit`"),
        (area, [1], "Expected an object with the parameters corner, unit, tags"),
        (alone, 5, "Expected an object with the parameters none"),
        (alone, {"task": 1}, "unknown field `task`"),
        (rest, {"n": 1}, "missing required field `first`"),
    ],
)
def test_what_does_not_fit(function: Callable[..., Any], given: object, said: str) -> None:
    with pytest.raises(Fatal) as caught:
        Capability("it", function).arguments(raw(given), None)
    assert caught.value.error_class == "invalid_input"
    assert said in str(caught.value)
    assert "input of 'it'" in str(caught.value)


def test_the_schema() -> None:
    schema = Capability("area", area).schema
    assert schema["required"] == ["corner"]
    assert schema["properties"]["corner"] == {"$ref": "#/$defs/Point"}
    assert schema["properties"]["unit"] == {"enum": ["cm", "m"], "default": "m"}
    assert schema["$defs"]["Point"]["required"] == ["x"]
    assert schema["additionalProperties"] is False
    assert "additionalProperties" not in Capability("rest", rest).schema
    assert Capability("alone", alone).schema["properties"] == {}


def test_signatures_that_cannot_be_filled() -> None:
    def starred(*names: str) -> None:
        pass

    def positional(name: str, /) -> None:
        pass

    def foreign(value: Agent) -> None:
        pass

    def two(first: Task, second: Task) -> None:
        pass

    agent = Agent("worker")
    for function, said in (
        (starred, "cannot be filled by name"),
        (positional, "cannot be filled by name"),
        (foreign, "capability 'it'"),
        (two, "only one parameter"),
    ):
        with pytest.raises(TypeError, match=said):
            agent.task("it")(function)
    assert agent.capabilities == []


def test_one_function_for_a_capability() -> None:
    agent = Agent("worker")
    agent.task("it")(typed)
    with pytest.raises(ValueError, match="already has a function for 'it'"):
        agent.task("it")
    assert agent.capabilities == ["it"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_in_flight": 0}, "between 1 and 10,000"),
        ({"transport": "pigeon"}, "stream, poll or auto"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Agent("worker", **options)


async def test_an_example_task_says_nothing_and_can_be_cancelled() -> None:
    task = Task.example(attempt=2, context={"a": 1})
    assert (task.attempt, task.context, task.deadline) == (2, {"a": 1}, None)
    await task.progress(0.1)
    task.log("nothing")
    with pytest.raises(ValueError, match="between 0 and 1"):
        task.progress(1.5)
    with pytest.raises(ValueError, match="not a level"):
        task.log("x", level="loud")
    task.cancel("enough")
    assert task.cancelled
    with pytest.raises(Cancelled, match="enough"):
        task.progress()
