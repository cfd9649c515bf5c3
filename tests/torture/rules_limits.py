"""Rules about limits: at no instant of the journal is one exceeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.torture.evidence import Evidence
from tests.torture.folding import ENDED, OVER, Session

Key = tuple[str, str]


def concurrency_is_kept(evidence: Evidence) -> Iterator[str]:
    """So many attempts at once under a key as its limit says, over all sessions."""
    running: Counter[Key] = Counter()
    under: dict[str, tuple[Key, int]] = {}
    holding: set[str] = set()
    for event in evidence.database.events:
        task = event.data.get("task_id", "")
        terms = event.data.get("terms") if event.type == "task.created" else None
        if terms and terms["concurrency"] is not None:
            namespace = evidence.database.sessions[event.session]["namespace"]
            under[task] = ((namespace, terms["concurrency"]), terms["limit"])
        elif event.type == "task.claimed" and task in under:
            key, limit = under[task]
            running[key] += 1
            holding.add(task)
            if running[key] > limit:
                yield f"{running[key]} attempts at once under {key[1]}; the limit is {limit}"
        elif event.type in OVER and task in holding:
            holding.discard(task)
            running[under[task][0]] -= 1


def sessions_are_admitted(evidence: Evidence) -> Iterator[str]:
    """So many sessions at once under a template's key as its limit says, and none unadmitted."""
    sessions: dict[str, Session] = {}
    terms: dict[str, Mapping[str, Any]] = {}
    inside: dict[str, Key] = {}
    for event in evidence.database.events:
        session = sessions.setdefault(event.session, Session(event.session))
        session.fold(event)
        if event.type == "session.held":
            terms[event.session] = event.data["terms"]
        elif event.type == "session.admitted":
            key = (
                str(evidence.database.sessions[event.session]["namespace"]),
                str(terms[event.session]["concurrency"]),
            )
            inside[event.session] = key
            count = sum(1 for each in inside.values() if each == key)
            if terms[event.session]["concurrency"] and count > terms[event.session]["limit"]:
                yield f"{count} sessions at once under {key[1]}"
        elif event.type == "task.claimed" and event.session in terms.keys() - inside.keys():
            yield f"session {event.session} began before it was admitted"
        if session.status in ENDED:
            inside.pop(event.session, None)


def rates_are_kept(evidence: Evidence) -> Iterator[str]:
    """Under a rate `starts` at once, then one every `per / starts` (GCRA, ITU-T I.371 annex A).

    When the server's clock went back between two lives, what was used up counts from there.
    """
    arrival: dict[Key, int] = {}
    under: dict[str, tuple[Key, int, int]] = {}
    last = 0
    for event in evidence.database.events:
        task = event.data.get("task_id", "")
        terms = event.data.get("terms") if event.type == "task.created" else None
        if event.at < last:
            arrival = {key: min(at, event.at) for key, at in arrival.items()}
        last = event.at
        if terms and terms["rate"] is not None:
            namespace = evidence.database.sessions[event.session]["namespace"]
            under[task] = ((namespace, terms["rate"]), terms["starts"], terms["per"])
        elif event.type == "task.claimed" and task in under:
            key, starts, per = under[task]
            pause = -(-per // starts)
            due = arrival.get(key, event.at)
            if event.at < due - (per - pause):
                yield f"task {task} was claimed {due - per + pause - event.at} µs too early"
            arrival[key] = max(due, event.at) + pause
