"""Routes that change what a filter finds."""

from __future__ import annotations

from opscore.api.answer import Answer, ok
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.api.views import micros_of
from opscore.engine.bulk import BulkRecord, SessionFilter, TaskFilter
from opscore.wire.bulk import (
    BulkAnswer,
    CancelSessions,
    FallbackTasks,
    RefusedChange,
    RetryTasks,
)

routes = Routes("bulk")


@routes.body("POST", "/task/retry", "operate", RetryTasks, {200: BulkAnswer}, optional=True)
async def retry_tasks(call: Call, body: RetryTasks) -> Reply:
    """Retry dead letters by filter; with `dryRun` only say which."""
    which = TaskFilter(
        agent=body.agent,
        capability=body.capability,
        session=body.session,
        workflow=body.workflow,
        error_class=body.error_class,
    )
    record = await call.engine.orchestration.retry_tasks(
        which,
        retry_count=body.attempts,
        dry_run=body.dry_run,
        namespace=call.namespace,
        actor=call.actor,
    )
    return _answer(record)


@routes.body("POST", "/task/fallback", "operate", FallbackTasks, {200: BulkAnswer}, optional=True)
async def fallback_tasks(call: Call, body: FallbackTasks) -> Reply:
    """Give tasks up for their next fallbacks, by filter; with `dryRun` only say which."""
    which = TaskFilter(
        status=body.status,
        agent=body.agent,
        capability=body.capability,
        session=body.session,
        workflow=body.workflow,
        error_class=body.error_class,
    )
    record = await call.engine.orchestration.fallback_tasks(
        which, dry_run=body.dry_run, namespace=call.namespace, actor=call.actor
    )
    return _answer(record)


@routes.body("POST", "/session/cancel", "operate", CancelSessions, {200: BulkAnswer})
async def cancel_sessions(call: Call, body: CancelSessions) -> Reply:
    """Cancel sessions by filter; with `dryRun` only say which."""
    which = SessionFilter(
        workflow=body.workflow,
        status=body.status,
        agent=body.agent,
        label=body.label,
        since=micros_of(body.since, "/since"),
        until=micros_of(body.until, "/until"),
    )
    record = await call.engine.orchestration.cancel_sessions(
        which, body.reason, dry_run=body.dry_run, namespace=call.namespace, actor=call.actor
    )
    return _answer(record)


def _answer(record: BulkRecord) -> Answer:
    changed = 0 if record.dry_run else len(record.ids) - len(record.refused)
    return ok(
        BulkAnswer(
            dry_run=record.dry_run,
            matched=len(record.ids),
            changed=changed,
            ids=list(record.ids),
            refused=[RefusedChange(id=one, detail=why) for one, why in record.refused],
            more=record.more,
        )
    )
