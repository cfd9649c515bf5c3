"""CEL behind the core's Protocol."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opscore.core.expressions import ExpressionFailed, ExpressionScope, SessionView, StepView
from opscore.core.interpolation import read_value
from opscore.core.template import Value
from opscore.core.types import ErrorInfo, Json, StepStatus
from opscore.expressions import MAX_PROGRAMS, CelExpressions
from opscore.expressions.chunking import CHUNK

SESSION = SessionView("ses_1", "flow", "2", 50, {"team": "a"}, msgspec.Raw(b'{"user":{"id":7}}'))


@dataclass
class Here:
    """A scope with whatever a test needs."""

    input: Json = b"{}"
    item: Json | None = None
    index: int | None = None
    error: ErrorInfo | None = None
    session: SessionView = SESSION
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    outputs: Mapping[str, Json | None] = field(default_factory=dict[str, "Json | None"])

    @property
    def ancestors(self) -> frozenset[str]:
        return frozenset(self.outputs)

    def step(self, name: str) -> StepView | None:
        if name not in self.outputs:
            return None
        output = self.outputs[name]
        return StepView(StepStatus.SKIPPED if output is None else StepStatus.COMPLETED, output)


def value_of(tree: object) -> Value:
    value, mistakes = read_value(tree)
    assert not mistakes
    return value


@pytest.fixture(scope="module")
def cel() -> CelExpressions:
    return CelExpressions()


def raw(value: object) -> Json:
    return msgspec.Raw(msgspec.json.encode(value))


def rendered(cel: CelExpressions, tree: object, here: Here) -> bytes:
    return bytes(cel.render(value_of(tree), here))


def result(cel: CelExpressions, text: str, data: object = None, **more: Any) -> Any:
    return msgspec.json.decode(rendered(cel, f"${{{{ {text} }}}}", Here(raw(data), **more)))


def failure(cel: CelExpressions, text: str, data: object = None, **more: Any) -> ExpressionFailed:
    with pytest.raises(ExpressionFailed) as caught:
        result(cel, text, data, **more)
    assert text[:20].strip() in str(caught.value), "the message names the expression"
    return caught.value


HERE = Here(
    input=b'{"path": "/a",  "n": [1,2.0,{"x":null}], "big": 1180591620717411303424}',
    item=b'{"file":"f.py"}',
    index=4,
    error=ErrorInfo("timeout", "too slow", 1_500_000),
    env={"REGION": "eu"},
    outputs={"scan": b'{"files": ["a", "b"], "n": 2}', "skipped": None},
)


@pytest.mark.parametrize(
    ("tree", "json"),
    [
        ({"a": [1, None, True, 1.5, "x"]}, '{"a":[1,null,true,1.5,"x"]}'),
        ("${{ input.path }}", '"/a"'),
        ("${{ input.n }}", '[1,2.0,{"x":null}]'),
        ("${{ input.big }}", "1180591620717411303424"),
        ("${{ item.file }}", '"f.py"'),
        ("${{ index }}", "4"),
        ("${{ index + 1 }}", "5"),
        ("${{ steps.scan.output.files }}", '["a", "b"]'),
        ("${{ steps.scan.output.files.size() == steps.scan.output.n }}", "true"),
        ("${{ steps.scan.status }}", '"completed"'),
        ("${{ steps.skipped.output }}", "null"),
        ("${{ steps.skipped.output == null && steps.skipped.status == 'skipped' }}", "true"),
        ("${{ steps.map(name, name).sort() }}", '["scan","skipped"]'),
        ("${{ session.id + session.workflow + session.version }}", '"ses_1flow2"'),
        ("${{ session.context.user.id }}", "7"),
        ("${{ session.context.user.id + session.priority }}", "57"),
        ("${{ session.labels }}", '{"team":"a"}'),
        ("${{ env.REGION }}", '"eu"'),
        ("${{ error }}", '{"class":"timeout","message":"too slow","retryAfterSeconds":1.5}'),
        ("${{ error.class == 'timeout' }}", "true"),
        ({"p": "${{ input.path }}", "q": 1}, '{"p":"/a","q":1}'),
        ({'k"': ["${{ index }}", "x ${{ index }}"]}, '{"k\\"":[4,"x 4"]}'),
        ("at ${{ input.path }}: ${{ input.n }}", '"at /a: [1,2.0,{\\"x\\":null}]"'),
        ("${{ true }}${{ null }}${{ 1.5 }}", '"truenull1.5"'),
        ('$${{ x }} "', '"${{ x }} \\""'),
        ("${{ {'a': [index]} }}", '{"a":[4]}'),
    ],
)
def test_render(cel: CelExpressions, tree: object, json: str) -> None:
    assert rendered(cel, tree, HERE) == json.encode()


def test_whole_references_pass_the_very_object_on(cel: CelExpressions) -> None:
    data = msgspec.Raw(b'{"not": decoded at all')
    here = Here(input=data, item=data, outputs={"a": data})
    for text in ("${{ input }}", "${{ item }}", "${{ steps.a.output }}"):
        assert cel.render(value_of(text), here) is data


def test_constants_are_encoded_once(cel: CelExpressions) -> None:
    value = value_of({"a": 1})
    assert cel.render(value, HERE) is cel.render(value, HERE)
    watched = weakref.ref(value)
    del value
    gc.collect()
    assert watched() is None, "the cache must not keep values alive"


@pytest.mark.parametrize(
    ("text", "data", "expected"),
    [
        ("input.a + 1", {"a": 2**53 + 1}, 2**53 + 2),
        ("input.a / 2.0", {"a": 3.0}, 1.5),
        ("input.a", 2**63, None),
        ("foo(1)", None, None),
        ("[input.a]", {"a": 2**63}, [2**63]),
        ("[input.a]", {"a": 2**200}, [2.0**200]),
        ("[input.a]", {"a": -(2**64)}, [-(2.0**64)]),
        ("input.a + 1.0 > 0.0", {"a": 10**400}, True),
        ("b'ab'", None, "YWI="),
        ("[duration('90.5s'), duration('-1s')]", None, ["90.5s", "-1s"]),
        ("timestamp('2026-01-02T03:04:05.5Z')", None, "2026-01-02T03:04:05.500000Z"),
        ("5u", None, 5),
        ("{2: 'a', true: 'b', 'c': 1}", None, {"2": "a", "true": "b", "c": 1}),
        ("has(input.a.b)", {"a": {}}, False),
        ("has(input.a.b) && input.a.b > 1", {"a": {"b": 2}}, True),
        ("input['a-b'].c", {"a-b": {"c": [1]}}, [1]),
        ("input.a[1]", {"a": [1, 2]}, 2),
        ("'%s is %d'.format([input.a, 3])", {"a": "x"}, "x is 3"),
        ("input.a.split(',')", {"a": "x,y"}, ["x", "y"]),
        ("math.greatest(input)", [1, 5, 3], 5),
        ("base64.encode(b'hello')", None, "aGVsbG8="),
        ("cel.bind(x, input.a, x + x)", {"a": 2}, 4),
        ("input.map(k, k).sort()", {"b": 1, "a": 2}, ["a", "b"]),
        ("type(input) == map", {}, True),
        ("[1, 2].map(item, item * 2)", None, [2, 4]),
    ],
)
def test_values(cel: CelExpressions, text: str, data: object, expected: object) -> None:
    if expected is None:
        assert failure(cel, text, data).error_class == "expression"
        return
    found = result(cel, text, data)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[3, 1, 2].sort()", [1, 2, 3]),
        ("['b', 'a'].sort()", ["a", "b"]),
        ("[2, 1.5].sort()", [1.5, 2]),
        ("[].sort()", []),
        ("[1, 1.0, true, 'a', [1], [1], {'a': 1}, {'a': 1}, null].distinct()", None),
        ("[[1], [2, [3]], 4].flatten()", [1, 2, [3], 4]),
        ("[[1], [2, [3, [4]]]].flatten(2)", [1, 2, 3, [4]]),
        ("[1, 2, 3, 4].slice(1, 3)", [2, 3]),
        ("[1, 2, 3].reverse()", [3, 2, 1]),
        ("'abc'.reverse()", "cba"),
        ("lists.range(3)", [0, 1, 2]),
        ("cel.bind(a, [2, 1], [a.sort(), a, a.reverse()])", [[1, 2], [2, 1], [1, 2]]),
    ],
)
def test_list_functions(cel: CelExpressions, text: str, expected: object) -> None:
    expected = [1, True, "a", [1], {"a": 1}, None] if expected is None else expected
    assert result(cel, text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 'a'].sort()", "items of one type, not number and str"),
        ("[[1]].sort()", "sort() needs numbers"),
        ("[1].slice(0, 2)", "slice(0, 2) is outside a list of 1"),
        ("[1].flatten(-1)", "depth of 0 or more"),
        ("lists.range(10001)", "goes up to 10000"),
        ("1 / 0", "divide by zero"),
        ("input.nope", "no such key: 'nope'"),
        ("input.nope + 1", "nope"),
        ("steps.a.output.b.c", "no such key: 'b'"),
        ("steps.other.output", "no step 'other'"),
        ("input.a.b", "what is not an object"),
        ("0.0 / 0.0", "nan, which JSON cannot say"),
        ("[1.0 / 0.0]", "inf, which JSON cannot say"),
        ("int", "INT, which JSON cannot say"),
        ("1 + 'a'", "overload"),
        ("item", "'item' is not known here"),
        ("index + 1", "'index' is not known here"),
        ("error.message", "'error' is not known here"),
    ],
)
def test_failures(cel: CelExpressions, text: str, words: str) -> None:
    found = failure(cel, text, {"a": [1]}, outputs={"a": b"{}"})
    assert words in str(found)
    assert found.error_class == "expression"


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


def failed(cel: CelExpressions, tree: object, here: Here) -> ExpressionFailed | None:
    try:
        cel.render(value_of(tree), here)
    except ExpressionFailed as error:
        return error
    return None


def test_deep_values_fail_and_do_not_crash(cel: CelExpressions) -> None:
    for depth in (100, 5_000, 100_000):
        here = Here(input=b"[" * depth + b"]" * depth)
        for text in ("${{ [input] }}", "${{ input.size() }}", "${{ input.map(x, x) }}"):
            reasons = [str(each) for each in [failed(cel, text, here)] if each is not None]
            assert all("nested" in reason for reason in reasons)


def test_values_that_cannot_be_read_fail(cel: CelExpressions) -> None:
    for data in (b'{"a":"\\ud800"}', b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"):
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


def test_conditions(cel: CelExpressions) -> None:
    assert cel.condition("index == 4", HERE) is True
    assert cel.condition("false", HERE) is False
    with pytest.raises(ExpressionFailed, match="gives true or false, not 4"):
        cel.condition("index", HERE)
    with pytest.raises(ExpressionFailed, match="Syntax error"):
        cel.condition("index ==", HERE)


def test_items_keep_their_bytes(cel: CelExpressions) -> None:
    here = Here(input=b'[ {"a" : 1.0}, 2, "x" ]')
    found = cel.items(value_of("${{ input }}"), here)
    assert [bytes(each) for each in found] == [b'{"a" : 1.0}', b"2", b'"x"']
    assert [bytes(each) for each in cel.items(value_of([1, "${{ input[1] }}"]), here)] == [
        b"1",
        b"2",
    ]
    for text in ("${{ 5 }}", "${{ {'a': 1} }}", "${{ 'abc' }}"):
        with pytest.raises(ExpressionFailed, match="expected a list"):
            cel.items(value_of(text), here)


def test_join(cel: CelExpressions) -> None:
    assert bytes(cel.join([])) == b"[]"
    assert bytes(cel.join([b"1", msgspec.Raw(b'{"a":2}')])) == b'[1,{"a":2}]'


SCOPE = ExpressionScope(
    frozenset({"input", "steps", "session", "env"}),
    frozenset({"scan"}),
    frozenset({"scan", "late"}),
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
        ("1 +", "column 4: Syntax error: mismatched input '<EOF>'"),
        ("1 +\n  +", "line 2, column 3: Syntax error"),
        ("inptu.x.y", "column 1: 'inptu' is not known here; did you mean 'input'?"),
        ("1 + zzzz", "column 5: 'zzzz' is not known here; known: env, input, session, steps"),
        ("1 + item", "column 5: 'item' is only known in a step with 'foreach'"),
        ("error.message", "column 1: 'error' is only known in the values of 'fallback'"),
        ("previous", "column 1: 'previous' is not supported by this version"),
        ("agent.labels", "column 1: 'agent' is not supported by this version"),
        ("1 + steps.late.output", "column 5: step 'late' does not run before this one; add it"),
        ("steps['late'].output", "step 'late' does not run before"),
        ("steps.sacn.output", "column 1: there is no step 'sacn'; did you mean 'scan'?"),
        ("has(steps.nope.output)", "there is no step 'nope'"),
        ("input.map(x, item)", "column 14: 'item' is only known"),
        (".item", "'item' is only known"),
        ("input.map(steps, steps.late)", None),
        ("input.foo()", "column 10: there is no function 'foo'"),
        ("1 + 'a'", "column 3: found no matching overload"),
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
        assert cel.condition(f"{at} == {at}", HERE)
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
