"""The examples of a page: fenced blocks, by the comment before them or by their language."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return [found["text"] for found in FENCE.finditer(text) if found["language"] == language]


def marked(text: str, start: str, end: str) -> str:
    """The one block between two comments, such as `<!-- agent: 20 lines -->`."""
    between = text.split(f"<!-- {start} -->\n", 1)[1].split(f"<!-- end of {end} -->", 1)[0]
    found = FENCE.fullmatch(between.strip())
    assert found is not None, f"the part {start!r} is not one fenced block"
    return found["text"]
