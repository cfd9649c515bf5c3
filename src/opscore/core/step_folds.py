"""How the facts of steps and items are folded into a session's state (see `evolve`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opscore.core import step_events as ev
from opscore.core.state import SessionState, StepState
from opscore.core.types import ErrorInfo, Json, Micros, StepStatus


def begin_step(state: SessionState, step: StepState, at: Micros) -> None:
    """The step is under way."""
    step.status = StepStatus.RUNNING
    step.started_at = at
    step.late = state.stopping is not None


def end_step(step: StepState, status: StepStatus, at: Micros) -> None:
    """The step is over."""
    step.status = status
    step.finished_at = at


def item_done(step: StepState, index: int | None, output: Json, ends: bool, at: Micros) -> None:
    """The step's work, one of its items, or one of its iterations is done."""
    step.done += 1
    if index is None:
        step.output = output
    else:
        step.outputs[index] = output
    if ends:
        end_step(step, StepStatus.COMPLETED, at)


def _step_expanded(state: SessionState, e: ev.StepExpanded, at: Micros) -> None:
    step = state.steps[e.step]
    begin_step(state, step, at)
    step.items = e.items
    step.outputs = [None] * len(e.items)


def _step_skipped(state: SessionState, e: ev.StepSkipped, at: Micros) -> None:
    step = state.steps[e.step]
    step.late = state.stopping is not None
    end_step(step, StepStatus.SKIPPED, at)


def _step_completed(state: SessionState, e: ev.StepCompleted, at: Micros) -> None:
    step = state.steps[e.step]
    if step.status is StepStatus.PENDING:
        step.late = state.stopping is not None
    step.output = e.output
    end_step(step, StepStatus.COMPLETED, at)


def _step_failed(state: SessionState, e: ev.StepFailed, at: Micros) -> None:
    step = state.steps[e.step]
    if step.status is StepStatus.PENDING:
        step.late = state.stopping is not None
    step.error = ErrorInfo(e.error_class, e.message)
    end_step(step, StepStatus.FAILED, at)


def _step_iterated(state: SessionState, e: ev.StepIterated, at: Micros) -> None:
    state.steps[e.step].iteration = e.iteration + 1


def _item_failed(state: SessionState, e: ev.ItemFailed, at: Micros) -> None:
    step = state.steps[e.step]
    step.errors = step.errors or {}
    step.errors[e.index] = ErrorInfo(e.error_class, e.message)
    if e.index >= step.next_index:
        step.next_index = e.index + 1
    item_done(step, e.index, b"null", e.ends_step, at)


STEP_FOLDS: Mapping[type, Callable[[SessionState, Any, Micros], None]] = {
    ev.StepExpanded: _step_expanded,
    ev.StepSkipped: _step_skipped,
    ev.StepCompleted: _step_completed,
    ev.StepFailed: _step_failed,
    ev.StepIterated: _step_iterated,
    ev.ItemFailed: _item_failed,
}
