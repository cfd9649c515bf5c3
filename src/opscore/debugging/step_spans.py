"""The spans of steps, and of what they wait for."""

from __future__ import annotations

from opscore.core import events as ev
from opscore.core.step_events import (
    ItemFailed,
    ItemValued,
    StepCompleted,
    StepExpanded,
    StepFailed,
    StepIterated,
    StepSkipped,
)
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
from opscore.debugging.drawing import Drawing
from opscore.debugging.spans import Value


class StepSpans(Drawing):
    """Steps, waits, signals and approvals."""

    def expanded(self, e: StepExpanded) -> None:
        """The items of a `foreach`."""
        self._step(e.step).attributes["opscore.step.items"] = len(e.items)

    def iterated(self, e: StepIterated) -> None:
        """One iteration of a `repeat` is done."""
        self._note(self._step(e.step), e.TYPE, {"opscore.step.iteration": e.iteration + 1})

    def step_completed(self, e: StepCompleted) -> None:
        """Also of computed steps, which begin and end with this."""
        self._end_step(e.step, "ok")

    def step_skipped(self, e: StepSkipped) -> None:
        """A span without length."""
        self._step(e.step).attributes["opscore.step.skipped"] = e.reason
        self._end_step(e.step, "unset")

    def step_failed(self, e: StepFailed) -> None:
        """No fallback is left."""
        self._end_step(e.step, "error", e.error_class, e.message)

    def step_cancelled(self, e: StepCancelled) -> None:
        """It waited, and its session winds down."""
        self._end_step(e.step, "unset")

    def item_failed(self, e: ItemFailed) -> None:
        """Under `failures: collect`."""
        what: dict[str, Value] = {"opscore.item": e.index, "error.type": e.error_class}
        self._note(self._step(e.step), e.TYPE, what)
        if e.ends_step:
            self._end_step(e.step, "ok")

    def item_valued(self, e: ItemValued) -> None:
        """A fallback value of work without a task."""
        self._fallback_value(e.step, e.TYPE, e.index, ends=e.ends_step)

    def fallback_valued(self, e: ev.FallbackValued) -> None:
        """A fallback value of a task that failed."""
        made = self._created[e.task_id]
        self._fallback_value(made.step, e.TYPE, made.index, ends=e.ends_step)

    def _fallback_value(self, step: str, name: str, index: int | None, *, ends: bool) -> None:
        self._note(self._step(step), name, {} if index is None else {"opscore.item": index})
        if ends:
            self._end_step(step, "ok")

    # -- waits ----------------------------------------------------------------------------

    def waiting(self, e: StepWaiting) -> None:
        """A step waits for a time or a signal."""
        name = e.kind if e.name is None else f"{e.kind} {e.name}"
        self._waits[e.step] = self._below(self._step(e.step), name, "wait")

    def asked(self, e: ApprovalRequested) -> None:
        """A step asks people."""
        span = self._below(self._step(e.step), f"approval {e.title}", "approval")
        span.attributes["opscore.approval.quorum"] = e.quorum
        self._waits[e.step] = span

    def voted(self, e: ApprovalApproved | ApprovalEdited) -> None:
        """An approver said something."""
        self._note(self._waits[e.step], e.TYPE, {"opscore.actor": e.by})

    def escalated(self, e: ApprovalEscalated) -> None:
        """Others are asked."""
        self._note(self._waits[e.step], e.TYPE, {"opscore.approval.quorum": e.quorum})

    def decided(self, e: ApprovalDecided) -> None:
        """People, or the timeout, decided."""
        span = self._waits.pop(e.step)
        span.attributes["opscore.approval.outcome"] = e.outcome
        span.end(self._at, self._seq, "ok" if e.outcome == "approved" else "error")

    def signalled(self, e: SignalTaken) -> None:
        """The signal is there; it may have been before the step."""
        self._end_step(e.step, "ok")

    def wait_failed(self, e: WaitFailed) -> None:
        """It will not come; a fallback follows."""
        span = self._waits.pop(e.step, None)
        if span is not None:
            self._end(span, "error", e.error_class, e.message)
