"""What follows a failure: `when`, `continueOnError`, the steps that run after it, trying again."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.task import Failed
from opscore.core.types import SECOND, ErrorInfo, SessionStatus, StepStatus, TaskStatus
from tests.core.scene import RELEASED, Scene, completed, given

WORK = {"capability": "work", "retry": 1}
BOOM = Failed(ErrorInfo("boom", "it broke"))
CANCEL = cmd.Cancel("enough", "operator:o", 10 * SECOND)
RETRY = cmd.RetrySession("", "operator:o")


def begun(steps: dict[str, Any], **rest: Any) -> Scene:
    scene = Scene(steps, **rest)
    scene.start()
    return scene


def after(need: str | list[str], when: str, **more: Any) -> dict[str, Any]:
    return {**WORK, "needs": need, "when": when, **more}


def statuses(scene: Scene) -> dict[str, str]:
    return {name: scene.step(name).value for name in scene.template.order}


# -- which steps run ------------------------------------------------------------------------

A_IS = {"is skipped": {"if": "false"}, "fails, allowed": {"continueOnError": True}}


def end_a(scene: Scene, how: str) -> None:
    if how == "completes":
        scene.complete(scene.task("a"))
    elif how.startswith("fails"):
        scene.fail(scene.task("a"))
    elif how == "is cancelled":
        scene.done(CANCEL)


@pytest.mark.parametrize(
    ("how", "when", "runs"),
    [
        ("completes", "completed", True),
        ("completes", "failed", False),
        ("completes", "always", True),
        ("is skipped", "completed", True),
        ("is skipped", "failed", False),
        ("is skipped", "always", True),
        ("fails, allowed", "completed", True),
        ("fails, allowed", "failed", True),
        ("fails, allowed", "always", True),
        ("fails", "completed", False),
        ("fails", "failed", True),
        ("fails", "always", True),
        ("is cancelled", "completed", False),
        ("is cancelled", "failed", False),
        ("is cancelled", "always", False),
    ],
)
def test_when_a_step_runs(how: str, when: str, runs: bool) -> None:
    scene = begun({"a": {**WORK, **A_IS.get(how, {})}, "b": after("a", when)})
    end_a(scene, how)
    assert (scene.step("b") is StepStatus.RUNNING) is runs
    if runs:
        scene.complete(scene.task("b"))
    expected = {"fails": SessionStatus.ERROR, "is cancelled": SessionStatus.CANCELLED}
    assert scene.status is expected.get(how, SessionStatus.COMPLETED)


def test_a_join_over_a_skipped_and_a_failed_branch_runs_with_null() -> None:
    steps = {
        "left": {**WORK, "if": "false"},
        "right": {**WORK, "continueOnError": True},
        "join": {**WORK, "needs": ["left", "right"], "with": {"all": "${{ steps }}"}},
    }
    scene = begun(steps)
    scene.fail(scene.task("right"))
    seen = given(scene.task("join"))["all"]
    assert seen["left"] == {"status": "skipped", "output": None, "error": None}
    assert seen["right"]["output"] is None
    assert seen["right"]["error"]["class"] == "boom"
    assert seen["right"]["error"]["message"] == "it broke"


def test_a_condition_can_pass_a_skip_on() -> None:
    passed_on = {"needs": "a", "value": 1, "if": "steps.a.status == 'completed'"}
    scene = begun({"a": {"value": 1, "if": "false"}, "b": passed_on})
    assert statuses(scene) == {"a": "skipped", "b": "skipped"}


# -- continueOnError ------------------------------------------------------------------------


def test_a_failure_that_is_allowed_lets_the_session_complete() -> None:
    scene = begun({"a": {**WORK, "continueOnError": True}}, output="${{ steps.a.error.message }}")
    assert scene.fail() == ["task.failed", "step.failed", "session.completed"]
    assert scene.output == "it broke"


def test_an_expression_that_fails_is_allowed_to_as_well() -> None:
    chain: dict[str, Any] = {"a": {"value": "${{ input.no }}", "continueOnError": True}}
    for at in range(150):
        chain[f"n{at}"] = {**chain["a"], "needs": list(chain)[-1]}
    scene = begun(chain)
    assert scene.status is SessionStatus.COMPLETED
    assert set(statuses(scene).values()) == {"failed"}


def test_the_rest_of_a_foreach_that_may_fail_is_cancelled() -> None:
    step = {**WORK, "foreach": [1, 2, 3], "continueOnError": True}
    scene = begun({"a": step, "b": {**WORK, "needs": "a"}})
    running = scene.claim(scene.task("a", 1))
    types = scene.fail(scene.task("a", 0))
    assert types == ["task.failed", "step.failed", *["task.cancelled"] * 2, "task.created"]
    assert running.status is TaskStatus.CANCELLED
    assert scene.refused(cmd.Settle(running.task_id, 1, completed(), 0.5)) == "stale_attempt"
    scene.complete(scene.task("b"))
    assert scene.status is SessionStatus.COMPLETED


def test_a_wide_foreach_that_may_fail_is_cancelled_over_several_commits() -> None:
    step = {**WORK, "foreach": "${{ input }}", "continueOnError": True}
    scene = begun({"a": step}, input=list(range(1_200)))
    scene.advance()
    scene.fail(scene.task("a", 0))
    assert scene.more and scene.status is SessionStatus.PROCESSING
    scene.advance()
    assert scene.status is SessionStatus.COMPLETED
    assert not scene.queued()


# -- the steps that run after a failure -----------------------------------------------------


def test_what_follows_a_failure_runs_when_everything_else_is_quiet() -> None:
    steps = {"a": WORK, "b": WORK, "tell": after("a", "failed"), "rest": {**WORK, "needs": "b"}}
    scene = begun(steps)
    running = scene.claim(scene.task("b"))
    assert scene.fail(scene.task("a")) == ["task.failed", "step.failed", "session.stopping"]
    assert scene.settle(running, completed()) == [
        "task.completed",
        "session.handling",
        "step.skipped",
        "task.created",
    ]
    skipped = [e for e in scene.events if isinstance(e, ev.StepSkipped)]
    assert [(e.step, e.reason) for e in skipped] == [("rest", "step a failed")]
    assert scene.status is SessionStatus.PROCESSING
    scene.complete(scene.task("tell"))
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error == ErrorInfo("boom", "it broke")
    assert statuses(scene)["tell"] == "completed"


def test_a_step_that_did_not_stop_is_cancelled_before_what_follows_begins() -> None:
    scene = begun({"a": WORK, "b": WORK, "clean": after(["a", "b"], "always")})
    scene.claim(scene.task("b"))
    scene.fail(scene.task("a"))
    scene.later(10).done(cmd.DeadlinePassed())
    assert statuses(scene) == {"a": "failed", "b": "cancelled", "clean": "running"}
    assert scene.later(99).done(cmd.DeadlinePassed()) == [], "no deadline bounds the clean-up"


def test_what_follows_a_failure_has_its_own_retries_and_fallbacks_and_sees_the_error() -> None:
    told = {"with": {"why": "${{ error.message }}"}, "fallback": [{"value": "nobody"}]}
    scene = begun({"a": WORK, "tell": after("a", "failed", **{**told, "retry": 2})})
    scene.fail()
    task = scene.task("tell")
    assert given(task) == {"why": "it broke"}
    assert scene.fail(task) == ["task.retried"]
    scene.due(task)
    assert scene.fail(task) == ["task.failed", "fallback.valued", "session.failed"]
    assert scene.state.error == ErrorInfo("boom", "it broke")


def test_error_is_that_of_the_need_that_failed_or_null() -> None:
    seen = {"with": {"e": "${{ error }}"}}
    steps = {
        "a": {**WORK, "continueOnError": True},
        "b": after("a", "always", **seen),
        "c": after("b", "always", **seen),
    }
    scene = begun(steps)
    scene.fail()
    assert given(scene.task("b"))["e"]["class"] == "boom"
    scene.complete(scene.task("b"))
    assert given(scene.task("c")) == {"e": None}


def test_steps_behind_a_step_that_follows_a_failure_run_only_if_they_say_so() -> None:
    steps = {
        "a": WORK,
        "b": {**WORK, "needs": "a"},
        "one": after("b", "always"),
        "two": after("one", "always"),
        "no": {**WORK, "needs": "one"},
        "none": after("b", "failed"),
    }
    scene = begun(steps)
    scene.fail()
    assert statuses(scene)["none"] == "skipped"
    scene.complete(scene.task("one"))
    scene.complete(scene.task("two"))
    wanted = {"a": "failed", "b": "skipped", "one": "completed", "two": "completed"}
    assert statuses(scene) == {**wanted, "no": "skipped", "none": "skipped"}


def test_a_failure_after_the_failure_is_told_and_stops_nothing() -> None:
    steps = {
        "a": WORK,
        "one": after("a", "failed", foreach=[1, 2]),
        "quiet": after("a", "failed", continueOnError=True),
        "two": after("one", "always"),
    }
    scene = begun(steps)
    scene.fail()
    scene.fail(scene.task("one", 1), ErrorInfo("late", "and this too"))
    scene.fail(scene.task("quiet"), ErrorInfo("late", "not told"))
    scene.complete(scene.task("two"))
    assert scene.state.error == ErrorInfo("boom", "it broke; then step one failed: and this too")


def test_a_cancel_stops_what_follows_a_failure_too() -> None:
    scene = begun({"a": WORK, "one": after("a", "always"), "two": after("one", "always")})
    scene.fail()
    running = scene.claim(scene.task("one"))
    assert scene.done(CANCEL) == ["session.stopping"]
    scene.settle(running, completed())
    assert scene.status is SessionStatus.CANCELLED
    assert scene.step("two") is StepStatus.PENDING


def test_the_total_timeout_of_the_session_is_a_failure_like_any_other() -> None:
    scene = begun({"a": WORK, "clean": after("a", "always")}, timeout="1m")
    scene.later(60).done(cmd.DeadlinePassed())
    assert statuses(scene) == {"a": "cancelled", "clean": "running"}
    scene.complete(scene.task("clean"))
    assert scene.state.error is not None and scene.state.error.error_class == "timeout"


@pytest.mark.parametrize("outcome", [completed(), BOOM, RELEASED])
def test_whatever_comes_in_late_starts_nothing(outcome: Any) -> None:
    steps = {
        "a": WORK,
        "b": {**WORK, "fallback": [{"capability": "other"}]},
        "c": {**WORK, "needs": "b"},
    }
    scene = begun(steps)
    running = scene.claim(scene.task("b"))
    scene.fail(scene.task("a"))
    scene.settle(running, outcome)
    assert scene.status is SessionStatus.ERROR
    assert [t.step for t in scene.state.tasks.values()] == ["a", "b"]


# -- trying again ---------------------------------------------------------------------------


def test_a_retry_undoes_what_came_of_the_failure() -> None:
    steps = {
        "a": WORK,
        "b": {**WORK, "needs": "a"},
        "tell": after("a", "failed"),
        "clean": after("b", "always"),
    }
    scene = begun(steps)
    scene.fail()
    scene.complete(scene.task("tell"))
    scene.complete(scene.task("clean"))
    assert scene.done(RETRY) == ["session.retried", "task.created"]
    scene.complete(scene.task("a"))
    assert statuses(scene)["tell"] == "skipped"
    scene.complete(scene.task("b"))
    scene.complete(scene.task("clean"))
    assert scene.status is SessionStatus.COMPLETED


def test_a_retry_leaves_a_failure_that_was_allowed() -> None:
    steps = {"a": {**WORK, "continueOnError": True}, "b": {**WORK, "needs": "a"}}
    scene = begun(steps)
    scene.fail(scene.task("a"))
    scene.fail(scene.task("b"))
    scene.done(RETRY)
    assert [t.step for t in scene.queued()] == ["b"]


def test_a_task_that_was_allowed_to_fail_is_tried_again_by_hand() -> None:
    steps = {"a": {**WORK, "continueOnError": True}, "b": {**WORK, "needs": "a"}}
    scene = begun(steps)
    scene.fail(scene.task("a"))
    scene.fail(scene.task("b"))
    scene.done(cmd.RetryTask(scene.task("a").task_id, "operator:o"))
    assert sorted(t.step for t in scene.queued()) == ["a"]


def test_a_need_that_was_cancelled_counts_as_a_failure_for_what_follows() -> None:
    scene = begun(
        {
            "a": {"wait": "1h"},
            "b": {**WORK},
            "c": after("a", "failed", **{"with": {"why": "${{ error.class }}"}}),
        }
    )
    scene.fail()
    assert statuses(scene) == {"a": "cancelled", "b": "failed", "c": "running"}
    assert given(scene.task("c")) == {"why": "boom"}
