"""Routes of approvals and signals: what people send to sessions that wait."""

from __future__ import annotations

import msgspec

from opscore.api.answer import accepted, ok
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.channels.attempts import moment, moment_or_none
from opscore.channels.documents import payload
from opscore.core.errors import Forbidden
from opscore.engine.records import ApprovalRecord
from opscore.wire import approval as wire

routes = Routes("approval")


@routes.query("/approval", "session:read", wire.ListApprovals, {200: wire.ApprovalPage})
async def list_approvals(call: Call, query: wire.ListApprovals) -> Reply:
    """List what people are or were asked, the newest session's first."""
    page = await call.engine.orchestration.list_approvals(
        status=query.status,
        session=query.session,
        cursor=query.cursor,
        limit=query.limit,
        namespace=call.namespace,
    )
    approvals = [approval_view(one) for one in page.items]
    return ok(wire.ApprovalPage(approvals=approvals, next_cursor=page.next_cursor))


@routes.plain("GET", "/approval/{approvalId}", "session:read", {200: wire.ApprovalView})
async def get_approval(call: Call) -> Reply:
    """Read what is asked: title, details, their hash, and who has approved."""
    record = await call.engine.orchestration.get_approval(
        call.part("approvalId"), namespace=call.namespace
    )
    return ok(approval_view(record))


@routes.body(
    "POST",
    "/approval/{approvalId}/approve",
    "operate",
    wire.Approve,
    {200: wire.ApprovalView},
)
async def approve(call: Call, body: wire.Approve) -> Reply:
    """Say yes to the content of the hash you saw, or put other details in its place."""
    details = body.details
    record = await call.engine.orchestration.approve(
        call.part("approvalId"),
        body.content_hash,
        by=_approver(call, body.by),
        comment=body.comment,
        details=payload(details, "/details") if isinstance(details, msgspec.Raw) else None,
        namespace=call.namespace,
        actor=call.actor,
    )
    return ok(approval_view(record))


@routes.body(
    "POST",
    "/approval/{approvalId}/reject",
    "operate",
    wire.Reject,
    {200: wire.ApprovalView},
    optional=True,
)
async def reject(call: Call, body: wire.Reject) -> Reply:
    """Say no; one is enough."""
    record = await call.engine.orchestration.reject(
        call.part("approvalId"),
        content_hash=body.content_hash,
        by=_approver(call, body.by),
        comment=body.comment,
        namespace=call.namespace,
        actor=call.actor,
    )
    return ok(approval_view(record))


def _approver(call: Call, by: str | None) -> str | None:
    """Whoever may do anything may also answer for others; nobody else may."""
    if by not in (None, call.actor.name) and "admin" not in call.principal.permissions:
        raise Forbidden("To answer in another's name needs the right `admin`.")
    return by


@routes.body(
    "POST",
    "/session/{sessionId}/signal/{name}",
    "operate",
    wire.SendSignal,
    {202: wire.SignalAccepted},
    optional=True,
)
async def send_signal(call: Call, body: wire.SendSignal) -> Reply:
    """Send a signal to a session; one that comes before its step waits is kept."""
    session_id = call.part("sessionId")
    signal_id = await call.engine.orchestration.signal(
        session_id,
        call.part("name"),
        payload(body.payload, "/payload"),
        signal_id=body.signal_id,
        namespace=call.namespace,
        actor=call.actor,
    )
    return accepted(wire.SignalAccepted(session_id=session_id, signal_id=signal_id))


def approval_view(record: ApprovalRecord) -> wire.ApprovalView:
    """An approval as the wire shows it."""
    return wire.ApprovalView(
        approval_id=record.approval_id,
        session_id=record.session_id,
        step=record.step,
        workflow=record.workflow,
        version=record.version,
        status=record.status,
        title=record.title,
        details=msgspec.Raw(record.details),
        content_hash=record.content_hash,
        approvers=list(record.approvers),
        quorum=record.quorum,
        votes=[wire.Vote(by=by, comment=comment) for by, comment in record.votes],
        edited=record.edited,
        escalated=record.escalated,
        reason=record.reason,
        requested_at=moment(record.requested_at),
        due_at=moment_or_none(record.due_at),
        decided_at=moment_or_none(record.decided_at),
    )
