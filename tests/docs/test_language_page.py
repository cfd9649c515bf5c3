"""Every example of docs/language.md is rehearsed, and gives what its mocks expect."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from opscore.core.durations import parse_moment, rfc3339
from opscore.core.schedule import passed, preview
from opscore.core.trees import is_map
from opscore.documents import load
from opscore.rehearsal import Case, read_mocks, rehearse
from opscore.templates import read_template
from tests.docs.pages import blocks, page

PAGE = page("docs/language.md")
REHEARSAL = "# rehearsal\n"
PREVIEW = "# preview\n"
NAME = re.compile(r"name: (\S+)")


@dataclass
class Example:
    """Templates that stand together, the first of which is started, and the mocks after them."""

    templates: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    cases: list[Case] = field(default_factory=list[Case])


def examples(previews: list[tuple[str, str]]) -> list[Example]:
    """The examples in order; a template with the preview of its schedule goes to `previews`."""
    found: list[Example] = []
    current = Example()
    for text in blocks(PAGE, "yaml"):
        if text.startswith(REHEARSAL):
            current.cases = read_mocks(text, "mocks.yaml")[0]
            found.append(current)
            current = Example()
        elif text.startswith(PREVIEW):
            previews.append((current.templates[-1][1], text))
        else:
            named = NAME.match(text)
            assert named, text
            current.templates.append((f"{named[1]}.yaml", text))
    assert not current.templates, f"{current.templates[0][0]} has no rehearsal"
    return found


PREVIEWS: list[tuple[str, str]] = []
PAIRS = [(example, case) for example in examples(PREVIEWS) for case in example.cases]


@pytest.mark.parametrize(
    ("example", "case"), PAIRS, ids=[f"{e.templates[0][0]} {c.name}".strip() for e, c in PAIRS]
)
def test_an_example_does_what_the_page_says(example: Example, case: Case) -> None:
    assert rehearse(example.templates, case).mistakes == ()


@pytest.mark.parametrize(("template", "told"), PREVIEWS)
def test_a_schedule_runs_when_the_page_says(template: str, told: str) -> None:
    schedule = read_template(template.encode()).schedule
    expected = load(told, name="preview").tree
    assert schedule is not None and is_map(expected)
    times = preview(schedule, 0, _moment(expected["from"]), 3)
    assert [rfc3339(at) for at in times] == expected["next"]
    down = expected["down"]
    assert is_map(down)
    found = passed(schedule, 0, _moment(down["since"]), _moment(down["until"]))
    assert [rfc3339(at) for at in found.start] == expected["started"]
    assert found.missed == expected["missed"]


def _moment(text: object) -> int:
    found = parse_moment(str(text))
    assert found is not None
    return found
