"""What parents and child sessions tell each other, as rows of the outbox (see `family`)."""

from __future__ import annotations

import msgspec

from opscore.core import events as ev
from opscore.core.state import SessionState
from opscore.core.types import Micros, SessionStatus
from opscore.engine.journal import raw
from opscore.store.rows import Changes, DelayedRow, OutboxRow

AT_ONCE = 50
"""Children of one row that asks them to follow their parent."""

ENDS = (ev.SessionCompleted, ev.SessionFailed, ev.SessionCancelled)
OF_CHILDREN = (ev.ChildCreated, ev.ChildReleased, ev.ChildAbandoned, ev.ChildEnded)


class Ask(msgspec.Struct):
    """What a row to a child asks."""

    child_id: str
    reason: str = ""


class Told(msgspec.Struct):
    """What a row to a parent tells: `completed` with its output, or why not."""

    parent: str
    completed: bool
    output: msgspec.Raw = msgspec.Raw(b"null")
    error_class: str = ""
    message: str = ""


class Follow(msgspec.Struct):
    """Which children are to take over their parent's pause, or priority."""

    children: list[str]
    priority: bool


def project_child(changes: Changes, state: SessionState, event: ev.SessionEvent) -> None:
    """The rows that a fact about a child session leads to."""
    match event:
        case ev.ChildCreated(child_id=child_id, due=due):
            if due is None:
                _ask(changes, state, "child_start", child_id)
            else:
                changes.delay(DelayedRow(due, child_id, state.session_id))
        case ev.ChildReleased(child_id=child_id, was_due=was_due):
            _undelay(changes, state, child_id, was_due)
            _ask(changes, state, "child_start", child_id)
        case ev.ChildAbandoned(child_id=child_id, reason=reason):
            _ask(changes, state, "child_cancel", child_id, reason)
        case ev.ChildEnded(child_id=child_id, was_due=int() as was_due):
            _undelay(changes, state, child_id, was_due)
        case _:
            pass


def _undelay(changes: Changes, state: SessionState, child_id: str, due: Micros) -> None:
    changes.undelay(DelayedRow(due, child_id, state.session_id))


def _ask(changes: Changes, state: SessionState, kind: str, child_id: str, reason: str = "") -> None:
    put(changes, f"{child_id}/{kind}", state, kind, Ask(child_id, reason))


def put(changes: Changes, key: str, state: SessionState, kind: str, data: msgspec.Struct) -> None:
    """A row of the outbox, from this session."""
    row = OutboxRow(key, state.namespace, kind, state.session_id, msgspec.json.encode(data))
    changes.outbox[key] = row


def tell_children(changes: Changes, state: SessionState, *, priority: bool) -> None:
    """The session was paused, resumed, or has a new priority: its children follow."""
    if state.open_children == 0:
        return
    open_ones = [c.child_id for c in state.children.values() if not c.ended and c.due is None]
    for at in range(0, len(open_ones), AT_ONCE):
        key = f"{state.session_id}/follow/{state.seq}/{at}"
        put(changes, key, state, "child_follow", Follow(open_ones[at : at + AT_ONCE], priority))


def tell_parent(changes: Changes, state: SessionState) -> None:
    """A child session has ended."""
    assert state.parent is not None
    told = Told(state.parent, completed=False)
    if state.status is SessionStatus.COMPLETED:
        told = Told(state.parent, completed=True, output=raw(state.output or b"null"))  # pyright: ignore[reportArgumentType]
    elif state.error is not None:
        told.error_class, told.message = state.error.error_class, state.error.message
    put(changes, f"{state.session_id}/over/{state.seq}", state, "child_over", told)
