"""How a session's graph moves: which steps start, which are skipped, what comes out."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.types import (
    MAX_ITEMS_PER_COMMIT,
    ErrorInfo,
    SessionStatus,
    StepStatus,
    TaskStatus,
)
from tests.core.scene import BEGIN, Scene, completed, given

WORK = {"capability": "work"}


def test_only_steps_that_need_nothing_start() -> None:
    scene = Scene({"a": WORK, "b": {**WORK, "needs": ["a"]}, "c": WORK})
    assert scene.start() == ["session.started", "task.created", "task.created"]
    assert [t.step for t in scene.queued()] == ["a", "c"]
    assert scene.status is SessionStatus.WAITING


def test_a_step_starts_when_all_it_needs_has_ended() -> None:
    scene = Scene({"a": WORK, "b": WORK, "c": {**WORK, "needs": ["a", "b"]}})
    scene.start()
    assert scene.complete(scene.task("a")) == ["task.completed"]
    assert scene.complete(scene.task("b")) == ["task.completed", "task.created"]
    assert scene.complete(scene.task("c")) == ["task.completed", "session.completed"]
    assert scene.status is SessionStatus.COMPLETED


def test_outputs_flow_into_inputs_and_the_session_s_output() -> None:
    steps = {
        "a": {**WORK, "with": {"n": "${{ input.n }}"}},
        "sum": {"needs": ["a"], "value": "${{ steps.a.output + 1 }}"},
        "b": {**WORK, "needs": ["sum"], "with": {"of": "${{ steps.sum.output }}"}},
    }
    scene = Scene(steps, input={"n": 4}, output={"b": "${{ steps.b.output }}"})
    scene.start()
    assert given(scene.task("a")) == {"n": 4}
    scene.complete(scene.task("a"), 6)
    assert given(scene.task("b")) == {"of": 7}
    scene.complete(scene.task("b"), "done")
    assert scene.output == {"b": "done"}


@pytest.mark.parametrize("condition", ["input.n > 3", "false"])
def test_a_skipped_step_lets_its_dependents_run_with_null(condition: str) -> None:
    steps = {
        "a": {**WORK, "if": condition},
        "b": {**WORK, "needs": ["a"], "with": {"a": "${{ steps.a.output }}"}},
    }
    scene = Scene(steps, input={"n": 3})
    assert scene.start() == ["session.started", "step.skipped", "task.created"]
    assert scene.step("a") is StepStatus.SKIPPED
    assert given(scene.task("b")) == {"a": None}


def test_a_session_of_computed_steps_ends_in_its_first_commit() -> None:
    scene = Scene({"a": {"value": 1}, "b": {"value": None, "if": "false"}}, output="${{ steps }}")
    scene.start()
    assert scene.status is SessionStatus.COMPLETED
    assert scene.state.started is False


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ({"a": {**WORK, "if": "input.missing"}}, "missing"),
        ({"a": {**WORK, "if": "input.n"}}, "true or false"),
        ({"a": {**WORK, "with": "${{ input.missing }}"}}, "missing"),
        ({"a": {**WORK, "foreach": "${{ input.n }}"}}, "list"),
        ({"a": {"value": "${{ input.missing }}"}}, "missing"),
    ],
)
def test_an_expression_that_fails_fails_its_step_and_the_session(
    steps: dict[str, Any], why: str
) -> None:
    scene = Scene({**steps, "z": WORK}, input={"n": 1})
    scene.start()
    assert scene.step("a") is StepStatus.FAILED
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error is not None
    assert scene.state.error.error_class == "expression" and why in scene.state.error.message
    assert not scene.queued()


def test_an_output_that_cannot_be_rendered_fails_the_session() -> None:
    scene = Scene({"a": WORK}, output="${{ steps.a.output.nowhere }}")
    scene.start()
    failed = ["session.stopping", "session.failed"]
    assert scene.complete() == ["task.completed", *failed]
    assert scene.state.error is not None and scene.state.error.message.startswith("output: ")
    assert scene.done(cmd.RetrySession("", "operator:o")) == ["session.retried", *failed]


def test_an_input_over_the_limit_fails_the_step_with_its_own_class() -> None:
    scene = Scene({"a": {**WORK, "with": "${{ input }}"}}, input={"x": "y" * 50}, payload_limit=49)
    scene.start()
    assert scene.state.error is not None
    assert scene.state.error.error_class == "payload_too_large"


@pytest.mark.parametrize(
    "steps",
    [
        {"a": {"value": "${{ input }}"}},
        {"a": {"value": "${{ item }}", "foreach": ["${{ input }}"]}},
        {"a": {**WORK, "timeout": {"queue": "1s"}, "fallback": [{"value": "${{ input }}"}]}},
    ],
    ids=["a step's", "an item's", "a fallback's"],
)
def test_a_value_over_the_limit_fails_the_step_with_the_same_class(steps: dict[str, Any]) -> None:
    scene = Scene(steps, input={"x": "y" * 50}, payload_limit=49)
    scene.start()
    if scene.queued():
        scene.later(1).done(cmd.QueueTimeout(scene.queued()[0].task_id, "nobody is there"))
    assert scene.state.error is not None
    assert scene.state.error.error_class == "payload_too_large"
    assert scene.state.error.message == "the value of step a has 58 bytes; the limit is 49"


def test_an_agent_that_says_so_is_not_asked_again_for_what_is_too_large() -> None:
    scene = Scene({"a": WORK})
    scene.start()
    scene.fail(error=ErrorInfo("payload_too_large", "no"))
    assert scene.step("a") is StepStatus.FAILED


def test_the_onerror_input_is_rendered_when_the_session_fails() -> None:
    on_error = {"workflow": "tell", "with": {"why": "${{ error.message }}"}}
    scene = Scene({"a": {**WORK, "retry": 1}}, onError=on_error)
    scene.start()
    scene.fail()
    last = scene.events[-1]
    assert isinstance(last, ev.SessionFailed) and last.on_error_input is not None
    assert bytes(last.on_error_input) == b'{"why":"it broke"}'


def test_an_onerror_input_that_cannot_be_rendered_is_told_and_hides_nothing() -> None:
    scene = Scene({"a": {**WORK, "retry": 1}}, onError={"workflow": "w", "with": "${{ input.no }}"})
    scene.start()
    scene.fail()
    last = scene.events[-1]
    assert isinstance(last, ev.SessionFailed) and last.on_error_input is None
    assert last.error_class == "boom" and "onError" in last.message


# -- whom a task is for ---------------------------------------------------------------------

BOUND = {"agent_name": "me", "agent_id": "agt_1"}


@pytest.mark.parametrize(
    ("step", "capabilities", "capability", "agent"),
    [
        ({"capability": "work"}, ("work",), "work", "me"),
        ({"capability": "work"}, ("rest",), "work", None),
        ({"agent": "you"}, ("work",), None, "you"),
    ],
)
def test_a_bound_session_prefers_its_agent_where_it_can(
    step: Any, capabilities: tuple[str, ...], capability: str | None, agent: str | None
) -> None:
    scene = Scene({"a": step})
    scene.start_bound("me", capabilities)
    task = scene.task("a")
    assert (task.capability, task.agent) == (capability, agent)


def test_a_fallback_agent_is_asked_for_the_step_s_capability() -> None:
    scene = Scene({"a": {**WORK, "retry": 1, "fallback": [{"agent": "careful"}]}})
    scene.start()
    scene.fail()
    assert (scene.task("a").capability, scene.task("a").agent) == ("work", "careful")


def test_priority_comes_from_the_step_else_from_the_session() -> None:
    scene = Scene({"a": WORK, "b": {**WORK, "priority": 90}}, priority=60)
    scene.start()
    assert [(t.step, t.priority) for t in scene.queued()] == [("b", 90), ("a", 60)]


def test_a_delayed_session_schedules_its_task_and_bounds_its_queueing_only_then() -> None:
    scene = Scene({"a": {**WORK, "timeout": {"queue": "5s"}}})
    scene.start(due=BEGIN + 60_000_000)
    task = scene.task("a")
    assert task.status is TaskStatus.SCHEDULED and task.queue_deadline is None
    assert scene.refused(cmd.TaskDue(task.task_id)) == "conflict"
    assert scene.due(task) == ["task.available"]
    assert task.queue_deadline == scene.now + 5_000_000


# -- foreach --------------------------------------------------------------------------------


def each(**more: Any) -> dict[str, Any]:
    return {**WORK, "foreach": "${{ input.items }}", "with": "${{ item }}", **more}


def test_items_become_tasks_in_order_and_their_outputs_join_in_that_order() -> None:
    steps = {"a": each(), "b": {"needs": ["a"], "value": "${{ steps.a.output }}"}}
    scene = Scene(steps, input={"items": ["x", "y", "z"]}, output="${{ steps.b.output }}")
    scene.start()
    tasks = scene.queued()
    assert [(t.index, given(t)) for t in tasks] == [(0, "x"), (1, "y"), (2, "z")]
    for task in reversed(tasks):
        scene.complete(task, f"out {task.index}")
    assert scene.output == ["out 0", "out 1", "out 2"]


def test_no_items_complete_the_step_at_once() -> None:
    steps = {"a": each(), "b": {**WORK, "needs": ["a"], "with": {"all": "${{ steps.a.output }}"}}}
    scene = Scene(steps, input={"items": []})
    scene.start()
    assert scene.step("a") is StepStatus.COMPLETED
    assert given(scene.task("b")) == {"all": []}


def test_an_item_that_gives_null_is_done() -> None:
    scene = Scene({"a": each()}, input={"items": [1, 2]}, output="${{ steps.a.output }}")
    scene.start()
    for task in scene.queued():
        scene.complete(task, None)
    assert scene.output == [None, None]


def test_no_more_than_maxparallel_items_are_open() -> None:
    scene = Scene({"a": each(maxParallel=2)}, input={"items": list(range(5))})
    scene.start()
    seen: list[int | None] = []
    while tasks := scene.queued():
        assert len(tasks) <= 2
        seen.append(tasks[0].index)
        scene.complete(tasks[0])
    assert seen == [0, 1, 2, 3, 4]
    assert scene.status is SessionStatus.COMPLETED


def test_a_retried_item_still_counts_as_open() -> None:
    scene = Scene({"a": each(maxParallel=1)}, input={"items": [1, 2]})
    scene.start()
    assert scene.fail() == ["task.retried"]
    assert not scene.queued()
    scene.due(scene.task("a", 0))
    assert [t.index for t in scene.queued()] == [0]


def test_a_commit_makes_no_more_than_so_many_tasks() -> None:
    scene = Scene({"a": each()}, input={"items": list(range(2 * MAX_ITEMS_PER_COMMIT + 1))})
    scene.start()
    made = [len(scene.state.tasks)]
    while scene.more:
        scene.more = False
        scene.do(cmd.Advance())
        made.append(len(scene.state.tasks))
    assert made == [MAX_ITEMS_PER_COMMIT, 2 * MAX_ITEMS_PER_COMMIT, 2 * MAX_ITEMS_PER_COMMIT + 1]


def test_items_that_complete_between_two_commits_of_a_fan_out_do_not_end_it() -> None:
    count = MAX_ITEMS_PER_COMMIT + 1
    scene = Scene({"a": each()}, input={"items": list(range(count))})
    scene.start()
    scene.complete(scene.queued()[0])
    assert scene.step("a") is StepStatus.RUNNING
    scene.advance()
    assert len(scene.state.tasks) == count


def test_an_item_that_fails_for_good_fails_the_step() -> None:
    scene = Scene({"a": each(retry=1)}, input={"items": [1, 2, 3]})
    scene.start()
    running = scene.claim(scene.task("a", 1))
    assert "step.failed" in scene.fail(scene.task("a", 0))
    assert scene.task("a", 2).status is TaskStatus.CANCELLED
    assert scene.status is SessionStatus.PROCESSING
    assert scene.settle(running, completed()) == ["task.completed", "session.failed"]


def test_a_fallback_of_an_item_completes_the_item() -> None:
    value = {"value": {"item": "${{ item }}", "class": "${{ error.class }}"}}
    scene = Scene(
        {"a": each(retry=1, fallback=[value])},
        input={"items": ["x", "y"]},
        output="${{ steps.a.output }}",
    )
    scene.start()
    scene.complete(scene.task("a", 0), "fine")
    scene.fail(scene.task("a", 1))
    assert scene.output == ["fine", {"item": "y", "class": "boom"}]
