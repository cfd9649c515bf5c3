"""Routes of sessions."""

from __future__ import annotations

from typing import Any

import msgspec

from opscore.api.answer import NO_CONTENT, accepted, ok
from opscore.api.call import Call
from opscore.api.etags import etag, if_match
from opscore.api.live import SessionStream
from opscore.api.route import Reply, Routes
from opscore.api.traces import trace_view
from opscore.api.trigger import applied, outcome
from opscore.api.views import event_view, micros_of, session_summary, session_view
from opscore.api.why import why_view
from opscore.channels.documents import payload
from opscore.core.errors import Invalid
from opscore.engine.tools import StartRequest
from opscore.wire.queries import ListSessions, LongPageQuery
from opscore.wire.session import (
    History,
    PatchSession,
    Reason,
    SessionAccepted,
    SessionPage,
    SessionsAccepted,
    SessionView,
    StartSession,
    StartSessions,
)
from opscore.wire.trace import TraceView
from opscore.wire.why import WhyView

routes = Routes("session")


@routes.body(
    "POST",
    "/session",
    "session:start",
    StartSession,
    {202: SessionAccepted, 200: SessionView},
    prefers_wait=True,
)
async def start_session(call: Call, body: StartSession) -> Reply:
    """Start a session; with `Prefer: wait=N` answer it when it has ended."""
    session_id = await call.engine.orchestration.start(
        body.workflow,
        version=body.version,
        input=payload(body.input, "/input"),
        context=payload(body.context, "/context"),
        priority=body.priority,
        labels=body.labels,
        trace_id=call.trace_id,
        traceparent=call.traceparent,
        callback=body.callback.url if body.callback else None,
        namespace=call.namespace,
        actor=call.actor,
    )
    record = await outcome(call, session_id)
    told = secret(call, session_id, body.callback)
    if record is not None:
        view = session_view(record)
        view.callback_secret = told
        return ok(view, applied(call), secret=body.callback is not None)
    return accepted(
        SessionAccepted(session_id=session_id, callback_secret=told),
        secret=body.callback is not None,
    )


def secret(call: Call, session_id: str, callback: object) -> str | msgspec.UnsetType:
    """The secret of a session's callback, when it has one."""
    return call.engine.callbacks.secret(session_id) if callback else msgspec.UNSET


@routes.body("POST", "/session/batch", "session:start", StartSessions, {202: SessionsAccepted})
async def start_sessions(call: Call, body: StartSessions) -> Reply:
    """Start up to 500 sessions in one commit."""
    above = call.traceparent
    starts = [_request(one, f"/sessions/{n}", above) for n, one in enumerate(body.sessions)]
    session_ids = await call.engine.orchestration.start_many(
        starts, namespace=call.namespace, actor=call.actor
    )
    secrets = {
        session_id: call.engine.callbacks.secret(session_id)
        for session_id, one in zip(session_ids, body.sessions, strict=True)
        if one.callback
    }
    return accepted(
        SessionsAccepted(session_ids=session_ids, callback_secrets=secrets or msgspec.UNSET),
        secret=bool(secrets),
    )


def _request(body: StartSession, pointer: str, traceparent: str | None) -> StartRequest:
    return StartRequest(
        workflow=body.workflow,
        version=body.version,
        input=payload(body.input, f"{pointer}/input"),
        context=payload(body.context, f"{pointer}/context"),
        priority=body.priority,
        labels=body.labels,
        trace_id=None if traceparent is None else traceparent[3:35],
        traceparent=traceparent,
        callback=body.callback.url if body.callback else None,
    )


@routes.query("/session", "session:read", ListSessions, {200: SessionPage})
async def list_sessions(call: Call, query: ListSessions) -> Reply:
    """List sessions, newest first."""
    page = await call.engine.orchestration.list_sessions(
        workflow=query.workflow,
        status=query.status,
        agent=query.agent,
        label=query.label,
        since=micros_of(query.since, "/since"),
        until=micros_of(query.until, "/until"),
        cursor=query.cursor,
        limit=query.limit,
        namespace=call.namespace,
    )
    sessions = [session_summary(one) for one in page.items]
    return ok(SessionPage(sessions=sessions, next_cursor=page.next_cursor))


@routes.plain("GET", "/session/{sessionId}", "session:read", {200: SessionView})
async def get_session(call: Call) -> Reply:
    """Read a session: steps, output, error."""
    record = await call.engine.orchestration.get_session(
        call.part("sessionId"), namespace=call.namespace
    )
    callback = await call.engine.callbacks.of(record.session_id)
    return ok(session_view(record, callback), etag(record))


@routes.body(
    "PATCH", "/session/{sessionId}", "operate", PatchSession, {200: SessionView}, if_match=True
)
async def patch_session(call: Call, body: PatchSession) -> Reply:
    """Change a session's priority, labels or metadata; only the fields given change."""
    record = await call.engine.orchestration.patch_session(
        call.part("sessionId"),
        priority=_or_none(body.priority),
        labels=_or_none(body.labels),
        metadata=_or_none(body.metadata),
        seen=if_match(call),
        namespace=call.namespace,
        actor=call.actor,
    )
    return ok(session_view(record), etag(record))


def _or_none(value: Any) -> Any:
    return None if value is msgspec.UNSET else value


@routes.plain("DELETE", "/session/{sessionId}", "operate", {204: None}, if_match=True)
async def delete_session(call: Call) -> Reply:
    """Delete a finished session."""
    await call.engine.orchestration.delete_session(
        call.part("sessionId"), seen=if_match(call), namespace=call.namespace, actor=call.actor
    )
    return NO_CONTENT


@routes.query("/session/{sessionId}/history", "session:read", LongPageQuery, {200: History})
async def session_history(call: Call, query: LongPageQuery) -> Reply:
    """List a session's events, oldest first."""
    page = await call.engine.orchestration.history(
        call.part("sessionId"), cursor=query.cursor, limit=query.limit, namespace=call.namespace
    )
    events = [event_view(one) for one in page.items]
    return ok(History(events=events, next_cursor=page.next_cursor))


@routes.plain("GET", "/session/{sessionId}/why", "session:read", {200: WhyView})
async def session_why(call: Call) -> Reply:
    """Say what a session waits for, since when, and who holds it up."""
    session_id = call.part("sessionId")
    return ok(
        why_view(await call.engine.debugging.why_session(session_id, namespace=call.namespace))
    )


@routes.plain("GET", "/session/{sessionId}/trace", "session:read", {200: TraceView})
async def session_trace(call: Call) -> Reply:
    """Say where a session's time went: spans with the critical path, the bottleneck, the cost."""
    session_id = call.part("sessionId")
    return ok(trace_view(await call.engine.debugging.trace(session_id, namespace=call.namespace)))


@routes.plain("GET", "/session/{sessionId}/stream", "session:read", {200: str})
async def stream_session(call: Call) -> Reply:
    """Follow a session's events live (SSE), from `Last-Event-ID` on, until it ends."""
    session_id = call.part("sessionId")
    await call.engine.orchestration.get_session(session_id, namespace=call.namespace)
    call.check_room()
    return SessionStream(call, session_id, _last_seen(call))


def _last_seen(call: Call) -> int:
    last = call.header(b"last-event-id") or "0"
    if not last.isascii() or not last.isdigit() or len(last) > 18:
        raise Invalid("Last-Event-ID must be the id of an event of this stream: a number.")
    return int(last)


def _control(verb: str, summary: str) -> None:
    async def control(call: Call, body: Reason) -> Reply:
        session_id = call.part("sessionId")
        orchestration = call.engine.orchestration
        change = getattr(orchestration, verb)
        await change(session_id, body.reason, namespace=call.namespace, actor=call.actor)
        record = await orchestration.get_session(session_id, namespace=call.namespace)
        return accepted(SessionAccepted(session_id=session_id, status=record.status.value))

    control.__doc__ = summary
    path = f"/session/{{sessionId}}/{verb}"
    routes.body("POST", path, "operate", Reason, {202: SessionAccepted}, optional=True)(control)


_control("cancel", "Cancel a session: nothing new starts, running attempts are told.")
_control("pause", "Pause a session: nothing new starts, running attempts may settle.")
_control("resume", "Let a paused session go on.")
_control("retry", "Run the failed steps again, keeping completed outputs.")
