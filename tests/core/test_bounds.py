"""Total timeouts of steps, and fallbacks of steps that wait."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core import commands as cmd
from opscore.core.types import SECOND, ErrorInfo, SessionStatus, StepStatus
from opscore.engine.journal import raw
from tests.core.scene import BEGIN, Scene, completed

WHO = "operator:o"
BOUND = {"capability": "work", "timeout": {"total": "1m"}, "retry": 9}
CHILD = {"name": "w", "version": "1"}
LATE = cmd.TimerDue("w")


def begun(step: dict[str, Any], input: Any = None, **rest: Any) -> Scene:
    """A session whose step `w` is under way."""
    scene = Scene({"w": step}, input=input, output="${{ steps.w.output }}", **rest)
    scene.start()
    return scene


def ended_in_timeout(scene: Scene) -> None:
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error == ErrorInfo(
        "timeout", "step w took longer than its total timeout of 1m"
    )


# -- total ----------------------------------------------------------------------------------


def test_a_step_has_its_total_time_for_all_attempts_and_no_fallback_follows() -> None:
    scene = begun({**BOUND, "fallback": [{"value": "instead"}]})
    assert scene.state.steps["w"].due == BEGIN + 60 * SECOND
    scene.fail()
    assert scene.later(59).refused(LATE) == "conflict"
    events = scene.later(1).done(LATE)
    assert events[:2] == ["task.cancelled", "step.failed"]
    ended_in_timeout(scene)


def test_what_runs_then_is_fenced_at_once() -> None:
    scene = begun(BOUND)
    task = scene.claim()
    scene.later(60).done(LATE)
    ended_in_timeout(scene)
    assert scene.refused(cmd.Settle(task.task_id, 1, completed(), 0.5)) == "stale_attempt"


def test_a_fallback_is_inside_the_total_time() -> None:
    scene = begun({**BOUND, "retry": 1, "fallback": [{"agent": "b"}]})
    scene.fail()
    scene.claim()
    scene.later(60).done(LATE)
    ended_in_timeout(scene)


def test_a_step_that_ended_in_time_has_no_timer() -> None:
    scene = begun(BOUND)
    scene.complete()
    assert scene.status is SessionStatus.COMPLETED
    assert scene.later(60).refused(LATE) == "conflict"


def test_it_is_over_all_items_also_where_failures_are_collected() -> None:
    scene = begun({**BOUND, "foreach": [1, 2, 3], "maxParallel": 1, "failures": "collect"})
    scene.complete()
    scene.claim()
    scene.later(60).done(LATE)
    ended_in_timeout(scene)


def test_it_is_over_all_iterations() -> None:
    scene = begun({**BOUND, "repeat": {"until": "false", "max": 5}})
    scene.complete()
    assert scene.later(30).state.steps["w"].due == BEGIN + 60 * SECOND
    scene.complete()
    scene.later(30).done(LATE)
    ended_in_timeout(scene)


@pytest.mark.parametrize("allowed", [True, False])
def test_a_child_session_is_cancelled_then_and_what_it_still_gives_is_too_late(
    allowed: bool,
) -> None:
    scene = begun({"workflow": CHILD, "timeout": "1m", "continueOnError": allowed})
    (child,) = scene.children()
    assert "child.abandoned" in scene.later(60).done(LATE)
    scene.child_over(child, 7)
    assert scene.step("w") is StepStatus.FAILED
    assert scene.status is (SessionStatus.COMPLETED if allowed else SessionStatus.ERROR)


def test_a_pause_stands_outside_of_it() -> None:
    scene = begun(BOUND)
    scene.later(50).done(cmd.Pause("", WHO))
    assert scene.later(500).refused(LATE) == "conflict"
    scene.done(cmd.Resume("", WHO))
    assert scene.later(9).refused(LATE) == "conflict"
    scene.later(1).done(LATE)
    ended_in_timeout(scene)


def test_a_session_that_winds_down_has_its_grace_instead() -> None:
    scene = begun(BOUND)
    scene.claim()
    scene.done(cmd.Cancel("enough", WHO, 100 * SECOND))
    assert scene.later(60).refused(LATE) == "conflict"


def test_a_step_for_a_failure_has_a_total_time_of_its_own() -> None:
    steps = {
        "a": {"capability": "work", "retry": 1},
        "w": {**BOUND, "needs": "a", "when": "failed"},
    }
    scene = Scene(steps)
    scene.start()
    scene.fail()
    scene.later(60).done(LATE)
    assert scene.state.error is not None
    assert scene.state.error.error_class == "boom"
    assert "then step w failed: step w took longer" in scene.state.error.message


def test_a_session_retried_gives_the_step_its_whole_time_again() -> None:
    scene = begun({**BOUND, "foreach": [1, 2], "retry": 1})
    scene.complete()
    scene.fail()
    assert scene.status is SessionStatus.ERROR
    scene.later(600).done(cmd.RetrySession("", WHO))
    assert scene.state.steps["w"].due == scene.now + 60 * SECOND
    scene.later(60).done(LATE)
    ended_in_timeout(scene)


def test_what_is_undone_has_no_total_time() -> None:
    undone = {"capability": "work", "compensate": {"capability": "undo"}}
    steps = {"w": undone, "b": {"needs": "w", "capability": "work", "retry": 1}}
    scene = Scene(steps, defaults={"timeout": {"total": "1m", "attempt": "5s"}})
    scene.start()
    scene.complete()
    scene.fail()
    assert scene.step("w") is StepStatus.COMPLETED
    assert scene.later(600).refused(LATE) == "conflict"
    scene.complete(scene.queued()[0])
    assert scene.step("w") is StepStatus.COMPENSATED


# -- fallbacks of steps that wait -----------------------------------------------------------

SIGNAL = {"signal": "go", "timeout": "1m"}
ASKED = {"approval": {"title": "ok?", "timeout": "1m"}}
VALUE = {"fallback": [{"value": "${{ error.class + ': ' + error.message }}"}]}


@pytest.mark.parametrize(
    ("step", "output"),
    [
        ({**SIGNAL, **VALUE}, "timeout: no signal go came within 1m"),
        ({**ASKED, **VALUE}, "rejected: nobody decided in time"),
    ],
)
def test_who_waits_in_vain_falls_back(step: dict[str, Any], output: str) -> None:
    scene = begun(step)
    scene.later(60).done(LATE)
    assert (scene.status, scene.output) == (SessionStatus.COMPLETED, output)


def test_a_rejected_approval_falls_back_and_another_decision_is_too_late() -> None:
    scene = begun({**ASKED, "fallback": [{"capability": "work"}, {"value": 5}]})
    scene.done(cmd.Reject("w", "eve", "no"))
    assert scene.step("w") is StepStatus.RUNNING
    assert scene.refused(cmd.Approve("w", "ada", "", "any")) == "conflict"
    scene.fail(error=ErrorInfo("fatal", ""))
    assert scene.output == 5


def test_a_wait_for_a_time_that_is_none_falls_back() -> None:
    step = {"wait": "${{ input.when }}", "fallback": [{"workflow": CHILD}]}
    scene = begun(step, {"when": "soon"})
    scene.child_over(output=3)
    assert scene.output == 3
    assert begun(step, {"when": "5s"}).step("w") is StepStatus.WAITING


def test_a_signal_that_comes_while_the_fallback_runs_stays_for_other_steps() -> None:
    other = {"needs": "w", "signal": "go"}
    scene = Scene({"w": {**SIGNAL, "fallback": [{"agent": "b"}]}, "x": other})
    scene.start()
    scene.later(60).done(LATE)
    scene.done(cmd.Signal("go", "s1", raw(b"7"), WHO))
    assert scene.step("w") is StepStatus.RUNNING
    scene.complete()
    assert bytes(scene.state.steps["x"].output or b"") == b"7"


def test_when_the_fallbacks_are_used_up_the_step_fails_with_their_error() -> None:
    scene = begun({**SIGNAL, "fallback": [{"agent": "b"}]})
    scene.later(60).done(LATE)
    scene.fail(error=ErrorInfo("fatal", "no"))
    assert scene.state.error == ErrorInfo("fatal", "no")


def test_tasks_of_such_fallbacks_have_the_bounds_of_defaults() -> None:
    scene = begun(
        {**SIGNAL, "fallback": [{"agent": "b"}]},
        defaults={"timeout": {"attempt": "5s", "queue": "7s"}, "retry": 2},
    )
    scene.later(60).done(LATE)
    assert scene.task("w").queue_deadline == scene.now + 7 * SECOND
    scene.fail()
    scene.due(scene.task("w"))
    assert scene.claim().deadline == scene.now + 5 * SECOND
