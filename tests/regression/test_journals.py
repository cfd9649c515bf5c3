"""Journals of earlier versions: today's code reads them and decides as was decided then."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opscore.core import events as ev
from opscore.core.evolve import evolve
from opscore.core.session import Decided, Surroundings, decide
from opscore.core.state import SessionState
from opscore.core.template import Template
from opscore.engine.journal import decode, encode
from opscore.expressions import CelExpressions
from opscore.templates import read_template
from tests.core.scene import plain
from tests.regression.journals import (
    ENDING,
    FOLDER,
    Decision,
    Recording,
    from_plain,
    read,
    to_plain,
)

KEPT = sorted(FOLDER.glob(f"*{ENDING}"))
WORDS = ("message", "reason")
"""Fields for people: their words may become better."""
expressions = cache(CelExpressions)


@cache
def template_of(source: str) -> Template:
    return read_template(source.encode())


def test_there_are_journals() -> None:
    assert KEPT


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_every_kept_journal_replays_to_the_same_decisions(path: Path) -> None:
    for recording in read(path):
        replay(recording)


def replay(recording: Recording) -> None:
    """Fold what was written, and decide again before each part of it."""
    template = template_of(recording.template)
    state = SessionState(recording.session_id)
    for at, decision in enumerate(recording.decisions):
        where = f"{recording.name}, {recording.session_id}, decision {at}"
        written = [decode(kind, version, data.encode()) for kind, version, data in decision.events]
        if not state.seq:
            first = written[0]
            assert isinstance(first, ev.SessionStarted)
            state.namespace, state.workflow = first.namespace, first.workflow
            state.version = first.template_version
        made, after = again(template, state, decision, recording.payload_limit)
        assert [bare(event) for event in made] == [bare(event) for event in written], where
        for event in written:
            evolve(state, event, decision.at)
        if [encode(e) for e in made] == [encode(e) for e in written]:
            assert plain(state) == plain(after), where


def again(
    template: Template, state: SessionState, decision: Decision, limit: int
) -> tuple[list[ev.SessionEvent], SessionState]:
    """What is decided today, and the state that leaves."""
    after = copy.deepcopy(state)
    around = Surroundings(decision.at, expressions(), limit)
    found = decide(template, after, from_plain(decision.command), around)
    assert isinstance(found, Decided), found
    return found.events, after


def bare(event: ev.SessionEvent) -> tuple[str, dict[str, Any]]:
    """An event without its words for people."""
    fields = msgspec.json.decode(encode(event), type=dict[str, Any])
    return event.TYPE, {name: each for name, each in fields.items() if name not in WORDS}


def test_a_decision_that_differs_is_noticed() -> None:
    recording = next(iter(read(KEPT[0])))
    *before, last = recording.decisions
    kind, version, data = last.events[-1]
    fields = {**msgspec.json.decode(data), "output": "another"}
    last.events[-1] = kind, version, msgspec.json.encode(fields).decode()
    with pytest.raises(AssertionError, match=f"decision {len(before)}"):
        replay(recording)


def test_commands_come_back_as_they_were_written() -> None:
    for decision in next(iter(read(KEPT[0]))).decisions:
        command = from_plain(decision.command)
        assert from_plain(to_plain(command)) == command
        kept = to_plain(command)
        assert {name: kept[name] for name in decision.command if name != "event"} == {
            name: each for name, each in decision.command.items() if name != "event"
        }
