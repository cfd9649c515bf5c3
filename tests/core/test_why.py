"""Why: each thing that can hold a session or a task up gives its own reason, in its own words."""

from __future__ import annotations

from typing import Any

from opscore.core import commands as cmd
from opscore.core.agent import Availability
from opscore.core.template import Target
from opscore.core.types import SECOND
from opscore.core.why import Facts, Reason, Taker, queued, why
from opscore.core.why_words import words
from tests.core.scene import BEGIN, Scene

NOBODY = Facts({}, {})
WORK = Target("work")


def scene(steps: dict[str, Any] | None = None, **rest: Any) -> Scene:
    made = Scene(steps or {"a": {"capability": "work"}}, **rest)
    made.start()
    return made


def told(of: Scene, facts: Facts = NOBODY, task_id: str | None = None) -> list[tuple[str, str]]:
    return [(r.KIND, words(r)) for r in why(of.state, of.template, facts, task_id)]


def takers(*given: Taker) -> Facts:
    return Facts({WORK: given}, {"tsk_0-1": 4})


BUSY = Taker("agt_1", "alpha", Availability.BUSY, 5, 5, ("t1", "t2", "t3", "t4"))
GONE = Taker("agt_2", "beta", Availability.OFFLINE)


def test_nobody_has_the_capability() -> None:
    s = scene()
    assert told(s) == [("no_agent", "no agent with the capability work is registered")]
    (reason,) = why(s.state, s.template, NOBODY)
    assert (reason.step, reason.since, reason.tasks) == ("a", BEGIN, ("tsk_0-1",))  # type: ignore[union-attr]


def test_nobody_has_the_name() -> None:
    s = scene({"a": {"agent": "ann"}})
    assert told(s) == [("no_agent", "no agent named ann is registered")]


def test_all_are_busy_or_away() -> None:
    assert told(scene(), takers(BUSY, GONE)) == [
        (
            "nobody_free",
            (
                "of 2 agents with the capability work: 1 busy, 1 offline "
                "(alpha has t1, t2, t3 and 2 more); number 5 in the queue"
            ),
        )
    ]


def test_the_one_agent_that_is_named_is_busy() -> None:
    s = scene({"a": {"agent": "alpha"}})
    facts = Facts({Target(agent="alpha"): [BUSY]}, {})
    assert told(s, facts) == [
        (
            "nobody_free",
            "agent alpha is busy with t1, t2, t3 and 2 more; number 1 in the queue",
        )
    ]


def test_somebody_is_free() -> None:
    free = Taker("agt_3", "gamma", Availability.AVAILABLE)
    ((kind, text),) = told(scene(), takers(BUSY, free))
    assert kind == "in_queue"
    assert "is free" in text and text.endswith("number 5 in the queue")


def test_tasks_are_grouped_by_step_and_target_and_the_first_of_the_queue_leads() -> None:
    items = list(range(30))
    s = scene({"a": {"capability": "work", "foreach": items}, "b": {"capability": "other"}})
    s.later(5)
    (first, second) = queued(s.state)
    assert (first.step, first.target, len(first.tasks)) == ("a", WORK, 30)
    assert (second.step, second.target.capability) == ("b", "other")
    (reason, _) = why(s.state, s.template, NOBODY)
    assert reason.KIND == "no_agent"
    assert (reason.count, len(reason.tasks)) == (30, 20)  # type: ignore[union-attr]


def test_a_retry_is_due() -> None:
    s = scene({"a": {"capability": "work", "retry": {"jitter": 0}}})
    s.fail()
    assert told(s) == [
        (
            "delayed",
            "attempt 1 failed (boom: it broke); the next is due at 1970-01-12T13:46:41.000Z",
        )
    ]
    s.due(s.task("a"))
    (reason,) = why(s.state, s.template, NOBODY)
    assert reason.since == BEGIN + SECOND, "it may be claimed since its retry came due"


def test_a_delay_that_was_asked_for() -> None:
    s = Scene({"a": {"capability": "work"}})
    s.start(due=BEGIN + 60 * SECOND)
    assert told(s) == [("delayed", "it may begin at 1970-01-12T13:47:40.000Z")]


def test_it_runs() -> None:
    s = scene()
    s.later(3).claim()
    assert told(s) == [("running", "agent agt_1 works on tsk_0-1, attempt 1")]
    (reason,) = why(s.state, s.template, NOBODY)
    assert reason.since == BEGIN + 3 * SECOND


def test_max_parallel_holds_items_back() -> None:
    s = scene({"a": {"capability": "work", "foreach": [1, 2, 3, 4, 5], "maxParallel": 2}})
    assert (
        "max_parallel",
        "2 of 2 items at once are under way (maxParallel); 3 more wait for them",
    ) in told(s)


def test_steps_that_wait_say_for_what_and_until_when() -> None:
    s = scene(
        {
            "a": {"wait": "1m"},
            "b": {"signal": "paid", "timeout": "1h"},
            "c": {"approval": {"title": "Go?", "approvers": ["ada", "bob"], "quorum": 2}},
        }
    )
    assert told(s) == [
        ("wait", "it waits until 1970-01-12T13:47:40.000Z"),
        ("signal", "it waits for the signal paid, until 1970-01-12T14:46:40.000Z"),
        ("approval", "ada, bob must approve 'Go?': 0 of 2 have"),
    ]
    assert {r.since for r in why(s.state, s.template, NOBODY)} == {BEGIN}


def test_a_pause_says_who_and_why_and_hides_the_queue() -> None:
    s = scene()
    s.later(2).done(cmd.Pause("lunch", "operator:ada"))
    assert told(s) == [("paused", "paused by operator:ada: lunch")]
    assert queued(s.state) == []
    s.done(cmd.Resume("", "operator:ada"))
    assert told(s)[0][0] == "no_agent"


def test_a_session_that_is_cancelled_says_until_when_its_attempts_have_time() -> None:
    s = scene()
    s.claim()
    s.done(cmd.Cancel("enough", "operator:ada", 10 * SECOND))
    assert told(s) == [
        (
            "cancelling",
            (
                "cancelled by operator:ada (cancelled: enough); "
                "what runs has until 1970-01-12T13:46:50.000Z to stop"
            ),
        ),
        ("running", "agent agt_1 works on tsk_0-1, attempt 1"),
    ]


def test_a_session_that_handles_its_failure_waits_for_its_handlers() -> None:
    s = scene(
        {
            "a": {"capability": "work", "retry": 1},
            "b": {"when": "failed", "needs": "a", "capability": "mend"},
        }
    )
    s.fail()
    assert told(s) == [
        ("cancelling", "failed (boom: it broke); the steps for a failure run"),
        ("no_agent", "no agent with the capability mend is registered"),
    ]


def test_of_one_task_only_its_own_reasons_are_told() -> None:
    s = scene({"a": {"capability": "work"}, "b": {"capability": "other"}})
    ((_, text),) = told(s, task_id=s.task("b").task_id)
    assert "capability other" in text
    s.complete(s.task("b"))
    assert told(s, task_id=s.task("b").task_id) == []


def test_what_has_ended_waits_for_nothing() -> None:
    s = scene()
    s.complete()
    reasons: list[Reason] = why(s.state, s.template, NOBODY)
    assert reasons == []


def test_a_session_between_two_commits_goes_on() -> None:
    assert [kind for kind, _ in told(Scene({"a": {"capability": "work"}}))] == ["going_on"]


def test_a_session_waits_for_its_children() -> None:
    scene = Scene({"a": {"workflow": "w", "foreach": [1, 2]}})
    scene.start(versions={"w": "1"})
    assert told(scene) == [("children", "2 child sessions are under way")]
    scene.child_over(scene.children()[0])
    ((kind, message),) = told(scene)
    assert kind == "children"
    assert message.startswith("child session ses_0_2 is under way")


def test_a_session_that_undoes_its_steps_says_so() -> None:
    step = {"capability": "work", "retry": 1}
    undone = {**step, "compensate": {"capability": "undo"}}
    scene = Scene({"a": undone, "b": {**step, "needs": "a"}})
    scene.start()
    scene.complete(scene.task("a"))
    scene.fail(scene.task("b"))
    assert told(scene)[0][1] == "failed (boom: it broke); what completed is being undone"
