"""One file for each mistake that people make, and beside it exactly what they are told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from opscore.core.errors import Invalid
from opscore.core.parsing import TEMPLATE_KEYS
from opscore.core.steps import STEP_KEYS
from opscore.core.template_schema import OF_STEPS, OF_TEMPLATES, template_schema
from opscore.documents import load
from opscore.json_schema import check_schema, validate
from tests.docs.pages import ROOT
from tests.mistakes.told import FOLDER, told

MISTAKES = sorted(FOLDER.glob("*.yaml"))
SCHEMA = msgspec.json.encode(template_schema())

UNSEEN = {
    "agent-outside-of-prefer": "needs to read expressions",
    "approval-with-too-large-a-quorum": "needs to count a list",
    "signal-with-a-bad-schema": "needs the schema of schemas",
    "condition-that-is-a-number": "needs the type of an expression",
    "condition-with-text-around": "needs to know where expressions begin and end",
    "computed-capability": "needs to know where expressions are",
    "cycle": "needs the whole graph",
    "empty-expression": "needs to read expressions",
    "expression-not-closed": "needs to read expressions",
    "fallback-after-a-value": "needs the order of a list",
    "fallback-of-a-wait": "needs to know where expressions are",
    "field-of-a-text": "needs the schema of the input",
    "foreach-over-text": "needs the schema of the input",
    "input-is-no-schema": "needs the schema of schemas",
    "item-without-foreach": "needs to read expressions",
    "need-twice": "a list of needs may hold any names",
    "needs-itself": "needs the whole graph",
    "prefer-that-is-a-number": "needs the type of an expression",
    "prefer-that-sees-the-input": "needs to read expressions",
    "prefer-with-a-misspelt-field": "needs to read expressions",
    "retry-delays-do-not-fit": "needs to compare two durations",
    "schema-that-fetches": "needs the schema of schemas",
    "step-name-of-the-language": "needs the words of the expression language",
    "step-that-is-not-needed": "needs to read expressions",
    "syntax-of-an-expression": "needs to read expressions",
    "timeout-too-long": "needs to add durations up",
    "two-cycles": "needs the whole graph",
    "types-that-do-not-fit": "needs to read expressions",
    "unknown-field-of-a-step": "needs to read expressions",
    "unknown-field-of-the-input": "needs to read expressions",
    "unknown-function": "needs to read expressions",
    "unknown-name": "needs to read expressions",
    "unknown-need": "needs the names of all steps",
    "unknown-step": "needs to read expressions",
    "warning-never-runs": "is no mistake",
    "warning-undeclared-field": "is no mistake",
}
"""Mistakes that the schema for editors cannot see, and why."""


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


@pytest.mark.parametrize("path", MISTAKES, ids=names(MISTAKES))
def test_a_mistake_is_told_in_exactly_these_words(path: Path) -> None:
    assert told(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


def test_each_mistake_has_its_words() -> None:
    assert names(sorted(FOLDER.glob("*.txt"))) == names(MISTAKES)
    assert set(names(MISTAKES)) >= set(UNSEEN)


# -- the schema for editors -----------------------------------------------------------------


def test_the_schema_is_one() -> None:
    assert check_schema(template_schema()) == []


@pytest.mark.parametrize("path", MISTAKES, ids=names(MISTAKES))
def test_the_schema_refuses_what_a_schema_can_see(path: Path) -> None:
    try:
        tree = load(path.read_text(encoding="utf-8"), name=path.name).tree
    except Invalid:
        return  # An editor's YAML reader tells it.
    refused = bool(validate(SCHEMA, msgspec.json.encode(tree)))
    assert refused != (path.stem in UNSEEN)


GOOD = [
    *sorted((ROOT / "examples").glob("*.yaml")),
    *sorted((ROOT / "examples" / "workflows").glob("*.yaml")),
    *sorted((ROOT / "src" / "opscore" / "demo").glob("*.yaml")),
]


@pytest.mark.parametrize("path", GOOD, ids=names(GOOD))
def test_the_schema_accepts_what_is_right(path: Path) -> None:
    tree = load(path.read_text(encoding="utf-8"), name=path.name).tree
    assert validate(SCHEMA, msgspec.json.encode(tree)) == []


def test_the_schema_knows_every_key() -> None:
    assert set(STEP_KEYS) <= set(OF_STEPS)
    assert set(TEMPLATE_KEYS) <= set(OF_TEMPLATES)
