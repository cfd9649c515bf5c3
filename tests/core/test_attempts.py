"""Attempts: the fence, the retry budget, delays, fallbacks, queue timeouts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.task import Failed
from opscore.core.types import SECOND, ErrorInfo, SessionStatus, TaskStatus
from tests.core.scene import RELEASED, Scene, completed, given

NOBODY = "nobody is there"
BOOM = Failed(ErrorInfo("boom", "it broke"))


def one(**step: Any) -> Scene:
    scene = Scene({"a": {"capability": "work", **step}}, output="${{ steps.a.output }}")
    scene.start()
    return scene


def constant(attempts: int, **more: Any) -> dict[str, Any]:
    return {
        "maxAttempts": attempts,
        "backoff": "constant",
        "initialDelay": "1s",
        "jitter": 0,
        **more,
    }


# -- claiming -------------------------------------------------------------------------------


def test_a_claim_begins_an_attempt_with_its_own_deadline() -> None:
    scene = one(timeout={"attempt": "5s"})
    task = scene.claim()
    assert (task.status, task.attempt, task.instance_id) == (TaskStatus.RUNNING, 1, "i1")
    assert task.deadline == scene.now + 5 * SECOND
    assert scene.status is SessionStatus.PROCESSING


def test_a_claim_carries_the_lease_that_its_step_sets() -> None:
    scene = one(timeout={"heartbeat": "2m"})
    scene.claim()
    claimed = scene.events[-1]
    assert isinstance(claimed, ev.TaskClaimed)
    assert claimed.heartbeat == 120 * SECOND


@pytest.mark.parametrize("task_id", ["tsk_0-1", "tsk_0-9", "nonsense"])
def test_only_an_available_task_can_be_claimed(task_id: str) -> None:
    scene = one()
    scene.claim()
    assert scene.refused(cmd.Claim(task_id, "agt_2", "i2")) == "conflict"


# -- the fence ------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [0, 1, 3])
@pytest.mark.parametrize("outcome", [completed(), BOOM, RELEASED])
def test_only_the_current_attempt_may_settle(attempt: int, outcome: Any) -> None:
    scene = one(retry=constant(5))
    scene.fail(error=ErrorInfo("agent_lost", "gone"))
    scene.due(scene.task("a"))
    task = scene.claim()
    assert task.attempt == 2
    command = cmd.Settle(task.task_id, attempt, outcome, 0.5)
    assert scene.refused(command) == "stale_attempt"


def test_an_attempt_that_was_lost_cannot_complete_the_waiting_task() -> None:
    scene = one()
    task = scene.claim()
    scene.settle(task, Failed(ErrorInfo("agent_lost", "gone")))
    assert scene.refused(cmd.Settle(task.task_id, 1, completed(), 0.5)) == "stale_attempt"


def test_a_lost_attempt_that_is_given_back_late_was_not_released() -> None:
    scene = one()
    scene.fail(error=ErrorInfo("agent_lost", "gone"))
    task = scene.task("a")
    scene.due(task)
    assert scene.refused(cmd.Settle(task.task_id, 1, RELEASED, 0.5)) == "stale_attempt"


@pytest.mark.parametrize("outcome", [completed("x"), BOOM, RELEASED])
def test_the_same_report_a_second_time_is_recorded_and_changes_nothing(outcome: Any) -> None:
    scene = one()
    task = scene.claim()
    assert scene.settle(task, outcome)
    assert scene.settle(task, outcome, attempt=1) == []


def test_a_completion_is_never_replaced() -> None:
    scene = one()
    task = scene.claim()
    scene.settle(task, completed("first"))
    assert scene.settle(task, completed("second")) == []
    assert scene.output == "first"
    assert scene.refused(cmd.Settle(task.task_id, 1, BOOM, 0.5)) == "stale_attempt"


def test_an_unknown_task_is_said_to_be_unknown() -> None:
    assert one().refused(cmd.Settle("tsk_0-7", 1, completed(), 0.5)) == "unknown_task"


# -- failing and trying again ---------------------------------------------------------------


def test_a_task_is_tried_as_often_as_its_policy_allows() -> None:
    scene = one(retry=constant(3))
    task = scene.task("a")
    assert scene.fail() == ["task.retried"]
    scene.due(task)
    assert scene.fail() == ["task.retried"]
    scene.due(task)
    assert scene.fail()[:3] == ["task.failed", "step.failed", "session.stopping"]
    assert (task.attempt, task.failures) == (3, 3)
    assert scene.state.error == ErrorInfo("boom", "it broke")


@pytest.mark.parametrize(
    "error_class", ["fatal", "cancelled", "rejected", "invalid_input", "invalid_output"]
)
def test_some_classes_are_never_tried_again(error_class: str) -> None:
    scene = one(retry=constant(5))
    assert scene.fail(error=ErrorInfo(error_class, ""))[0] == "task.failed"


@pytest.mark.parametrize(
    ("error_class", "first"),
    [("rate_limited", "task.retried"), ("boom", "task.failed"), ("fatal", "task.retried")],
)
def test_a_policy_that_names_classes_is_obeyed_to_the_letter(error_class: str, first: str) -> None:
    scene = one(retry=constant(5, errors=["rate_limited", "fatal"]))
    assert scene.fail(error=ErrorInfo(error_class, ""))[0] == first


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("constant", [1, 1, 1, 1]), ("linear", [1, 2, 3, 4]), ("exponential", [1, 2, 4, 5])],
)
def test_delays_grow_as_the_policy_says_up_to_its_bound(backoff: str, delays: list[int]) -> None:
    scene = one(retry=constant(9, backoff=backoff, maxDelay="5s"))
    task = scene.task("a")
    seen: list[int] = []
    for _ in delays:
        scene.fail()
        assert task.due is not None
        seen.append((task.due - scene.now) // SECOND)
        scene.due(task)
    assert seen == delays


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 0.5), (0.5, 1.0), (0.999999, 1.5)])
def test_jitter_spreads_the_delay_to_both_sides(chance: float, seconds: float) -> None:
    scene = one(retry=constant(3, jitter=0.5))
    task = scene.claim()
    scene.done(cmd.Settle(task.task_id, 1, BOOM, chance))
    assert task.due is not None
    assert (task.due - scene.now) / SECOND == pytest.approx(seconds, abs=0.001)


def test_what_the_agent_asks_for_rules_over_the_policy_s_delay() -> None:
    scene = one(retry=constant(3))
    task = scene.claim()
    scene.settle(task, Failed(ErrorInfo("rate_limited", "slow down", 30 * SECOND)))
    assert task.due == scene.now + 30 * SECOND
    scene.later(29)
    assert scene.refused(cmd.TaskDue(task.task_id)) == "conflict"
    scene.later(1)
    assert scene.due(task) == ["task.available"]


def test_a_released_attempt_costs_nothing() -> None:
    scene = one(retry=1)
    for attempt in (1, 2, 3):
        task = scene.claim()
        assert (task.attempt, task.failures) == (attempt, 0)
        assert scene.settle(task, RELEASED) == ["task.released"]
    assert scene.complete() == ["task.completed", "session.completed"]


# -- fallbacks ------------------------------------------------------------------------------


def test_a_chain_of_fallbacks_is_walked_to_its_value() -> None:
    chain = [{"agent": "careful"}, {"capability": "other"}, {"value": "${{ error.message }}"}]
    scene = one(retry=1, fallback=chain)
    whom = [(t.member, t.agent, t.capability) for t in scene.queued()]
    while tasks := scene.queued():
        scene.fail(tasks[0], ErrorInfo("fatal", f"no {tasks[0].member}"))
        whom += [(t.member, t.agent, t.capability) for t in scene.queued()]
    assert whom == [(0, None, "work"), (1, "careful", "work"), (2, None, "other")]
    assert scene.output == "no 2"


def test_every_member_has_a_budget_of_its_own() -> None:
    scene = one(retry=constant(2), fallback=[{"capability": "other"}])
    scene.fail()
    scene.due(scene.task("a"))
    scene.fail()
    assert scene.fail() == ["task.retried"]


def test_the_fallback_gets_the_same_input() -> None:
    scene = one(**{"with": {"x": 1}, "retry": 1, "fallback": [{"capability": "other"}]})
    scene.fail()
    assert given(scene.task("a")) == {"x": 1}


def test_a_fallback_whose_value_cannot_be_rendered_fails_the_step() -> None:
    scene = one(retry=1, fallback=[{"value": "${{ input.missing }}"}])
    scene.fail()
    assert scene.state.error is not None and scene.state.error.error_class == "expression"


def test_after_the_last_fallback_the_session_fails() -> None:
    scene = one(retry=1, fallback=[{"capability": "other"}])
    scene.fail()
    assert scene.fail()[-1] == "session.failed"
    assert scene.status is SessionStatus.ERROR


# -- waiting too long in the queue ----------------------------------------------------------


def test_a_task_that_nobody_takes_in_time_is_given_up() -> None:
    scene = one(timeout={"queue": "5s"})
    task = scene.task("a")
    scene.later(4.9)
    assert scene.refused(cmd.QueueTimeout(task.task_id, NOBODY)) == "conflict"
    scene.later(0.1)
    assert scene.done(cmd.QueueTimeout(task.task_id, NOBODY))[0] == "task.failed"
    assert scene.state.error is not None
    assert scene.state.error.error_class == "timeout" and NOBODY in scene.state.error.message
    assert task.failures == 0


def test_a_task_that_nobody_takes_goes_to_its_fallback() -> None:
    scene = one(timeout={"queue": "5s"}, fallback=[{"capability": "other"}])
    scene.later(5).done(cmd.QueueTimeout(scene.task("a").task_id, NOBODY))
    assert scene.task("a").member == 1


def test_each_wait_in_the_queue_has_its_own_bound() -> None:
    scene = one(timeout={"queue": "5s"}, retry=constant(3))
    task = scene.task("a")
    scene.later(4).fail()
    scene.later(7).due(task)
    assert task.queue_deadline == scene.now + 5 * SECOND


def test_a_running_task_has_no_queue_timeout() -> None:
    scene = one(timeout={"queue": "5s"})
    task = scene.claim()
    scene.later(6)
    assert scene.refused(cmd.QueueTimeout(task.task_id, NOBODY)) == "conflict"


def test_what_a_failed_attempt_used_up_is_recorded() -> None:
    scene = one(retry=constant(2))
    usage = msgspec.Raw(b'{"costUsd":0.5}')
    task = scene.claim()
    scene.settle(task, Failed(ErrorInfo("boom", "first"), usage))
    retried = scene.events[-1]
    assert isinstance(retried, ev.TaskRetried) and retried.usage == usage
    scene.due(task)
    scene.settle(scene.claim(), Failed(ErrorInfo("boom", "last"), usage))
    failed = next(e for e in scene.events if isinstance(e, ev.TaskFailed))
    assert failed.usage == usage
