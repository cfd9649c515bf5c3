"""A signal: the step waits for a message from outside; its payload is the step's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.durations import show_duration
from opscore.core.expressions import ExpressionScope
from opscore.core.kinds.kind import Kind, Worst
from opscore.core.kinds.task import worst_in_turn, worst_of_chain
from opscore.core.progress import Draft, Refused, step_ended
from opscore.core.reading import Reader
from opscore.core.retry import TIMEOUT
from opscore.core.state import SessionState
from opscore.core.template import Step, Template
from opscore.core.trees import is_map
from opscore.core.types import SESSION_ENDED, Json
from opscore.core.waiting import fail_wait

MOST_KEPT = 1_000
"""Signals of one session that no step has taken yet."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """The signal that a step waits for, and the encoded JSON Schema of its payload."""

    name: str
    schema: Json | None


def _read(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Awaited:
    found, where = node["signal"], f"{where}/signal"
    if not is_map(found):
        return Awaited(reader.name(found, where, "the name of a signal") or "", None)
    reader.known_keys(found, where, ("name", "schema"))
    if "name" not in found:
        reader.fault(where, "the signal has no name", "add 'name: NAME'")
    name = (
        reader.name(found["name"], f"{where}/name", "the name of a signal")
        if "name" in found
        else None
    )
    schema = None
    if "schema" in found:
        schema = reader.schema(found["schema"], f"{where}/schema", "schema (a JSON Schema)")
    return Awaited(name or "", schema)


def awaited(template: Template) -> dict[str, list[Awaited]]:
    """What the steps of a template wait for, by the signal's name."""
    found: dict[str, list[Awaited]] = {}
    for name in template.order:
        work = template.steps[name].work
        if isinstance(work, Awaited):
            found.setdefault(work.name, []).append(work)
    return found


def _start(draft: Draft, step: Step) -> None:
    assert isinstance(step.work, Awaited)
    name, total = step.work.name, step.timeout.total
    for each in draft.state.inbox.signals if draft.state.inbox is not None else ():
        if each.name == name:
            draft.emit(ev.SignalTaken(step.name, each.signal_id))
            return
    due = None if total is None else draft.now + total
    draft.emit(ev.StepWaiting(step.name, "signal", due, name))


def _due(draft: Draft, step: Step) -> None:
    assert isinstance(step.work, Awaited)
    long = show_duration(step.timeout.total or 0)
    fail_wait(draft, step, TIMEOUT, f"no signal {step.work.name} came within {long}")


def receive(draft: Draft, c: cmd.Signal) -> Refused | None:
    """Keep a signal, or give it to the step that has waited longest for one of its name."""
    state = draft.state
    if state.inbox is not None and c.signal_id in state.inbox.seen:
        return None
    if state.status in SESSION_ENDED or state.ending:
        word = state.status if state.status in SESSION_ENDED else "ending"
        return Refused("conflict", f"session {state.session_id} is {word}; it takes no signals")
    known = awaited(draft.template)
    if c.name not in known:
        told = f"it knows: {', '.join(known)}" if known else "it waits for none"
        return Refused("unknown_signal", f"no step waits for a signal {c.name!r}; {told}")
    if state.inbox is not None and len(state.inbox.signals) >= MOST_KEPT:
        detail = f"session {state.session_id} keeps {MOST_KEPT} signals that no step took yet"
        return Refused("too_many_signals", detail)
    draft.emit(ev.SignalReceived(c.name, c.signal_id, c.payload, c.actor))
    taker = _longest_waiting(draft, c.name)
    if taker is not None:
        draft.emit(ev.SignalTaken(taker, c.signal_id))
        step_ended(draft, taker)
    return None


def _longest_waiting(draft: Draft, name: str) -> str | None:
    steps, state = draft.template.steps, draft.state
    waiting = [each for each in draft.waits() if _waits_for(steps[each], name)]
    return min(waiting, key=lambda each: _since(state, each), default=None)


def _waits_for(step: Step, name: str) -> bool:
    return isinstance(step.work, Awaited) and step.work.name == name


def _since(state: SessionState, step: str) -> int:
    return state.steps[step].started_at or 0


def _worst(step: Step) -> Worst:
    total = step.timeout.total
    waits = Worst(0, total, () if total is not None else ("no timeout",))
    return worst_in_turn(waits, worst_of_chain(step, 0))


SIGNAL = Kind(
    name="signal",
    keys=("signal",),
    modifiers=frozenset({"timeout", "fallback"}),
    why_not="a step with 'signal' waits for a message, no agent runs it",
    read=_read,
    start=_start,
    due=_due,
    worst=_worst,
    bounded_by="total",
)
