"""Compiled expressions: what CEL made of the text, and what its tree tells about it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_strings

from opscore.core.expressions import ExpressionFailed, ExpressionScope, Scope
from opscore.core.interpolation import MAX_EXPRESSION
from opscore.core.lint import Mention, Shape
from opscore.core.reading import shortened, suggest
from opscore.core.trees import is_list, is_map
from opscore.core.types import Json
from opscore.expressions.bounds import TooCostly, check_cost, is_light
from opscore.expressions.chunking import chunked, chunks
from opscore.expressions.immortal import keep_none_alive
from opscore.expressions.lists import ListFunctions
from opscore.expressions.references import Needed, Reference, needed, plain_path, references
from opscore.expressions.results import Raw, encode
from opscore.expressions.tree import Items, Name, SyntaxTree, read_tree, walk
from opscore.expressions.views import UNREADABLE, extent_at, raw_at, unreadable, variables

NAMES = ("input", "steps", "item", "index", "previous", "session", "error", "env", "agent")
LIMIT = "expression_limit"
_TOO_LARGE = "out of range for"
_TOO_MANY = "more than 10000 items visited by map, filter, exists and all together"
_COMPLAINT = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '[_@]?(.+?)_?' applied to '([^']*)'")
_CODE = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")


class Language:
    """The CEL environment of templates: its variables are dynamic, so any JSON fits.

    CEL's optional values and message literals are left out: in this library their results can end
    the process.
    """

    def __init__(self) -> None:
        keep_none_alive()
        self._functions = ListFunctions()
        self._environment = cel.NewEnv(
            variables=dict.fromkeys(NAMES, cel.Type.DYN),
            extensions=[
                ext_math.ExtMath(),
                ext_strings.ExtStrings(),
                ext_bindings.ExtBindings(),
                ext_encoders.ExtEncoders(),
                self._functions.extension(),
            ],
        )

    def compile(self, text: str) -> Program:
        """Compile one expression. Raises `NotCel`."""
        if len(text) > MAX_EXPRESSION:
            raise NotCel(f"longer than {MAX_EXPRESSION} characters")
        try:
            compiled = self._environment.compile(text)
        except RuntimeError as error:
            raise NotCel(_in_words(str(error), text)) from None
        serialised = compiled.serialize()
        tree = read_tree(serialised)
        for node in walk(tree.root):
            if isinstance(node, Items) and node.message:
                place = _place(text, tree.offsets.get(node.id, 0))
                raise NotCel(f"{place}: messages such as '{node.message}' are not supported")
            if isinstance(node, Name) and node.name.startswith("."):
                place = _place(text, tree.offsets.get(node.id, 0))
                raise NotCel(f"{place}: a name cannot begin with a dot")
        second = chunked(serialised, frozenset(NAMES))
        long = self._environment.deserialize(second.serialised) if second else None
        paths = second.paths if second else dict[str, tuple[str, ...]]()
        return Program(text, compiled, long, paths, tree, self._functions)


class NotCel(Exception):
    """The text is not a CEL expression; the message says where and why."""


@dataclass(frozen=True)
class Program:
    """One compiled expression.

    `long` is its form for long lists, which reads the data at `chunks` in chunks.
    """

    text: str
    compiled: cel.Expression
    long: cel.Expression | None
    chunks: Mapping[str, tuple[str, ...]]
    tree: SyntaxTree
    functions: ListFunctions

    @cached_property
    def mentions(self) -> tuple[Reference, ...]:
        """Every variable with the fields selected from it. (Other names are CEL's types.)"""
        found = references(self.tree.root)
        return tuple(each for each in found if each.path[0] in NAMES)

    @cached_property
    def needed(self) -> Needed:
        """The mentions as a tree of fields."""
        return needed(each.path for each in self.mentions)

    @cached_property
    def path(self) -> tuple[str, ...] | None:
        """Set when the expression only selects fields: then CEL is not needed at all."""
        path = plain_path(self.tree.root)
        return path if path and path[0] in NAMES else None

    @cached_property
    def light(self) -> bool:
        """Whether it may run without an estimate of its cost."""
        return is_light(self.tree.root)


def evaluate(program: Program, scope: Scope) -> Any:
    """The plain Python value. Raises `ExpressionFailed`, which names the expression."""
    try:
        return _evaluated(program, scope)
    except ExpressionFailed as error:
        raise _named(program, error) from None
    except UNREADABLE as error:
        raise _named(program, unreadable(error)) from None


def evaluate_json(program: Program, scope: Scope) -> Json:
    """The encoded value; a plain path passes its bytes on untouched. Raises `ExpressionFailed`."""
    try:
        if program.path is not None:
            return raw_at(program.path, scope)
        return Raw(encode(_evaluated(program, scope)))
    except ExpressionFailed as error:
        raise _named(program, error) from None
    except UNREADABLE as error:
        raise _named(program, unreadable(error)) from None


def _evaluated(program: Program, scope: Scope) -> Any:
    if not program.light:
        try:
            extents = {each.path: extent_at(each.path, scope) for each in program.mentions}
            check_cost(program.tree.root, extents)
        except TooCostly as error:
            raise ExpressionFailed(str(error), LIMIT) from None
    return _value(program, variables(program.needed, scope))


def _value(program: Program, data: dict[str, Any]) -> Any:
    result = _run(program, data)
    if result.type() != cel.Type.ERROR:
        return _plain_value(result)
    message = str(result.plain_value())
    if _TOO_LARGE not in message:
        raise ExpressionFailed(_CODE.sub("", message))
    result = _run(program, _with_doubles(data))
    if result.type() == cel.Type.ERROR:
        raise ExpressionFailed(_CODE.sub("", str(result.plain_value())))
    return _plain_value(result)


def _run(program: Program, data: dict[str, Any]) -> cel.Value:
    program.functions.forget()
    more = chunks(program.chunks, data) if program.long else None
    try:
        if program.long and more:
            return program.long.eval(data=data | more)
        return program.compiled.eval(data=data)
    except RuntimeError as error:
        message = str(error)
        if "Iteration budget" in message:
            raise ExpressionFailed(_TOO_MANY, LIMIT) from None
        raise ExpressionFailed(_CODE.sub("", message)) from None


def _plain_value(result: cel.Value) -> Any:
    try:
        return result.plain_value()
    except TypeError:
        raise ExpressionFailed(f"the result is {result.type().name()}") from None


def _with_doubles(node: Any) -> Any:
    # CEL's integers have 64 bits; JSON's larger ones become doubles, as in JavaScript.
    if is_list(node):
        return [_with_doubles(each) for each in node]
    if is_map(node):
        return {key: _with_doubles(each) for key, each in node.items()}
    if isinstance(node, int) and not -(2**63) <= node < 2**64:
        huge = math.inf if node > 0 else -math.inf
        return float(node) if abs(node) < 2**1023 else huge
    return node


def _named(program: Program, error: ExpressionFailed) -> ExpressionFailed:
    return ExpressionFailed(f"in '{shortened(program.text)}': {error}", error.error_class)


_KINDS = {
    "bool": "boolean",
    "int": "integer",
    "uint": "integer",
    "double": "number",
    "string": "string",
    "bytes": "string",
    "timestamp": "string",
    "duration": "string",
    "list": "array",
    "map": "object",
    "null": "null",
}
"""CEL's types as JSON Schema calls what they become."""


def shape_of(program: Program) -> Shape:
    """What the expression mentions and gives, as far as it can be told before it runs."""
    mentions = [
        Mention(each.path, _place(program.text, program.tree.offsets.get(each.node, 0)))
        for each in program.mentions
    ]
    name = program.compiled.return_type().name().partition("<")[0].partition("(")[0].lower()
    return Shape(tuple(mentions), program.path, _KINDS.get(name))


def complaint(program: Program, scope: ExpressionScope) -> str | None:
    """What an expression mentions that its place does not know."""
    for mention in program.mentions:
        offset = program.tree.offsets.get(mention.node, 0)
        found = _name_complaint(mention, scope)
        if found:
            return f"{_place(program.text, offset)}: {found}"
    return None


def _name_complaint(mention: Reference, scope: ExpressionScope) -> str | None:
    root, rest = mention.path[0], mention.path[1:]
    if root == "env":
        return _env_complaint(rest[0] if rest else "", scope)
    if root not in scope.names:
        return _root_complaint(root, scope)
    if root != "steps" or not rest or rest[0] in scope.steps:
        return None
    if rest[0] in scope.all_steps:
        return f"step '{rest[0]}' does not run before this one; add it to 'needs'"
    hint = suggest(rest[0], scope.all_steps)
    return f"there is no step '{rest[0]}'{f'; {hint}' if hint else ''}"


def _env_complaint(name: str, scope: ExpressionScope) -> str | None:
    if name in scope.env or (not name and scope.env):
        return None
    if not name:
        return "'env' is only known in a template that lists names: 'env: [NAME]'"
    hint = suggest(name, scope.env) or "add it there"
    return f"'{name}' is not among the names that the template lists under 'env'; {hint}"


def _root_complaint(root: str, scope: ExpressionScope) -> str:
    match root:
        case "item":
            return "'item' is only known in a step with 'foreach'"
        case "index":
            return "'index' is only known in a step with 'foreach' or 'repeat'"
        case "previous":
            return "'previous' is only known in a step with 'repeat'"
        case "error":
            return (
                "'error' is only known in 'fallback', in 'onError', and in a step whose 'when' is "
                "'failed' or 'always'"
            )
        case "agent":
            return "'agent' is only known in 'prefer' of 'match'"
        case _:
            known = suggest(root, scope.names) or f"known: {', '.join(sorted(scope.names))}"
            return f"'{root}' is not known here; {known}"


def undeclared(message: str, scope: ExpressionScope) -> str:
    """The library's words about an unknown name, in ours and with a suggestion."""
    match = _UNDECLARED.search(message)
    if match is None:
        return message
    name = match[1].split(".")[0]
    return _UNDECLARED.sub(lambda _: _root_complaint(name, scope), message)


def _in_words(message: str, text: str) -> str:
    match = _COMPLAINT.search(message)
    if match is None:
        return _CODE.sub("", message).splitlines()[0][:300]
    line, column, words = int(match[1]), int(match[2]), match[3]
    words = words.split(" expecting {")[0].split(" (in container")[0]
    words = words.removesuffix(" [INVALID_ARGUMENT]")[:300]
    if column < 1:
        return words
    words = words.replace("mismatched input '<EOF>'", "something is missing at the end")
    words = _OVERLOAD.sub(r"'\1' does not go with \2", words)
    unknown = _UNDECLARED.search(words)
    at = text.split("\n")[line - 1][column - 1 :] if unknown else ""
    if unknown and at.startswith("("):
        words = f"there is no function '{unknown[1]}'"
    elif unknown and at.startswith("."):  # The last dot of a.b.c; the name begins before it.
        column = max(1, column - len(unknown[1].rpartition(".")[0]))
    return f"{_line_and_column(line, column)}: {words}"


def _place(text: str, offset: int) -> str:
    before = text[:offset]
    return _line_and_column(before.count("\n") + 1, offset - before.rfind("\n"))


def _line_and_column(line: int, column: int) -> str:
    return f"column {column}" if line == 1 else f"line {line}, column {column}"
