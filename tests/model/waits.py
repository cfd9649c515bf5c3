"""Steps of the model that wait: for a time, a signal, or people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.model import work
from tests.model.cel import Failure, render
from tests.model.world import Decision, Micros, micros

if TYPE_CHECKING:
    from tests.model.session import Session, Step


@dataclass
class Inbox:
    """Signals that nobody took yet, oldest first, and every id there was."""

    kept: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    seen: set[str] = field(default_factory=set[str])


@dataclass
class Waiting:
    """What a step waits for. `turn` rises when its timer is set anew."""

    since: Micros
    turn: int = 0
    title: Any = None
    details: Any = None
    approvers: list[str] | None = None
    quorum: int = 1
    votes: list[str] = field(default_factory=list[str])
    edited: bool = False
    escalated: bool = False


def begin(session: Session, step: Step) -> None:
    """Start a step that waits; what it waits for may be there already."""
    node = step.node
    if "wait" in node:
        _begin_wait(session, step)
    elif "signal" in node:
        _begin_signal(session, step)
    else:
        asked = node["approval"]
        names = session.names(step)
        _wait(session, step)
        step.waiting = Waiting(
            session.world.now,
            title=render(asked["title"], names),
            details=render(asked.get("details"), names),
            approvers=asked.get("approvers"),
            quorum=asked.get("quorum", 1),
        )
        _set_timer(session, step, asked.get("timeout"))
        # What is asked and taken back at once is seen by nobody.
        session.world.soon(lambda: _ask(session, step) if step.status == "waiting" else None)


def _wait(session: Session, step: Step) -> None:
    step.status = "waiting"
    step.waiting = Waiting(session.world.now)


def _set_timer(session: Session, step: Step, after: str | None) -> None:
    waiting = step.waiting
    assert waiting is not None
    waiting.turn += 1
    turn = waiting.turn

    def ring() -> None:
        if step.status == "waiting" and step.waiting is waiting and turn == waiting.turn:
            _time_is_up(session, step)
            session.settle_down()

    if after is not None:
        session.world.at(session.world.now + micros(after), ring)


def _time_is_up(session: Session, step: Step) -> None:
    if "wait" in step.node:
        _complete(session, step, None)
    elif "signal" in step.node:
        _fail(session, step, "timeout")
    else:
        _nobody_decided(session, step)


def _complete(session: Session, step: Step, output: Any) -> None:
    session.complete(step, output)
    session.go_on(step)


def _fail(session: Session, step: Step, error_class: str) -> None:
    work.give_up(session, step, None, 0, error_class)


def _begin_wait(session: Session, step: Step) -> None:
    given = step.node["wait"]
    names = session.names(step)
    if isinstance(given, dict):
        # The only moments that the model's templates name lie before their sessions begin.
        render(given, names)
        session.complete(step, None)
        return
    try:
        text = render(given, names)
    except Failure:
        text = None
    if not isinstance(text, str):
        _fail(session, step, "expression")
        return
    _wait(session, step)
    _set_timer(session, step, text)


# -- signals --------------------------------------------------------------------------------


def _name(node: Mapping[str, Any]) -> str:
    given = node["signal"]
    return given if isinstance(given, str) else given["name"]


def _begin_signal(session: Session, step: Step) -> None:
    kept = session.inbox.kept
    for signal in kept:
        if signal[0] == _name(step.node):
            kept.remove(signal)
            session.complete(step, signal[1])
            return
    _wait(session, step)
    _set_timer(session, step, step.node.get("timeout"))


def receive(session: Session, name: str, number: str, payload: Any) -> str:
    """A signal comes; the answer is the code of its refusal, if it is refused."""
    steps = [s for s in session.steps.values() if "signal" in s.node and _name(s.node) == name]
    schemas: list[dict[str, Any]] = [s.node["signal"] for s in steps]
    for given in [each for each in schemas if not isinstance(each, str)]:
        if given.get("schema", {}).get("type") == "integer" and not isinstance(payload, int):
            return "invalid"
    if number in session.inbox.seen:
        return ""
    if session.ended or session.phase in ("draining", "undoing"):
        return "conflict"
    if not steps:
        return "unknown_signal"
    session.inbox.seen.add(number)
    session.inbox.kept.append((name, payload))
    waiting = [s for s in steps if s.status == "waiting" and s.waiting is not None]
    if waiting:
        first = min(waiting, key=lambda s: (_since(s), session.order.index(s.name)))
        session.inbox.kept.pop()
        _complete(session, first, payload)
        session.settle_down()
    return ""


def _since(step: Step) -> Micros:
    assert step.waiting is not None
    return step.waiting.since


# -- approvals ------------------------------------------------------------------------------


def _ask(session: Session, step: Step) -> None:
    main = session.world.play.templates[0]["name"]
    name = session.tree["name"]
    key = step.name if name == main else f"{name}/{step.name}"
    for decision in session.world.play.approvals.get(key, ()):

        def decide(decision: Decision = decision) -> None:
            code = _decide(session, step, decision)
            if code:
                session.world.seen.refused.append((session.world.now, code))
            session.settle_down()

        session.world.at(session.world.now + decision.after, decide)


def _decide(session: Session, step: Step, decision: Decision) -> str:
    asked = step.waiting
    if step.status != "waiting" or asked is None:
        return "conflict"
    if asked.approvers is not None and decision.by not in asked.approvers:
        return "forbidden"
    if decision.verb == "reject":
        _fail(session, step, "rejected")
        return ""
    # As JSON: 1 and true are not the same there.
    if decision.verb == "edit" and json.dumps(decision.details) != json.dumps(asked.details):
        asked.details, asked.edited, asked.votes = decision.details, True, []
    if decision.by not in asked.votes:
        asked.votes.append(decision.by)
    if len(asked.votes) >= asked.quorum:
        _grant(session, step, asked)
    return ""


def _grant(session: Session, step: Step, asked: Waiting) -> None:
    content = {"details": asked.details, "title": asked.title}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    output = {
        "approved": True,
        "by": asked.votes,
        "comments": [],
        "details": asked.details,
        "contentHash": hashlib.sha256(text.encode()).hexdigest(),
        "edited": asked.edited,
    }
    _complete(session, step, output)


def _nobody_decided(session: Session, step: Step) -> None:
    asked, given = step.waiting, step.node["approval"]
    assert asked is not None
    others = given.get("escalate", {})
    match (others if asked.escalated else given).get("onTimeout", "reject"):
        case "approve":
            _grant(session, step, asked)
        case "escalate":
            asked.escalated, asked.approvers = True, others["approvers"]
            asked.quorum = min(asked.quorum, len(others["approvers"]))
            _set_timer(session, step, others.get("timeout"))
        case _:
            _fail(session, step, "rejected")
