"""Text to plain trees: YAML 1.2 and JSON, bounded, with positions."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from opscore.core.errors import Fault, Invalid, TooLarge
from opscore.documents import MAX_BYTES, Document, Form, formatted, load, located


def tree(text: str | bytes, form: Form = "yaml") -> Any:
    return load(text, name="x", form=form).tree


def refused(text: str | bytes, form: Form = "yaml") -> Fault:
    with pytest.raises(Invalid) as caught:
        load(text, name="x", form=form)
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("Null", None),
        ("''", ""),
        ("'true'", "true"),
        ("12", 12),
        ("-0", 0),
        ("010", 10),
        ("0o10", 8),
        ("0xfF", 255),
        ("0x", "0x"),
        ("+12", 12),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0b11", "0b11"),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.", 1.0),
        ("-.inf", float("-inf")),
        ("2026-01-01", "2026-01-01"),
        ("=", "="),
        ("<<", "<<"),
        ("5m", "5m"),
        ("${{ a }}", "${{ a }}"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ('"\\u00e9\\x41"', "éA"),
    ],
)
def test_scalars_of_yaml_1_2(text: str, value: object) -> None:
    found = tree(f"k: {text}")["k"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_of_the_core_schema() -> None:
    assert tree("on: 1\nno: 2\n") == {"on": 1, "no": 2}


def test_aliases_stand_for_their_anchor() -> None:
    assert tree("a: &x {b: [1]}\nc: *x\nd: [*x, *x]\n") == {
        "a": {"b": [1]},
        "c": {"b": [1]},
        "d": [{"b": [1]}, {"b": [1]}],
    }


@pytest.mark.parametrize(
    "text", ["\ufeffa: 1", b"\xef\xbb\xbfa: 1", "a: 1\r\n", "---\na: 1\n...\n"]
)
def test_marks_of_byte_order_and_line_ends(text: str | bytes) -> None:
    assert tree(text) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", (4, 3), "'c' stands twice: first on line 3"),
        ("a: 1\na: 2\n", (2, 1), "'a' stands twice: first on line 1"),
        ("a:\n\tb: 1", (2, 1), "a tab cannot"),
        ("a: !!str 1", (1, 4), "the tag 'tag:yaml.org,2002:str' is not allowed"),
        ("a: !x 1", (1, 4), "the tag '!x' is not allowed"),
        ("a: !!python/object:os.system {}", (1, 4), "is not allowed"),
        ("a: 1\n---\nb: 2\n", (2, 1), "a second document begins"),
        ("a: *x", (1, 4), "there is no anchor '&x'"),
        ("a: &x [*x]", (1, 8), "would contain itself"),
        ("1: a", (1, 1), "a key must be text, not 1"),
        ("a: {true: 1}", (1, 5), "a key must be text, not true"),
        ("? [a]\n: 1", (1, 3), "a key must be text, not a list or mapping"),
        ("a: &x b\n*x : 1", (2, 1), "an alias cannot be a key"),
        ("", (1, 1), "the document is empty"),
        ("# nothing\n", (1, 1), "the document is empty"),
        ("a: 'b\n", (2, 1), "unexpected end"),
        ("a: b: c", (1, 5), "mapping values are not allowed"),
        ("a: [1, 2\nb: 3", (2, 2), "expected"),
        ("a: {b: ${{ x }}}", (1, 9), "expected"),
        ("- a\nb: c", (2, 1), "expected <block end>"),
        ("a: @b", (1, 4), "cannot start any token"),
        ("é: 1\na: \x01", (2, 4), "U+0001 is not allowed"),
        (b"a: 1\n\xc3\xa9: \xff", (2, 4), "not UTF-8: byte 0xff"),
        ("a: " + "1" * 101, (1, 4), "a number of 101 characters"),
    ],
)
def test_mistakes_in_yaml(text: str | bytes, place: tuple[int, int], words: str) -> None:
    fault = refused(text)
    assert words in fault.message
    assert (fault.line, fault.column) == place


def test_hints_of_yaml() -> None:
    assert "quotes" in refused("a: {b: ${{ x }}}").hint
    assert "spaces" in refused("a:\n\tb: 1").hint


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('{"a": 1,\n "a": 2}', (2, 2), "'a' stands twice: first on line 1"),
        ('{"a": 1,}', (1, 9), "expected a key in double quotes, found '}'"),
        ('{"a" 1}', (1, 6), "expected ':', found '1'"),
        ('{"a": 1 "b": 2}', (1, 9), "expected ',' or '}'"),
        ("[1, 2", (1, 6), "found the end of the document"),
        ("[1,\n nul]", (2, 2), "expected a value, found 'nul'"),
        ("{} x", (1, 4), "expected the end of the document"),
        ("", (1, 1), "expected a value"),
        ("{a: 1}", (1, 2), "expected a key in double quotes"),
        ('["a\nb"]', (1, 2), "does not end, or holds a control character"),
        ('["\\x"]', (1, 2), "bad escape"),
        ("[01]", (1, 3), "expected ',' or ']'"),
        ("[-]", (1, 2), "expected a number"),
        ("[NaN]", (1, 2), "expected a value, found 'NaN'"),
        ("[" + "1" * 101 + "]", (1, 2), "a number of 101 characters"),
        ("// no\n{}", (1, 1), "expected a value, found '/'"),
    ],
)
def test_mistakes_in_json(text: str, place: tuple[int, int], words: str) -> None:
    fault = refused(text, "json")
    assert words in fault.message
    assert (fault.line, fault.column) == place


json_trees = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


@given(json_trees.filter(lambda each: "inf" not in repr(each).lower()), st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(each: object, ascii_only: bool) -> None:
    text = json.dumps(each, ensure_ascii=ascii_only, indent=1)
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # Half a surrogate pair is for `tree_faults` to refuse.
    assert repr(tree(text, "json")) == repr(each)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.json", "[1]", [1]),
        ("x.yml", "{a: 1}", {"a": 1}),
        ("body", ' {\n"a": 1}', {"a": 1}),
        ("body", "{a: 1}", {"a": 1}),
        ("body", "a: 1", {"a": 1}),
    ],
)
def test_the_form_is_found(name: str, text: str, expected: object) -> None:
    assert load(text, name=name).tree == expected


def peak_of(text: str, form: Form) -> tuple[Fault, int]:
    tracemalloc.start()
    try:
        fault = refused(text, form)
        return fault, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_megabyte_of_nesting_is_refused(form: Form) -> None:
    fault, peak = peak_of("[" * MAX_BYTES, form)
    assert (fault.message, fault.column) == ("nested deeper than 64 levels", 65)
    assert peak < 20 * MAX_BYTES


@pytest.mark.parametrize(
    "text", ['{"a":' * 1000, "[[{}," * 1000, "a: " + "[" * 70, "- " * 1000, "? " * 1000]
)
def test_other_nesting_is_refused(text: str) -> None:
    assert refused(text).message in {
        "nested deeper than 64 levels",
        "a key must be text, not a list or mapping",
    }


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]" for at in range(1, 10)]
    fault, peak = peak_of("\n".join(lines), "yaml")
    assert "more than 50000 values" in fault.message
    assert fault.line == 5
    assert peak < 5_000_000


def test_aliases_cannot_nest_past_the_bound() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{at}: &a{at} [*a{at - 1}]" for at in range(1, 100)]
    assert refused("\n".join(lines)).message == "nested deeper than 64 levels"


def test_many_values_are_refused() -> None:
    assert "more than 50000 values" in refused("[" + "1," * 60_000 + "1]", "json").message


def test_large_documents_are_refused() -> None:
    for text in ("a" * (MAX_BYTES + 1), "é" * (MAX_BYTES // 2 + 1), b"a" * (MAX_BYTES + 1)):
        with pytest.raises(TooLarge):
            load(text, name="x")
    assert tree("a" * MAX_BYTES) == "a" * MAX_BYTES


DOCUMENT = """\
name: x
steps:
  a:
    capability: c
    with: {p: 1, q: [5,
        6]}
  b/c: &b
    needs: a
  d: *b
"""


@pytest.mark.parametrize(
    ("pointer", "place", "at_key"),
    [
        ("", (1, 1), False),
        ("/name", (1, 7), False),
        ("/name", (1, 1), True),
        ("/steps", (2, 1), False),
        ("/steps/a", (3, 3), False),
        ("/steps/a/capability", (4, 17), False),
        ("/steps/a/with/p", (5, 15), False),
        ("/steps/a/with/q/1", (6, 9), False),
        ("/steps/b~1c/needs", (8, 12), False),
        ("/steps/d/needs", (8, 12), False),
        ("/steps/d/needs", (8, 5), True),
        ("/steps/a/missing", (3, 3), False),
        ("/nothing/at/all", (1, 1), False),
    ],
)
def test_positions(pointer: str, place: tuple[int, int], at_key: bool) -> None:
    assert load(DOCUMENT, name="x").position(pointer, at_key=at_key) == place


def test_positions_in_json() -> None:
    document = load('{"a": {\n  "b": [1,\n    true]}}', name="x.json")
    assert document.position("/a/b/1") == (3, 5)
    assert document.position("/a/b") == (2, 3)


def test_faults_are_located_sorted_and_formatted() -> None:
    document: Document = load(DOCUMENT, name="flow.yaml")
    faults = [Fault("/steps/d/needs", "second", "do this"), Fault("/name", "first")]
    found = located(faults, document)
    assert formatted(found, document.name) == [
        "flow.yaml:1:7: first",
        "flow.yaml:8:12: second (do this)",
    ]
    assert formatted([Fault("/a", "m"), Fault("", "n")], "body") == ["body: /a: m", "body: n"]


def faults_of(text: str | bytes, form: Form) -> tuple[Fault, ...]:
    try:
        load(text, name="x", form=form)
    except Invalid as error:
        return error.faults
    return ()


@settings(max_examples=300)
@example("%")
@example("? : ? :")
@example("&a &a a")
@example("- |\x85")
@given(
    st.one_of(
        st.text(),
        st.text(alphabet="ab:-?[]{},&*!|>'\"%@#\\ \n\t~\x85\u2028\ufeff1.", max_size=60),
        st.binary(max_size=30),
    )
)
def test_load_never_crashes(text: str | bytes) -> None:
    for form in ("yaml", "json"):
        faults = faults_of(text, form)
        assert all(fault.line is not None for fault in faults)
