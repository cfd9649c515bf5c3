"""Strings with expressions inside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opscore.core.interpolation import Unclosed, escape, expressions_in, read_value, split
from opscore.core.template import Expression, Interpolated


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ""),
        ("plain }} text", "plain }} text"),
        ("${{ a }}", Expression("a")),
        ("${{a}}\n", Expression("a")),
        (" ${{ a }}", Interpolated((" ", Expression("a")))),
        ("${{ a }}${{ b }}", Interpolated((Expression("a"), Expression("b")))),
        ("x ${{ a }} y", Interpolated(("x ", Expression("a"), " y"))),
        ('${{ {"a": {"b": 1}} }}', Expression('{"a": {"b": 1}}')),
        ("${{ {'a': {'b': 1}}}}", Expression("{'a': {'b': 1}}")),
        ("${{ '}}' }}", Expression("'}}'")),
        (r"${{ '\'}}' }}", Expression(r"'\'}}'")),
        (r"${{ r'\' }}", Expression(r"r'\'")),
        ("${{ '''a'}}''' }}", Expression("'''a'}}'''")),
        ("${{ 1 // it's }}", Expression("1 // it's")),
        ("${{ 1 // it's {\n + 2 }}", Expression("1 // it's {\n + 2")),
        ("$${{ a }}", "${{ a }}"),
        ("$$${{ a }}", "$${{ a }}"),
        ("${{ 'x' }}$${{", Interpolated((Expression("'x'"), "${{"))),
        ("${{}}", Expression("")),
        ("$ {{ a }}", "$ {{ a }}"),
    ],
)
def test_split(text: str, parts: object) -> None:
    assert split(text) == parts


@pytest.mark.parametrize("text", ["${{", "${{ a }", "a ${{ {'b': 1 }}", "${{ a }} ${{ b"])
def test_an_expression_must_end(text: str) -> None:
    with pytest.raises(Unclosed):
        split(text)


pieces = st.lists(st.sampled_from(["$", "{", "}", "${{", "}}", "$${{", "a", "'", '"', "\n", "\\"]))


@given(pieces.map("".join))
def test_escaped_text_is_read_back_as_it_was(text: str) -> None:
    assert split(escape(text)) == text


literals = st.text(alphabet="ab '\"\\{}\n", min_size=1, max_size=8)
sources = st.sampled_from(
    ["a", "'}}'", '"${{"', "{'k': {'l': 1}}", "r'\\'", "[1, 2]", '"""a"}}"""']
)


@given(st.lists(st.tuples(literals, sources), max_size=4), literals)
def test_what_was_put_together_is_split_again(pairs: list[tuple[str, str]], last: str) -> None:
    text = "".join(f"{literal}${{{{ {source} }}}}" for literal, source in pairs) + last
    expected: list[str | Expression] = []
    for literal, source in pairs:
        expected += [literal, Expression(source)]
    found = split(text)
    if pairs:
        assert found == Interpolated((*expected, last))
    else:
        assert found == last


def test_a_value_tells_where_its_expressions_are() -> None:
    value, mistakes = read_value({"a": ["x", "${{ b }}"], "c/d": "${{ e }} and ${{ f }}", "g": 1})
    assert not mistakes
    assert value.dynamic
    assert expressions_in(value) == [(("a", 1), "b"), (("c/d",), "e"), (("c/d",), "f")]


def test_a_value_without_expressions_is_not_dynamic() -> None:
    value, mistakes = read_value({"a": ["$${{ b }}", None, True, 1.5]})
    assert not mistakes
    assert not value.dynamic
    assert value.tree == {"a": ["${{ b }}", None, True, 1.5]}
    assert expressions_in(value) == []


def test_a_value_tells_every_mistake() -> None:
    _, mistakes = read_value({"a": "${{ b", "c": ["${{"]})
    assert [path for path, _ in mistakes] == [("a",), ("c", 0)]
