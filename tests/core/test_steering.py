"""What people ask of a session: cancel, pause, resume, retry, change, and bounds of time."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.task import Failed
from opscore.core.types import (
    AGEING_STEP,
    MAX_ITEMS_PER_COMMIT,
    SECOND,
    ErrorInfo,
    SessionStatus,
    StepStatus,
    TaskStatus,
)
from tests.core.scene import RELEASED, Scene, completed

WORK = {"capability": "work"}
WHO = "operator:o"
CANCEL = cmd.Cancel("enough", WHO, 10 * SECOND)
PAUSE, RESUME = cmd.Pause("", WHO), cmd.Resume("", WHO)
RETRY = cmd.RetrySession("", WHO)
BOOM = Failed(ErrorInfo("boom", "it broke"))


def begun(steps: dict[str, Any] | None = None, **rest: Any) -> Scene:
    scene = Scene(steps or {"a": WORK, "b": {**WORK, "needs": ["a"]}}, **rest)
    scene.start()
    return scene


# -- cancel ---------------------------------------------------------------------------------


def test_a_session_in_which_nothing_runs_is_cancelled_at_once() -> None:
    scene = begun()
    assert scene.done(CANCEL) == ["session.stopping", "task.cancelled", "session.cancelled"]
    assert scene.status is SessionStatus.CANCELLED
    assert scene.refused(CANCEL) == "conflict"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (completed("late"), TaskStatus.COMPLETED),
        (BOOM, TaskStatus.FAILED),
        (RELEASED, TaskStatus.CANCELLED),
    ],
)
def test_running_attempts_may_settle_and_nothing_new_starts(
    outcome: Any, status: TaskStatus
) -> None:
    scene = begun()
    task = scene.claim()
    assert scene.done(CANCEL) == ["session.stopping"]
    assert scene.done(CANCEL) == [], "a second cancel changes nothing"
    scene.settle(task, outcome)
    assert task.status is status
    assert scene.status is SessionStatus.CANCELLED
    assert len(scene.state.tasks) == 1


def test_what_does_not_stop_within_its_grace_is_fenced() -> None:
    scene = begun()
    task = scene.claim()
    scene.done(CANCEL)
    assert scene.later(9.9).done(cmd.DeadlinePassed()) == []
    assert scene.later(0.1).done(cmd.DeadlinePassed()) == ["task.cancelled", "session.cancelled"]
    assert scene.refused(cmd.Settle(task.task_id, 1, completed(), 0.5)) == "stale_attempt"


def test_a_session_that_fails_can_still_be_cancelled() -> None:
    scene = begun({"a": {**WORK, "retry": 1}, "b": WORK})
    running = scene.claim(scene.task("b"))
    scene.fail(scene.task("a"))
    scene.done(CANCEL)
    scene.settle(running, completed())
    assert scene.status is SessionStatus.CANCELLED


@pytest.mark.parametrize("command", [PAUSE, RESUME, RETRY])
def test_a_session_that_winds_down_is_not_steered_any_more(command: Any) -> None:
    scene = begun()
    scene.claim()
    scene.done(CANCEL)
    assert scene.refused(command) == "conflict"


def test_a_wide_session_is_cancelled_over_several_commits() -> None:
    steps = {"a": {**WORK, "foreach": "${{ input.items }}", "timeout": {"queue": "1s"}}}
    scene = begun(steps, input={"items": list(range(MAX_ITEMS_PER_COMMIT + 10))})
    scene.advance()
    scene.done(CANCEL)
    left = scene.queued()
    assert len(left) == 10 and scene.more
    scene.later(5)
    assert scene.refused(cmd.Claim(left[0].task_id, "agt_1", "i1")) == "conflict"
    assert scene.refused(cmd.QueueTimeout(left[0].task_id, "nobody")) == "conflict"
    scene.advance()
    assert scene.status is SessionStatus.CANCELLED


# -- pause and resume -----------------------------------------------------------------------


def test_a_paused_session_starts_nothing_and_goes_on_where_it_stood() -> None:
    scene = begun()
    task = scene.claim()
    assert scene.done(PAUSE) == ["session.paused"]
    assert scene.done(PAUSE) == []
    assert scene.settle(task, completed()) == ["task.completed"]
    assert scene.status is SessionStatus.PAUSED
    assert scene.done(RESUME) == ["session.resumed", "task.created"]
    assert scene.refused(RESUME) == "conflict"
    scene.complete()
    assert scene.status is SessionStatus.COMPLETED


def test_a_paused_session_gives_no_task_away() -> None:
    scene = begun()
    scene.done(PAUSE)
    assert scene.refused(cmd.Claim(scene.task("a").task_id, "agt_1", "i1")) == "conflict"


def test_deadlines_stand_still_in_a_pause() -> None:
    scene = begun({"a": {**WORK, "timeout": {"queue": "10s"}}}, timeout={"total": "60s"})
    task = scene.task("a")
    scene.later(4).done(PAUSE)
    scene.later(100)
    assert scene.refused(cmd.QueueTimeout(task.task_id, "nobody")) == "conflict"
    assert scene.refused(cmd.DeadlinePassed()) == "conflict"
    scene.done(RESUME)
    assert task.queue_deadline == scene.now + 6 * SECOND
    assert scene.state.deadline == scene.now + 56 * SECOND


def test_a_task_made_in_a_pause_waits_its_whole_time_after_it_and_no_longer() -> None:
    step = {**WORK, "retry": 1, "timeout": {"queue": "10s"}, "fallback": [{"capability": "other"}]}
    scene = begun({"a": step})
    task = scene.claim()
    scene.done(PAUSE)
    scene.later(50).settle(task, BOOM)
    scene.later(50).done(RESUME)
    assert scene.task("a").queue_deadline == scene.now + 10 * SECOND


def test_a_retry_that_comes_due_in_a_pause_waits_for_its_end() -> None:
    scene = begun()
    task = scene.claim()
    scene.done(PAUSE)
    scene.settle(task, BOOM)
    scene.due(task)
    assert scene.refused(cmd.Claim(task.task_id, "agt_1", "i1")) == "conflict"
    scene.done(RESUME)
    assert scene.complete(task)[0] == "task.completed"


def test_a_fan_out_that_was_paused_goes_on() -> None:
    steps = {"a": {**WORK, "foreach": "${{ input.items }}", "maxParallel": 1}}
    scene = begun(steps, input={"items": [1, 2]})
    task = scene.claim()
    scene.done(PAUSE)
    scene.settle(task, completed())
    assert not scene.queued()
    scene.done(RESUME)
    assert [t.index for t in scene.queued()] == [1]


def test_a_session_may_end_in_a_pause() -> None:
    scene = begun({"a": WORK})
    task = scene.claim()
    scene.done(PAUSE)
    assert scene.settle(task, completed()) == ["task.completed", "session.completed"]


def test_a_paused_session_can_be_cancelled() -> None:
    scene = begun()
    scene.done(PAUSE)
    scene.done(CANCEL)
    assert scene.status is SessionStatus.CANCELLED


# -- bounds of time -------------------------------------------------------------------------


def test_a_session_that_takes_too_long_winds_down_as_an_error() -> None:
    scene = begun(timeout={"total": "60s"})
    task = scene.claim()
    assert scene.later(59).done(cmd.DeadlinePassed()) == []
    assert scene.later(1).done(cmd.DeadlinePassed()) == ["session.stopping"]
    ended = ["task.completed", "step.skipped", "session.failed"]
    assert scene.settle(task, completed()) == ended
    assert scene.state.error is not None and scene.state.error.error_class == "timeout"
    assert scene.refused(cmd.DeadlinePassed()) == "conflict"


# -- retry ----------------------------------------------------------------------------------


def test_a_retried_session_keeps_what_was_completed() -> None:
    scene = begun({"a": WORK, "b": {**WORK, "needs": ["a"], "retry": 1}}, output="${{ steps }}")
    scene.complete(scene.task("a"), "kept")
    scene.fail()
    assert scene.done(RETRY) == ["session.retried", "task.created"]
    assert scene.status is SessionStatus.PROCESSING and scene.state.error is None
    scene.complete(output="new")
    assert scene.state.steps["a"].task_ids == ["tsk_0-1"]
    assert scene.status is SessionStatus.COMPLETED


def test_a_retried_fan_out_runs_only_the_items_that_have_no_output() -> None:
    steps = {"a": {**WORK, "foreach": "${{ input.items }}", "retry": 1}}
    scene = begun(steps, input={"items": [1, 2, 3]}, output="${{ steps.a.output }}")
    scene.complete(scene.task("a", 0), "first")
    scene.fail(scene.task("a", 1))
    scene.done(RETRY)
    assert [t.index for t in scene.queued()] == [1, 2]
    for task in scene.queued():
        scene.complete(task, task.index)
    assert scene.output == ["first", 1, 2]


def test_steps_that_never_began_begin_after_a_retry() -> None:
    scene = begun({"a": {**WORK, "retry": 1}, "b": {**WORK, "needs": ["a"]}})
    scene.fail()
    scene.done(RETRY)
    scene.complete()
    assert [t.step for t in scene.queued()] == ["b"]


@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_only_a_session_in_error_is_retried(end: str) -> None:
    scene = begun({"a": WORK})
    if end == "complete":
        scene.complete()
    else:
        scene.done(CANCEL)
    assert scene.refused(RETRY) == "conflict"


# -- tasks by hand --------------------------------------------------------------------------


def test_a_waiting_task_is_tried_now_in_front_of_what_came_later() -> None:
    scene = begun({"a": WORK})
    task = scene.claim()
    place = task.order
    scene.settle(task, Failed(ErrorInfo("rate_limited", "", 3_600 * SECOND)))
    assert scene.done(cmd.RetryTask(task.task_id, WHO)) == ["task.available"]
    assert task.order == place


def test_a_retry_by_hand_can_bring_its_own_budget() -> None:
    scene = begun({"a": {**WORK, "retry": 1}})
    scene.fail()
    scene.done(cmd.RetryTask(scene.task("a").task_id, WHO, attempts=2))
    task = scene.task("a")
    assert scene.fail() == ["task.retried"]
    scene.due(task)
    assert scene.fail()[0] == "task.failed"


def test_a_running_task_is_not_retried_by_hand() -> None:
    scene = begun()
    assert scene.refused(cmd.RetryTask(scene.claim().task_id, WHO)) == "conflict"
    assert scene.refused(cmd.RetryTask("tsk_0-9", WHO)) == "not_found"


def test_a_task_is_given_up_by_hand_for_its_fallback() -> None:
    scene = begun({"a": {**WORK, "fallback": [{"value": "${{ error.class }}"}]}})
    task = scene.claim()
    scene.done(cmd.FallbackTask(task.task_id, WHO))
    assert scene.status is SessionStatus.COMPLETED
    assert scene.refused(cmd.Settle(task.task_id, 1, completed(), 0.5)) == "stale_attempt"


def test_a_task_without_a_fallback_is_not_given_up_by_hand() -> None:
    scene = begun()
    assert scene.refused(cmd.FallbackTask(scene.task("a").task_id, WHO)) == "conflict"


def test_a_cancelled_task_ends_its_step_and_the_session() -> None:
    scene = begun()
    task = scene.claim()
    assert scene.done(cmd.CancelTask(task.task_id, "wrong"))[:2] == [
        "task.cancelled",
        "step.failed",
    ]
    assert scene.step("a") is StepStatus.FAILED
    assert scene.status is SessionStatus.ERROR
    assert scene.refused(cmd.CancelTask(task.task_id, "")) == "conflict"


# -- priority -------------------------------------------------------------------------------


def test_a_new_priority_moves_the_tasks_that_follow_their_session() -> None:
    scene = begun({"a": WORK, "own": {**WORK, "priority": 80}})
    follows, own = scene.task("a"), scene.task("own")
    places = follows.order, own.order
    scene.done(cmd.UpdateSession(80, None, None, WHO))
    assert (follows.priority, follows.order) == (80, places[0] - 30 * AGEING_STEP)
    assert own.order == places[1]
    scene.done(cmd.UpdateSession(50, None, None, WHO))
    assert (follows.priority, follows.order) == (50, places[0])
    assert (own.priority, own.order) == (80, places[1])


def test_a_running_task_has_the_new_priority_when_it_returns() -> None:
    scene = begun({"a": WORK})
    task = scene.claim()
    place = task.order
    scene.done(cmd.UpdateSession(90, None, None, WHO))
    scene.settle(task, RELEASED)
    assert task.priority == 90
    assert task.order == place - 40 * AGEING_STEP


def test_a_task_moved_by_hand_stays_where_it_was_put() -> None:
    scene = begun({"a": WORK, "b": WORK})
    scene.done(cmd.ReprioritiseTask(scene.task("b").task_id, 99))
    assert [t.step for t in scene.queued()] == ["b", "a"]
    scene.done(cmd.UpdateSession(10, None, None, WHO))
    assert scene.task("b").priority == 99
    assert scene.refused(cmd.ReprioritiseTask("tsk_0-9", 1)) == "not_found"


def test_labels_and_metadata_change_also_after_the_end() -> None:
    scene = begun({"a": WORK})
    scene.complete()
    scene.done(cmd.UpdateSession(None, {"k": "v"}, None, WHO))
    assert scene.state.labels == {"k": "v"}
    assert scene.refused(cmd.UpdateSession(1, None, None, WHO)) == "conflict"
    assert isinstance(scene.events[-1], ev.SessionUpdated)


def test_a_moved_task_keeps_the_time_it_has_waited() -> None:
    scene = begun({"a": {**WORK, "priority": 50}})
    task = scene.task("a")
    place = task.order
    scene.done(cmd.ReprioritiseTask(task.task_id, 60))
    assert task.order == place - 10 * AGEING_STEP


def test_a_session_that_is_tried_again_has_its_total_time_anew() -> None:
    scene = begun({"a": {**WORK, "retry": 1}}, timeout="10m")
    scene.fail()
    assert scene.state.status is SessionStatus.ERROR
    scene.done(cmd.RetrySession("again", WHO))
    assert scene.state.deadline == scene.now + 600 * SECOND


# -- what was given up, taken up by hand ----------------------------------------------------

WIDE = {"a": {**WORK, "foreach": "${{ input.items }}", "retry": 1}}


def test_a_budget_by_hand_reaches_an_item_that_is_made_in_a_later_commit() -> None:
    scene = begun(WIDE, input={"items": list(range(MAX_ITEMS_PER_COMMIT + 5))})
    scene.advance()
    last = MAX_ITEMS_PER_COMMIT + 4
    scene.fail(scene.task("a", last))
    scene.advance()
    scene.done(cmd.RetryTask(scene.task("a", last).task_id, WHO, attempts=2))
    scene.advance()
    task = scene.task("a", last)
    assert scene.fail(task) == ["task.retried"]
    assert scene.task("a", 0).allowance is None


def test_a_failed_task_goes_to_its_fallback_by_hand() -> None:
    steps = {"a": {**WORK, "retry": 1, "fallback": [{"capability": "other"}]}, "b": WORK}
    scene = begun({**steps, "b": {**WORK, "retry": 1}})
    running = scene.claim(scene.task("a"))
    scene.fail(scene.task("b"))
    scene.settle(running, BOOM)
    types = scene.done(cmd.FallbackTask(running.task_id, WHO))
    assert types == ["session.retried", "task.resumed", "task.created", "task.created"]
    assert scene.task("a").capability == "other"
    scene.complete(scene.task("a"))
    scene.complete(scene.task("b"))
    assert scene.status is SessionStatus.COMPLETED


@pytest.mark.parametrize("value", [True, False])
def test_an_item_goes_to_its_fallback_by_hand_and_the_others_are_made_anew(value: bool) -> None:
    member = {"value": "${{ error.class }}"} if value else {"capability": "other"}
    step = {**WIDE["a"], "fallback": [member], "maxParallel": 2}
    steps = {"a": step, "b": {**WORK, "retry": 1}}
    scene = begun(steps, input={"items": [0, 1, 2]}, output="${{ steps.a.output }}")
    running = scene.claim(scene.task("a", 1))
    scene.fail(scene.task("b"))
    scene.settle(running, BOOM)
    scene.done(cmd.FallbackTask(running.task_id, WHO))
    while scene.queued():
        scene.complete(scene.queued()[0], "done")
    assert scene.output == ["done", "boom" if value else "done", "done"]
    assert scene.refused(cmd.FallbackTask(running.task_id, WHO)) == "conflict"


def test_a_task_that_its_step_has_gone_on_without_is_not_taken_up() -> None:
    steps = {"a": {**WORK, "retry": 1, "fallback": [{"value": 1}]}, "b": {**WORK, "retry": 1}}
    scene = begun(steps)
    scene.fail(scene.task("a"))
    scene.fail(scene.task("b"))
    assert scene.refused(cmd.RetryTask(scene.task("a").task_id, WHO)) == "conflict"
    assert scene.refused(cmd.FallbackTask(scene.task("a").task_id, WHO)) == "conflict"
    assert scene.refused(cmd.FallbackTask(scene.task("b").task_id, WHO)) == "conflict"
