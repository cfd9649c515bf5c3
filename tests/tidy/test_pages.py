"""The pages people read: their links lead somewhere, and the commands they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy.source import ROOT, files

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
COMMAND = re.compile(r"(?:^|`)make (?:PYTHON=\S+ )?([a-z]+)", re.MULTILINE)
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)

PAGES = [path for path in files(".", suffixes=frozenset({".md"})) if ".github" not in path.parts]


def dead_links(text: str, folder: Path) -> list[str]:
    links = [link for link in LINK.findall(text) if "://" not in link]
    return [link for link in links if not (folder / link).exists()]


def unknown_commands(text: str) -> list[str]:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    return [command for command in COMMAND.findall(text) if command not in targets]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere_and_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert dead_links(text, page.parent) == []
    assert unknown_commands(text) == []


def test_the_readme_names_its_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"demo", "test"} <= set(COMMAND.findall(readme))


def test_a_dead_link_and_an_unknown_command_are_found() -> None:
    assert dead_links("see [this](docs/nowhere.md#there) and [that](README.md)", ROOT) == [
        "docs/nowhere.md"
    ]
    assert unknown_commands("make test\n\n`make demolish`\n") == ["demolish"]
