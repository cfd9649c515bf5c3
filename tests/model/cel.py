"""The little of the expression language that the model's templates use, read from its description.

An expression is turned into Python's own syntax and walked: names, fields, literals, comparisons,
`+` and `-`, `&&`, `||`, `!`, `a ? b : c`, `size` and `string`. Types are as strict as CEL's.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
PIECES = re.compile(r"\$(\$\{\{)|\$\{\{(.*?)\}\}", re.DOTALL)
WORDS = {"&&": " and ", "||": " or ", "null": "None", "true": "True", "false": "False"}
CONDITIONAL = re.compile(r"^(.+?) \? (.+?) : (.+)$", re.DOTALL)


class Failure(Exception):
    """Work that cannot be done, by its class; the message is the engine's own affair."""

    def __init__(self, error_class: str) -> None:
        super().__init__(error_class)
        self.error_class = error_class


def render(tree: Any, names: Mapping[str, Any]) -> Any:
    """A tree with every expression in it computed. A text that is one expression keeps its type."""
    if isinstance(tree, dict):
        return {key: render(each, names) for key, each in tree.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(tree, list):
        return [render(each, names) for each in tree]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(tree, str):
        return tree
    whole = EXPRESSION.fullmatch(tree)
    if whole and "}}" not in whole[1]:
        return compute(whole[1], names)
    return PIECES.sub(lambda found: found[1] or _shown(compute(found[2], names)), tree)


def condition(text: str, names: Mapping[str, Any]) -> bool:
    """An `if` or `until`: with or without its brackets."""
    whole = EXPRESSION.fullmatch(text)
    return _bool(compute(whole[1] if whole else text, names))


def compute(text: str, names: Mapping[str, Any]) -> Any:
    """The value of one expression. Raises `Failure`."""
    split = CONDITIONAL.match(text.strip())
    if split:
        chosen = split[2] if _bool(compute(split[1], names)) else split[3]
        return compute(chosen, names)
    for word, python in WORDS.items():
        text = text.replace(word, python)
    text = re.sub(r"!(?!=)", " not ", text).replace(".class", ".class_")
    return _walk(ast.parse(text.strip(), mode="eval").body, names)


def _walk(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return _field(names, name)
        case ast.Attribute(of, name):
            return _field(_walk(of, names), name.rstrip("_"))
        case ast.List(items):
            return [_walk(each, names) for each in items]
        case ast.Compare(left, [how], [right]):
            return _compare(how, _walk(left, names), _walk(right, names))
        case ast.BoolOp(how, [left, right]):
            first = _bool(_walk(left, names))
            stop = isinstance(how, ast.Or)
            return first if first is stop else _bool(_walk(right, names))
        case ast.UnaryOp(ast.Not(), of):
            return not _bool(_walk(of, names))
        case ast.BinOp(left, how, right):
            return _arithmetic(how, _walk(left, names), _walk(right, names))
        case ast.Call(ast.Name(name), [argument]):
            return _FUNCTIONS[name](_walk(argument, names))
        case _:
            raise AssertionError(f"the model does not know {ast.dump(node)}")


def _field(of: Any, name: str) -> Any:
    if not isinstance(of, Mapping) or name not in of:
        raise Failure("expression")
    return of[name]  # pyright: ignore[reportUnknownVariableType]


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Failure("expression")
    return value


def _compare(how: ast.cmpop, left: Any, right: Any) -> bool:
    same = isinstance(left, bool) is isinstance(right, bool) and left == right
    match how:
        case ast.Eq():
            return same
        case ast.NotEq():
            return not same
        case _:
            if type(left) is not type(right) or not isinstance(left, int | str):
                raise Failure("expression")
    match how:
        case ast.Lt():
            return left < right
        case ast.LtE():
            return left <= right
        case ast.Gt():
            return left > right
        case _:
            return left >= right


def _arithmetic(how: ast.operator, left: Any, right: Any) -> Any:
    plain = type(left) is type(right) and type(left) in (int, str, list)
    if not plain or (isinstance(how, ast.Sub) and not isinstance(left, int)):
        raise Failure("expression")
    return left + right if isinstance(how, ast.Add) else left - right


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise Failure("expression")
    return len(value)  # pyright: ignore[reportUnknownArgumentType]


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Failure("expression")
    return str(value)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"size": _size, "string": _text}
