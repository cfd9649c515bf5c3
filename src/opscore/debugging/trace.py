"""From the journals of a session and its children to one trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opscore.core.events import SessionEvent
from opscore.core.received import ReceivedSpan
from opscore.core.types import Micros
from opscore.debugging.critical import CriticalPath, critical_path
from opscore.debugging.received import joined
from opscore.debugging.session_spans import SessionSpans
from opscore.debugging.spans import AgentName, Span
from opscore.debugging.usage import Spent

ON_ERROR = "onError"
Journal = Sequence[tuple[SessionEvent, Micros]]
"""Events from the first on, in order, each with its time."""


@dataclass(frozen=True, slots=True)
class Trace:
    """All spans of a session and its children, in the order in which they began below each other.

    `steps`: what each step of the session spent, with its child sessions.
    """

    trace_id: str
    root: Span
    spans: tuple[Span, ...]
    path: CriticalPath
    spent: Spent
    steps: Mapping[str, Spent]


def trace_of(
    session_id: str,
    journals: Mapping[str, Journal],
    now: Micros,
    agent_name: AgentName,
    received: Sequence[ReceivedSpan] = (),
) -> Trace:
    """The trace of a session; `journals` by session: its own and those of all its children.

    A child whose journal is missing is one span, and what is open goes on `now`. `received`: what
    agents recorded of the same trace. It is shown where it belongs, and decides nothing: neither
    the critical path nor what was spent.
    """
    built = {one: SessionSpans(one, journal, agent_name) for one, journal in journals.items()}
    spans = [span for one in built.values() for span in one.spans]
    root = built[session_id].root
    # What an `onError` workflow does comes after the session's end.
    inside = [span for span in spans if not _handles(span, root)]
    path = critical_path(root, inside, now)
    steps = _spent_by_step(root, spans)
    spent = Spent()
    for step in steps.values():
        spent.join(step)
    spans += joined(root, spans, received)
    return Trace(built[session_id].trace_id, root, tuple(_nested(root, spans)), path, spent, steps)


def _handles(span: Span, root: Span) -> bool:
    return span.kind == "workflow" and span.parent_id == root.span_id


def _nested(root: Span, spans: Sequence[Span]) -> list[Span]:
    """Depth first, so that what belongs together stands together."""
    within: dict[str | None, list[Span]] = {}
    for span in spans:
        within.setdefault(span.parent_id, []).append(span)
    for below in within.values():
        below.sort(key=lambda span: (span.started_at, span.began))
    found: list[Span] = []
    left = [root]
    while left:
        span = left.pop()
        found.append(span)
        left += reversed(within.get(span.span_id, ()))
    return found


def _spent_by_step(root: Span, spans: Sequence[Span]) -> dict[str, Spent]:
    by_id = {span.span_id: span for span in spans}
    steps: dict[str, Spent] = {}
    for span in spans:
        if span.usage is not None:
            step = _step_below(root, span, by_id)
            steps.setdefault(step, Spent()).add(span.usage, wasted=span.status != "ok")
    return steps


def _step_below(root: Span, span: Span, by_id: Mapping[str, Span]) -> str:
    """The step of the root's own session that a span is part of, or its `onError`."""
    while span.session_id != root.session_id:
        assert span.parent_id is not None
        span = by_id[span.parent_id]
    return span.step or ON_ERROR
