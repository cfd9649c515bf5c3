"""Every example of docs/language.md is rehearsed, and gives what its mocks expect."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from opscore.rehearsal import Case, read_mocks, rehearse
from tests.docs.pages import blocks, page

PAGE = page("docs/language.md")
REHEARSAL = "# rehearsal\n"
NAME = re.compile(r"name: (\S+)")


@dataclass
class Example:
    """Templates that stand together, the first of which is started, and the mocks after them."""

    templates: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    cases: list[Case] = field(default_factory=list[Case])


def examples() -> list[Example]:
    found: list[Example] = []
    current = Example()
    for text in blocks(PAGE, "yaml"):
        if text.startswith(REHEARSAL):
            current.cases = read_mocks(text, "mocks.yaml")[0]
            found.append(current)
            current = Example()
        else:
            named = NAME.match(text)
            assert named, text
            current.templates.append((f"{named[1]}.yaml", text))
    assert not current.templates, f"{current.templates[0][0]} has no rehearsal"
    return found


PAIRS = [(example, case) for example in examples() for case in example.cases]


@pytest.mark.parametrize(
    ("example", "case"), PAIRS, ids=[f"{e.templates[0][0]} {c.name}".strip() for e, c in PAIRS]
)
def test_an_example_does_what_the_page_says(example: Example, case: Case) -> None:
    assert rehearse(example.templates, case).mistakes == ()
