"""Undoing what completed when a session fails or is cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core import commands as cmd
from opscore.core.task import Failed
from opscore.core.types import SECOND, ErrorInfo, SessionStatus, StepStatus, TaskStatus
from tests.core.scene import RELEASED, Scene, completed, given

WORK = {"capability": "work", "retry": 1}
WHO = "operator:o"
CANCEL = cmd.Cancel("enough", WHO, 10 * SECOND)
RETRY = cmd.RetrySession("", WHO)
BOOM = Failed(ErrorInfo("boom", "it broke"))
LATE = Failed(ErrorInfo("late", "cannot undo"))


def undone(**more: Any) -> dict[str, Any]:
    return {**WORK, "compensate": {"capability": "undo", **more}}


SAGA = {
    "hotel": undone(
        **{"with": {"id": "${{ steps.hotel.output.id }}", "why": "${{ error.class }}"}}
    ),
    "flight": undone(),
    "car": {**WORK, "needs": ["hotel", "flight"]},
}


def booked(steps: dict[str, Any] | None = None, **rest: Any) -> Scene:
    """Flight, then hotel are done; the car is still to come."""
    scene = Scene(steps or SAGA, **rest)
    scene.start()
    scene.complete(scene.task("flight"), {"id": 1})
    scene.complete(scene.task("hotel"), {"id": 2})
    return scene


def undo(scene: Scene) -> str:
    """Complete the one compensation that is under way; the step that it is of."""
    (task,) = scene.queued()
    assert (task.capability, task.member) == ("undo", -1)
    scene.complete(task, "undone")
    return task.step


def test_a_failed_session_undoes_its_steps_one_by_one_newest_first() -> None:
    scene = booked()
    assert scene.fail(scene.task("car")) == [
        *("task.failed", "step.failed", "session.stopping"),
        *("step.compensating", "task.created"),
    ]
    assert given(scene.task("hotel")) == {"id": 2, "why": "boom"}
    assert scene.status is SessionStatus.PROCESSING
    assert [undo(scene), undo(scene)] == ["hotel", "flight"]
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error == ErrorInfo("boom", "it broke")
    assert scene.step("hotel") is StepStatus.COMPENSATED
    assert scene.step("car") is StepStatus.FAILED


def test_a_cancelled_session_undoes_what_completed_also_while_it_drained() -> None:
    scene = Scene(SAGA)
    scene.start()
    scene.complete(scene.task("flight"))
    hotel = scene.claim(scene.task("hotel"))
    scene.done(CANCEL)
    assert scene.settle(hotel, completed({"id": 3}))[:2] == ["task.completed", "step.compensating"]
    assert given(scene.task("hotel"))["why"] == "cancelled"
    assert [undo(scene), undo(scene)] == ["hotel", "flight"]
    assert scene.status is SessionStatus.CANCELLED


def test_what_did_not_complete_is_not_undone() -> None:
    steps = {"a": undone(foreach=[1, 2]), "b": {**undone(), "if": "false"}, "c": WORK}
    steps["a"] = {**undone(), "foreach": [1, 2]}
    scene = Scene(steps)
    scene.start()
    scene.complete(scene.task("a", 0))
    assert "session.failed" in scene.fail(scene.task("c"))


def test_a_loop_is_undone_once_with_all_its_outputs() -> None:
    with_ = {"with": {"all": "${{ steps.a.output }}"}}
    scene = Scene({"a": {**undone(**with_), "foreach": [1, 2]}, "c": {**WORK, "needs": "a"}})
    scene.start()
    scene.complete(scene.task("a", 1), "two")
    scene.complete(scene.task("a", 0), "one")
    scene.fail(scene.task("c"))
    assert given(scene.queued()[0]) == {"all": ["one", "two"]}
    undo(scene)
    assert [bytes(o or b"") for o in scene.state.steps["a"].outputs] == [b'"one"', b'"two"']


def test_the_steps_after_a_failure_run_before_anything_is_undone() -> None:
    scene = booked({**SAGA, "tell": {**WORK, "needs": "car", "when": "failed"}})
    scene.fail(scene.task("car"))
    assert [t.step for t in scene.queued()] == ["tell"]
    scene.complete(scene.task("tell"))
    assert undo(scene) == "hotel"


def test_a_compensation_is_tried_ten_times_unless_it_says_otherwise() -> None:
    steps = {"a": undone(), "b": undone(retry=2), "c": {**WORK, "needs": ["a", "b"]}}
    scene = Scene(steps)
    scene.start()
    for name in ("a", "b"):
        scene.complete(scene.task(name))
    scene.fail(scene.task("c"))
    for tries in (2, 10):
        (task,) = scene.queued()
        for _ in range(tries - 1):
            assert scene.settle(scene.claim(task), LATE) == ["task.retried"]
            scene.due(task)
        assert scene.settle(scene.claim(task), LATE)[:2] == [
            "task.failed",
            "step.compensation_failed",
        ]
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error is not None
    assert scene.state.error.message == (
        "it broke; step a could not be undone: cannot undo; step b could not be undone: cannot undo"
    )
    assert scene.step("a") is StepStatus.COMPLETED


def test_a_compensation_has_bounds_of_its_own() -> None:
    steps = {"a": {**undone(timeout={"attempt": "7s", "queue": "9s"}), "timeout": "1s"}, "c": WORK}
    scene = Scene(steps)
    scene.start()
    scene.complete(scene.task("a"))
    scene.fail(scene.task("c"))
    (task,) = scene.queued()
    assert task.queue_deadline == scene.now + 9 * SECOND
    scene.claim(task)
    assert task.deadline == scene.now + 7 * SECOND
    assert scene.settle(task, RELEASED) == ["task.released"]
    scene.later(9)
    ended = scene.done(cmd.QueueTimeout(task.task_id, "nobody"))
    assert ended == ["task.failed", "step.compensation_failed", "session.failed"]


def test_a_compensation_whose_input_cannot_be_rendered_is_told_and_passed_over() -> None:
    scene = booked({**SAGA, "flight": undone(**{"with": {"x": "${{ steps.flight.output.no }}"}})})
    scene.fail(scene.task("car"))
    undo(scene)
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error is not None
    assert "step flight could not be undone: in 'steps.flight" in scene.state.error.message


def test_what_is_being_undone_can_neither_be_cancelled_nor_paused() -> None:
    scene = booked()
    scene.fail(scene.task("car"))
    (task,) = scene.queued()
    assert scene.refused(CANCEL) == "conflict"
    assert scene.refused(cmd.Pause("", WHO)) == "conflict"
    assert scene.refused(cmd.CancelTask(task.task_id, "")) == "conflict"
    assert scene.refused(cmd.FallbackTask(task.task_id, WHO)) == "conflict"
    assert scene.later(99).done(cmd.DeadlinePassed()) == []
    scene.claim(task)
    assert scene.refused(CANCEL) == "conflict"


def test_an_output_that_cannot_be_rendered_undoes_what_completed() -> None:
    scene = Scene({"a": undone()}, output="${{ steps.a.output.nowhere }}")
    scene.start()
    scene.complete(output={})
    assert undo(scene) == "a"
    assert scene.status is SessionStatus.ERROR


def test_a_retry_runs_again_what_was_undone() -> None:
    scene = booked()
    scene.fail(scene.task("car"))
    assert [undo(scene), undo(scene)] == ["hotel", "flight"]
    assert scene.done(RETRY) == ["session.retried", "task.created", "task.created"]
    scene.complete(scene.task("hotel"), {"id": 5})
    scene.complete(scene.task("flight"), {"id": 9})
    scene.fail(scene.task("car"))
    assert [undo(scene), undo(scene)] == ["flight", "hotel"], "in the order of the second time"


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_failed_compensation_is_tried_again_by_hand(cancelled: bool) -> None:
    on_error = {"workflow": "w", "with": {"why": "${{ error.message }}"}}
    scene = booked({**SAGA, "flight": undone(retry=1)}, onError=on_error)
    scene.done(CANCEL) if cancelled else scene.fail(scene.task("car"))
    assert undo(scene) == "hotel"
    (task,) = scene.queued()
    scene.settle(scene.claim(task), LATE)
    assert scene.state.error is not None and "flight could not" in scene.state.error.message
    ended = scene.status
    again = cmd.RetryTask(task.task_id, WHO, attempts=2)
    assert scene.done(again) == [
        *("session.reopened", "task.resumed", "step.compensating", "task.created")
    ]
    assert scene.refused(again) == "conflict"
    task = scene.task("flight")
    assert scene.settle(scene.claim(task), LATE) == ["task.retried"]
    scene.due(task)
    assert undo(scene) == "flight"
    assert scene.status is ended
    assert scene.state.error is not None
    assert scene.state.error.message == ("enough" if cancelled else "it broke")
    assert getattr(scene.events[-1], "on_error_input", None) is None, "it was told before"


def test_an_agent_s_output_is_checked_against_the_step_s_schema() -> None:
    schema = {"type": "object", "required": ["n"]}
    scene = Scene({"a": {**WORK, "retry": 3, "output": schema, "fallback": [{"agent": "b"}]}})
    scene.start()
    assert scene.complete(output={"m": 1}) == ["task.failed", "task.created"]
    assert scene.state.tasks["tsk_0-1"].error == ErrorInfo(
        "invalid_output",
        'the output of step a does not fit its schema: /: "n" is a required property',
    )
    scene.complete(output={"n": 1})
    assert scene.status is SessionStatus.COMPLETED


def test_a_violation_is_tried_again_when_the_policy_names_it() -> None:
    step = {**WORK, "retry": {"maxAttempts": 2, "errors": ["invalid_output"]}}
    scene = Scene({"a": {**step, "output": {"type": "string"}}})
    scene.start()
    assert scene.complete(output=1) == ["task.retried"]


@pytest.mark.parametrize(
    "step",
    [
        {"value": 1},
        {"value": "${{ index }}", "foreach": [1]},
        {**WORK, "fallback": [{"value": 1}]},
    ],
)
def test_computed_outputs_are_checked_too(step: dict[str, Any]) -> None:
    scene = Scene({"a": {**step, "output": {"type": "string"}}})
    scene.start()
    if scene.queued():
        scene.fail()
    assert scene.state.error is not None
    assert scene.state.error.error_class == "invalid_output"


def test_what_comes_in_late_is_checked_as_well() -> None:
    scene = Scene({"a": {**undone(), "output": {"type": "string"}}})
    scene.start()
    task = scene.claim()
    scene.done(CANCEL)
    assert scene.settle(task, completed(1)) == ["task.failed", "session.cancelled"]
    assert task.status is TaskStatus.FAILED
