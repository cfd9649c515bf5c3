"""How the facts of steps and items are folded into a session's state (see `evolve`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opscore.core import step_events as ev
from opscore.core.state import SessionState, StepState
from opscore.core.types import ErrorInfo, Json, Micros, Phase, StepStatus


def begin_step(state: SessionState, step: StepState, at: Micros) -> None:
    """The step is under way."""
    step.status = StepStatus.RUNNING
    step.started_at = at
    step.late = state.stopping is not None


def end_step(step: StepState, status: StepStatus, at: Micros) -> None:
    """The step is over."""
    step.status = status
    step.finished_at = at


def end_open_steps(state: SessionState, at: Micros) -> None:
    """Steps that no event named yet are not known here; all that never began stay as they are."""
    for step in state.steps.values():
        if step.status in (StepStatus.RUNNING, StepStatus.WAITING):
            end_step(step, StepStatus.CANCELLED, at)


def item_done(
    state: SessionState, step: StepState, index: int | None, output: Json, ends: bool, at: Micros
) -> None:
    """The step's work, one of its items, or one of its iterations is done."""
    step.done += 1
    if index is None:
        step.output = output
    else:
        step.outputs[index] = output
    if ends:
        step.completed_seq = state.seq
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
    step.completed_seq = state.seq
    end_step(step, StepStatus.COMPLETED, at)


def _step_failed(state: SessionState, e: ev.StepFailed, at: Micros) -> None:
    step = state.steps[e.step]
    if step.status is StepStatus.PENDING:
        step.late = state.stopping is not None
    step.error = ErrorInfo(e.error_class, e.message)
    end_step(step, StepStatus.FAILED, at)


def _step_bounded(state: SessionState, e: ev.StepBounded, at: Micros) -> None:
    state.steps[e.step].due = e.due


def _step_iterated(state: SessionState, e: ev.StepIterated, at: Micros) -> None:
    state.steps[e.step].iteration = e.iteration + 1


def _item_failed(state: SessionState, e: ev.ItemFailed, at: Micros) -> None:
    step = state.steps[e.step]
    step.errors = step.errors or {}
    step.errors[e.index] = ErrorInfo(e.error_class, e.message)
    if e.index >= step.next_index:
        step.next_index = e.index + 1
    item_done(state, step, e.index, b"null", e.ends_step, at)


def _item_valued(state: SessionState, e: ev.ItemValued, at: Micros) -> None:
    item_done(state, state.steps[e.step], e.index, e.output, e.ends_step, at)


def _step_compensating(state: SessionState, e: ev.StepCompensating, at: Micros) -> None:
    assert state.stopping is not None
    if state.stopping.phase is not Phase.COMPENSATING:
        state.stopping = replace(state.stopping, phase=Phase.COMPENSATING)
        end_open_steps(state, at)


def _step_compensated(state: SessionState, e: ev.StepCompensated, at: Micros) -> None:
    end_step(state.steps[e.step], StepStatus.COMPENSATED, at)


def _compensation_failed(state: SessionState, e: ev.CompensationFailed, at: Micros) -> None:
    state.steps[e.step].undone_error = ErrorInfo(e.error_class, e.message)


def reopen_step(step: StepState) -> None:
    """A step that stopped half-way keeps what its items gave; any other begins anew."""
    half_way = step.status in (StepStatus.FAILED, StepStatus.CANCELLED) and not step.late
    if not half_way:
        step.items = None
        step.outputs = []
        step.output = step.errors = None
        step.done = step.iteration = 0
    step.status = StepStatus.PENDING if step.items is None else StepStatus.RUNNING
    step.next_index = 0
    step.finished_at = None
    step.error = step.undone_error = step.allowances = step.moved_on = None
    step.due = step.signal = step.approval = None
    step.late = False


STEP_FOLDS: Mapping[type, Callable[[SessionState, Any, Micros], None]] = {
    ev.StepExpanded: _step_expanded,
    ev.StepSkipped: _step_skipped,
    ev.StepCompleted: _step_completed,
    ev.StepFailed: _step_failed,
    ev.StepBounded: _step_bounded,
    ev.StepIterated: _step_iterated,
    ev.ItemFailed: _item_failed,
    ev.ItemValued: _item_valued,
    ev.StepCompensating: _step_compensating,
    ev.StepCompensated: _step_compensated,
    ev.CompensationFailed: _compensation_failed,
}
