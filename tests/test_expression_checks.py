"""Expressions checked before anything runs."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opscore.core.expressions import ExpressionFailed, ExpressionScope
from opscore.expressions import MAX_PROGRAMS, CelExpressions
from tests.cel import Here

EVERY = CelExpressions()


@pytest.fixture(scope="module")
def cel() -> CelExpressions:
    return CelExpressions()


SCOPE = ExpressionScope(
    frozenset({"input", "steps", "session"}),
    frozenset({"scan"}),
    frozenset({"scan", "late"}),
    frozenset({"REGION"}),
)


@pytest.mark.parametrize(
    "text",
    [
        "input.a + steps.scan.output.b",
        "steps['scan'].output",
        "steps",
        "[1].map(item, item)",
        "[1].exists(late, late == 1)",
        "type(input) == string",
        "has(steps.scan.output.x)",
    ],
)
def test_check_accepts(cel: CelExpressions, text: str) -> None:
    assert cel.check(text, SCOPE) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 +", "column 4: Syntax error: something is missing at the end"),
        ("1 +\n  +", "line 2, column 3: Syntax error"),
        ("inptu.x.y", "column 1: 'inptu' is not known here; did you mean 'input'?"),
        ("1 + zzzz", "column 5: 'zzzz' is not known here; known: input, session, steps"),
        ("1 + item", "column 5: 'item' is only known in a step with 'foreach'"),
        ("error.message", "column 1: 'error' is only known in 'fallback', in 'onError'"),
        ("previous", "column 1: 'previous' is only known in a step with 'repeat'"),
        ("env.REGION", None),
        ("env", None),
        ("env.REGOIN", "column 1: 'REGOIN' is not among the names that the template lists"),
        ("agent.labels", "column 1: 'agent' is only known in 'prefer' of 'match'"),
        ("1 + steps.late.output", "column 5: step 'late' does not run before this one; add it"),
        ("steps['late'].output", "step 'late' does not run before"),
        ("steps.sacn.output", "column 1: there is no step 'sacn'; did you mean 'scan'?"),
        ("has(steps.nope.output)", "there is no step 'nope'"),
        ("input.map(x, item)", "column 14: 'item' is only known"),
        (".item", "'item' is only known"),
        ("input.map(steps, steps.late)", None),
        ("input.foo()", "column 10: there is no function 'foo'"),
        ("1 + 'a'", "column 3: '+' does not go with (int, string)"),
        ("x" * 5000, "longer than 4096"),
        ("(" * 2000, ""),
        ("", "Syntax error"),
        ("'\\ud800'", "column 1"),
        ("@chunks0", "Syntax error"),
    ],
)
def test_check_refuses(cel: CelExpressions, text: str, complaint: str | None) -> None:
    found = cel.check(text, SCOPE)
    if complaint is None:
        assert found is None
    else:
        assert found is not None
        assert complaint in found
        assert len(found) < 500


def test_the_cache_is_bounded() -> None:
    cel = CelExpressions()
    for at in range(MAX_PROGRAMS + 10):
        assert cel.condition(f"{at} == {at}", Here())
    assert len(cel._programs) == MAX_PROGRAMS  # pyright: ignore[reportPrivateUsage]


parts = st.sampled_from(
    [
        "input",
        "item",
        "steps",
        "a",
        "x",
        "1",
        "2.5",
        "'s'",
        "b'q'",
        "1u",
        "null",
        "true",
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        ",",
        ":",
        ".",
        "?",
        "+",
        "-",
        "*",
        "==",
        "<",
        "in",
        "&&",
        "!",
        "size(",
        ".map(x,",
        ".filter(x,",
        ".sort()",
        ".join(',')",
        "duration('1s')",
        "type(",
        "[0]",
        " ",
    ]
)


@settings(max_examples=300)
@given(st.lists(parts, max_size=12).map("".join))
def test_no_expression_crashes(text: str) -> None:
    here = Here(input=b'{"a":[1,{"x":null}]}', item=b"[1,2]", outputs={"a": b"[]"})
    EVERY.check(text, SCOPE)
    with contextlib.suppress(ExpressionFailed):
        EVERY.condition(text, here)
