"""`decide`: what a command means for a session. Commands in, events out.

The decision folds its own events into the state it was given (see `progress.Draft`); when it
refuses, nothing was folded. If it raises, the state must be thrown away and read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opscore.core import admission, attempts, children, steering, waiting
from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.ending import conclude
from opscore.core.expressions import Expressions
from opscore.core.kinds import approval, signal
from opscore.core.progress import (
    Draft,
    Refused,
    advance,
    cancel_queued,
    cancel_running,
    stop,
)
from opscore.core.record import record
from opscore.core.retry import TIMEOUT
from opscore.core.state import SessionState
from opscore.core.template import Template
from opscore.core.types import (
    CANCEL_GRACE,
    SESSION_ENDED,
    ErrorInfo,
    Micros,
    TaskStatus,
)


@record
class Surroundings:
    """What a decision may use besides state and command."""

    now: Micros
    expressions: Expressions
    payload_limit: int


@record
class Decided:
    """The facts that follow. `more`: the session needs another `Advance`."""

    events: list[ev.SessionEvent]
    more: bool = False


Decision = Decided | Refused

_UNCHANGED = Decided([])


def decide(
    template: Template,
    state: SessionState,
    command: cmd.SessionCommand,
    around: Surroundings,
) -> Decision:
    """Decide what `command` leads to. The state is folded forward with the events returned."""
    draft = Draft(template, state, around.now, around.expressions, around.payload_limit, [])
    refused = _RULES[type(command)](draft, command)
    if refused is not None:
        return refused
    if not draft.events and not draft.more:
        return _UNCHANGED
    if not (state.running or state.queued or state.open_children):
        conclude(draft)
    return Decided(draft.events, draft.more)


def _start(draft: Draft, c: cmd.Start) -> None:
    draft.emit(c.event)
    admission.begin(draft)


def _advance(draft: Draft, c: cmd.Advance) -> None:
    advance(draft)


def _deadline_passed(draft: Draft, c: cmd.DeadlinePassed) -> Refused | None:
    state = draft.state
    if state.status in SESSION_ENDED or state.paused_at is not None:
        return Refused("conflict", f"session {state.session_id} has no deadline running")
    if state.stopping is not None and state.draining:
        if state.stopping.grace_until <= draft.now:
            running = [t for t in state.tasks.values() if t.status is TaskStatus.RUNNING]
            cancel_running(draft, running, state.stopping.error.message)
            cancel_queued(draft, state.stopping.error.message)
    elif state.stopping is None and state.deadline is not None and state.deadline <= draft.now:
        error = ErrorInfo(TIMEOUT, "the session took longer than its total timeout")
        stop(
            draft,
            cancelled=False,
            error=error,
            grace=CANCEL_GRACE,
            actor="system:opscore",
        )
    return None


_RULES: Mapping[type, Callable[[Draft, Any], Refused | None]] = {
    cmd.Start: _start,
    cmd.Advance: _advance,
    cmd.DeadlinePassed: _deadline_passed,
    cmd.Claim: attempts.claim,
    cmd.Settle: attempts.settle_attempt,
    cmd.ChildDue: children.child_due,
    cmd.ChildOver: children.child_over,
    cmd.TaskDue: attempts.task_due,
    cmd.QueueTimeout: attempts.queue_timeout,
    cmd.TimerDue: waiting.timer_due,
    cmd.Signal: signal.receive,
    cmd.Approve: approval.approve,
    cmd.Reject: approval.reject,
    cmd.RejectTask: attempts.reject,
    cmd.Admit: admission.admit,
    cmd.RejectSession: admission.reject,
    cmd.Cancel: steering.cancel,
    cmd.Pause: steering.pause,
    cmd.Resume: steering.resume,
    cmd.RetrySession: steering.retry_session,
    cmd.UpdateSession: steering.update,
    cmd.RetryTask: steering.retry_task,
    cmd.FallbackTask: steering.fallback_task,
    cmd.CancelTask: steering.cancel_task,
    cmd.ReprioritiseTask: steering.reprioritise,
}
