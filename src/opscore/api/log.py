"""Routes of the log records."""

from __future__ import annotations

from opscore.api.answer import accepted, ok
from opscore.api.call import Call
from opscore.api.log_stream import LogStream
from opscore.api.log_view import log_view
from opscore.api.route import Reply, Routes
from opscore.api.views import micros_of
from opscore.core.access import EVERY_NAMESPACE
from opscore.core.durations import HINT, parse_duration
from opscore.core.errors import Fault, Forbidden, Invalid, Unavailable
from opscore.core.logs import SERVER, LogRecord, LogSearch, split_text
from opscore.core.types import Micros
from opscore.engine.logs import RETRY_AFTER
from opscore.wire.log import (
    FollowLogs,
    ForgetLogs,
    ListLogs,
    LogFilters,
    LogPage,
    LogsForgotten,
    LogsTaken,
    ShipLogs,
    ShippedRecord,
)

routes = Routes("log")


@routes.query("/log", "session:read", ListLogs, {200: LogPage})
async def list_logs(call: Call, query: ListLogs) -> Reply:
    """Search the log records, newest first unless `order` says otherwise."""
    page = await call.engine.debugging.search_logs(
        search_of(call, query, until=_when(call, query.until, "/until")),
        cursor=query.cursor,
        limit=query.limit,
        newest_first=query.order == "newest",
    )
    records = [log_view(one) for one in page.items]
    return ok(LogPage(records=records, next_cursor=page.next_cursor))


@routes.query("/log/stream", "session:read", FollowLogs, {200: str})
async def follow_logs(call: Call, query: FollowLogs) -> Reply:
    """Follow the log records (SSE), from `Last-Event-ID` on; filters narrow it."""
    call.check_room()
    search = search_of(call, query)
    return LogStream(call, search, await _place(call, query))


async def _place(call: Call, query: FollowLogs) -> int:
    """After which record to begin. A header goes before the query: a reconnecting client sends it.

    Raises Invalid, and Unavailable when the log store cannot be used.
    """
    newest = await call.engine.logs.newest()
    last = call.header(b"last-event-id")
    if last is not None:
        if not last.isascii() or not last.isdigit() or len(last) > 18:
            raise Invalid("Last-Event-ID must be the id of a log record: a number.")
        return int(last)
    if query.after is not None:
        return query.after
    return newest if query.since is None else 0


@routes.body("POST", "/log", "agent:report", ShipLogs, {202: LogsTaken})
async def ship_logs(call: Call, body: ShipLogs) -> Reply:
    """Send the log records of an agent, a batch at a time."""
    if (problem := call.engine.logs.state.problem) is not None:
        raise Unavailable(problem, code="logs_unavailable", retry_after=RETRY_AFTER)
    if body.agent is not None and call.principal.agent is not None:
        call.engine.bindings.check(call.principal.agent, call.namespace, body.agent)
    agent, now = call.acting_as or body.agent, call.engine.store.now()
    ship = call.engine.shipping.ship
    taken = sum(ship(_shipped(call, agent, one, now)) for one in body.records)
    return accepted(LogsTaken(accepted=taken, dropped=len(body.records) - taken))


def _shipped(call: Call, agent: str | None, one: ShippedRecord, now: Micros) -> LogRecord:
    return LogRecord(
        at=now,
        level=one.level,
        operation=one.operation,
        namespace=call.namespace,
        message=one.message,
        agent_id=agent,
        session_id=one.session_id,
        task_id=one.task_id,
        attempt=one.attempt,
        trace_id=one.trace_id,
        span_id=one.span_id,
        error_type=one.error_type,
        error_code=one.error_code,
        actor=str(call.actor),
        reported_at=one.at,
        context=one.context,
    )


@routes.body("POST", "/log/gc", "operate", ForgetLogs, {200: LogsForgotten}, optional=True)
async def forget_logs(call: Call, body: ForgetLogs) -> Reply:
    """Delete log records that are too old, or (with a key of every namespace) too many."""
    everywhere = call.principal.reach == EVERY_NAMESPACE
    if body.max_bytes is not None and not everywhere:
        raise Forbidden("The size is that of all namespaces: it needs a key of every one.")
    done = await call.engine.debugging.forget_logs(
        seconds=body.older_than_seconds,
        most_bytes=body.max_bytes,
        dry_run=body.dry_run,
        namespace=call.namespace,
        everywhere=everywhere,
        actor=call.actor,
    )
    return ok(LogsForgotten(outdated=done.outdated, oversized=done.oversized, dry_run=done.dry_run))


def search_of(call: Call, filters: LogFilters, *, until: Micros | None = None) -> LogSearch:
    """What a request looks for. Raises Invalid.

    The server's own records belong to no tenant: whoever reaches every namespace, and named none,
    sees them among those of the usual one.
    """
    everywhere = call.principal.reach == EVERY_NAMESPACE
    words, keys = split_text(filters.q or "")
    if filters.q is not None and not words and not keys:
        message = "there is no word in it"
        raise Invalid("q has no word.", faults=[Fault("/q", message, "letters or digits")])
    return LogSearch(
        namespaces=(call.namespace, SERVER) if everywhere else (call.namespace,),
        agent=filters.agent,
        session_id=filters.session,
        task_id=filters.task,
        trace_id=filters.trace,
        level=filters.level,
        error_type=filters.error_type,
        words=words,
        context=(*keys, *filters.ctx.items()),
        since=_when(call, filters.since, "/since"),
        until=until,
    )


def _when(call: Call, text: str | None, pointer: str) -> Micros | None:
    """A time, or how long ago it was."""
    ago = parse_duration(text) if text is not None else None
    if ago is not None:
        return call.engine.store.now() - ago
    try:
        return micros_of(text, pointer)
    except Invalid as invalid:
        hint = f"or how long ago: {HINT}"
        raise Invalid(invalid.detail, faults=[*invalid.faults, Fault(pointer, hint)]) from None
