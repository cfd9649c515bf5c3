"""From one session's journal to its spans.

Names and attributes follow the OpenTelemetry semantic conventions for generative AI, in the version
`CONVENTIONS`, where they have one; docs/observability.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opscore.core import events as ev
from opscore.core.child_events import ChildCreated, ChildEnded, ChildReleased
from opscore.core.step_events import (
    CompensationFailed,
    ItemFailed,
    ItemValued,
    StepCompensated,
    StepCompensating,
    StepCompleted,
    StepExpanded,
    StepFailed,
    StepIterated,
    StepSkipped,
)
from opscore.core.types import Micros
from opscore.core.wait_events import (
    ApprovalApproved,
    ApprovalDecided,
    ApprovalEdited,
    ApprovalEscalated,
    ApprovalRequested,
    SignalTaken,
    StepCancelled,
    StepWaiting,
    WaitFailed,
)
from opscore.debugging.spans import AgentName, Span, span_id_of
from opscore.debugging.task_spans import TaskSpans

CONVENTIONS = "1.41.0"


class SessionSpans(TaskSpans):
    """All spans of one session's journal: events in order, each with its time."""

    def __init__(
        self,
        session_id: str,
        journal: Iterable[tuple[ev.SessionEvent, Micros]],
        agent_name: AgentName,
    ) -> None:
        super().__init__(session_id, agent_name)
        for self._seq, (event, self._at) in enumerate(journal, 1):
            fold = _FOLDS.get(type(event))
            if fold is not None:
                fold(self, event)

    def started(self, e: ev.SessionStarted) -> None:
        """The span of the session itself, below that of whoever had it started."""
        self.trace_id = e.trace_id
        self.root = Span(
            span_id_of(e.trace_id, self._session_id),
            self._asked_by(e),
            f"invoke_workflow {e.workflow}",
            "workflow",
            self._session_id,
            self._at,
            self._seq,
            target=e.workflow,
            attributes={
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": e.workflow,
                "gen_ai.conversation.id": self._session_id,
                "opscore.workflow.version": e.template_version,
            },
        )
        self.spans.append(self.root)

    def _asked_by(self, e: ev.SessionStarted) -> str | None:
        """A child's is below the span that its parent has of it, an `onError`'s below the session."""
        if e.parent is not None:
            return self._id_of_child(e.parent, self._session_id)
        if e.cause is not None:
            return span_id_of(e.trace_id, e.cause)
        return None if e.traceparent is None else e.traceparent.split("-")[2]

    def noted(self, e: ev.SessionPaused | ev.SessionResumed | ev.SessionStopping) -> None:
        """A moment in the session's life."""
        self._note(self.root, e.TYPE, {"opscore.actor": e.actor})

    def goes_on(self, e: ev.SessionRetried | ev.SessionReopened | ev.TaskResumed) -> None:
        """It had ended, and is open again."""
        self.root.reopen()
        self.root.attributes.pop("error.type", None)
        self._note(self.root, e.TYPE, {"opscore.actor": e.actor})

    def completed(self, _: ev.SessionCompleted) -> None:
        """The session's good end."""
        self.root.end(self._at, self._seq, "ok")

    def failed(self, e: ev.SessionFailed) -> None:
        """The session's bad end."""
        self._end_all()
        self._end(self.root, "error", e.error_class, e.message)

    def cancelled(self, _: ev.SessionCancelled) -> None:
        """The session's end by order."""
        self._end_all()
        self._end(self.root, "error", "cancelled", "")

    def winds_down(self, _: ev.SessionHandling) -> None:
        """Steps that were under way are over."""
        self._end_all()


_FOLDS: Mapping[type, Callable[[SessionSpans, Any], None]] = {
    ev.SessionStarted: SessionSpans.started,
    ev.SessionPaused: SessionSpans.noted,
    ev.SessionResumed: SessionSpans.noted,
    ev.SessionStopping: SessionSpans.noted,
    ev.SessionRetried: SessionSpans.goes_on,
    ev.SessionReopened: SessionSpans.goes_on,
    ev.TaskResumed: SessionSpans.goes_on,
    ev.SessionHandling: SessionSpans.winds_down,
    ev.SessionCompleted: SessionSpans.completed,
    ev.SessionFailed: SessionSpans.failed,
    ev.SessionCancelled: SessionSpans.cancelled,
    StepExpanded: SessionSpans.expanded,
    StepIterated: SessionSpans.iterated,
    StepCompleted: SessionSpans.step_completed,
    StepSkipped: SessionSpans.step_skipped,
    StepFailed: SessionSpans.step_failed,
    StepCancelled: SessionSpans.step_cancelled,
    ItemFailed: SessionSpans.item_failed,
    ItemValued: SessionSpans.item_valued,
    ev.FallbackValued: SessionSpans.fallback_valued,
    StepWaiting: SessionSpans.waiting,
    WaitFailed: SessionSpans.wait_failed,
    SignalTaken: SessionSpans.signalled,
    ApprovalRequested: SessionSpans.asked,
    ApprovalApproved: SessionSpans.voted,
    ApprovalEdited: SessionSpans.voted,
    ApprovalEscalated: SessionSpans.escalated,
    ApprovalDecided: SessionSpans.decided,
    ev.TaskCreated: SessionSpans.task_created,
    ev.TaskAvailable: SessionSpans.task_available,
    ev.TaskClaimed: SessionSpans.task_claimed,
    ev.TaskCompleted: SessionSpans.task_completed,
    ev.TaskRetried: SessionSpans.task_retried,
    ev.TaskReleased: SessionSpans.task_released,
    ev.TaskFailed: SessionSpans.task_failed,
    ev.TaskCancelled: SessionSpans.task_cancelled,
    ChildCreated: SessionSpans.child_created,
    ChildReleased: SessionSpans.child_released,
    ChildEnded: SessionSpans.child_ended,
    StepCompensating: SessionSpans.compensating,
    StepCompensated: SessionSpans.compensated,
    CompensationFailed: SessionSpans.not_compensated,
}
