"""Sessions of templates with limits, as the core decides of them: held, let in, rejected, again."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core import commands as cmd
from opscore.core.events import SessionFailed
from opscore.core.limits import Terms
from opscore.core.task import Failed
from opscore.core.types import SECOND, ErrorInfo, SessionStatus, StepStatus
from opscore.engine.journal import raw
from tests.core.scene import Scene

WHO = "operator:o"
ONE: dict[str, Any] = {"concurrency": {"key": "${{ input.who }}", "limit": 1}}
CANCEL = cmd.Cancel("enough", WHO, 10 * SECOND)


def begun(steps: dict[str, Any] | None = None, input: Any = None, **rest: Any) -> Scene:
    scene = Scene(
        steps or {"a": {"capability": "work", "retry": 1}},
        input={"who": "ann"} if input is None else input,
        **(rest or ONE),
    )
    scene.start()
    return scene


def test_nothing_starts_before_there_is_room() -> None:
    scene = begun()
    assert scene.state.terms == Terms("ann", 1, sessions=True)
    assert (scene.status, scene.queued()) == (SessionStatus.WAITING, [])
    assert scene.done(cmd.Admit()) == ["session.admitted", "task.created"]
    assert scene.refused(cmd.Admit()) == "conflict"
    scene.complete()
    assert scene.status is SessionStatus.COMPLETED


@pytest.mark.parametrize("key", ["${{ input.nobody }}", "${{ [1] }}", "${{ '' }}"])
def test_a_key_that_is_no_text_fails_the_session(key: str) -> None:
    scene = begun(concurrency={"key": key, "limit": 1})
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error is not None
    assert scene.state.error.error_class == "expression"


def test_what_is_rejected_does_nothing_but_tell() -> None:
    steps = {
        "a": {"capability": "work"},
        "b": {"needs": "a", "when": "always", "capability": "tidy"},
    }
    told = {"workflow": "w", "with": {"why": "${{ error.message }}"}}
    scene = begun(steps, concurrency={"key": "k", "limit": 1, "onFull": "reject"}, onError=told)
    scene.done(cmd.RejectSession("k is full"))
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error is not None
    assert (scene.state.error.error_class, scene.state.error.message) == ("rejected", "k is full")
    assert scene.state.tasks == {}
    (ended,) = [e for e in scene.events if isinstance(e, SessionFailed)]
    assert bytes(ended.on_error_input or b"") == b'{"why":"k is full"}'


def test_it_may_be_cancelled_and_run_out_of_time_while_it_waits() -> None:
    scene = begun()
    scene.done(CANCEL)
    assert scene.status is SessionStatus.CANCELLED
    late = begun(**ONE, timeout="5s")
    late.later(5).done(cmd.DeadlinePassed())
    assert late.status is SessionStatus.ERROR
    assert late.refused(cmd.Admit()) == "conflict"


def test_a_pause_keeps_its_place_and_what_is_let_in_then_begins_when_it_is_resumed() -> None:
    scene = begun()
    scene.done(cmd.Pause("", WHO))
    scene.done(cmd.Resume("", WHO))
    assert scene.queued() == []
    scene.done(cmd.Pause("", WHO))
    scene.done(cmd.Admit())
    assert scene.queued() == []
    scene.done(cmd.Resume("", WHO))
    assert len(scene.queued()) == 1


def test_its_place_follows_its_priority() -> None:
    scene = begun()
    before = scene.state.order
    scene.done(cmd.UpdateSession(90, None, None, WHO))
    assert scene.state.order == before - 40 * 5 * SECOND


def test_signals_that_come_meanwhile_are_kept() -> None:
    scene = begun({"a": {"signal": "go"}})
    scene.done(cmd.Signal("go", "s1", raw(b"1"), WHO))
    scene.done(cmd.Admit())
    assert scene.status is SessionStatus.COMPLETED


def test_a_retry_finds_room_anew_but_is_no_start() -> None:
    rate = {"key": "r", "limit": 1, "per": "1h"}
    scene = begun(**ONE, rate=rate)
    assert scene.state.terms == Terms("ann", 1, "queue", "r", 1, 3600 * SECOND, sessions=True)
    scene.done(cmd.Admit())
    scene.fail()
    scene.done(cmd.RetrySession("", WHO))
    assert scene.state.held
    assert scene.state.terms == Terms("ann", 1, "queue", None, 1, 3600 * SECOND, sessions=True)
    assert scene.queued() == []
    scene.done(cmd.Admit())
    scene.complete()
    assert scene.status is SessionStatus.COMPLETED


def test_a_retry_of_what_was_never_let_in_is_a_start() -> None:
    rate = {"key": "r", "limit": 1, "per": "1h"}
    scene = begun(rate=rate, timeout="5s")
    scene.later(5).done(cmd.DeadlinePassed())
    scene.done(cmd.RetrySession("", WHO))
    assert scene.state.held
    assert scene.state.terms is not None
    assert scene.state.terms.rate == "r"


def test_with_a_rate_alone_a_retry_begins_at_once() -> None:
    scene = begun(rate={"key": "r", "limit": 1, "per": "1h"})
    scene.done(cmd.Admit())
    scene.fail()
    assert "task.created" in scene.done(cmd.RetrySession("", WHO))


def test_a_fallback_by_hand_waits_for_room_too() -> None:
    step = {"capability": "work", "retry": 1, "fallback": [{"agent": "b"}, {"value": 7}]}
    scene = begun({"a": step}, output="${{ steps.a.output }}", **ONE)
    scene.done(cmd.Admit())
    scene.done(cmd.CancelTask(scene.task("a").task_id, "no"))
    scene.done(cmd.RetrySession("", WHO))
    scene.done(cmd.Admit())
    failed = scene.claim()
    scene.done(cmd.Pause("", WHO))
    scene.done(cmd.Resume("", WHO))
    scene.settle(failed, Failed(ErrorInfo("fatal", "")))
    assert scene.task("a").agent == "b"


def test_what_completed_before_a_retry_is_undone_also_from_the_queue() -> None:
    steps = {
        "a": {"capability": "work", "compensate": {"capability": "undo"}},
        "b": {"needs": "a", "capability": "work", "retry": 1, "compensate": {"capability": "undo"}},
    }
    scene = begun(steps)
    scene.done(cmd.Admit())
    scene.complete()
    scene.fail()
    scene.complete(scene.task("a"))
    assert scene.status is SessionStatus.ERROR
    scene.done(cmd.RetrySession("", WHO))
    scene.done(CANCEL)
    assert scene.status is SessionStatus.CANCELLED
    assert scene.step("a") is StepStatus.PENDING
