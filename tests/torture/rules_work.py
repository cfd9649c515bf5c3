"""Rules about work: the declared graph, completions, budgets, due times, the calm, the audit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.torture.evidence import Database, Event, Evidence, Record
from tests.torture.folding import ENDED, STEP_ENDED, TASK_ENDED, Session

DEFAULT_ATTEMPTS = 3
UNDOING_ATTEMPTS = 10
"""Of the work that undoes a step, unless it says otherwise."""


def folded(database: Database) -> dict[str, Session]:
    """Every session as its journal tells it."""
    sessions: dict[str, Session] = {}
    for event in database.events:
        sessions.setdefault(event.session, Session(event.session)).fold(event)
    return sessions


def journal_has_no_gap(evidence: Evidence) -> Iterator[str]:
    """The events of a session are numbered 1, 2, 3 …, and stand in that order."""
    for session, events in evidence.database.by_session.items():
        numbers = [event.seq for event in events]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"the journal of {session} is numbered {numbers}"
        if session not in evidence.database.sessions:
            yield f"session {session} has a journal and no row"


def graph_is_kept(evidence: Evidence) -> Iterator[str]:
    """Sessions, steps and tasks move along the declared graph only."""
    for session in folded(evidence.database).values():
        yield from session.faults


def steps_follow_their_template(evidence: Evidence) -> Iterator[str]:
    """A step begins when its needs have ended as it asks, and is skipped for a reason only."""
    sessions: dict[str, Session] = {}
    starts: dict[str, Event] = {}
    for event in evidence.database.events:
        session = sessions.setdefault(event.session, Session(event.session))
        start = starts.setdefault(event.session, event)
        name = event.data.get("step", "")
        before = session.steps[name].status if name in session.steps else "pending"
        if name and before == "pending" and event.data.get("member", 0) >= 0:
            step = _template(evidence.database, start)["steps"][name]
            fault = _fault(session, step, event, start.data["input"])
            if fault:
                yield f"step {name} of {event.session}: {fault}"
        session.fold(event)


def _fault(session: Session, step: Record, event: Event, given: Any) -> str | None:
    """Why the step should not take this first event of its, if it should not."""
    needs = step.get("needs", [])
    ended = [session.steps[n].status if n in session.steps else "pending" for n in _listed(needs)]
    failed = any(status in {"failed", "cancelled"} for status in ended)
    asked = _CONDITION.fullmatch(step.get("if", ""))
    wanted = asked is None or bool(given.get(asked[1]))
    if event.type == "step.skipped":
        idle = step.get("when") == "failed" and not failed
        return None if session.stopping or idle or not wanted else "skipped without a reason"
    if event.type in {"step.failed", "step.cancelled"}:
        return None
    if any(status not in STEP_ENDED for status in ended):
        return f"it began when its needs were {ended}"
    if step.get("when", "completed") == "completed" and failed:
        return "it began although one of its needs failed"
    if step.get("when") == "failed" and not failed:
        return "it began although none of its needs failed"
    return None if wanted else "it began although its condition is false"


_CONDITION = re.compile(r"\$\{\{ input\.(\w+) \}\}")


def _listed(needs: str | list[str]) -> list[str]:
    return [needs] if isinstance(needs, str) else needs


def one_completion(evidence: Evidence) -> Iterator[str]:
    """A task is completed once at most, by the highest attempt claimed before."""
    highest: dict[str, int] = {}
    completed: set[str] = set()
    for event in evidence.database.events:
        if event.type == "task.claimed":
            highest[event.data["task_id"]] = event.data["attempt"]
        elif event.type == "task.completed":
            task, attempt = event.data["task_id"], event.data["attempt"]
            if task in completed:
                yield f"task {task} was completed twice"
            if attempt != highest.get(task):
                yield f"task {task} was completed by attempt {attempt} of {highest.get(task)}"
            completed.add(task)


def budget_is_kept(evidence: Evidence) -> Iterator[str]:
    """A task fails `maxAttempts` times at most, or as often as a person allowed."""
    for session, events in evidence.database.by_session.items():
        template = _template(evidence.database, events[0])
        failures: dict[str, int] = {}
        budgets: dict[str, int] = {}
        resumed = False
        for event in events:
            task = event.data.get("task_id", "")
            resumed = resumed or event.type == "task.resumed"
            if event.type == "task.created":
                budgets[task] = _budget(template, event.data)
            elif event.type == "task.allowed":
                budgets[task] = failures.get(task, 0) + event.data["attempts"]
            elif event.type in {"task.retried", "task.failed"} and event.data["attempt"]:
                failures[task] = failures.get(task, 0) + 1
        for task, count in failures.items():
            if count > budgets.get(task, DEFAULT_ATTEMPTS) and not resumed:
                yield f"task {task} of {session} failed {count} times; {budgets.get(task)} may be"


def _template(database: Database, started: Event) -> Record:
    data = started.data
    return database.templates[data["namespace"], data["workflow"], data["template_version"]]


def _budget(template: Record, data: Mapping[str, Any]) -> int:
    """The bound as the template has it: a number, or `maxAttempts`; over that of `defaults`."""
    step = template["steps"][data["step"]]
    undoing = data["member"] < 0
    own = step["compensate"] if undoing else step
    for where in (own,) if undoing else (own, template.get("defaults", {})):
        retry = where.get("retry")
        if isinstance(retry, int):
            return retry
        if isinstance(retry, dict) and "maxAttempts" in retry:
            return int(retry["maxAttempts"])  # pyright: ignore[reportUnknownArgumentType]
    return UNDOING_ATTEMPTS if undoing else DEFAULT_ATTEMPTS


def nothing_before_its_time(evidence: Evidence) -> Iterator[str]:
    """No task may be claimed before it is due, and no wait ends before its time.

    That it may is said by an event of its own, which the declared graph asks for. A person may have a
    task tried at once; then the journal says so. A pause moves the ends of waits.
    """
    due: dict[str, int] = {}
    waits: dict[tuple[str, str], int] = {}
    paused: dict[str, int] = {}
    for event in evidence.database.events:
        data, name = event.data, (event.session, event.data.get("step", ""))
        match event.type:
            case "task.created" | "task.retried":
                due[data["task_id"]] = data["due"] or 0
            case "task.allowed":
                due.pop(data["task_id"], None)
            case "task.available" if event.at < due.get(data["task_id"], 0):
                yield f"{data['task_id']} may be claimed at {event.at}, due {due[data['task_id']]}"
            case "session.paused":
                paused[event.session] = event.at
            case "session.resumed":
                stood = event.at - paused[event.session]
                waits |= {key: at + stood for key, at in waits.items() if key[0] == event.session}
            case "step.waiting" if data["kind"] == "wait":
                waits[name] = int(data["due"])
            case "step.completed" if event.at < waits.get(name, 0):
                yield f"step {name[1]} of {name[0]} waited until {event.at}, due {waits[name]}"
            case _:
                continue


def calm_ends_everything(evidence: Evidence) -> Iterator[str]:
    """After the calm every session has ended, every task too, and nothing is left to do."""
    if not evidence.run("calm"):
        return
    database = evidence.database
    for session in folded(database).values():
        if session.status not in ENDED:
            yield f"session {session.session_id} is still {session.status}"
        for task_id, task in session.tasks.items():
            if task.status not in TASK_ENDED and task_id not in database.dead:
                yield f"task {task_id} is still {task.status}"
    for table, count in database.left.items():
        if count:
            yield f"{count} rows are left in {table}"


def fold_is_served(evidence: Evidence) -> Iterator[str]:
    """What the API shows, and what the tables hold, is what the journal gives."""
    sessions = folded(evidence.database)
    for record in evidence.run("served"):
        yield from _as_served(record["session"], sessions)
    for session_id, row in evidence.database.sessions.items():
        told = sessions.get(session_id)
        if told is not None and row["status"] != told.status:
            yield f"session {session_id} is {row['status']} in its table, {told.status} by journal"
    for task_id, row in evidence.database.tasks.items():
        yield from _as_stored(task_id, row, sessions)


def _as_served(shown: Mapping[str, Any], sessions: Mapping[str, Session]) -> Iterator[str]:
    session = sessions.get(shown["sessionId"])
    if session is None:
        yield f"session {shown['sessionId']} is served and has no journal"
        return
    if shown["status"] != session.status:
        yield f"{session.session_id} is served as {shown['status']}, by journal {session.status}"
    if session.status == "completed" and shown["output"] != session.output:
        yield f"{session.session_id} is served with another output than its journal has"
    for name, step in session.steps.items():
        served = shown["steps"].get(name, {}).get("status")
        if served != step.status:
            yield f"step {name} of {session.session_id}: served {served}, by journal {step.status}"


def _as_stored(task_id: str, row: Record, sessions: Mapping[str, Session]) -> Iterator[str]:
    session = sessions.get(row["session_id"])
    task = None if session is None else session.tasks.get(task_id)
    if task is None:
        yield f"task {task_id} has a row and is in no journal"
    elif task.status in TASK_ENDED:
        stored = (row["status"], row["attempt"], row["failures"])
        if stored != (task.status, task.attempt, task.failures):
            by_journal = (task.status, task.attempt, task.failures)
            yield f"task {task_id} is {stored} in its table, {by_journal} by journal"


def audit_is_whole(evidence: Evidence) -> Iterator[str]:
    """Each chain is numbered without a gap and hashed over; what vouches for others tells the truth."""
    hashes: dict[tuple[str, int], bytes] = {}
    for row in evidence.database.audit:
        writer, seq = row["writer"], row["seq"]
        before = hashes.get((writer, seq - 1), bytes(32))
        if seq != 1 and (writer, seq - 1) not in hashes:
            yield f"record {seq} of {writer} has none before it"
        if _digest(before, row) != row["hash"]:
            yield f"record {seq} of {writer} is not the one that was written"
        hashes[writer, seq] = row["hash"]
    for row in evidence.database.audit:
        for writer, seq, held in json.loads(row["heads"] or "{}").get("heads", ()):
            there = hashes.get((writer, seq))
            if there is None or there.hex() != held:
                yield f"record {seq} of {writer} is not the one that {row['writer']} vouches for"


def _digest(before: bytes, row: Record) -> bytes:
    names = ("writer", "seq", "at", "namespace", "actor", "key_id", "action", "subject")
    text = ""
    for name in (*names, "details", "heads"):
        value = row[name]
        text += "-," if value is None else f"{len(str(value))}:{value},"
    return hashlib.sha256(before + text.encode()).digest()
