"""Parents and child sessions. Each reaches the other only through rows of the outbox.

A row is deleted in the commit that carries it out, and what it asks may be asked twice: a child's id
is known before it starts, and a child that has ended is not ended again. So a crash in between
loses nothing and starts nothing twice, in whatever order rows come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.errors import Invalid, Refusal, TooLarge
from opscore.core.state import ChildState, SessionState
from opscore.core.template import Step
from opscore.core.types import (
    CANCEL_GRACE,
    SESSION_ENDED,
    ErrorInfo,
    Json,
)
from opscore.engine.parents import AT_ONCE, Ask, Follow, Told, put
from opscore.engine.starts import check_input, env_of, start_event, versions_of
from opscore.engine.unit import Means, Unit
from opscore.store.rows import OutboxRow, Wants


def _want(wants: Wants, means: Means, session_ids: Sequence[str]) -> None:
    wants.sessions.update(s for s in session_ids if not means.sessions.has(s))


@dataclass(slots=True)
class StartChild:
    """Start a child session, unless it has been started or is not wanted any more."""

    row: OutboxRow
    chance: Callable[[], float]
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The parent, and the child: whether it exists."""
        child_id = msgspec.json.decode(self.row.data, type=Ask).child_id
        _want(wants, means, [self.row.session_id, child_id])

    def apply(self, unit: Unit) -> None:
        """Cannot be refused: what prevents the start is told to the parent."""
        unit.changes.outbox_done.add(self.row.outbox_id)
        child_id = msgspec.json.decode(self.row.data, type=Ask).child_id
        parent = unit.session(self.row.session_id)
        child = None if parent is None else parent.children.get(child_id)
        if parent is None or child is None or child.ended:
            return
        if unit.session(child_id) is not None:
            return
        error = ErrorInfo("cancelled", "cancelled before it began") if child.abandoned else None
        if error is None:
            error = _start(unit, parent, child)
        if error is not None:
            told = Told(parent.session_id, False, error_class=error.error_class)
            told.message = error.message
            put(unit.changes, f"{child_id}/unstarted", parent, "child_over", told)


def _start(unit: Unit, parent: SessionState, child: ChildState) -> ErrorInfo | None:
    """Why the child cannot start, or None."""
    try:
        event = _first_event(unit, parent, child)
    except Refusal as refusal:
        return ErrorInfo(_class_of(refusal), refusal.detail)
    state = unit.start(child.child_id, cmd.Start(event))
    if parent.paused_at is not None and state.status not in SESSION_ENDED:
        unit.decide(state, cmd.Pause(f"with its parent {parent.session_id}", event.actor))
    return None


def _class_of(refusal: Refusal) -> str:
    if isinstance(refusal, TooLarge):
        return "payload_too_large"
    return "invalid_input" if isinstance(refusal, Invalid) else "fatal"


def _first_event(unit: Unit, parent: SessionState, child: ChildState) -> ev.SessionStarted:
    """Raises Invalid, TooLarge, Impossible."""
    templates, namespace = unit.means.templates, parent.namespace
    template = templates.parsed(namespace, child.workflow, child.version)
    given: Json = child.input if child.input is not None else b"{}"
    check_input(template, given, parent.context, unit.means.payload_limit)
    on_error, versions = versions_of(template, templates, namespace)
    event = start_event(
        template,
        namespace=namespace,
        now=unit.now,
        input=given,
        context=parent.context,
        priority=_priority(unit, parent, child),
        trace_id=parent.trace_id,
        traceparent=parent.traceparent,
        actor=f"session:{parent.session_id}",
        on_error_version=on_error,
        env=env_of(template, unit.means.template_env),
        versions=versions,
        parent=parent.session_id,
        depth=parent.depth + 1,
        cause=parent.session_id,
    )
    return replace(
        event,
        agent_id=parent.agent_id,
        agent_name=parent.agent_name,
        agent_capabilities=parent.agent_capabilities,
    )


def _priority(unit: Unit, parent: SessionState, child: ChildState) -> int:
    own = _step(unit, parent, child).priority
    return parent.priority if own is None else own


def _step(unit: Unit, parent: SessionState, child: ChildState) -> Step:
    templates = unit.means.templates
    parsed = templates.parsed(parent.namespace, parent.workflow, parent.version)
    return parsed.steps[child.step]


@dataclass(slots=True)
class CancelChild:
    """Cancel a child session; one that has not been started yet will not be."""

    row: OutboxRow
    chance: Callable[[], float]
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The child."""
        _want(wants, means, [msgspec.json.decode(self.row.data, type=Ask).child_id])

    def apply(self, unit: Unit) -> None:
        """A child that is undoing what it did goes on, and ends by itself."""
        unit.changes.outbox_done.add(self.row.outbox_id)
        ask = msgspec.json.decode(self.row.data, type=Ask)
        state = unit.session(ask.child_id)
        if state is not None:
            actor = f"session:{self.row.session_id}"
            unit.decide(state, cmd.Cancel(ask.reason, actor, CANCEL_GRACE))


@dataclass(slots=True)
class TellParent:
    """Tell a parent that a child session has ended."""

    row: OutboxRow
    chance: Callable[[], float]
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The parent."""
        _want(wants, means, [msgspec.json.decode(self.row.data, type=Told).parent])

    def apply(self, unit: Unit) -> None:
        """A parent that was deleted is not told."""
        unit.changes.outbox_done.add(self.row.outbox_id)
        told = msgspec.json.decode(self.row.data, type=Told)
        parent = unit.session(told.parent)
        if parent is None:
            return
        child_id = self.row.outbox_id.partition("/")[0]
        error = None if told.completed else ErrorInfo(told.error_class, told.message)
        output = told.output if told.completed else None
        unit.decide(parent, cmd.ChildOver(child_id, output, error, self.chance()))


@dataclass(slots=True)
class FollowParent:
    """Bring children in line with their parent as it is now: whatever the order of rows."""

    row: OutboxRow
    chance: Callable[[], float]
    weight: int = AT_ONCE

    def want(self, wants: Wants, means: Means) -> None:
        """The parent and those children."""
        follow = msgspec.json.decode(self.row.data, type=Follow)
        _want(wants, means, [self.row.session_id, *follow.children])

    def apply(self, unit: Unit) -> None:
        """A child that is not there yet, or has ended, has nothing to follow."""
        unit.changes.outbox_done.add(self.row.outbox_id)
        follow = msgspec.json.decode(self.row.data, type=Follow)
        parent = unit.session(self.row.session_id)
        for child_id in follow.children if parent is not None else ():
            state = unit.session(child_id)
            if parent is None or state is None or state.status in SESSION_ENDED:
                continue
            command = _following(unit, parent, state, priority=follow.priority)
            if command is not None:
                unit.decide(state, command)


def _following(
    unit: Unit, parent: SessionState, state: SessionState, *, priority: bool
) -> cmd.SessionCommand | None:
    actor = f"session:{parent.session_id}"
    if priority:
        wanted = _priority(unit, parent, parent.children[state.session_id])
        same = wanted == state.priority
        return None if same else cmd.UpdateSession(wanted, None, None, actor)
    why = f"with its parent {parent.session_id}"
    if parent.paused_at is not None:
        return cmd.Pause(why, actor)
    return cmd.Resume(why, actor) if state.paused_at is not None else None


CARRIED_OUT = {
    "child_start": StartChild,
    "child_cancel": CancelChild,
    "child_over": TellParent,
    "child_follow": FollowParent,
}
"""What carries out the rows between parents and children, by kind."""
