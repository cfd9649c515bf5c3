"""Child sessions, as their parent sees them."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.types import MAX_ITEMS_PER_COMMIT, SECOND, ErrorInfo, SessionStatus, StepStatus
from tests.core.scene import Scene

WHO = "operator:o"
CANCEL = cmd.Cancel("enough", WHO, 10 * SECOND)
BOOM = ErrorInfo("boom", "it broke")
OUT = "${{ steps.a.output }}"


def begun(
    step: dict[str, Any] | None = None, rest: dict[str, Any] | None = None, **more: Any
) -> Scene:
    steps = {"a": {"workflow": "w", **(step or {})}, **(rest or {})}
    scene = Scene(steps, output=OUT, **more)
    scene.start(versions={"w": "7", "v": "8"})
    return scene


def created(scene: Scene) -> list[ev.ChildCreated]:
    return [e for e in scene.events if isinstance(e, ev.ChildCreated)]


def test_a_child_s_output_is_the_step_s() -> None:
    scene = begun({"with": {"n": "${{ input.n }}"}}, input={"n": 3})
    (child,) = created(scene)
    assert (child.child_id, child.workflow, child.version) == ("ses_0_1", "w", "7")
    assert bytes(child.input) == b'{"n":3}'
    assert scene.status is SessionStatus.PROCESSING
    assert scene.child_over(output={"x": 1}) == ["child.ended", "session.completed"]
    assert scene.output == {"x": 1}


def test_a_version_that_is_named_is_the_one_that_runs() -> None:
    scene = begun({"workflow": {"name": "w", "version": "2"}})
    assert created(scene)[0].version == "2"


def test_the_end_of_a_child_counts_once() -> None:
    scene = begun()
    child = scene.children()[0]
    scene.child_over(child, "first")
    assert scene.child_over(child, "second") == []
    assert scene.done(cmd.ChildOver("ses_0_9", None, BOOM, 0.5)) == []
    assert scene.output == "first"


def test_a_child_that_fails_fails_the_step_with_its_own_words() -> None:
    scene = begun()
    types = scene.child_over(error=BOOM)
    assert types == ["child.ended", "step.failed", "session.stopping", "session.failed"]
    assert scene.state.error == BOOM


def test_a_child_is_started_anew_as_often_as_its_step_says() -> None:
    retry = {"maxAttempts": 3, "backoff": "constant", "initialDelay": "5s", "jitter": 0}
    scene = begun({"retry": retry})
    assert scene.child_over(error=BOOM) == ["child.ended", "child.created"]
    (second,) = scene.children()
    assert (second.child_id, second.failures) == ("ses_0_2", 1)
    assert second.due == scene.now + 5 * SECOND
    assert scene.refused(cmd.ChildDue(second.child_id)) == "conflict"
    scene.later(5)
    assert scene.done(cmd.ChildDue(second.child_id)) == ["child.released"]
    assert scene.refused(cmd.ChildDue(second.child_id)) == "conflict"
    scene.child_over(error=BOOM)
    scene.later(5).done(cmd.ChildDue("ses_0_3"))
    assert "session.failed" in scene.child_over(error=BOOM)


def test_the_defaults_of_retries_are_for_tasks() -> None:
    scene = begun(defaults={"retry": 5})
    scene.child_over(error=BOOM)
    assert scene.status is SessionStatus.ERROR


@pytest.mark.parametrize(
    ("member", "what"),
    [
        ({"value": "${{ error.message }}"}, "item.valued"),
        ({"capability": "c", "with": {"why": "${{ error.class }}"}}, "task.created"),
        ({"workflow": "v"}, "child.created"),
    ],
)
def test_a_failed_child_has_fallbacks(member: dict[str, Any], what: str) -> None:
    scene = begun({"fallback": [member]})
    assert scene.child_over(error=BOOM)[:2] == ["child.ended", what]


def test_a_task_falls_back_to_a_workflow_and_on() -> None:
    chain = [{"workflow": "v", "with": {"why": "${{ error.message }}"}}, {"value": "last"}]
    scene = Scene({"a": {"capability": "work", "retry": 1, "fallback": chain}}, output=OUT)
    scene.start(versions={"v": "1"})
    assert scene.fail() == ["task.failed", "child.created"]
    assert bytes(created(scene)[0].input) == b'{"why":"it broke"}'
    scene.child_over(error=BOOM)
    assert scene.output == "last"


def test_a_loop_of_children_keeps_order_and_bound() -> None:
    scene = begun(
        {"foreach": "${{ input }}", "maxParallel": 2, "failures": "collect"}, input=[1, 2, 3]
    )
    assert [c.index for c in scene.children()] == [0, 1]
    scene.child_over(scene.children()[1], "b")
    scene.child_over(scene.children()[0], error=BOOM)
    scene.child_over(scene.children()[0], "c")
    assert [each.get("output") for each in scene.output] == [None, "b", "c"]
    assert scene.output[0]["error"] == {"class": "boom", "message": "it broke"}


def test_a_wide_loop_of_children_is_begun_and_cancelled_over_several_commits() -> None:
    scene = begun({"foreach": "${{ input }}"}, input=list(range(MAX_ITEMS_PER_COMMIT + 10)))
    assert len(scene.children()) == MAX_ITEMS_PER_COMMIT
    scene.advance()
    scene.done(CANCEL)
    assert sum(c.abandoned for c in scene.children()) == MAX_ITEMS_PER_COMMIT
    scene.advance()
    assert all(c.abandoned for c in scene.children())


def test_the_first_child_that_fails_has_the_others_cancelled() -> None:
    rest = {"b": {"needs": "a", "value": 1}}
    scene = begun({"foreach": [1, 2], "continueOnError": True}, rest)
    first, other = scene.children()
    assert scene.child_over(first, error=BOOM) == [
        *("child.ended", "step.failed", "child.abandoned", "step.completed")
    ]
    assert scene.status is SessionStatus.PROCESSING, "the child is still to be told"
    assert scene.child_over(other, "late") == ["child.ended", "session.completed"]
    assert scene.output is None


def test_a_repeat_of_a_workflow() -> None:
    scene = begun({"repeat": {"until": "previous > 2", "max": 5}, "with": {"n": "${{ previous }}"}})
    assert scene.child_over(output=1) == ["child.ended", "step.iterated", "child.created"]
    assert bytes(created(scene)[1].input) == b'{"n":1}'
    scene.child_over(output=3)
    assert scene.output == 3


def test_a_cancelled_session_waits_for_its_children_and_starts_no_other() -> None:
    scene = begun(rest={"b": {"needs": "a", "value": 1}})
    assert scene.done(CANCEL) == ["session.stopping", "child.abandoned"]
    scene.later(99).done(cmd.DeadlinePassed())
    assert scene.status is SessionStatus.PROCESSING
    scene.child_over(error=ErrorInfo("cancelled", "enough"))
    assert scene.status is SessionStatus.CANCELLED
    assert scene.step("b") is StepStatus.PENDING


def test_a_child_that_was_to_start_later_is_not_started_in_a_cancelled_session() -> None:
    scene = begun({"retry": 3})
    scene.child_over(error=BOOM)
    assert scene.done(CANCEL) == ["session.stopping", "child.ended", "session.cancelled"]


def test_a_child_that_completes_while_its_parent_drains_is_recorded() -> None:
    undo = {"compensate": {"capability": "undo", "with": {"x": OUT}}}
    scene = begun(undo)
    scene.done(CANCEL)
    types = scene.child_over(output="done")
    assert types == ["child.ended", "step.compensating", "task.created"]
    scene.complete()
    assert scene.status is SessionStatus.CANCELLED


def test_a_child_s_output_is_checked() -> None:
    scene = begun({"output": {"type": "string"}})
    scene.child_over(output=1)
    assert scene.state.error is not None and scene.state.error.error_class == "invalid_output"


def test_sessions_are_nested_ten_deep_and_no_deeper() -> None:
    scene = Scene({"a": {"workflow": "w"}})
    scene.start(versions={"w": "1"}, depth=10, parent="ses_up")
    assert scene.state.error is not None and scene.state.error.error_class == "fatal"
    assert "nested more than 10 deep" in scene.state.error.message


def test_a_failed_child_is_not_retried_behind_its_parent_s_back() -> None:
    scene = Scene({"a": {"capability": "work", "retry": 1}})
    scene.start(parent="ses_up", depth=1)
    scene.fail()
    assert scene.refused(cmd.RetrySession("", WHO)) == "conflict"
    assert scene.refused(cmd.RetryTask(scene.task("a").task_id, WHO)) == "conflict"


def test_a_retried_parent_starts_a_new_child() -> None:
    scene = begun()
    scene.child_over(error=BOOM)
    scene.done(cmd.RetrySession("", WHO))
    assert [c.child_id for c in scene.children()] == ["ses_0_2"]
    scene.child_over(output="new")
    assert scene.output == "new"
