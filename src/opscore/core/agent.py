"""Agents: what their words mean, which changes are legal, who may be given work.

An agent's own report is always recorded and never refused; only what an operator orders can be.
Three things make up a state: the agent's condition (its last report, or idle since it connected),
an operator's standing order to drain, and whether any instance of it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, assert_never

from opscore.core import agent_events as ev
from opscore.core.progress import Refused
from opscore.core.types import SECOND, SYSTEM, AgentState, Micros

AGENT_TRANSITIONS: Mapping[AgentState, frozenset[AgentState]] = {
    AgentState.UNKNOWN: frozenset(
        {AgentState.INITIALIZING, AgentState.IDLE, AgentState.ACTIVE}
        | {AgentState.ERROR, AgentState.DRAINING, AgentState.OFFLINE}
    ),
    AgentState.INITIALIZING: frozenset(
        {AgentState.IDLE, AgentState.ACTIVE}
        | {AgentState.ERROR, AgentState.DRAINING, AgentState.OFFLINE}
    ),
    AgentState.IDLE: frozenset(
        {AgentState.INITIALIZING, AgentState.ACTIVE}
        | {AgentState.ERROR, AgentState.DRAINING, AgentState.OFFLINE}
    ),
    AgentState.ACTIVE: frozenset(
        {AgentState.IDLE, AgentState.ERROR, AgentState.DRAINING, AgentState.OFFLINE}
    ),
    AgentState.ERROR: frozenset(
        {AgentState.UNKNOWN, AgentState.INITIALIZING, AgentState.IDLE, AgentState.ACTIVE}
        | {AgentState.DRAINING, AgentState.OFFLINE}
    ),
    AgentState.DRAINING: frozenset(
        {AgentState.UNKNOWN, AgentState.INITIALIZING, AgentState.IDLE, AgentState.ACTIVE}
        | {AgentState.OFFLINE}
    ),
    AgentState.OFFLINE: frozenset(
        {AgentState.UNKNOWN, AgentState.INITIALIZING, AgentState.IDLE, AgentState.ACTIVE}
        | {AgentState.ERROR, AgentState.DRAINING}
    ),
}
"""What is expected to follow what. A report outside of it is recorded and marked `irregular`."""

WORDS: Mapping[str, AgentState] = {
    **{state.value: state for state in AgentState},
    "finished": AgentState.IDLE,
}
"""The words that agents report, in lower case."""

CONNECTING_CHANNELS = frozenset({"stream", "local"})
"""Agents of these channels come to us, so that their absence is known."""

ALIASES_KEPT = 8
LATE_WITHIN: Micros = 60 * SECOND
"""A report whose timestamp is older than the last one's by more shows a clock that was set back,
not a message that was overtaken."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A registered agent: the fold of its events. `seq` is the number of the last one."""

    agent_id: str
    namespace: str
    seq: int = 0
    agent_name: str = ""
    version: str = ""
    capabilities: tuple[str, ...] = ()
    channel: str = "stream"
    contact_endpoint: str | None = None
    max_in_flight: int = 1
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    schemas: Mapping[str, Any] = field(default_factory=dict[str, Any])
    aliases: tuple[str, ...] = ()
    provisional: bool = False
    condition: AgentState = AgentState.UNKNOWN
    draining: bool = False
    drain_deadline: Micros | None = None
    drain_reason: str = ""
    absent: bool = False
    reported: str | None = None
    reported_at: str | None = None
    details: Mapping[str, Any] | None = None
    last_error: str | None = None
    previous: AgentState | None = None
    changed_at: Micros = 0
    changed_by: str = ""
    reason: str = ""
    created_at: Micros = 0
    registered_at: Micros = 0
    updated_at: Micros = 0

    @property
    def state(self) -> AgentState:
        """Absence hides an order, and an order hides the condition."""
        if self.absent:
            return AgentState.OFFLINE
        return AgentState.DRAINING if self.draining else self.condition

    @property
    def connects(self) -> bool:
        """Whether it comes to us for its work."""
        return self.channel in CONNECTING_CHANNELS

    @property
    def content(self) -> ev.AgentContent:
        """What its registration said."""
        return ev.AgentContent(*[getattr(self, f.name) for f in fields(ev.AgentContent)])


def evolve_agent(agent: Agent, event: ev.AgentEvent, at: Micros) -> Agent:
    """The agent after `event`, which happened `at`. Decides nothing."""
    agent = replace(agent, seq=agent.seq + 1, updated_at=at)
    match event:
        case ev.AgentRegistered():
            agent = _with_content(agent, event)
            agent = replace(agent, provisional=event.provisional, created_at=at, registered_at=at)
            return _changed(agent, None, event.actor, event.reason, at)
        case ev.AgentChanged():
            return replace(_with_content(agent, event), provisional=False, registered_at=at)
        case ev.AgentStateChanged():
            return agent if event.late else _state_changed(agent, event, at)
        case ev.AgentDraining():
            agent = replace(
                agent,
                draining=True,
                drain_deadline=event.deadline,
                drain_reason=event.reason,
            )
            return _changed(agent, event.previous, event.actor, event.reason, at)
        case ev.AgentDrained():
            return replace(agent, drain_deadline=None)
        case ev.AgentActivated():
            agent = replace(
                agent, draining=False, drain_deadline=None, condition=event.condition, reported=None
            )
            return _changed(agent, event.previous, event.actor, event.reason, at)
        case ev.AgentDeregistered() | ev.InstanceConnected() | ev.InstanceDisconnected():
            return agent
        case _:
            assert_never(event)


def _with_content(agent: Agent, content: ev.AgentContent) -> Agent:
    return replace(agent, **_fields(content))


def _fields(content: ev.AgentContent) -> dict[str, Any]:
    return {f.name: getattr(content, f.name) for f in fields(ev.AgentContent)}


def _changed(
    agent: Agent, previous: AgentState | None, actor: str, reason: str, at: Micros
) -> Agent:
    return replace(agent, previous=previous, changed_at=at, changed_by=actor, reason=reason)


def _state_changed(agent: Agent, e: ev.AgentStateChanged, at: Micros) -> Agent:
    if e.reported is not None:
        agent = replace(agent, reported=e.reported, reported_at=e.reported_at, details=e.details)
    elif e.condition is not agent.condition:
        agent = replace(agent, reported=None, details=None)
    if e.condition is AgentState.ERROR and e.reported is not None:
        agent = replace(agent, last_error=error_text(e.reported, e.details))
    agent = replace(agent, condition=e.condition, absent=e.absent)
    return _changed(agent, e.previous, e.actor, e.reason, at)


def error_text(word: str, details: Mapping[str, Any] | None) -> str:
    """What an agent said about its error, in one line."""
    given = details or {}
    parts = [str(given[key]) for key in ("errorCode", "message") if given.get(key)]
    return ": ".join(parts) or word


# -- registration ---------------------------------------------------------------------------


def register(
    agent: Agent, content: ev.AgentContent, actor: str, *, provisional: bool = False
) -> list[ev.AgentEvent]:
    """What a registration leads to; an agent without a name is not there yet.

    The same content again leads to nothing. A push agent that had failed has begun anew.
    """
    if not agent.agent_name:
        reason = "it reported before it was registered" if provisional else "registered"
        event = ev.AgentRegistered(
            **_fields(content),
            namespace=agent.namespace,
            provisional=provisional,
            state=AgentState.UNKNOWN,
            actor=actor,
            reason=reason,
        )
        return [event]
    events = change(agent, content, actor, "registered again")
    failed = agent.absent or agent.condition in {AgentState.ERROR, AgentState.OFFLINE}
    if failed and content.channel not in CONNECTING_CHANNELS:
        begun = replace(agent, condition=AgentState.UNKNOWN, absent=False)
        events.append(_change(agent, begun, actor, "registered again"))
    return events


def change(
    agent: Agent, content: ev.AgentContent, actor: str, reason: str = "changed"
) -> list[ev.AgentEvent]:
    """What new content leads to: nothing when it is the same."""
    if content == agent.content and not agent.provisional:
        return []
    return [ev.AgentChanged(**_fields(content), actor=actor, reason=reason)]


def with_alias(aliases: tuple[str, ...], agent_id: str) -> tuple[str, ...]:
    """The ids that an agent has also used, the newest last."""
    return (*[each for each in aliases if each != agent_id], agent_id)[-ALIASES_KEPT:]


# -- reports --------------------------------------------------------------------------------


def meaning(word: str) -> AgentState:
    """The state that a reported word stands for; `unknown` for a word that nobody knows."""
    return WORDS.get(word.strip().lower(), AgentState.UNKNOWN)


def report(
    agent: Agent,
    word: str,
    details: Mapping[str, Any] | None,
    reported_at: str | None,
    actor: str,
    reason: str,
) -> ev.AgentStateChanged:
    """Record what an agent says of itself; never refused."""
    late = is_late(reported_at, agent.reported_at)
    after = agent if late else replace(agent, condition=meaning(word), absent=False)
    change = _change(agent, after, actor, reason)
    return replace(change, reported=word, reported_at=reported_at, details=details, late=late)


def is_late(reported_at: str | None, last: str | None) -> bool:
    """Whether a newer report of the same agent was here before.

    Agents' clocks are their own: a timestamp is compared with the agent's earlier one only.
    """
    this, before = _instant(reported_at), _instant(last)
    if this is None or before is None:
        return False
    return 0 < (before - this).total_seconds() * SECOND <= LATE_WITHIN


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _change(before: Agent, after: Agent, actor: str, reason: str) -> ev.AgentStateChanged:
    return ev.AgentStateChanged(
        previous=before.state,
        state=after.state,
        condition=after.condition,
        absent=after.absent,
        reported=None,
        reported_at=None,
        late=False,
        irregular=not expected(before.state, after.state),
        actor=actor,
        reason=reason,
        details=None,
    )


def expected(before: AgentState, after: AgentState) -> bool:
    """Whether the transition table has this step; staying as one is always is expected."""
    return before is after or after in AGENT_TRANSITIONS[before]


# -- orders ---------------------------------------------------------------------------------


def drain(agent: Agent, deadline: Micros | None, actor: str, reason: str) -> ev.AgentDraining:
    """Take no more work. Legal always; ordered again it replaces the deadline."""
    after = replace(agent, draining=True)
    return ev.AgentDraining(agent.state, after.state, deadline, actor, reason)


def activate(agent: Agent, actor: str, reason: str) -> ev.AgentActivated | Refused:
    """Take work again: ends a drain, and forgives an error. Refused when there is neither."""
    kept = agent.condition not in {AgentState.ERROR, AgentState.DRAINING}
    if not agent.draining and kept:
        return Refused("conflict", f"agent {agent.agent_id} is {agent.state}, not draining")
    condition = agent.condition if kept else AgentState.IDLE
    after = replace(agent, draining=False, condition=condition)
    return ev.AgentActivated(agent.state, after.state, condition, actor, reason)


# -- presence -------------------------------------------------------------------------------


def arrive(agent: Agent, actor: str, *, first: bool) -> ev.AgentStateChanged | None:
    """An instance is there.

    `first`: a process not known before, while no other one is there, so that what an earlier
    process said of itself is over.
    """
    silent = agent.condition is AgentState.UNKNOWN and agent.reported is None
    begins = first or silent or agent.condition is AgentState.OFFLINE
    condition = AgentState.IDLE if begins else agent.condition
    after = replace(agent, condition=condition, absent=False)
    if after == agent:
        return None
    return _change(agent, after, actor, "an instance connected")


def leave(agent: Agent) -> ev.AgentStateChanged:
    """No instance was seen for too long."""
    return _change(agent, replace(agent, absent=True), str(SYSTEM), "no instance is connected")


def is_absent(
    agent: Agent, *, online: bool, last_seen: Micros, now: Micros, offline_after: Micros
) -> bool:
    """The verdict on presence: an agent is there while one instance is.

    It is absent when none was seen for `offline_after`. Of an agent that we call, only its own
    word is known.
    """
    return agent.connects and not online and now - last_seen >= offline_after


# -- availability ---------------------------------------------------------------------------


class Availability(StrEnum):
    """Whether an agent may be given work, or why not."""

    AVAILABLE = "available"
    BUSY = "busy"
    STARTING = "starting"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    UNREACHABLE = "unreachable"
    DRAINING = "draining"
    OFFLINE = "offline"


def availability(agent: Agent, *, in_flight: int, slots: int, connected: bool) -> Availability:
    """Whether an agent with `in_flight` of its `slots` taken may be given work.

    One that comes for its work takes it while connected, whatever it reported, unless it drains:
    asking for nothing is how it declines. One that we call is believed: idle, or not heard of
    yet, is available; active has one slot taken even if not by us; an error would only burn
    retries; a word that nobody knows is not a yes.
    """
    state = agent.state
    if state in {AgentState.DRAINING, AgentState.OFFLINE}:
        return Availability(state.value)
    if agent.connects:
        if not connected:
            return Availability.OFFLINE
        return Availability.AVAILABLE if in_flight < slots else Availability.BUSY
    if state is AgentState.ERROR:
        return Availability.FAILED
    if state is AgentState.INITIALIZING:
        return Availability.STARTING
    if state is AgentState.UNKNOWN and (agent.reported or "").strip().lower() not in {
        "",
        "unknown",
    }:
        return Availability.UNREADABLE
    taken = max(in_flight, 1) if state is AgentState.ACTIVE else in_flight
    return Availability.AVAILABLE if taken < slots else Availability.BUSY


def shown_state(agent: Agent, in_flight: int) -> AgentState:
    """The state that people are shown: an idle agent with attempts in flight is active.

    Derived, never journaled: it would be two events a task.
    """
    return AgentState.ACTIVE if in_flight and agent.state is AgentState.IDLE else agent.state
