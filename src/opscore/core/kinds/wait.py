"""A wait: for a duration, or until a time. It holds no agent, no thread and no connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from opscore.core import events as ev
from opscore.core.durations import HINT, MOMENT_HINT, parse_duration, parse_moment
from opscore.core.expressions import ExpressionFailed, ExpressionScope
from opscore.core.kinds.kind import Kind, Worst
from opscore.core.kinds.task import worst_in_turn, worst_of_chain
from opscore.core.progress import Draft
from opscore.core.reading import Reader
from opscore.core.template import Step, Value
from opscore.core.trees import is_map, kind_of
from opscore.core.types import Micros
from opscore.core.waiting import complete_wait, fail_wait

NOTHING = Value("", dynamic=False)


@dataclass(frozen=True, slots=True)
class Wait:
    """How long, or `until` when: text, perhaps computed."""

    text: Value
    until: bool


def _read(reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope) -> Wait:
    found, step, where, until = node["wait"], where, f"{where}/wait", False
    if is_map(found):
        reader.known_keys(found, where, ("until",))
        if not found:
            reader.fault(where, "wait does not say until when", "add 'until: a time'")
        if "until" not in found:
            return Wait(NOTHING, until=True)
        found, where, until = found["until"], f"{where}/until", True
    text = reader.value(found, where, scope)
    if not isinstance(found, str):
        what = "the time to wait until" if until else "wait"
        hint = MOMENT_HINT if until else f"{HINT}; or {{until: a time}}"
        reader.fault(where, f"{what} must be text, not {kind_of(found)}", hint)
    elif not text.dynamic and "fallback" in node:
        hint = "it is for a time that is computed, and may turn out to be none"
        reader.fault(f"{step}/fallback", "nothing can go wrong with this wait", hint)
    elif not text.dynamic and _micros(found, until=until) is None:
        hint = MOMENT_HINT if until else HINT
        reader.fault(where, f"'{found[:40]}' is not a {'time' if until else 'duration'}", hint)
    return Wait(text, until)


def _micros(text: str, *, until: bool) -> Micros | None:
    return parse_moment(text) if until else parse_duration(text)


def _start(draft: Draft, step: Step) -> None:
    try:
        due = _due_time(draft, step)
    except ExpressionFailed as failure:
        fail_wait(draft, step, failure.error_class, str(failure))
        return
    if due <= draft.now:
        draft.emit(ev.StepCompleted(step.name, draft.encode(step, None)))
    else:
        draft.emit(ev.StepWaiting(step.name, "wait", due))


def _due_time(draft: Draft, step: Step) -> Micros:
    """Raises ExpressionFailed when what was computed is no duration or no time."""
    wait = step.work
    assert isinstance(wait, Wait)
    found = json.loads(bytes(draft.expressions.render(wait.text, draft.scope(step))))
    micros = _micros(found, until=wait.until) if isinstance(found, str) else None
    if micros is None:
        what, hint = ("a time", MOMENT_HINT) if wait.until else ("a duration", HINT)
        raise ExpressionFailed(f"wait: {json.dumps(found)[:80]} is not {what}; {hint}")
    return micros if wait.until else draft.now + micros


def _due(draft: Draft, step: Step) -> None:
    complete_wait(draft, step, draft.encode(step, None))


def _worst(step: Step) -> Worst:
    wait = step.work
    assert isinstance(wait, Wait)
    if wait.until or wait.text.dynamic:
        waits = Worst(0, None, ("how long it waits is only known when it runs",))
        return worst_in_turn(waits, worst_of_chain(step, 0))
    return Worst(0, parse_duration(str(wait.text.tree)))


WAIT = Kind(
    name="wait",
    keys=("wait",),
    modifiers=frozenset({"fallback"}),
    why_not="a step with 'wait' only waits, no agent runs it",
    read=_read,
    start=_start,
    due=_due,
    worst=_worst,
)
