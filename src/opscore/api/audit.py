"""Routes of the audit."""

from __future__ import annotations

import msgspec

from opscore.api.answer import ok
from opscore.api.call import Call
from opscore.api.key import reached
from opscore.api.route import Reply, Routes
from opscore.api.views import micros_of
from opscore.channels.attempts import moment
from opscore.core.audit import AuditRecord
from opscore.wire.audit import AuditPage, AuditView, ListAudit

routes = Routes("audit")


@routes.query("/audit", "admin", ListAudit, {200: AuditPage})
async def list_audit(call: Call, query: ListAudit) -> Reply:
    """List what people and keys changed by order, newest first."""
    page = await call.engine.audit.records(
        namespace=reached(call, query.namespace or call.principal.reach),
        actor=query.actor,
        key=query.key,
        action=query.action,
        subject=query.subject,
        since=micros_of(query.since, "/since"),
        until=micros_of(query.until, "/until"),
        cursor=query.cursor,
        limit=query.limit,
    )
    records = [_view(one) for one in page.items]
    return ok(AuditPage(records=records, next_cursor=page.next_cursor))


def _view(one: AuditRecord) -> AuditView:
    return AuditView(
        writer=one.writer,
        seq=one.seq,
        at=moment(one.at),
        namespace=one.namespace,
        actor=one.actor,
        action=one.action,
        details=msgspec.json.decode(one.details),
        hash=one.hash.hex(),
        key_id=one.key_id,
        subject=one.subject,
    )
