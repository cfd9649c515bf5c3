"""Rules about requests: what was accepted is there, once, and nothing else is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.torture.evidence import Event, Evidence, Record


def accepted_is_there(evidence: Evidence) -> Iterator[str]:
    """Whatever was answered with 2xx is in the database and in the journal."""
    journals = evidence.database.by_session
    for request, body in evidence.accepted():
        session = body.get("sessionId", request.get("session"))
        if session is None:
            continue
        if session not in evidence.database.sessions or session not in journals:
            yield f"{request['verb']} was accepted, but there is no session {session}"
        elif not _carried_out(request, body, journals[session]):
            yield f"{request['verb']} on {session} was accepted, but its journal does not have it"


def _carried_out(request: Record, body: Mapping[str, Any], events: list[Event]) -> bool:
    match request["verb"]:
        case "task.enqueue":
            return any(e.data.get("task_id") == body["taskId"] for e in events)
        case "session.signal":
            return any(e.data.get("signal_id") == request["signal"] for e in events)
        case "session.cancel":
            return any(e.type in {"session.stopping", "session.cancelled"} for e in events)
        case "session.pause":
            return any(e.type == "session.paused" for e in events)
        case "session.retry":
            return any(e.type == "session.retried" for e in events)
        case "session.approve":
            return any(e.type == "approval.approved" for e in events)
        case _:
            return any(e.type == "session.started" for e in events)


def nothing_is_invented(evidence: Evidence) -> Iterator[str]:
    """Every session was asked for by a client, or by another session, or by a schedule."""
    marks = {r["mark"] for r in evidence.clients if r["did"] == "sent" and r.get("mark")}
    for event in evidence.database.events:
        if event.type != "session.started":
            continue
        data = event.data
        by_itself = data["parent"] or data["cause"] or data["actor"] == "system:schedule"
        if not by_itself and _mark(data) not in marks:
            yield f"session {event.session} was never asked for"


def _mark(data: Mapping[str, Any]) -> str | None:
    context = data["context"]
    return context.get("mark") if isinstance(context, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def once_per_key(evidence: Evidence) -> Iterator[str]:
    """However often a request came, it started one session; a signal was received once."""
    keyed = {
        r["mark"]
        for r in evidence.clients
        if r["did"] == "sent" and r.get("mark") and r.get("key") is not None
    }
    started = Counter(
        _mark(e.data)
        for e in evidence.database.events
        if e.type == "session.started" and not e.data["parent"] and not e.data["cause"]
    )
    for mark in sorted(keyed):
        if started[mark] > 1:
            yield f"request {mark} started {started[mark]} sessions"
    signals = Counter(
        (e.session, e.data["signal_id"])
        for e in evidence.database.events
        if e.type == "signal.received"
    )
    for (session, signal), count in signals.items():
        if count > 1:
            yield f"signal {signal} was received {count} times by {session}"


def same_key_same_answer(evidence: Evidence) -> Iterator[str]:
    """The same idempotency key gets the same answer."""
    answers: dict[tuple[str, str], Mapping[str, Any]] = {}
    for request, body in evidence.accepted():
        if request.get("key") is None:
            continue
        known = answers.setdefault((request["verb"], request["key"]), body)
        if known != body:
            yield f"key {request['key']} of {request['verb']} got {known} and {body}"
