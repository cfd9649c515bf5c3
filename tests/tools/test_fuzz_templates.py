"""The fuzz of the templates: a fixed dose of it, and that it finds what it looks for."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.core.errors import Fault, Invalid
from opscore.templates import read_template
from tools.fuzz import templates
from tools.fuzz.templates import Found, case_of, examine

CASES = range(60)


def test_damaged_templates_are_read_or_refused_with_a_place() -> None:
    outcomes = {examine(case_of(1, number)) for number in CASES}
    assert outcomes >= {"read", "refused"}


def test_a_seed_gives_the_same_cases_again() -> None:
    assert [case_of(3, n) for n in range(20)] == [case_of(3, n) for n in range(20)]
    assert case_of(3, 1) != case_of(4, 1) != case_of(4, 2)


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (Invalid("x"), "no fault is told"),
        (Invalid("x", faults=[Fault("/steps", "x")]), "no place"),
        (Invalid("x", faults=[Fault("/steps", " ", line=1, column=1)]), "says nothing"),
        (Invalid("x", faults=[Fault("/steps", "x", line=99, column=1)]), "not in the document"),
    ],
)
def test_a_refusal_that_helps_nobody_is_found(
    monkeypatch: pytest.MonkeyPatch, refusal: Invalid, why: str
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise refusal

    monkeypatch.setattr(templates, "read_template", refuse)
    with pytest.raises(Found, match=why):
        examine(b"name: x")


def test_a_crash_is_told_with_its_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> Any:
        raise RecursionError("too deep")

    monkeypatch.setattr(templates, "read_template", crash)
    with pytest.raises(RecursionError) as caught:
        templates.run(7, 1.0)
    assert caught.value.__notes__ == ["python -m tools.fuzz.templates --seed 7 --case 0"]


def test_a_reader_that_takes_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker contradicts it."""
    right = (templates.ROOT / "examples/workflow.yaml").read_bytes()
    template = read_template(right)

    def take(source: Any, **_: Any) -> Any:
        return template if source in {b"name: x", bytes(template.source)} else None

    monkeypatch.setattr(templates, "read_template", take)
    with pytest.raises(Found, match="disagree"):
        examine(b"name: x")
