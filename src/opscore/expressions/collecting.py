"""`map` and `filter` in linear time.

CEL expands both to a fold whose every step is `result + [item]`, and this library copies the whole
result each time: 10,000 items took seconds. The compiled tree is changed so that the result is
collected in a Python list instead; source texts, checks and error positions stay as they were.
"""

from __future__ import annotations

from typing import Any

from cel_expr_python import cel

from opscore.expressions.tree import Call, Literal, Node, walk
from opscore.expressions.wire import Fields, as_bytes, encoded, fields_of, integer, message, text

# No text of a template can spell these names.
NEW, PUSH, TAKE = "@opscore_new", "@opscore_push", "@opscore_take"
_ID, _IDENT, _CALL, _LIST, _STRUCT, _SELECT, _FOLD = 2, 4, 6, 7, 8, 5, 9


class Collector:
    """The lists of the evaluation that is under way, by number."""

    def __init__(self) -> None:
        self._lists: list[list[Any]] = []

    def clear(self) -> None:
        """Forget the lists of the last evaluation."""
        self._lists.clear()

    def functions(self) -> cel.CelExtension:
        """The functions that changed trees call."""
        dyn = cel.Type.DYN
        return cel.CelExtension(
            "opscore.collecting",
            [
                cel.FunctionDecl(NEW, [cel.Overload("opscore_new", dyn, [], impl=self._new)]),
                cel.FunctionDecl(
                    PUSH, [cel.Overload("opscore_push", dyn, [dyn, dyn], impl=self._push)]
                ),
                cel.FunctionDecl(TAKE, [cel.Overload("opscore_take", dyn, [dyn], impl=self._take)]),
            ],
        )

    def _new(self) -> int:
        self._lists.append([])
        return len(self._lists) - 1

    def _push(self, number: int, item: Any) -> int:
        self._lists[number].append(item)
        return number

    def _take(self, number: int) -> list[Any]:
        return self._lists[number]


def collecting(serialised: bytes) -> bytes | None:
    """The serialised expression with its appending folds changed; None when it has none."""
    outer = dict(fields_of(serialised))
    checked = dict(fields_of(message(outer, 2)))
    changer = _Changer(message(checked, 4))
    if not changer.changed:
        return None
    checked[4] = [changer.result]
    outer[2] = [encoded(checked)]
    return encoded(outer)


def survives_python(root: Node) -> bool:
    """Whether every value on the way is the same after a visit to Python.

    Times, durations, unsigned literals and types are not; expressions that make them stay as they
    are.
    """
    for node in walk(root):
        match node:
            case Call(function="duration" | "timestamp" | "uint" | "type"):
                return False
            case Literal(unsigned=True):
                return False
            case _:
                pass
    return True


class _Changer:
    """Rebuilds an expression; new nodes get ids above all that are in use."""

    def __init__(self, root: bytes) -> None:
        self.changed = False
        self._next = 1_000_000
        self.result = self._expression(root)

    def _expression(self, data: bytes) -> bytes:
        fields = dict(fields_of(data))
        if _FOLD in fields:
            fields[_FOLD] = [self._fold(message(fields, _FOLD))]
        elif _CALL in fields:
            fields[_CALL] = [self._below(message(fields, _CALL), (1, 3))]
        elif _LIST in fields:
            fields[_LIST] = [self._below(message(fields, _LIST), (1,))]
        elif _SELECT in fields:
            fields[_SELECT] = [self._below(message(fields, _SELECT), (1,))]
        elif _STRUCT in fields:
            struct = dict(fields_of(message(fields, _STRUCT)))
            struct[2] = [self._below(as_bytes(each), (3, 4)) for each in struct.get(2, [])]
            fields[_STRUCT] = [encoded(struct)]
        else:
            return data
        return encoded(fields)

    def _below(self, data: bytes, tags: tuple[int, ...]) -> bytes:
        fields = dict(fields_of(data))
        for tag in tags:
            if tag in fields:
                fields[tag] = [self._expression(as_bytes(each)) for each in fields[tag]]
        return encoded(fields)

    def _fold(self, data: bytes) -> bytes:
        fields = dict(fields_of(self._below(data, (2, 4, 5, 6, 7))))
        name = text(fields, 3)
        step = _pushing(message(fields, 6), name)
        if step is None or not _is_empty_list(message(fields, 4)):
            return encoded(fields)
        self.changed = True
        fields[4] = [self._call(NEW)]
        fields[6] = [step]
        fields[7] = [self._call(TAKE, message(fields, 7))]
        return encoded(fields)

    def _call(self, function: str, *arguments: bytes) -> bytes:
        self._next += 1
        return encoded({_ID: [self._next], _CALL: [_call_of(function, list(arguments))]})


def _pushing(step: bytes, accumulator: str) -> bytes | None:
    """`r + [x]` as `push(r, x)`, also inside `condition ? r + [x] : r`; None for another step."""
    fields = fields_of(step)
    call = fields_of(message(fields, _CALL))
    function, arguments = text(call, 2), [as_bytes(each) for each in call.get(3, [])]
    if function == "_+_" and len(arguments) == 2 and _names(arguments[0], accumulator):
        parts = fields_of(message(fields_of(arguments[1]), _LIST)).get(1, [])
        if len(parts) != 1:
            return None
        pushed = [arguments[0], as_bytes(parts[0])]
        return encoded({_ID: [integer(fields, _ID)], _CALL: [_call_of(PUSH, pushed)]})
    if function == "_?_:_" and len(arguments) == 3 and _names(arguments[2], accumulator):
        inner = _pushing(arguments[1], accumulator)
        if inner is not None:
            changed = [arguments[0], inner, arguments[2]]
            return encoded({_ID: [integer(fields, _ID)], _CALL: [_call_of(function, changed)]})
    return None


def _call_of(function: str, arguments: list[bytes]) -> bytes:
    return encoded({2: [function.encode()], 3: list(arguments)})


def _names(data: bytes, name: str) -> bool:
    return text(fields_of(message(fields_of(data), _IDENT)), 1) == name


def _is_empty_list(data: bytes) -> bool:
    fields: Fields = fields_of(data)
    return _LIST in fields and not message(fields, _LIST)
