"""How the facts of child sessions are folded into a session's state (see `evolve`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opscore.core import child_events as ev
from opscore.core.state import ChildState, SessionState
from opscore.core.step_folds import begin_step, item_done
from opscore.core.types import Micros, SessionStatus, StepStatus


def _child_created(state: SessionState, e: ev.ChildCreated, at: Micros) -> None:
    step = state.steps[e.step]
    if step.status is StepStatus.PENDING:
        begin_step(state, step, at)
    if e.member == 0 and e.failures == 0 and e.index is not None and e.index >= step.next_index:
        step.next_index = e.index + 1
    step.active += 1
    step.child_ids = step.child_ids or []
    step.child_ids.append(e.child_id)
    state.open_children += 1
    state.children[e.child_id] = ChildState(
        e.child_id,
        e.step,
        e.index,
        e.member,
        e.workflow,
        e.version,
        e.input,
        e.failures,
        e.due,
    )
    _under_way(state)


def _under_way(state: SessionState) -> None:
    state.started = True
    if state.status is SessionStatus.WAITING:
        state.status = SessionStatus.PROCESSING


def _child_released(state: SessionState, e: ev.ChildReleased, at: Micros) -> None:
    state.children[e.child_id].due = None


def _child_abandoned(state: SessionState, e: ev.ChildAbandoned, at: Micros) -> None:
    state.children[e.child_id].abandoned = True


def _child_ended(state: SessionState, e: ev.ChildEnded, at: Micros) -> None:
    child = state.children[e.child_id]
    child.ended = True
    child.due = child.input = None
    step = state.steps[child.step]
    step.active -= 1
    state.open_children -= 1
    if e.output is not None:
        item_done(state, step, child.index, e.output, e.ends_step, at)


CHILD_FOLDS: Mapping[type, Callable[[SessionState, Any, Micros], None]] = {
    ev.ChildCreated: _child_created,
    ev.ChildReleased: _child_released,
    ev.ChildAbandoned: _child_abandoned,
    ev.ChildEnded: _child_ended,
}
