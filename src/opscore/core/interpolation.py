"""Strings with expressions inside: `${{ … }}`.

`$${{` stands for a literal `${{`. The end of an expression is found by reading CEL's own string
literals, comments and braces, so `${{ {'a': {'b': "}}"}} }}` is one expression.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from opscore.core.template import Expression, Interpolated, Value
from opscore.core.trees import is_list, is_map

Path: TypeAlias = tuple[str | int, ...]

OPEN, CLOSE = "${{", "}}"
MAX_EXPRESSION = 4096
"""Characters of one expression."""

_TOKEN = re.compile(
    r"""
      (?:[rR][bB]?|[bB][rR])(?:'{3}.*?'{3}|"{3}.*?"{3}|'[^'\r\n]*'|"[^"\r\n]*")  # raw strings
    | '{3}(?:\\.|[^\\])*?'{3}
    | "{3}(?:\\.|[^\\])*?"{3}
    | '(?:\\.|[^'\\\r\n])*'
    | "(?:\\.|[^"\\\r\n])*"
    | //(?:(?!\}\})[^\n])*                        # a comment ends with its line or the expression
    | [A-Za-z_][A-Za-z0-9_]*
    | (?P<brace>[{}])
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


class Unclosed(Exception):
    """A `${{` without its `}}`."""


def split(text: str) -> str | Expression | Interpolated:
    """Literal text, one expression, or parts of both.

    A string that is one expression (only line ends may follow) keeps its type. Raises `Unclosed`.
    """
    parts = _parts(text)
    match parts:
        case []:
            return ""
        case [str(only)]:
            return only
        case [Expression() as only]:
            return only
        case [Expression() as only, str(rest)] if not rest.strip("\r\n"):
            return only
        case _:
            return Interpolated(tuple(parts))


def escape(text: str) -> str:
    """The string that `split` reads back as exactly this literal text."""
    return text.replace(OPEN, "$" + OPEN)


def _parts(text: str) -> list[str | Expression]:
    parts: list[str | Expression] = []
    literal = ""
    position = 0
    while (start := text.find(OPEN, position)) >= 0:
        if start > position and text[start - 1] == "$":
            literal += text[position : start - 1] + OPEN
            position = start + len(OPEN)
            continue
        literal += text[position:start]
        end = _end_of_expression(text, start + len(OPEN))
        if literal:
            parts.append(literal)
        parts.append(Expression(text[start + len(OPEN) : end].strip()))
        literal, position = "", end + len(CLOSE)
    literal += text[position:]
    return [*parts, literal] if literal else parts


def _end_of_expression(text: str, start: int) -> int:
    depth = 0
    position = start
    while match := _TOKEN.match(text, position):
        brace = match["brace"]
        if brace == "{":
            depth += 1
        elif brace == "}":
            if depth == 0 and text.startswith(CLOSE, position):
                return position
            depth = max(0, depth - 1)
        position = match.end()
    raise Unclosed


def read_value(tree: object) -> tuple[Value, list[tuple[Path, str]]]:
    """Split every string of a plain tree; with it, the path and reason of each mistake."""
    mistakes: list[tuple[Path, str]] = []
    found = False

    def walk(node: object, path: Path) -> object:
        nonlocal found
        if is_list(node):
            return [walk(each, (*path, at)) for at, each in enumerate(node)]
        if is_map(node):
            return {key: walk(each, (*path, key)) for key, each in node.items()}
        if not isinstance(node, str):
            return node
        try:
            result = split(node)
        except Unclosed:
            mistakes.append((path, f"'{OPEN}' without its '{CLOSE}'"))
            return node
        found = found or not isinstance(result, str)
        return result

    result = walk(tree, ())
    return Value(result, found), mistakes


def shown(tree: object) -> object:
    """The tree as it was written, expressions in their braces."""
    match tree:
        case Expression(text):
            return f"{OPEN} {text} {CLOSE}"
        case Interpolated(parts):
            return "".join(part if isinstance(part, str) else str(shown(part)) for part in parts)
        case _:
            pass
    if is_map(tree):
        return {key: shown(each) for key, each in tree.items()}
    return [shown(each) for each in tree] if is_list(tree) else tree


def expressions_in(value: Value) -> list[tuple[Path, str]]:
    """Every expression of the value with the path to the string that holds it."""
    found: list[tuple[Path, str]] = []
    todo: list[tuple[Path, object]] = [((), value.tree)] if value.dynamic else []
    while todo:
        path, node = todo.pop()
        if isinstance(node, Expression):
            found.append((path, node.text))
        elif isinstance(node, Interpolated):
            found += [(path, part.text) for part in node.parts if isinstance(part, Expression)]
        elif is_list(node):
            todo += [((*path, at), each) for at, each in reversed(list(enumerate(node)))]
        elif is_map(node):
            todo += [((*path, key), each) for key, each in reversed(node.items())]
    return found
