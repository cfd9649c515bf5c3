"""Random templates and random outcomes: the engine does what the model says.

`HYPOTHESIS_PROFILE=deep` looks at many more of them.
"""

from __future__ import annotations

import copy
import os

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from opscore.core.evolve import evolve
from opscore.core.session import Decided, decide
from opscore.core.state import SessionState
from opscore.core.types import SESSION_ENDED
from opscore.engine.journal import decode, encode, fold
from tests.core.scene import plain
from tests.model.model import foretell
from tests.model.plays import answers, plays, told_apart
from tests.model.theatre import Spied, Theatre, perform
from tests.model.world import Answer, Key, Play, Seen

EXAMPLES = {"quick": 150, "deep": 20_000}[os.environ.get("HYPOTHESIS_PROFILE", "quick")]


@pytest.mark.timeout(7_200)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(plays(), st.data())
def test_the_engine_does_what_the_model_says(play: Play, data: st.DataObject) -> None:
    note(f"{play}")
    told: dict[Key, Answer] = {}

    def answer(key: Key) -> Answer:
        if key not in told:
            told[key] = told_apart(key, data.draw(answers(), label=str(key)))
        return told[key]

    expected = foretell(play, answer)
    note(f"foretold: {expected}")
    theatre = perform(play, lambda key: told.get(key, Answer()))
    note(f"seen: {theatre.seen}")
    compare(theatre.seen, expected)
    for session_id in theatre.records:
        check_journal(theatre, session_id)


def compare(seen: Seen, expected: Seen) -> None:
    """Everything that people and agents saw of it."""
    assert {path: ended.steps for path, ended in seen.sessions.items()} == {
        path: ended.steps for path, ended in expected.sessions.items()
    }
    assert sorted(seen.attempts, key=str) == sorted(expected.attempts, key=str)
    for key, began in expected.attempts.items():
        assert seen.attempts[key] == began, key
    for path, ended in expected.sessions.items():
        assert seen.sessions[path] == ended, path
    over = max(ended.at for ended in expected.sessions.values())
    assert seen.refused == [each for each in expected.refused if each[0] <= over]


def check_journal(theatre: Theatre, session_id: str) -> None:
    """The session ended; its journal folds to the live state and replays to the same decisions."""
    assert theatre.records[session_id].status in SESSION_ENDED
    rows, decisions = theatre.journals[session_id], theatre.spy.decisions[session_id]
    written = [(row.type, bytes(row.data)) for row in rows]
    made = [(each.TYPE, bytes(encode(each))) for one in decisions for each in one.events]
    assert written == made
    folded = fold(SessionState(session_id), rows)
    assert plain(folded) == plain(theatre.spy.states[session_id])
    state = SessionState(session_id)
    for one in decisions:
        replay(state, one)


def replay(state: SessionState, one: Spied) -> None:
    """Decide again, from what the journal says alone."""
    assert state.seq == one.seq
    again = decide(one.template, copy.deepcopy(state), one.command, one.around)
    assert isinstance(again, Decided)
    assert [encode(event) for event in again.events] == [encode(event) for event in one.events]
    for event in one.events:
        evolve(state, decode(event.TYPE, event.VERSION, encode(event)), one.around.now)
