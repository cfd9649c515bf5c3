"""Every row of docs/expressions.md, through the library and through a template."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from opscore.core.expressions import ExpressionFailed
from opscore.core.reading import shortened
from opscore.core.types import SessionStatus
from opscore.expressions import CelExpressions
from opscore.templates import check_template
from tests.cel import Here, raw, rendered
from tests.core.scene import Scene
from tests.docs.pages import blocks, page

PAGE = page("docs/expressions.md")
INPUT = msgspec.json.decode(blocks(PAGE, "json")[0])
CELL = r"`((?:[^`])*)`"
VALUES = re.findall(rf"^\| {CELL} \| {CELL} \|$", PAGE, re.MULTILINE)
ERRORS = re.findall(rf"^\| {CELL} \| (\w+) \| {CELL} \|$", PAGE, re.MULTILINE)
CEL = CelExpressions()


def plain(cell: str) -> str:
    return cell.replace("\\|", "|")


def of_library(text: str) -> Any:
    return msgspec.json.decode(rendered(CEL, f"${{{{ {text} }}}}", Here(raw(INPUT))))


def of_template(text: str) -> Scene:
    scene = Scene(
        {"a": {"value": f"${{{{ {text} }}}}"}}, input=INPUT, output="${{ steps.a.output }}"
    )
    scene.start()
    return scene


@pytest.mark.parametrize(("cell", "wanted"), VALUES, ids=[cell for cell, _ in VALUES])
def test_a_row_gives_what_the_page_says(cell: str, wanted: str) -> None:
    expected = msgspec.json.decode(plain(wanted))
    found = of_library(plain(cell))
    assert (found, type(found)) == (expected, type(expected))
    assert of_template(plain(cell)).output == expected


@pytest.mark.parametrize(("cell", "word", "why"), ERRORS, ids=[cell for cell, *_ in ERRORS])
def test_a_row_fails_as_the_page_says(cell: str, word: str, why: str) -> None:
    text = plain(cell)
    told = f"in '{shortened(text)}': {plain(why)}"
    with pytest.raises(ExpressionFailed) as failed:
        of_library(text)
    assert (failed.value.error_class, str(failed.value)) == (word, told)
    tree = {"name": "t", "version": "1", "steps": {"a": {"value": f"${{{{ {text} }}}}"}}}
    if check_template(tree).faults:
        return  # refused before it runs, which is better still
    scene = of_template(text)
    assert scene.status is SessionStatus.ERROR
    assert scene.state.error is not None
    assert (scene.state.error.error_class, scene.state.error.message) == (word, told)


def test_the_page_has_a_row_for_every_function() -> None:
    """What the library's own documentation of its extensions names, and CEL's standard functions."""
    assert len(VALUES) >= 130
    assert len(ERRORS) >= 25
    used = "\n".join(cell for cell, *_ in [*VALUES, *ERRORS])
    for name in (
        *("all", "exists", "exists_one", "map", "filter", "bind", "has", "size", "in"),
        *("contains", "startsWith", "endsWith", "matches", "charAt", "indexOf", "lastIndexOf"),
        *("lowerAscii", "upperAscii", "replace", "split", "substring", "trim", "reverse"),
        *("quote", "join", "format", "sort", "distinct", "flatten", "slice", "range"),
        *("greatest", "least", "ceil", "floor", "round", "trunc", "abs", "sign", "sqrt"),
        *("isNaN", "isInf", "isFinite", "bitAnd", "bitOr", "bitXor", "bitNot"),
        *("bitShiftLeft", "bitShiftRight", "int", "uint", "double", "string", "bool", "bytes"),
        *("dyn", "type", "timestamp", "duration", "getFullYear", "getMonth", "getDate"),
        *("getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes"),
        *("getSeconds", "getMilliseconds", "encode", "decode"),
    ):
        assert re.search(rf"\b{name}\b", used), name


# -- bounds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["env.HOME", "getenv('HOME')", "os.environ", "open('/etc/passwd')"]
)
def test_an_expression_cannot_reach_the_process(text: str) -> None:
    with pytest.raises(ExpressionFailed):
        of_library(text)
    tree = {"name": "t", "version": "1", "steps": {"a": {"value": f"${{{{ {text} }}}}"}}}
    assert check_template(tree).faults


def test_an_expression_is_bounded_in_length() -> None:
    tree = {"name": "t", "version": "1", "steps": {"a": {"value": "${{ " + "1+" * 2500 + "1 }}"}}}
    [fault] = check_template(tree).faults
    assert fault.message == "expression longer than 4096 characters"


@pytest.mark.parametrize(
    ("step", "word"),
    [
        ({"value": "${{ lists.range(9000).map(x, lists.range(9000)) }}"}, "expression_limit"),
        ({"value": "${{ input.long.map(x, input.long) }}"}, "expression_limit"),
        ({"capability": "c", "with": {"x": "${{ input.text + input.text }}"}}, "payload_too_large"),
        ({"if": "input.long.all(x, input.long.all(y, true))", "value": 1}, "expression_limit"),
        ({"foreach": "${{ input.long.map(x, x) }}", "value": 1}, "expression_limit"),
    ],
)
def test_what_costs_or_gives_too_much_fails_its_step(step: dict[str, Any], word: str) -> None:
    scene = Scene(
        {"a": step},
        input={"text": "x" * 60_000, "long": list(range(11_000))},
        payload_limit=100_000,
    )
    scene.start()
    assert scene.state.error is not None
    assert scene.state.error.error_class == word
