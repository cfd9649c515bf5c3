"""CEL behind the core's Protocol: `core.expressions.Expressions`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias
from weakref import WeakKeyDictionary

import msgspec

from opscore.core.expressions import ExpressionFailed, ExpressionScope, Scope
from opscore.core.lint import Shape
from opscore.core.template import Expression, Interpolated, Value
from opscore.core.trees import is_list, is_map
from opscore.core.types import ErrorInfo, Json
from opscore.expressions.program import (
    Language,
    NotCel,
    Program,
    complaint,
    evaluate,
    evaluate_json,
    shape_of,
    undeclared,
)
from opscore.expressions.results import Raw, text_of
from opscore.expressions.views import elements
from opscore.json_schema import validate

__all__ = ["CelExpressions"]

MAX_PROGRAMS = 4096

Piece: TypeAlias = bytes | Program | tuple[str | Program, ...]
"""Encoded text, an expression, or the parts of an interpolated string."""


class CelExpressions:
    """Checks and evaluates expressions. For one thread: it keeps what it compiled.

    At most `MAX_PROGRAMS` compiled expressions are kept, the longest unused go first; what was
    made of a `Value` is kept as long as the value lives.
    """

    def __init__(self) -> None:
        self._language = Language()
        self._programs: OrderedDict[str, Program] = OrderedDict()
        self._constants: WeakKeyDictionary[Value, Json] = WeakKeyDictionary()
        self._pieces: WeakKeyDictionary[Value, tuple[Piece, ...]] = WeakKeyDictionary()

    def check(self, text: str, scope: ExpressionScope) -> str | None:
        """What is wrong with an expression at a place with this scope, or None."""
        try:
            return complaint(self._program(text), scope)
        except NotCel as error:
            return undeclared(str(error), scope)

    def shape(self, text: str) -> Shape | None:
        """What the expression is before it runs; None when it is not one."""
        try:
            return shape_of(self._program(text))
        except NotCel:
            return None

    def render(self, value: Value, scope: Scope) -> Json:
        """Encode the tree with its expressions replaced. Raises `ExpressionFailed`."""
        if not value.dynamic:
            constant = self._constants.get(value)
            return self._constant(value) if constant is None else constant
        if isinstance(value.tree, Expression):
            return evaluate_json(self._compiled(value.tree.text), scope)
        pieces = self._pieces.get(value)
        if pieces is None:
            pieces = self._pieces[value] = tuple(self._split(value.tree))
        return Raw(b"".join([_piece(piece, scope) for piece in pieces]))

    def condition(self, text: str, scope: Scope) -> bool:
        """Evaluate a boolean expression. Raises `ExpressionFailed`, also for another type."""
        result = evaluate(self._compiled(text), scope)
        if isinstance(result, bool):
            return result
        raise ExpressionFailed(
            f"in '{text[:80]}': a condition gives true or false, not {result!r:.40}"
        )

    def items(self, value: Value, scope: Scope) -> Sequence[Json]:
        """Evaluate to a list or map, each item encoded. Raises `ExpressionFailed`, also for others."""
        return elements(self.render(value, scope))

    def join(self, outputs: Sequence[Json]) -> Json:
        """One JSON array of already encoded values."""
        return Raw(b"[%b]" % b",".join(outputs))

    def outcome(self, output: Json, error: ErrorInfo | None) -> Json:
        """One item's outcome under `failures: collect`."""
        if error is None:
            return Raw(b'{"status":"completed","output":%b}' % output)
        told = {"class": error.error_class, "message": error.message}
        return Raw(msgspec.json.encode({"status": "failed", "error": told}))

    def complaint(self, schema: Json, document: Json) -> str | None:
        """The first of what a JSON Schema has against a document."""
        faults = validate(schema, document)
        return f"{faults[0].pointer or '/'}: {faults[0].message}" if faults else None

    def _constant(self, value: Value) -> Json:
        encoded = self._constants[value] = Raw(msgspec.json.encode(value.tree))
        return encoded

    def _compiled(self, text: str) -> Program:
        try:
            return self._program(text)
        except NotCel as error:
            raise ExpressionFailed(f"in '{text[:80]}': {error}") from None

    def _program(self, text: str) -> Program:
        program = self._programs.get(text)
        if program is None:
            program = self._language.compile(text)
            if len(self._programs) >= MAX_PROGRAMS:
                self._programs.popitem(last=False)
            self._programs[text] = program
        else:
            self._programs.move_to_end(text)
        return program

    def _split(self, tree: object) -> list[Piece]:
        """The encoded tree, cut at its expressions."""
        match tree:
            case Expression(text):
                return [self._compiled(text)]
            case Interpolated(parts):
                return [tuple(self._part(part) for part in parts)]
            case _:
                pass
        if is_list(tree):
            return _joined(b"[", [self._split(each) for each in tree], b"]")
        if is_map(tree):
            entries = [
                [msgspec.json.encode(key) + b":", *self._split(each)] for key, each in tree.items()
            ]
            return _joined(b"{", entries, b"}")
        return [msgspec.json.encode(tree)]

    def _part(self, part: str | Expression) -> str | Program:
        return part if isinstance(part, str) else self._compiled(part.text)


def _piece(piece: Piece, scope: Scope) -> Json:
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, Program):
        return evaluate_json(piece, scope)
    parts = [
        part if isinstance(part, str) else text_of(evaluate_json(part, scope)) for part in piece
    ]
    return msgspec.json.encode("".join(parts))


def _joined(opening: bytes, entries: list[list[Piece]], closing: bytes) -> list[Piece]:
    """One list of pieces, neighbouring bytes merged."""
    pieces: list[Piece] = [opening]
    for at, entry in enumerate(entries):
        for piece in ([b","] if at else []) + entry:
            _append(pieces, piece)
    _append(pieces, closing)
    return pieces


def _append(pieces: list[Piece], piece: Piece) -> None:
    last = pieces[-1]
    if isinstance(piece, bytes) and isinstance(last, bytes):
        pieces[-1] = last + piece
    else:
        pieces.append(piece)
