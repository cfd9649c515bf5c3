"""Agents: what words mean, what is legal, who is there, who may be given work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opscore.core import agent as core
from opscore.core import agent_events as ev
from opscore.core.agent import Agent, Availability
from opscore.core.progress import Refused
from opscore.core.types import SECOND, AgentState

KNOWN = Agent("a1", "default", seq=1, agent_name="summarizer", created_at=1)
CONTENT = ev.AgentContent("summarizer", "1", ("sum",), "stream", None, 2, {}, {}, {}, ())


def said(agent: Agent, word: str, at: str | None = None, **details: object) -> Agent:
    event = core.report(agent, word, details or None, at, "agent:a1", "")
    return core.evolve_agent(agent, event, agent.updated_at + 1)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("initializing", AgentState.INITIALIZING),
        ("idle", AgentState.IDLE),
        (" IDLE ", AgentState.IDLE),
        ("finished", AgentState.IDLE),
        ("active", AgentState.ACTIVE),
        ("error", AgentState.ERROR),
        ("UNKNOWN", AgentState.UNKNOWN),
        ("meditating", AgentState.UNKNOWN),
    ],
)
def test_words_have_meanings_and_are_kept_as_they_were(word: str, state: AgentState) -> None:
    agent = said(KNOWN, word)
    assert (agent.state, agent.reported) == (state, word)


words = st.one_of(st.sampled_from([*core.WORDS, "UNKNOWN", "", "zombie"]), st.text(max_size=8))
steps = st.one_of(
    st.tuples(st.just("report"), words),
    st.tuples(st.sampled_from(["drain", "activate", "arrive", "first", "leave"]), st.just("")),
)


@given(st.lists(steps, max_size=25))
def test_any_history_folds_and_every_report_is_recorded(history: list[tuple[str, str]]) -> None:
    agent = KNOWN
    for kind, word in history:
        event = happen(agent, kind, word)
        if isinstance(event, ev.AgentStateChanged | ev.AgentDraining | ev.AgentActivated):
            before, agent = agent, core.evolve_agent(agent, event, agent.updated_at + 1)
            assert agent.seq == before.seq + 1
            assert (event.previous, event.state) == (before.state, agent.state)
        if kind == "report":
            assert agent.reported == word
            ordered = agent.draining
            assert agent.state is (AgentState.DRAINING if ordered else core.meaning(word))
        if kind != "report" and event is not None and not isinstance(event, Refused):
            assert core.expected(event.previous, event.state), kind


def happen(
    agent: Agent, kind: str, word: str
) -> ev.AgentStateChanged | ev.AgentDraining | ev.AgentActivated | Refused | None:
    match kind:
        case "report":
            return core.report(agent, word, None, None, "agent:a1", "")
        case "drain":
            return core.drain(agent, None, "operator:ada", "upgrade")
        case "activate":
            return core.activate(agent, "operator:ada", "")
        case "leave":
            return core.leave(agent)
        case _:
            return core.arrive(agent, "agent:a1", first=kind == "first")


def test_a_report_against_the_table_is_recorded_and_marked() -> None:
    idle = said(KNOWN, "idle")
    assert not core.report(idle, "active", None, None, "agent:a1", "").irregular
    back = core.report(idle, "unknown", None, None, "agent:a1", "")
    assert back.irregular
    assert core.evolve_agent(idle, back, 5).state is AgentState.UNKNOWN


def test_an_overtaken_report_is_recorded_but_changes_nothing() -> None:
    agent = said(KNOWN, "idle", "2026-04-01T12:00:00.000002+00:00")
    late = said(agent, "active", "2026-04-01T12:00:00.000001+00:00")
    assert (late.state, late.reported, late.seq) == (AgentState.IDLE, "idle", agent.seq + 1)
    reset = said(agent, "active", "2026-04-01T11:00:00+00:00")
    assert reset.state is AgentState.ACTIVE, "a clock set back is not a late message"
    unreadable = said(agent, "active", "yesterday")
    assert unreadable.state is AgentState.ACTIVE


@pytest.mark.parametrize(
    ("this", "last", "late"),
    [
        ("2026-04-01T12:00:00Z", "2026-04-01T12:00:01Z", True),
        ("2026-04-01T12:00:00", "2026-04-01T12:00:01+00:00", True),
        ("2026-04-01T12:00:00Z", "2026-04-01T12:00:00Z", False),
        ("2026-04-01T14:00:00+02:00", "2026-04-01T12:00:00Z", False),
        ("2026-04-01T12:00:00Z", "2026-04-01T12:01:00.000001Z", False),
        (None, "2026-04-01T12:00:00Z", False),
        ("2026-04-01T12:00:00Z", None, False),
        ("0001-01-01T00:00:00+14:00", "2026-04-01T12:00:00Z", False),
    ],
)
def test_timestamps_are_compared_with_the_agents_own_earlier_one(
    this: str | None, last: str | None, late: bool
) -> None:
    assert core.is_late(this, last) is late


def test_the_last_error_is_kept_after_the_agent_recovered() -> None:
    agent = said(KNOWN, "error", errorCode="E7", message="disk full")
    assert said(agent, "idle").last_error == "E7: disk full"
    assert said(KNOWN, "error").last_error == "error"


def test_an_order_to_drain_outlives_reports_and_absence() -> None:
    drained = core.evolve_agent(KNOWN, core.drain(KNOWN, 99, "operator:ada", "upgrade"), 2)
    assert said(drained, "idle").state is AgentState.DRAINING
    away = core.evolve_agent(drained, core.leave(drained), 3)
    assert away.state is AgentState.OFFLINE
    arrived = core.arrive(away, "agent:a1", first=True)
    assert arrived is not None
    back = core.evolve_agent(away, arrived, 4)
    assert (back.state, back.drain_deadline) == (AgentState.DRAINING, 99)
    released = core.evolve_agent(back, ev.AgentDrained((), "system:opscore", ""), 5)
    assert (released.state, released.drain_deadline) == (AgentState.DRAINING, None)


def test_activating_ends_a_drain_and_forgives_an_error() -> None:
    drained = core.evolve_agent(KNOWN, core.drain(KNOWN, None, "operator:ada", ""), 2)
    event = core.activate(drained, "operator:ada", "done")
    assert isinstance(event, ev.AgentActivated)
    assert core.evolve_agent(drained, event, 3).state is AgentState.UNKNOWN
    failed = said(KNOWN, "error")
    event = core.activate(failed, "operator:ada", "")
    assert isinstance(event, ev.AgentActivated)
    after = core.evolve_agent(failed, event, 4)
    assert (after.state, after.reported) == (AgentState.IDLE, None)


@pytest.mark.parametrize("word", ["idle", "active", "initializing", "unknown"])
def test_activating_what_nothing_holds_back_is_refused(word: str) -> None:
    refused = core.activate(said(KNOWN, word), "operator:ada", "")
    assert isinstance(refused, Refused)
    assert refused.code == "conflict"


def test_the_same_registration_again_leads_to_nothing() -> None:
    new = Agent("a1", "default")
    agent = new
    for event in core.register(new, CONTENT, "operator:ada"):
        agent = core.evolve_agent(agent, event, 7)
    assert (agent.content, agent.seq, agent.created_at) == (CONTENT, 1, 7)
    assert core.register(agent, CONTENT, "operator:bob") == []
    newer = replace(CONTENT, version="2")
    (changed,) = core.register(agent, newer, "operator:ada")
    assert core.evolve_agent(agent, changed, 8).content == newer


def test_a_push_agent_that_registers_again_has_begun_anew() -> None:
    pushed = replace(KNOWN, channel="http")
    failed = said(pushed, "error")
    (event,) = core.register(failed, failed.content, "agent:a1")
    assert core.evolve_agent(failed, event, 9).state is AgentState.UNKNOWN


def test_aliases_are_bounded_and_the_newest_is_last() -> None:
    aliases: tuple[str, ...] = ()
    for number in range(20):
        aliases = core.with_alias(aliases, f"id{number}")
    aliases = core.with_alias(aliases, "id15")
    assert aliases == ("id12", "id13", "id14", "id16", "id17", "id18", "id19", "id15")


def test_a_new_process_is_idle_whatever_the_last_one_said() -> None:
    failed = said(KNOWN, "error")
    event = core.arrive(failed, "agent:a1", first=True)
    assert event is not None
    assert event.state is AgentState.IDLE
    assert core.arrive(failed, "agent:a1", first=False) is None, "the same process, back again"
    assert core.arrive(said(KNOWN, "idle"), "agent:a1", first=True) is None
    assert core.arrive(said(KNOWN, "meditating"), "agent:a1", first=False) is None


@pytest.mark.parametrize(
    ("channel", "online", "silent", "absent"),
    [
        ("stream", False, 45, True),
        ("stream", False, 44, False),
        ("stream", True, 1000, False),
        ("local", False, 45, True),
        ("http", False, 1000, False),
        ("agentkit", False, 1000, False),
    ],
)
def test_the_verdict_on_presence(channel: str, online: bool, silent: int, absent: bool) -> None:
    agent = replace(KNOWN, channel=channel)
    found = core.is_absent(
        agent, online=online, last_seen=0, now=silent * SECOND, offline_after=45 * SECOND
    )
    assert found is absent


@pytest.mark.parametrize(
    ("channel", "word", "taken", "verdict"),
    [
        ("stream", "error", 0, Availability.AVAILABLE),
        ("stream", "meditating", 1, Availability.AVAILABLE),
        ("stream", "idle", 2, Availability.BUSY),
        ("stream", "draining", 0, Availability.DRAINING),
        ("stream", "offline", 0, Availability.OFFLINE),
        ("http", "", 0, Availability.AVAILABLE),
        ("http", "UNKNOWN", 1, Availability.AVAILABLE),
        ("http", "idle", 2, Availability.BUSY),
        ("http", "finished", 0, Availability.AVAILABLE),
        ("http", "meditating", 0, Availability.UNREADABLE),
        ("http", "initializing", 0, Availability.STARTING),
        ("http", "error", 0, Availability.FAILED),
        ("http", "active", 1, Availability.AVAILABLE),
        ("http", "active", 2, Availability.BUSY),
    ],
)
def test_who_may_be_given_work(channel: str, word: str, taken: int, verdict: Availability) -> None:
    agent = said(replace(KNOWN, channel=channel), word)
    assert core.availability(agent, in_flight=taken, slots=2, connected=True) is verdict


def test_who_may_be_given_work_when_not_heard_of_not_connected_or_busy_elsewhere() -> None:
    pushed = replace(KNOWN, channel="agentkit")
    assert (
        core.availability(pushed, in_flight=0, slots=1, connected=False) is Availability.AVAILABLE
    )
    busy = said(pushed, "active")
    assert core.availability(busy, in_flight=0, slots=1, connected=False) is Availability.BUSY
    idle = said(KNOWN, "idle")
    assert core.availability(idle, in_flight=0, slots=1, connected=False) is Availability.OFFLINE


def test_an_idle_agent_with_attempts_is_shown_as_active() -> None:
    assert core.shown_state(said(KNOWN, "idle"), 1) is AgentState.ACTIVE
    assert core.shown_state(said(KNOWN, "idle"), 0) is AgentState.IDLE
    assert core.shown_state(said(KNOWN, "active"), 0) is AgentState.ACTIVE
    assert core.shown_state(said(KNOWN, "error"), 3) is AgentState.ERROR
