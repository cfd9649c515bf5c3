"""What rows and memory tell of sessions that wait for room under their template's limits, or take it."""

from __future__ import annotations

from opscore.core import events as ev
from opscore.core.state import SessionState
from opscore.core.types import Micros
from opscore.engine.gated import gated_row, session_row
from opscore.engine.gates import Gates
from opscore.store.rows import Changes

OF_LIMITS = (
    *(ev.SessionHeld, ev.SessionAdmitted, ev.SessionUpdated),
    *(ev.SessionCompleted, ev.SessionFailed, ev.SessionCancelled),
)
"""Facts of a session with limits that change what it takes."""


def project_limits(
    changes: Changes, gates: Gates, state: SessionState, event: ev.SessionEvent, now: Micros
) -> None:
    """Follow one of those facts."""
    match event:
        case ev.SessionHeld():
            _wait(changes, gates, state)
        case ev.SessionAdmitted():
            _leave(changes, gates, state)
            gates.take_in(state, now, changes)
        case ev.SessionUpdated():
            if state.held and event.priority is not None:
                _leave(changes, gates, state)
                _wait(changes, gates, state)
        case _:
            _leave(changes, gates, state)
            if not state.held:
                changes.limits.leave(state.session_id)
                gates.release(state.session_id)


def _wait(changes: Changes, gates: Gates, state: SessionState) -> None:
    assert state.terms is not None
    row = session_row(state)
    changes.limits.gate(gated_row(row, state.terms))
    gates.wait(row, state.terms)


def _leave(changes: Changes, gates: Gates, state: SessionState) -> None:
    place = gates.place(state.session_id)
    if place is not None:
        changes.limits.ungate(session_row(state)._replace(place=place))
        gates.leave(state.session_id)
