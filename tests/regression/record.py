"""Record the journals of this version, once, when it is released: `python -m tests.regression.record`.

The examples, those of docs/language.md, and random plays of the model, with all that they do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from opscore import __version__
from opscore.rehearsal import rehearse, rehearse_files
from tests.docs.pages import ROOT
from tests.docs.test_language_page import PAIRS
from tests.model.plays import answers, plays, told_apart
from tests.model.theatre import Spied, Spy, perform
from tests.model.world import Answer, Key, Play
from tests.regression.journals import (
    ENDING,
    FOLDER,
    Decision,
    Recording,
    event_row,
    to_plain,
    write,
)

PLAYS = 250


def recordings() -> Iterator[Recording]:
    """Of everything that is kept."""
    folder = ROOT / "examples" / "workflows"
    for path in sorted(folder.glob("*.yaml")):
        for spy in _spied_on(path, folder / "mocks" / path.name):
            yield from _of(path.name, spy)
    for example, case in PAIRS:
        with pytest.MonkeyPatch.context() as patched:
            spy = _placed(patched)
            rehearse(example.templates, case)
        yield from _of(f"language: {example.templates[0][0]} {case.name}".strip(), spy)
    for number, spy in enumerate(_plays()):
        yield from _of(f"play {number}", spy)


def _spied_on(template: Path, mocks: Path) -> Iterator[Spy]:
    """One for each case: their sessions have the same ids."""
    with pytest.MonkeyPatch.context() as patched:
        spy = _placed(patched)
        for _ in rehearse_files(template, mocks):
            yield spy
            spy = _placed(patched)


def _placed(patched: pytest.MonkeyPatch) -> Spy:
    spy = Spy()
    patched.setattr("opscore.engine.unit.decide", spy.decide)
    return spy


def _plays() -> list[Spy]:
    found: list[Spy] = []

    @seed(1)
    @settings(
        max_examples=PLAYS,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(plays(), st.data())
    def play(each: Play, data: st.DataObject) -> None:
        told: dict[Key, Answer] = {}

        def answer(key: Key) -> Answer:
            if key not in told:
                told[key] = told_apart(key, data.draw(answers()))
            return told[key]

        found.append(perform(each, answer).spy)

    play()
    return found


def _of(name: str, spy: Spy) -> Iterator[Recording]:
    for session_id, decisions in spy.decisions.items():
        template = decisions[0].template
        limit = decisions[0].around.payload_limit
        source = bytes(template.source).decode()
        yield Recording(name, session_id, source, limit, [_decision(each) for each in decisions])


def _decision(spied: Spied) -> Decision:
    events = [event_row(event) for event in spied.events]
    return Decision(spied.around.now, to_plain(spied.command), events)


def main() -> int:
    """Write the file of this version; one that is there stays as it is."""
    path = FOLDER / f"{__version__}{ENDING}"
    if path.exists():
        sys.stderr.write(f"{path} is kept for ever: record under a new version\n")
        return 1
    found = [*recordings()]
    FOLDER.mkdir(exist_ok=True)
    write(path, found)
    decisions = sum(len(each.decisions) for each in found)
    sys.stderr.write(f"{path}: {len(found)} sessions, {decisions} decisions\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
