"""Names of code that the pages mention exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

MENTION = re.compile(r"`(?P<file>\w+/[\w/]+\.(?:py|sql|yaml))(?::(?P<name>[\w.]+))?`")
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
ROOTS = (ROOT, ROOT / "src", ROOT / "src" / "opscore")


@cache
def names_in(file: Path) -> frozenset[str]:
    """Functions and classes, methods as `Class.method`, and constants of a module."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef():
                inner = [one for one in node.body if isinstance(one, _FUNCTIONS)]
                found |= {node.name, *(f"{node.name}.{one.name}" for one in inner)}
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found.add(node.name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
            case _:
                pass
    return frozenset(found)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def missing(text: str) -> list[str]:
    """Mentions of `room/file.py` and `room/file.py:name` that are not there."""
    lost: list[str] = []
    for found in MENTION.finditer(text):
        name, file = found["name"], found["file"]
        at = next((root / file for root in ROOTS if (root / file).is_file()), None)
        if at is None or (name is not None and name not in names_in(at)):
            lost.append(found[0])
    return lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_exists(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8")) == []


def test_a_name_that_is_gone_is_noticed() -> None:
    text = "`core/session.py:decide` `core/session.py:guess` `core/oracle.py` `tools/record.py`"
    assert missing(text) == ["`core/session.py:guess`", "`core/oracle.py`"]


def test_the_walk_is_long_enough_to_be_checked() -> None:
    walk = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len([found for found in MENTION.finditer(walk) if found["name"]]) > 20
