"""What docs/security.md promises is shown by a test; that each one exists, `test_walk.py` checks."""

from __future__ import annotations

import re

from tests.docs.pages import page

TABLES = ("| promise | held by |", "| risk | what is done about it |")


def test_every_promise_and_every_risk_names_a_test() -> None:
    rows: list[str] = []
    inside = False
    for line in page("docs/security.md").splitlines():
        inside = line.startswith(TABLES) or (inside and line.startswith("|"))
        if inside and not line.startswith((*TABLES, "|---")):
            rows.append(line)
    assert len([row for row in rows if row.startswith(("| API", "| ASI"))]) == 20
    assert len(rows) > 50
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py", row)] == []
