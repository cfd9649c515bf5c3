"""Rows of steps that wait: their timers, and what is asked of people."""

from __future__ import annotations

from typing import cast

import msgspec

from opscore.core import events as ev
from opscore.core.state import Approval, SessionState
from opscore.core.types import Micros, approval_id_of
from opscore.engine.records import ApprovalRecord, ApprovalStatus
from opscore.store.rows import ApprovalRow, Changes, TimerRow

OF_WAITS = frozenset(
    {
        *(ev.StepBounded, ev.ItemFailed, ev.ItemValued),
        *(ev.StepWaiting, ev.StepCompleted, ev.StepFailed, ev.StepCancelled, ev.SignalTaken),
        *(ev.ApprovalRequested, ev.ApprovalApproved, ev.ApprovalEdited, ev.ApprovalEscalated),
        ev.ApprovalDecided,
    }
)
"""Events after which the rows of their step may be others."""


def project_wait(changes: Changes, state: SessionState, name: str) -> None:
    """Bring a step's timer and approval up to its state. A paused session has no timers."""
    step = state.steps[name]
    if step.due is not None:
        if state.clocked(step):
            changes.set_timer(TimerRow(state.session_id, name, step.due))
        else:
            changes.stop_timer(state.session_id, name)
    if step.approval is not None:
        row = _approval_row(state, name, step.approval, step.due)
        changes.approvals[row.approval_id] = row


def project_waits(changes: Changes, state: SessionState) -> None:
    """The same for every step that waits, or whose work has a bound."""
    for name in {*state.waits(), *state.bounded()}:
        project_wait(changes, state, name)


def stop_timers(
    changes: Changes, state: SessionState, event: ev.SessionStopping | ev.WaitFailed
) -> None:
    """A step that waited in vain has no timer; one of a session that winds down, its grace."""
    if isinstance(event, ev.WaitFailed):
        changes.stop_timer(state.session_id, event.step)
        return
    for name, step in state.steps.items():
        if step.due is not None:
            project_wait(changes, state, name)


class ApprovalData(msgspec.Struct, frozen=True):
    """What the `data` column of an approval holds."""

    workflow: str
    version: str
    title: str
    details: msgspec.Raw
    content_hash: str
    approvers: tuple[str, ...]
    quorum: int
    votes: tuple[tuple[str, str], ...]
    edited: bool
    escalated: bool
    reason: str
    requested_at: Micros
    due: Micros | None
    decided_at: Micros | None


def _approval_row(
    state: SessionState, step: str, approval: Approval, due: Micros | None
) -> ApprovalRow:
    data = ApprovalData(
        workflow=state.workflow,
        version=state.version,
        title=approval.title,
        details=msgspec.Raw(bytes(approval.details)),
        content_hash=approval.content_hash,
        approvers=approval.approvers,
        quorum=approval.quorum,
        votes=tuple((vote.by, vote.comment) for vote in approval.votes),
        edited=approval.edited,
        escalated=approval.escalated,
        reason=approval.reason,
        requested_at=approval.requested_at,
        due=due,
        decided_at=approval.decided_at,
    )
    return ApprovalRow(
        approval_id_of(state.session_id, step),
        state.namespace,
        state.session_id,
        step,
        approval.outcome,
        msgspec.json.encode(data),
    )


def approval_of(row: ApprovalRow) -> ApprovalRecord:
    """An approval as people see it."""
    data = msgspec.json.decode(row.data, type=ApprovalData)
    return ApprovalRecord(
        approval_id=row.approval_id,
        namespace=row.namespace,
        session_id=row.session_id,
        step=row.step,
        status=cast("ApprovalStatus", row.status),
        workflow=data.workflow,
        version=data.version,
        title=data.title,
        details=data.details,
        content_hash=data.content_hash,
        approvers=data.approvers,
        quorum=data.quorum,
        votes=data.votes,
        edited=data.edited,
        escalated=data.escalated,
        reason=data.reason,
        requested_at=data.requested_at,
        due_at=data.due,
        decided_at=data.decided_at,
    )
