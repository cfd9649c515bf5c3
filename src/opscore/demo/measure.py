"""Measure Python source: lines, functions, lengths and cyclomatic complexity.

Complexity follows the rules that radon 6 applies to a function, so that the demo's figures can be
checked against an independent program:

- a function starts at 1; `if`, `elif`, a conditional expression and `assert` add 1 each;
- `for` and `while` add 1, and 1 more with an `else`; `try` adds 1 for each `except` and 1 for
  `else`; each operand after the first of `and`/`or` adds 1;
- a comprehension adds 1 for each `for` and 1 for each of its `if`s;
- `match` adds 1 for each case, less one when a case takes anything (`case _` or `case name`);
- `with`, `finally`, `except*` and lambdas add nothing; what stands inside them counts.

A function's figure covers its own body only: nested functions and classes, decorators, default
values, and what an `assert` asserts stay outside.
"""

from __future__ import annotations

import ast
import io
import threading
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

# McCabe's limit (A Complexity Measure, 1976): above it a function should be divided.
TOLERABLE = 10
# How many functions a file, or a whole tree, names as its worst.
WORST = 5

# CPython 3.11 and 3.12 keep the depth of the tree they build once for all threads: two that parse
# at a time now and then end in a SystemError. They take turns for the interpreter lock anyway.
_PARSER = threading.Lock()


@dataclass(frozen=True, slots=True)
class Function:
    """One `def`: dotted name inside its file, first line, number of lines, complexity."""

    name: str
    line: int
    lines: int
    complexity: int


@dataclass(frozen=True, slots=True)
class Measures:
    """What one file measures; `complexity` is the sum over all its functions.

    `longest` is None and `worst` empty when there is no function; of equal functions the first in
    the file comes first. `worst` holds at most five, by falling complexity: the worst one always,
    the others only above TOLERABLE, so that the worst of a whole tree can be told from the files'.
    """

    lines: int
    functions: int
    complexity: int
    longest: Function | None
    worst: tuple[Function, ...]


class DoesNotParse(Exception):
    """The text is not Python for the running interpreter; says on which line and why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


def measure_source(source: str | bytes) -> Measures:
    """Measure one module. Bytes are decoded as PEP 263 says; text is taken as it is.

    Raises DoesNotParse when the source cannot be decoded or is not valid Python.
    """
    text = decode_source(source) if isinstance(source, bytes) else source
    functions = list_functions(_parse(text))
    return Measures(
        lines=count_lines(source if isinstance(source, bytes) else _as_bytes(source)),
        functions=len(functions),
        complexity=sum(function.complexity for function in functions),
        longest=max(functions, key=lambda function: function.lines, default=None),
        worst=_worst(functions),
    )


def count_lines(data: bytes) -> int:
    """Count lines in any encoding that keeps ASCII; LF, CR LF and CR end a line, as in Python.

    A last line without an end counts too, and nothing at all has no line.
    """
    ends = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
    return ends + (not data.endswith((b"\n", b"\r")) and data != b"")


def decode_source(data: bytes) -> str:
    """Decode a module by its byte order mark or coding comment, else as UTF-8 (PEP 263).

    Raises DoesNotParse for an unknown or contradictory encoding, or bytes that do not fit it.
    """
    stream = io.BytesIO(data)
    try:
        encoding, _ = tokenize.detect_encoding(stream.readline)
        return data.decode(encoding)
    except SyntaxError as error:
        # The declaration is at fault: it stands on the last line that was read.
        raise DoesNotParse(max(count_lines(data[: stream.tell()]), 1), error.msg) from error
    except UnicodeDecodeError as error:
        line = count_lines(data[: error.start + 1])
        raise DoesNotParse(line, f"not {error.encoding}: {error.reason}") from error
    except (UnicodeError, LookupError) as error:  # a codec that is not one for text
        raise DoesNotParse(1, str(error)) from error


def list_functions(tree: ast.Module) -> list[Function]:
    """Return every function of a module, methods and nested ones too, by first line.

    Walks with lists of its own, so that deeply nested source cannot exhaust Python's stack.
    """
    found: list[Function] = []
    scopes: list[tuple[_Scope, str]] = [(tree, "")]
    while scopes:
        scope, name = scopes.pop()
        points, inner = _decision_points(scope.body)
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (scope.end_lineno or scope.lineno) - scope.lineno + 1
            found.append(Function(name, scope.lineno, lines, 1 + points))
        prefix = f"{name}." if name else ""
        scopes.extend((definition, prefix + definition.name) for definition in inner)
    return sorted(found, key=lambda function: function.line)


def _worst(functions: list[Function]) -> tuple[Function, ...]:
    ranked = sorted(functions, key=lambda function: -function.complexity)
    others = (function for function in ranked[1:WORST] if function.complexity > TOLERABLE)
    return (*ranked[:1], *others)


def _parse(text: str) -> ast.Module:
    null = text.find("\0")
    if null >= 0:  # 3.11 says this with a ValueError, later ones with a SyntaxError without a line
        raise DoesNotParse(count_lines(_as_bytes(text[: null + 1])), "null byte")
    try:
        with _PARSER:
            return ast.parse(text)
    except SyntaxError as error:
        raise DoesNotParse(max(error.lineno or 1, 1), error.msg) from error
    except ValueError as error:  # lone surrogates
        raise DoesNotParse(1, str(error)) from error
    except (RecursionError, MemoryError) as error:  # how the parser says "nested too deeply"
        raise DoesNotParse(1, "nested too deeply for the parser") from error


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decision_points(body: list[ast.stmt]) -> tuple[int, list[_Definition]]:
    """Count the decision points of a body, and return the definitions inside it unopened."""
    points = 0
    inner: list[_Definition] = []
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, _DEFINITIONS):
            inner.append(node)
        elif isinstance(node, ast.Assert):
            points += 1
        else:
            rule = _RULES.get(type(node))
            points += rule(node) if rule else 0
            waiting += _children(node)
    return points, inner


def _children(node: ast.AST) -> list[ast.AST]:
    """The nodes below that may matter: `ast.iter_child_nodes` without leaves, in half the time."""
    below: list[object] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            below += cast("list[object]", value)
        else:
            below.append(value)
    return [one for one in below if isinstance(one, ast.AST) and not isinstance(one, _LEAVES)]


def _one(_: ast.AST) -> int:
    return 1


def _loop(node: ast.AST) -> int:
    assert isinstance(node, ast.For | ast.AsyncFor | ast.While)
    return 1 + bool(node.orelse)


def _try(node: ast.AST) -> int:
    assert isinstance(node, ast.Try)
    return len(node.handlers) + bool(node.orelse)


def _bool_op(node: ast.AST) -> int:
    assert isinstance(node, ast.BoolOp)
    return len(node.values) - 1


def _comprehension(node: ast.AST) -> int:
    assert isinstance(node, ast.comprehension)
    return 1 + len(node.ifs)


def _match(node: ast.AST) -> int:
    assert isinstance(node, ast.Match)
    return len(node.cases) - any(_takes_anything(case.pattern) for case in node.cases)


def _takes_anything(pattern: ast.pattern) -> bool:
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None


_LEAVES = (ast.Name, ast.Constant, ast.expr_context, ast.operator, ast.alias, ast.Pass)
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_Scope = ast.Module | _Definition

_RULES: dict[type[ast.AST], Callable[[ast.AST], int]] = {
    ast.If: _one,
    ast.IfExp: _one,
    ast.For: _loop,
    ast.AsyncFor: _loop,
    ast.While: _loop,
    ast.Try: _try,
    ast.BoolOp: _bool_op,
    ast.comprehension: _comprehension,
    ast.Match: _match,
}
