"""The tables of commands come from the commands' own help."""

from __future__ import annotations

import os

import pytest

from opscore.cli.app import COMMANDS
from tools import commands


def test_every_command_has_a_row_with_its_usage() -> None:
    drawn = commands.tables()
    assert "| `opscore agent drain AGENT` | Let an agent finish what it has" in drawn
    assert all(f"`opscore {name}" in drawn for name in COMMANDS)
    assert drawn.count("\n### ") == len(
        [name for name in COMMANDS if f"### {name.title()}" in drawn]
    )


def test_the_width_of_the_terminal_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    narrow = commands.described(("agent", "ls"))
    monkeypatch.delenv("COLUMNS")
    assert commands.described(("agent", "ls")) == narrow
    assert "COLUMNS" not in os.environ
