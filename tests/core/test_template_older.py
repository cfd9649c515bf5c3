"""The older definition format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from opscore.core.errors import Fault
from opscore.core.parsing import parse
from opscore.core.template import Target, Template

SAMPLE: dict[str, Any] = {
    "id": "sample_workflow_id",
    "name": "Sample",
    "version": "1.0",
    "tasks": [
        {
            "taskId": "task_1",
            "name": "First",
            "agentCapability": "test_capability",
            "parameters": {"a": "${{ not an expression"},
            "nextTaskId": "task_2",
        },
        {"taskId": "task_2", "name": "Second", "parameters": {}, "nextTaskId": None},
    ],
}


def read(tree: object) -> Template | list[Fault]:
    return parse(
        tree,
        check_expression=lambda text, _: f"'{text}' was taken for an expression",
        check_schema=lambda _: [],
        calendar_of=lambda _, __: "no calendar",
        encode=lambda each: json.dumps(each).encode(),
        source=b"",
        digest="",
    )


def mistakes(**keys: Any) -> list[tuple[str, str]]:
    found = read({**SAMPLE, **keys})
    assert not isinstance(found, Template)
    return [(fault.pointer, fault.message) for fault in found]


def test_a_sequence_of_tasks() -> None:
    found = read(SAMPLE)
    assert isinstance(found, Template), found
    assert (found.name, found.version, found.description) == ("sample_workflow_id", "1.0", "Sample")
    assert found.order == ("task_1", "task_2")
    first, second = found.steps["task_1"], found.steps["task_2"]
    assert first.work == Target(capability="test_capability")
    assert first.description == "First"
    assert not first.with_.dynamic
    assert first.with_.tree == {"a": "${{ not an expression"}
    assert second.needs == ("task_1",)
    assert second.work == Target()


def test_ids_become_step_names() -> None:
    tasks = [{"taskId": each, "agentCapability": "c"} for each in ("A-b", "1", "in", "t_1", "é")]
    found = read({"id": "w", "name": "w", "tasks": tasks})
    assert isinstance(found, Template), found
    assert list(found.steps) == ["t_A_b", "t_1", "in_step", "t_1_2", "t__"]
    assert found.version == "1"


def task(**keys: Any) -> list[dict[str, Any]]:
    return [{"taskId": "a", "agentCapability": "c", **keys}]


@pytest.mark.parametrize(
    ("keys", "where", "words"),
    [
        ({"id": "a b"}, "/id", "not a template name"),
        ({"tasks": 5}, "/tasks", "must be a list, not a number"),
        ({"tasks": [5]}, "/tasks/0", "a task is a mapping"),
        ({"tasks": []}, "/tasks", "no mapping of steps"),
        ({"tasks": task(nextTaskId="b")}, "/tasks/0/nextTaskId", "there is no task 'b'"),
        ({"tasks": task(nextTaskId="a")}, "/tasks/0/nextTaskId", "'a' needs 'a'"),
        ({"tasks": task(agentCapability=5)}, "/tasks/0/agentCapability", "must be text"),
        ({"tasks": task(parameters=[])}, "/tasks/0/parameters", "must be a mapping"),
        ({"tasks": task(taskId=None)}, "/tasks/0", "no taskId"),
        ({"tasks": task() + task()}, "/tasks/1/taskId", "'a' is taken by task 0"),
        ({"tasks": task(agentCapabilty="c")}, "/tasks/0/agentCapabilty", "unknown key"),
        ({"stuff": 1}, "/stuff", "unknown key 'stuff'"),
    ],
)
def test_mistakes_point_into_the_older_document(
    keys: dict[str, Any], where: str, words: str
) -> None:
    found = mistakes(**keys)
    assert where in [pointer for pointer, _ in found]
    assert any(words in message for pointer, message in found if pointer == where)
