"""What spans of one session are drawn with."""

from __future__ import annotations

from collections.abc import Mapping

from opscore.core import events as ev
from opscore.core.types import Micros
from opscore.debugging.spans import AgentName, Kind, Span, SpanEvent, Status, Value, span_id_of


class Drawing:
    """Spans that events begin and end. `root` is the session's own, there from the first event."""

    trace_id: str
    root: Span

    def __init__(self, session_id: str, agent_name: AgentName) -> None:
        self.spans: list[Span] = []
        self._session_id = session_id
        self._agent_name = agent_name
        self._seq = 0
        self._at: Micros = 0
        self._steps: dict[str, Span] = {}
        self._runs: dict[str, int] = {}
        self._waits: dict[str, Span] = {}
        self._undoing: dict[str, Span] = {}
        self._created: dict[str, ev.TaskCreated] = {}
        self._turns: dict[str, int] = {}
        self._tasks: dict[str, Span] = {}
        self._children: dict[str, Span] = {}

    def _step(self, step: str) -> Span:
        """The span of a step's present run; begun now when it has none."""
        span = self._steps.get(step)
        if span is None:
            span = self._steps[step] = self._below(self.root, f"step {step}", "step")
            run = self._runs[step] = self._runs.get(step, 0) + 1
            span.span_id = span_id_of(self.trace_id, self._session_id, "step", step, run)
            span.step = step
            span.attributes |= {"opscore.step.name": step, "opscore.step.run": run}
        return span

    def _end_step(
        self, step: str, status: Status, error: str | None = None, message: str = ""
    ) -> None:
        span = self._step(step)
        waited = self._waits.pop(step, None)
        if waited is not None:
            self._end(waited, status, error, message)
        del self._steps[step]
        self._end(span, status, error, message)

    def _end_all(self) -> None:
        """Steps and waits that are open end with nothing."""
        for step in list(self._steps):
            self._end_step(step, "unset")

    def _below(self, parent: Span, name: str, kind: Kind) -> Span:
        names = (self._session_id, kind, parent.step or "", self._seq)
        span_id = span_id_of(self.trace_id, *names)
        span = Span(span_id, parent.span_id, name, kind, self._session_id, self._at, self._seq)
        span.step = parent.step
        self.spans.append(span)
        return span

    def _end(self, span: Span, status: Status, error: str | None = None, message: str = "") -> None:
        span.end(self._at, self._seq, status)
        if error:
            span.attributes["error.type"] = error
        if message:
            span.attributes["error.message"] = message

    def _note(self, span: Span, name: str, attributes: Mapping[str, Value]) -> None:
        span.events.append(SpanEvent(name, self._at, dict(attributes)))
