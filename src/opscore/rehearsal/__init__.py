"""Rehearsals: a template run by the real engine, with mocked agents, on a clock that jumps.

The form of a mocks file is told in docs/testing.md. Nothing waits: whenever nothing is left to do,
time jumps to the next thing that is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from opscore.core.errors import Refusal
from opscore.documents import formatted
from opscore.rehearsal.loop import RehearsalLoop
from opscore.rehearsal.mocks import Case, read_mocks
from opscore.rehearsal.outcome import Outcome
from opscore.rehearsal.stage import Stage

__all__ = ["CannotRehearse", "Case", "Outcome", "read_mocks", "rehearse", "rehearse_files"]


class CannotRehearse(Exception):
    """A file is missing, or something in one is wrong; `lines` say what and where."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


def rehearse(templates: Sequence[tuple[str, str]], case: Case) -> Outcome:
    """Run one case: the first of `templates` is started, the others are what it may start.

    `templates` are (name of the file, text). Raises a Refusal for a template or an input that a
    server would refuse. To be called where no event loop runs.
    """
    with asyncio.Runner(loop_factory=RehearsalLoop) as runner:
        return runner.run(Stage(case).play(templates))


def rehearse_files(template: Path, mocks: Path) -> Iterator[Outcome]:
    """Run every case of a mocks file. Raises `CannotRehearse`."""
    try:
        cases, files = read_mocks(_text(mocks), str(mocks))
    except Refusal as refusal:
        raise CannotRehearse(_told(refusal, str(mocks))) from None
    paths = [template, *(mocks.parent / name for name in files)]
    texts = [(str(path), _text(path)) for path in paths]
    for case in cases:
        try:
            yield rehearse(texts, case)
        except Refusal as refusal:
            raise CannotRehearse(_told(refusal, str(template))) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise CannotRehearse([f"{path}: {problem.strerror}"]) from None
    except UnicodeDecodeError:
        raise CannotRehearse([f"{path}: not UTF-8 text"]) from None


def _told(refusal: Refusal, name: str) -> list[str]:
    return formatted(refusal.faults, name) or [f"{name}: {refusal.detail}"]
