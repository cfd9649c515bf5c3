"""Lines, encodings and refusals; what a function's figures cover."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opscore.demo.measure import DoesNotParse, Function, count_lines, measure_source

PIECES = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\x0c", b"\xc2\x85", b" "]))


@given(PIECES.map(b"".join) | st.binary())
def test_lines_are_those_python_reads(data: bytes) -> None:
    text = io.TextIOWrapper(io.BytesIO(data), encoding="latin-1", newline=None)
    assert count_lines(data) == len(text.readlines())


def test_names_are_dotted_and_lines_run_from_def_to_end() -> None:
    source = (
        "class Shape:\n"
        "    @property\n"
        "    def area(self):\n"
        "        def inner():\n"
        "            return '''\n"
        "            '''\n"
        "        return inner() if self else 0\n"
        "    # not part of it\n"
    )
    measures = measure_source(source)
    assert measures.lines == 8
    assert measures.functions == 2
    assert measures.complexity == 3
    assert measures.longest == Function("Shape.area", line=3, lines=5, complexity=2)
    assert measures.worst == (measures.longest,)


def test_a_file_without_functions() -> None:
    measures = measure_source(b"x = 1 if y else 2")
    assert (measures.lines, measures.functions, measures.complexity) == (1, 0, 0)
    assert measures.longest is None
    assert measures.worst == ()


def test_nothing_at_all_is_a_module() -> None:
    assert measure_source(b"").lines == 0


def _function(name: str, complexity: int) -> str:
    return f"def {name}(x):\n" + "    if x: pass\n" * (complexity - 1) + "    return x\n"


def test_worst_are_five_at_most_and_beyond_the_first_only_the_intolerable() -> None:
    sizes = [3, 12, 11, 10, 15, 12, 20, 13, 14]
    source = "".join(_function(f"f{index}", size) for index, size in enumerate(sizes))
    worst = [(function.name, function.complexity) for function in measure_source(source).worst]
    assert worst == [("f6", 20), ("f4", 15), ("f8", 14), ("f7", 13), ("f1", 12)]
    mild = measure_source(_function("a", 9) + _function("b", 10) + _function("c", 10))
    assert [function.name for function in mild.worst] == ["b"]


def test_of_equally_long_functions_the_first_is_the_longest() -> None:
    longest = measure_source(_function("a", 2) + _function("b", 2)).longest
    assert longest is not None
    assert longest.name == "a"


@pytest.mark.parametrize(
    "data",
    [
        "# coding: latin-1\nname = 'é'\ndef f(): pass\n".encode("latin-1"),
        "#!/bin/sh\n# vim: set fileencoding=koi8-r :\ns = 'я'\ndef f(): pass\n".encode("koi8-r"),
        b"\xef\xbb\xbfdef f(): pass\n",
        b"# coding: utf-8\r\ndef f(): pass\r\n",
        b"x = 1\rdef f(): pass\r",
    ],
)
def test_declared_encodings_and_line_ends_are_understood(data: bytes) -> None:
    measures = measure_source(data)
    assert measures.functions == 1
    assert measures.lines == count_lines(data)


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        (b"x = 1\ndef f(:\n", 2, "invalid syntax"),
        (b"x = 1\n\nprint 'x'\n", 3, "print"),
        (b"a\nb\0c\n", 2, "null byte"),
        ("a\nb\nc\0", 3, "null byte"),
        (b"\n\n\n'\xff'\n", 4, "not utf-8"),
        (b"# coding: ascii\n# \xe9\n", 2, "not ascii"),
        (b"\n# coding: no-such-thing\n", 2, "unknown encoding"),
        (b"\xef\xbb\xbf# coding: latin-1\n", 1, "encoding problem"),
        (b"# coding: rot13\n", 1, "not a text encoding"),
        ("'\ud800'", 1, "surrogates not allowed"),
        (b"def f():\n    pass\n  pass\n", 3, "unindent"),
    ],
)
def test_what_is_not_python_says_where_and_why(source: bytes | str, line: int, reason: str) -> None:
    with pytest.raises(DoesNotParse, match=reason) as caught:
        measure_source(source)
    assert caught.value.line == line
    assert str(caught.value) == f"line {line}: {caught.value.reason}"


@pytest.mark.parametrize("source", ["(" * 10_000, "-" * 200_000 + "1", "a" + ".b" * 100_000])
def test_bottomless_nesting_is_refused_or_measured_but_never_crashes(source: str) -> None:
    try:
        lines = measure_source(source).lines
    except DoesNotParse as error:
        lines = error.line
    assert lines == 1


def test_parser_giving_up_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    for failure in (RecursionError, MemoryError):
        monkeypatch.setattr("ast.parse", _raiser(failure()))
        with pytest.raises(DoesNotParse, match="nested too deeply"):
            measure_source("x = 1")


def _raiser(error: BaseException) -> Callable[[str], None]:
    def parse(_: str) -> None:
        raise error

    return parse
