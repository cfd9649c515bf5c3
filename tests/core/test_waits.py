"""Steps that wait: for a time, for a signal, for people."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import msgspec
import pytest

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.kinds.approval import content_hash
from opscore.core.progress import Refused
from opscore.core.state import Approval, StepState
from opscore.core.types import SECOND, SessionStatus, StepStatus
from opscore.engine.journal import raw
from tests.core.scene import BEGIN, SESSION_ID, Scene, template_of

WORK = {"capability": "work"}
WHO = "operator:o"
CANCEL = cmd.Cancel("enough", WHO, 10 * SECOND)
PAUSE, RESUME = cmd.Pause("", WHO), cmd.Resume("", WHO)
HOUR = 3600


def begun(step: dict[str, Any], input: Any = None, **rest: Any) -> Scene:
    """A session whose step `w` waits, and whose step `after` needs it."""
    steps = {"w": step, "after": {"needs": "w", "value": "${{ steps.w.output }}"}}
    scene = Scene(steps, input=input, output="${{ steps.after.output }}", **rest)
    scene.start()
    return scene


def due(scene: Scene, step: str = "w") -> list[str]:
    return scene.done(cmd.TimerDue(step))


# -- wait -----------------------------------------------------------------------------------


def test_a_wait_ends_when_its_time_has_come_and_not_before() -> None:
    scene = begun({"wait": "5m"})
    assert (scene.status, scene.step("w")) == (SessionStatus.PROCESSING, StepStatus.WAITING)
    assert scene.state.steps["w"].due == BEGIN + 300 * SECOND
    assert scene.later(299).refused(cmd.TimerDue("w")) == "conflict"
    assert scene.later(1).done(cmd.TimerDue("w"))[0] == "step.completed"
    assert (scene.status, scene.output) == (SessionStatus.COMPLETED, None)
    assert scene.refused(cmd.TimerDue("w")) == "conflict", "it fires once"


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        ("${{ input.long }}", 90),
        ("${{ string(input.n) + 'm' }}", 120),
        ("${{ input.n }}h", 7200),
        ("${{ duration('2m') }}", 120),
        ({"until": "1970-01-12T14:00:00Z"}, 800),
        ({"until": "1970-01-12T15:00:00+01:00"}, 800),
        ({"until": "${{ input.at }}"}, 800),
        ({"until": "${{ timestamp(input.at) + duration('1s') }}"}, 801),
    ],
)
def test_how_long_a_wait_is_may_be_computed(wait: Any, seconds: int) -> None:
    scene = begun({"wait": wait}, {"long": "1m30s", "n": 2, "at": "1970-01-12T14:00:00Z"})
    assert scene.state.steps["w"].due == BEGIN + seconds * SECOND


@pytest.mark.parametrize("at", ["1970-01-12T13:46:40Z", "1969-01-01T00:00:00Z"])
def test_a_time_that_has_passed_is_waited_for_no_longer(at: str) -> None:
    assert begun({"wait": {"until": at}}).status is SessionStatus.COMPLETED


@pytest.mark.parametrize(
    ("wait", "said"),
    [
        ("${{ input.n }}", "wait: 5 is not a duration"),
        ("${{ 'soon' }}", 'wait: "soon" is not a duration'),
        ({"until": "${{ '2026-01-01' }}"}, 'wait: "2026-01-01" is not a time'),
    ],
)
def test_what_gives_no_duration_fails_the_step(wait: Any, said: str) -> None:
    error = begun({"wait": wait}, {"n": 5}).state.error
    assert error is not None
    assert error.error_class == "expression" and error.message.startswith(said)


def test_a_pause_adds_its_length_and_nothing_fires_meanwhile() -> None:
    scene = begun({"wait": "1h"})
    scene.later(HOUR / 2).done(PAUSE)
    assert scene.later(HOUR).refused(cmd.TimerDue("w")) == "conflict"
    scene.done(RESUME)
    assert scene.state.steps["w"].due == BEGIN + 2 * HOUR * SECOND
    assert scene.later(HOUR / 2).done(cmd.TimerDue("w"))[0] == "step.completed"


def test_a_cancel_ends_what_waits() -> None:
    scene = begun({"wait": "1h"})
    assert scene.done(CANCEL) == ["session.stopping", "step.cancelled", "session.cancelled"]
    assert scene.step("w") is StepStatus.CANCELLED
    assert scene.later(HOUR).refused(cmd.TimerDue("w")) == "conflict"


def test_the_failure_of_another_step_ends_what_waits() -> None:
    scene = Scene({"w": {"wait": "1h"}, "a": {**WORK, "retry": 1}})
    scene.start()
    scene.fail()
    assert (scene.step("w"), scene.status) == (StepStatus.CANCELLED, SessionStatus.ERROR)
    scene.done(cmd.RetrySession("", WHO))
    assert scene.state.steps["w"].due == BEGIN + HOUR * SECOND, "it waits anew"


# -- signal ---------------------------------------------------------------------------------


def signal(name: str = "paid", payload: Any = 1, signal_id: str = "s1") -> cmd.Signal:
    return cmd.Signal(name, signal_id, raw(msgspec.json.encode(payload)), WHO)


def test_a_signal_completes_the_step_that_waits_for_it() -> None:
    scene = begun({"signal": "paid"})
    assert scene.done(signal(payload={"sum": 3}))[:2] == ["signal.received", "signal.taken"]
    assert (scene.status, scene.output) == (SessionStatus.COMPLETED, {"sum": 3})


def test_a_signal_before_its_step_is_kept_and_the_oldest_goes_first() -> None:
    steps = {
        "a": WORK,
        "x": {"needs": "a", "signal": "go"},
        "y": {"needs": "x", "signal": {"name": "go"}},
    }
    scene = Scene(steps, output=["${{ steps.x.output }}", "${{ steps.y.output }}"])
    scene.start()
    for number in (1, 2):
        assert scene.done(signal("go", number, f"s{number}")) == ["signal.received"]
    scene.complete()
    assert scene.output == [1, 2]


def test_the_step_that_has_waited_longest_takes_it() -> None:
    steps = {"a": WORK, "y": {"signal": "go"}, "x": {"needs": "a", "signal": "go"}}
    scene = Scene(steps)
    scene.start()
    scene.later(1).complete()
    scene.done(signal("go"))
    assert (scene.step("x"), scene.step("y")) == (StepStatus.WAITING, StepStatus.COMPLETED)


def test_the_same_id_again_changes_nothing_whatever_it_carries() -> None:
    steps = {"x": {"signal": "go"}, "y": {"needs": "x", "signal": "go"}}
    scene = Scene(steps)
    scene.start()
    scene.done(signal("go", 1))
    assert scene.done(signal("go", 2)) == []
    assert scene.step("y") is StepStatus.WAITING
    scene.done(signal("go", 2, "s2"))
    assert scene.done(signal("go", 2, "s2")) == [], "also when the session has ended"


def test_what_cannot_be_taken_is_refused() -> None:
    scene = begun({"signal": "paid"})
    answer = scene.do(signal("payed"))
    assert isinstance(answer, Refused)
    assert (answer.code, answer.detail) == (
        "unknown_signal",
        "no step waits for a signal 'payed'; it knows: paid",
    )
    scene.done(signal())
    assert scene.refused(signal(signal_id="s2")) == "conflict"


def test_a_session_that_undoes_what_it_did_takes_no_signals() -> None:
    undone = {"capability": "work", "compensate": {"capability": "undo"}}
    scene = Scene(
        {"a": undone, "b": {"needs": "a", "capability": "work", "retry": 1}, "s": {"signal": "go"}}
    )
    scene.start()
    scene.complete()
    scene.fail()
    assert scene.refused(cmd.Signal("go", "1", raw(b"1"), "operator:o")) == "conflict"


def test_whose_signal_came_last_is_undone_first() -> None:
    undo = {"compensate": {"capability": "undo"}}
    steps = {"x": {"signal": "go", **undo}, "y": {"needs": "x", "signal": "go", **undo}}
    scene = Scene({**steps, "z": {"needs": "y", "value": "${{ input.no }}"}})
    scene.start()
    scene.done(signal("go", 1, "s1"))
    scene.done(signal("go", 2, "s2"))
    assert [task.step for task in scene.queued()] == ["y"]


@pytest.mark.parametrize(
    ("command", "told"),
    [(signal("go"), ["b"]), (cmd.Cancel("", WHO, 0), ["b", "c"])],
    ids=["a signal", "a cancel"],
)
def test_steps_that_began_to_wait_together_are_told_in_the_order_in_which_they_are_written(
    command: cmd.SessionCommand, told: list[str]
) -> None:
    """Also by a process that knows them from the journal alone."""
    scene = Scene(
        {
            "a": WORK,
            "d": {"needs": ["c", "b"], "value": 1},
            "b": {"needs": "a", "signal": "go"},
            "c": {"needs": "a", "signal": "go"},
        }
    )
    scene.start()
    scene.complete()
    for state in (scene.state, scene.replayed):
        state.steps = defaultdict(StepState, sorted(state.steps.items(), reverse=True))
    events = scene.do(command)
    assert not isinstance(events, Refused)
    kinds = (ev.SignalTaken, ev.StepCancelled)
    assert [event.step for event in events if isinstance(event, kinds)] == told


def test_signals_that_nobody_takes_are_bounded() -> None:
    scene = Scene({"a": WORK, "w": {"needs": "a", "signal": "go"}})
    scene.start()
    for number in range(1_000):
        scene.done(signal("go", None, f"s{number}"))
    assert scene.refused(signal("go", None, "one too many")) == "too_many_signals"
    scene.complete()
    assert scene.status is SessionStatus.COMPLETED


@pytest.mark.parametrize("bound", ["1h", {"total": "1h"}])
def test_a_signal_that_does_not_come_fails_its_step(bound: Any) -> None:
    scene = begun({"signal": "paid", "timeout": bound})
    scene.later(HOUR)
    assert due(scene)[0] == "step.failed"
    error = scene.state.error
    assert error is not None
    assert (error.error_class, error.message) == ("timeout", "no signal paid came within 1h")


def test_a_signal_during_a_pause_counts_and_what_follows_waits() -> None:
    scene = begun({"signal": "paid"})
    scene.done(PAUSE)
    scene.done(signal())
    assert (scene.step("w"), scene.step("after")) == (StepStatus.COMPLETED, StepStatus.PENDING)
    scene.done(RESUME)
    assert scene.status is SessionStatus.COMPLETED


# -- approval -------------------------------------------------------------------------------


def approval(**keys: Any) -> Scene:
    return begun(
        {"approval": {"title": "Ship ${{ input.what }}?", "details": "${{ input.plan }}", **keys}},
        {"what": "v2", "plan": {"to": "prod", "n": 1}, "boss": "eve"},
    )


def asked(scene: Scene) -> Approval:
    found = scene.state.steps["w"].approval
    assert found is not None
    return found


def yes(scene: Scene, by: str = "ada", **more: Any) -> cmd.Approve:
    details = more.pop("details", None)
    given = {"comment": "", "content_hash": asked(scene).content_hash, **more}
    encoded = None if details is None else raw(msgspec.json.encode(details))
    return cmd.Approve("w", by, details=encoded, **given)


def test_an_approval_binds_what_was_shown_by_its_hash() -> None:
    scene = approval()
    shown = asked(scene)
    assert shown.title == "Ship v2?"
    assert msgspec.json.decode(shown.details) == {"to": "prod", "n": 1}
    content = b'{"details":{"n":1,"to":"prod"},"title":"Ship v2?"}'
    assert shown.content_hash == hashlib.sha256(content).hexdigest()
    scene.done(yes(scene, comment="fine"))
    assert scene.output == {
        "approved": True,
        "by": ["ada"],
        "comments": [{"by": "ada", "text": "fine"}],
        "details": {"to": "prod", "n": 1},
        "contentHash": shown.content_hash,
        "edited": False,
    }


def test_who_saw_another_content_cannot_approve_it() -> None:
    scene = approval()
    assert scene.refused(yes(scene, content_hash="0" * 64)) == "content_changed"
    assert scene.refused(cmd.Reject("w", "ada", "", "0" * 64)) == "content_changed"
    assert scene.step("w") is StepStatus.WAITING


def test_a_quorum_counts_each_approver_once() -> None:
    scene = approval(approvers=["ada", "bob", "eve"], quorum=2)
    assert scene.refused(yes(scene, "mallory")) == "forbidden"
    assert scene.done(yes(scene)) == ["approval.approved"]
    assert scene.done(yes(scene)) == []
    assert scene.done(yes(scene, "bob"))[:2] == ["approval.approved", "approval.decided"]
    assert scene.output["by"] == ["ada", "bob"]
    assert scene.refused(yes(scene, "eve")) == "conflict"


def test_one_rejection_fails_the_step() -> None:
    scene = approval(quorum=2)
    scene.done(yes(scene))
    scene.done(cmd.Reject("w", "bob", "too early"))
    error = scene.state.error
    assert error is not None
    assert (error.error_class, error.message) == ("rejected", "rejected by bob: too early")


def test_an_edit_lapses_what_others_said_and_counts_for_the_editor() -> None:
    scene = approval(quorum=2)
    old = asked(scene).content_hash
    scene.done(yes(scene))
    edited = yes(scene, "bob", details={"to": "staging"})
    assert scene.done(edited) == ["approval.edited", "approval.approved"]
    new = asked(scene).content_hash
    assert new == content_hash("Ship v2?", b'{"to": "staging"}') != old
    assert scene.refused(yes(scene, content_hash=old)) == "content_changed"
    scene.done(yes(scene))
    assert scene.output["details"] == {"to": "staging"}
    assert (scene.output["by"], scene.output["edited"]) == (["bob", "ada"], True)


def test_the_same_details_again_are_no_edit() -> None:
    scene = approval(quorum=2)
    scene.done(yes(scene))
    scene.done(yes(scene, "bob", details={"n": 1, "to": "prod"}))
    assert (scene.output["by"], scene.output["edited"]) == (["ada", "bob"], False)


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({}, SessionStatus.ERROR),
        ({"onTimeout": "reject"}, SessionStatus.ERROR),
        ({"onTimeout": "approve"}, SessionStatus.COMPLETED),
    ],
)
def test_what_nobody_decides_in_time(keys: dict[str, Any], status: SessionStatus) -> None:
    scene = approval(timeout="1h", **keys)
    due(scene.later(HOUR))
    assert scene.status is status
    if scene.state.error is not None:
        assert scene.state.error.error_class == "rejected"
    else:
        assert scene.output["by"] == []


def escalating(**more: Any) -> Scene:
    escalate = {"approvers": ["${{ input.boss }}"], **more}
    return approval(
        timeout="1h", onTimeout="escalate", approvers=["ada", "bob"], quorum=2, escalate=escalate
    )


def test_an_escalation_asks_others_and_no_more_than_there_are() -> None:
    scene = escalating(timeout="30m", onTimeout="approve")
    assert due(scene.later(HOUR)) == ["approval.escalated"]
    assert asked(scene).approvers == ("eve",) and asked(scene).quorum == 1
    assert scene.state.steps["w"].due == BEGIN + 5400 * SECOND
    assert scene.refused(yes(scene, "bob")) == "forbidden"
    due(scene.later(HOUR / 2))
    assert scene.status is SessionStatus.COMPLETED


def test_an_escalation_without_a_bound_waits_for_its_people() -> None:
    scene = escalating()
    due(scene.later(HOUR))
    assert scene.later(HOUR).refused(cmd.TimerDue("w")) == "conflict"
    scene.done(yes(scene, "eve"))
    assert scene.output["by"] == ["eve"]


def test_what_is_asked_must_be_askable() -> None:
    scene = begun({"approval": {"title": "${{ 1 }}"}})
    assert scene.state.error is not None and "title" in scene.state.error.message
    scene = begun({"approval": {"title": "x", "approvers": "${{ input }}"}})
    assert scene.state.error is not None and "approvers must be" in scene.state.error.message
    scene = begun({"approval": {"title": "x", "details": "x" * 100}}, payload_limit=50)
    assert scene.state.error is not None
    assert scene.state.error.error_class == "payload_too_large"


def test_there_is_no_approval_where_none_is_asked() -> None:
    scene = begun({"wait": "1h"})
    assert scene.refused(cmd.Reject("w", "ada", "")) == "not_found"
    assert scene.refused(cmd.Reject("nowhere", "ada", "")) == "not_found"


def test_steps_that_wait_take_part_in_conditions() -> None:
    template = template_of({"w": {"wait": "1s", "if": "false"}, "b": {"needs": "w", "value": 1}})
    assert template.steps["w"].condition == "false"
    scene = Scene({"w": {"wait": "1h", "if": "false"}})
    scene.start()
    assert (scene.status, scene.state.session_id) == (SessionStatus.COMPLETED, SESSION_ID)
