"""What an expression may cost, and what it leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opscore.core.expressions import ExpressionFailed, ExpressionScope
from opscore.expressions import CelExpressions
from opscore.expressions.chunking import CHUNK
from tests.cel import Here, failed, failure, raw, result, value_of


@pytest.fixture(scope="module")
def cel() -> CelExpressions:
    return CelExpressions()


LONG = list(range(3000))


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("input.map(a, input.map(b, input.map(c, 1)))", LONG),
        ("input.all(a, input.all(b, input.all(c, true)))", LONG),
        ("input.map(a, input.sort())", LONG),
        ("input.xs.filter(x, input.s.contains(x))", {"xs": ["q"] * 5000, "s": "x" * 200_000}),
        ("input.replace('x', input).size()", "x" * 10_000),
        ("cel.bind(a, input + input, cel.bind(b, a + a + a + a, b + b + b + b))", "x" * 600_000),
        ("lists.range(10000).map(a, 1).map(b, 1)", None),
        ("input.filter(x, true).map(x, 1).filter(x, true)", list(range(9000))),
        ("[" + "0, " * 99 + "1].map(a, lists.range(200).map(b, 1))", None),
    ],
)
def test_costly_expressions_are_stopped(cel: CelExpressions, text: str, data: object) -> None:
    assert failure(cel, text, data).error_class == "expression_limit"


@pytest.mark.parametrize(
    ("text", "data", "size"),
    [
        ("input.filter(m, has(m.c) && m.c > 10)", [{"c": at, "f": "x" * 40} for at in LONG], 2989),
        ("input.map(m, m.c)", [{"c": at} for at in range(9_900)], 9900),
        ("input.map(m, input.size())", LONG, 3000),
        ("input.map(x, timestamp(x))", ["2026-01-01T00:00:00Z"] * 1000, 1000),
        ("input.map(m, m.c > 5, m.c * 2)", [{"c": at} for at in LONG], 2994),
        ("input.xs.filter(x, x in input.ys)", {"xs": LONG, "ys": LONG[:50]}, 50),
        ("input.map(x, x + ': ' + x).join(',').split(',')", ["a" * 20] * 2000, 2000),
        ("input.sort().distinct().reverse()", LONG, 3000),
        ("input.map(x, [x, x].map(y, y)).flatten()", LONG[:2000], 4000),
    ],
)
def test_what_workflows_do_is_not(cel: CelExpressions, text: str, data: object, size: int) -> None:
    assert len(result(cel, text, data)) == size


numbers = st.lists(st.integers(-5, 5), min_size=CHUNK - 1, max_size=3 * CHUNK)


@settings(max_examples=15, deadline=None)
@given(numbers, st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=300))
def test_chunks_give_what_the_whole_gives(flat: list[int], nested: list[list[int]]) -> None:
    data = {"f": flat, "n": nested, "m": {str(at): at for at in range(len(flat))}}
    for text, expected in (
        ("input.f.map(x, x * 2)", [x * 2 for x in flat]),
        ("input.f.filter(x, x > 0)", [x for x in flat if x > 0]),
        ("input.f.map(x, x > 0, x + 1)", [x + 1 for x in flat if x > 0]),
        ("input.n.map(x, x.map(y, y + 1))", [[y + 1 for y in x] for x in nested]),
        ("[1, 2].map(y, input.f.filter(x, x == y))", [[x for x in flat if x == y] for y in (1, 2)]),
        ("input.f.map(x, [x].map(y, x + y)[0])", [x + x for x in flat]),
        (
            "cel.bind(q, input.f.map(x, x + 1), q.filter(x, x > 1) + q)",
            [x + 1 for x in flat if x > 0] + [x + 1 for x in flat],
        ),
        ("input.n.filter(x, x.size() > 1).map(x, x[0])", [x[0] for x in nested if len(x) > 1]),
        ("input.m.map(k, input.m[k]).sort()", list(range(len(flat)))),
    ):
        assert result(EVERY, text, data) == expected


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_evaluations_leave_nothing_behind(cel: CelExpressions) -> None:
    here = Here(input=raw([{"name": "x" * 1000, "at": at} for at in range(300)]))
    value = value_of(
        ["${{ input.filter(m, m.at > 3).map(m, m.name) }}", "${{ input.map(m, m.name).sort() }}"]
    )
    for _ in range(5):
        cel.render(value, here)
    before = resident()
    for _ in range(50):
        cel.render(value, here)
    # One evaluation that kept its 600 KB would have left 30 MB.
    assert resident() - before < 10_000_000


EVERY = CelExpressions()


@pytest.mark.parametrize(
    "text",
    [
        "optional.of(1)",
        "[?input.a]",
        "input.?a",
        "google.protobuf.ListValue{values: [google.protobuf.Value{}]}",
        "google.protobuf.Any{}",
        "[google.protobuf.Timestamp{}]",
    ],
)
def test_what_could_end_the_process_is_refused(cel: CelExpressions, text: str) -> None:
    assert cel.check(text, ExpressionScope(frozenset({"input"}))) is not None
    failure(cel, text, {})


NULLS = """
from opscore.expressions.program import Language
compiled = Language().compile("[input]").compiled
for _ in range(300):
    compiled.eval(data={"input": [None] * 1000}).plain_value()
print("alive")
"""


def test_nulls_do_not_use_none_up() -> None:
    found = subprocess.run(
        [sys.executable, "-c", NULLS], capture_output=True, text=True, check=False
    )
    assert (found.stdout, found.returncode) == ("alive\n", 0), found.stderr[-500:]


def test_deep_values_fail_and_do_not_crash(cel: CelExpressions) -> None:
    for depth in (100, 5_000, 100_000):
        here = Here(input=b"[" * depth + b"]" * depth)
        for text in ("${{ [input] }}", "${{ input.size() }}", "${{ input.map(x, x) }}"):
            reasons = [str(each) for each in [failed(cel, text, here)] if each is not None]
            assert all("nested" in reason for reason in reasons)


def test_values_that_cannot_be_read_fail(cel: CelExpressions) -> None:
    for data in (b'{"a":"\\ud800"}', b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        here = Here(input=data)
        for text in (
            "${{ [input.a] }}",
            "${{ input.map(x, x) }}",
            "${{ input.a + '' }} or ${{ 1 }}",
        ):
            assert failed(cel, text, here) is not None
        with pytest.raises(ExpressionFailed):
            cel.condition("input.a == 'x'", here)
        with pytest.raises(ExpressionFailed):
            cel.items(value_of("${{ input }}"), here)
