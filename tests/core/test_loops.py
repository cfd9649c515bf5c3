"""Loops: `foreach` over maps, `failures: collect`, `repeat`."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core import commands as cmd
from opscore.core.types import SECOND, ErrorInfo, SessionStatus, StepStatus
from tests.core.scene import Scene, completed, given

WORK = {"capability": "work", "retry": 1}
OUT = "${{ steps.a.output }}"
PAUSE, RESUME = cmd.Pause("", "operator:o"), cmd.Resume("", "operator:o")


def begun(step: dict[str, Any], **rest: Any) -> Scene:
    scene = Scene({"a": {**WORK, **step}, "z": {"needs": "a", "value": OUT}}, output=OUT, **rest)
    scene.start()
    return scene


# -- maps -----------------------------------------------------------------------------------


def test_a_map_is_gone_through_in_the_order_of_its_keys() -> None:
    step = {"foreach": "${{ input }}", "with": {"k": "${{ item.key }}", "v": "${{ item.value }}"}}
    scene = begun(step, input={"b": [1], "a": None})
    assert [given(t) for t in scene.queued()] == [{"k": "a", "v": None}, {"k": "b", "v": [1]}]
    for task in scene.queued():
        scene.complete(task, task.index)
    assert scene.output == [0, 1]


def test_a_written_map_may_hold_expressions() -> None:
    scene = begun({"foreach": {"x": "${{ input.n }}"}, "with": "${{ item }}"}, input={"n": 3})
    assert given(scene.task("a", 0)) == {"key": "x", "value": 3}


def test_more_items_than_the_limit_fail_the_step() -> None:
    scene = begun({"foreach": "${{ input }}"}, input=[0] * 10_001)
    assert scene.state.error is not None
    assert scene.state.error.error_class == "expression_limit"
    assert "10001 items; the limit is 10000" in scene.state.error.message


# -- failures: collect ----------------------------------------------------------------------


def test_collected_failures_are_outcomes_in_the_items_order() -> None:
    scene = begun({"foreach": [1, 2, 3], "failures": "collect"})
    scene.fail(scene.task("a", 2), ErrorInfo("late", "third"))
    assert scene.fail(scene.task("a", 0)) == ["task.failed", "item.failed"]
    scene.complete(scene.task("a", 1), {"x": 1})
    assert scene.status is SessionStatus.COMPLETED
    assert scene.output == [
        {"status": "failed", "error": {"class": "boom", "message": "it broke"}},
        {"status": "completed", "output": {"x": 1}},
        {"status": "failed", "error": {"class": "late", "message": "third"}},
    ]


def test_a_collected_failure_comes_after_retries_and_fallbacks() -> None:
    step = {"foreach": [1], "failures": "collect", "retry": 2, "fallback": [{"capability": "b"}]}
    scene = begun(step)
    assert scene.fail() == ["task.retried"]
    scene.due(scene.task("a", 0))
    assert scene.fail() == ["task.failed", "task.created"]
    assert scene.fail() == ["task.retried"]
    scene.due(scene.task("a", 0))
    assert scene.fail()[:2] == ["task.failed", "item.failed"]


@pytest.mark.parametrize("at_once", [None, 1])
def test_an_item_whose_input_cannot_be_rendered_is_an_outcome_too(at_once: int | None) -> None:
    step: dict[str, Any] = {"foreach": [{"n": 1}, {}, {}], "with": {"n": "${{ item.n }}"}}
    scene = begun(
        {**step, "failures": "collect", **({} if at_once is None else {"maxParallel": at_once})}
    )
    scene.complete(scene.task("a", 0), "fine")
    assert [each["status"] for each in scene.output] == ["completed", "failed", "failed"]
    assert scene.output[1]["error"]["class"] == "expression"
    assert scene.step("z") is StepStatus.COMPLETED


def test_a_step_of_nothing_but_failed_items_completes() -> None:
    scene = begun({"foreach": [1, 2], "failures": "collect", "with": {"n": "${{ item.n }}"}})
    assert scene.status is SessionStatus.COMPLETED
    assert [each["status"] for each in scene.output] == ["failed", "failed"]


def test_a_cancelled_task_of_a_collecting_step_is_that_items_outcome() -> None:
    scene = begun({"foreach": [1, 2], "failures": "collect"})
    scene.done(cmd.CancelTask(scene.task("a", 0).task_id, "not this one"))
    scene.complete(scene.task("a", 1))
    assert scene.output[0]["error"] == {"class": "cancelled", "message": "not this one"}


def test_values_that_cannot_be_computed_are_collected_too() -> None:
    step = {"foreach": [{"n": 1}, {}], "value": "${{ item.n }}"}
    scene = Scene({"a": {**step, "failures": "collect"}}, output=OUT)
    scene.start()
    assert scene.output[0] == {"status": "completed", "output": 1}
    assert scene.output[1]["error"]["class"] == "expression"


# -- repeat ---------------------------------------------------------------------------------

CRITIC = {
    "with": {"last": "${{ previous }}", "round": "${{ index }}"},
    "repeat": {"until": "previous.score > 0.8", "max": 3},
}


def test_a_step_is_repeated_until_its_output_is_good_enough() -> None:
    scene = begun(CRITIC)
    assert given(scene.task("a")) == {"last": None, "round": 0}
    assert scene.complete(output={"score": 0.1}) == [
        "task.completed",
        "step.iterated",
        "task.created",
    ]
    assert given(scene.task("a")) == {"last": {"score": 0.1}, "round": 1}
    assert scene.step("a") is StepStatus.RUNNING
    scene.complete(output={"score": 0.9})
    assert scene.status is SessionStatus.COMPLETED
    assert scene.output == {"score": 0.9}


def test_a_repeat_ends_at_its_bound_with_the_last_output() -> None:
    scene = begun(CRITIC)
    for score in (0.1, 0.3, 0.2):
        scene.complete(output={"score": score})
    assert scene.output == {"score": 0.2}


def test_each_iteration_has_its_own_retries_and_fallbacks() -> None:
    scene = begun({**CRITIC, "fallback": [{"value": {"score": "${{ 0.1 + double(index) }}"}}]})
    scene.fail()
    assert given(scene.task("a")) == {"last": {"score": 0.1}, "round": 1}
    assert scene.fail()[:2] == ["task.failed", "fallback.valued"]
    assert scene.output == {"score": 1.1}


def test_an_until_that_cannot_be_evaluated_fails_the_step() -> None:
    scene = begun(CRITIC)
    scene.complete(output="no score")
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error is not None and scene.state.error.error_class == "expression"
    assert scene.task("a").status == "completed"


def test_a_repeat_stands_still_in_a_pause() -> None:
    scene = begun(CRITIC)
    task = scene.claim()
    scene.done(PAUSE)
    assert scene.settle(task, completed({"score": 0})) == ["task.completed", "step.iterated"]
    assert scene.done(RESUME) == ["session.resumed", "task.created"]


def test_a_cancelled_repeat_starts_no_further_iteration() -> None:
    scene = begun(CRITIC)
    task = scene.claim()
    scene.done(cmd.Cancel("", "operator:o", 10 * SECOND))
    scene.settle(task, completed({"score": 0}))
    assert scene.status is SessionStatus.CANCELLED
    assert scene.step("a") is StepStatus.CANCELLED


def test_a_retried_repeat_goes_on_where_it_failed() -> None:
    scene = begun(CRITIC)
    scene.complete(output={"score": 0.5})
    scene.fail()
    scene.done(cmd.RetrySession("", "operator:o"))
    assert given(scene.task("a")) == {"last": {"score": 0.5}, "round": 1}


def test_a_step_s_output_is_null_until_it_completes() -> None:
    again = {"b": {"needs": "a", "when": "always", "value": "${{ steps.a }}"}}
    scene = Scene(
        {"a": {**WORK, **CRITIC, "continueOnError": True}, **again}, output="${{ steps }}"
    )
    scene.start()
    scene.complete(output={"score": 0.5})
    scene.fail()
    assert scene.output["b"]["output"]["output"] is None
