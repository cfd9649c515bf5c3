"""CEL behind the core's Protocol."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest

from opscore.core.expressions import ExpressionFailed
from opscore.core.types import ErrorInfo
from opscore.expressions import CelExpressions
from tests.cel import Here, failure, rendered, result, value_of


@pytest.fixture(scope="module")
def cel() -> CelExpressions:
    return CelExpressions()


HERE = Here(
    input=b'{"path": "/a",  "n": [1,2.0,{"x":null}], "big": 1180591620717411303424}',
    item=b'{"file":"f.py"}',
    index=4,
    error=ErrorInfo("timeout", "too slow", 1_500_000),
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
        ("1 + 'a'", "'+' does not go with (int, string)"),
        ("item", "'item' is not known here"),
        ("index + 1", "'index' is not known here"),
        ("error.message", "no field 'message' in what is not an object"),
        ("previous.score", "no field 'score' in what is not an object"),
    ],
)
def test_failures(cel: CelExpressions, text: str, words: str) -> None:
    found = failure(cel, text, {"a": [1]}, outputs={"a": b"{}"})
    assert words in str(found)
    assert found.error_class == "expression"


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
    for text in ("${{ 5 }}", "${{ null }}", "${{ 'abc' }}"):
        with pytest.raises(ExpressionFailed, match="expected a list"):
            cel.items(value_of(text), here)


def test_items_of_a_map_come_in_the_order_of_their_keys(cel: CelExpressions) -> None:
    here = Here(input=b'{"b" : [ 1 ], "a\\"": null, "B": "${{"}')
    found = cel.items(value_of("${{ input }}"), here)
    assert [bytes(each) for each in found] == [
        b'{"key":"B","value":"${{"}',
        b'{"key":"a\\"","value":null}',
        b'{"key":"b","value":[ 1 ]}',
    ]
    assert cel.items(value_of("${{ {} }}"), here) == []


def test_outcomes(cel: CelExpressions) -> None:
    assert bytes(cel.outcome(b"[1]", None)) == b'{"status":"completed","output":[1]}'
    failed = cel.outcome(b"null", ErrorInfo("boom", 'it "broke"'))
    assert msgspec.json.decode(failed) == {
        "status": "failed",
        "error": {"class": "boom", "message": 'it "broke"'},
    }


def test_join(cel: CelExpressions) -> None:
    assert bytes(cel.join([])) == b"[]"
    assert bytes(cel.join([b"1", msgspec.Raw(b'{"a":2}')])) == b'[1,{"a":2}]'
