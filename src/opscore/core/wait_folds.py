"""How the facts of waits, signals and approvals are folded into a session's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opscore.core import wait_events as ev
from opscore.core.state import Approval, Inbox, SessionState, Signal, StepState, Vote
from opscore.core.step_folds import begin_step
from opscore.core.types import Micros, SessionStatus, StepStatus


def _begin(state: SessionState, name: str, due: Micros | None, at: Micros) -> StepState:
    step = state.steps[name]
    step.status = StepStatus.WAITING
    step.started_at = at
    step.due = due
    state.started = True
    if state.status is SessionStatus.WAITING:
        state.status = SessionStatus.PROCESSING
    return step


def _end(step: StepState, status: StepStatus, at: Micros) -> None:
    step.status = status
    step.finished_at = at


def _step_waiting(state: SessionState, e: ev.StepWaiting, at: Micros) -> None:
    _begin(state, e.step, e.due, at).signal = e.name


def _wait_failed(state: SessionState, e: ev.WaitFailed, at: Micros) -> None:
    step = state.steps[e.step]
    if step.status is StepStatus.PENDING:
        begin_step(state, step, at)
    step.status = StepStatus.RUNNING
    step.due = None


def _step_cancelled(state: SessionState, e: ev.StepCancelled, at: Micros) -> None:
    step = state.steps[e.step]
    _end(step, StepStatus.CANCELLED, at)
    if step.approval is not None:
        step.approval.outcome = "cancelled"
        step.approval.reason = e.reason
        step.approval.decided_at = at


def _signal_received(state: SessionState, e: ev.SignalReceived, at: Micros) -> None:
    inbox = state.inbox = state.inbox or Inbox()
    inbox.seen[e.signal_id] = e.name
    inbox.signals.append(Signal(e.signal_id, e.name, e.payload))


def _signal_taken(state: SessionState, e: ev.SignalTaken, at: Micros) -> None:
    assert state.inbox is not None
    signals = state.inbox.signals
    at_index = next(i for i, each in enumerate(signals) if each.signal_id == e.signal_id)
    step = state.steps[e.step]
    step.output = signals.pop(at_index).payload
    step.started_at = at if step.started_at is None else step.started_at
    step.completed_seq = state.seq
    _end(step, StepStatus.COMPLETED, at)


def _approval_requested(state: SessionState, e: ev.ApprovalRequested, at: Micros) -> None:
    step = _begin(state, e.step, e.due, at)
    step.approval = Approval(e.title, e.details, e.content_hash, e.approvers, e.quorum, at)


def _approval_of(state: SessionState, step: str) -> Approval:
    approval = state.steps[step].approval
    assert approval is not None
    return approval


def _approval_approved(state: SessionState, e: ev.ApprovalApproved, at: Micros) -> None:
    _approval_of(state, e.step).votes.append(Vote(e.by, e.comment))


def _approval_edited(state: SessionState, e: ev.ApprovalEdited, at: Micros) -> None:
    approval = _approval_of(state, e.step)
    approval.details = e.details
    approval.content_hash = e.content_hash
    approval.votes.clear()
    approval.edited = True


def _approval_decided(state: SessionState, e: ev.ApprovalDecided, at: Micros) -> None:
    approval = _approval_of(state, e.step)
    approval.outcome = e.outcome
    approval.reason = e.reason
    approval.decided_at = at


def _approval_escalated(state: SessionState, e: ev.ApprovalEscalated, at: Micros) -> None:
    step = state.steps[e.step]
    step.due = e.due
    approval = _approval_of(state, e.step)
    approval.approvers = e.approvers
    approval.quorum = e.quorum
    approval.escalated = True


WAIT_FOLDS: Mapping[type, Callable[[SessionState, Any, Micros], None]] = {
    ev.StepWaiting: _step_waiting,
    ev.WaitFailed: _wait_failed,
    ev.StepCancelled: _step_cancelled,
    ev.SignalReceived: _signal_received,
    ev.SignalTaken: _signal_taken,
    ev.ApprovalRequested: _approval_requested,
    ev.ApprovalApproved: _approval_approved,
    ev.ApprovalEdited: _approval_edited,
    ev.ApprovalDecided: _approval_decided,
    ev.ApprovalEscalated: _approval_escalated,
}
