"""`map` and `filter` over long lists without copying the result for every item.

CEL expands both to a fold whose every step is `result + [item]`, and this library copies the whole
result each time: 10,000 items took seconds. A second form of the compiled tree goes over the same
list in chunks, `result + chunk.map(…)`, so that a chunk's worth is copied instead. Source texts,
checks and error positions stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opscore.core.trees import is_list, is_map
from opscore.expressions.references import path_of
from opscore.expressions.tree import read_node
from opscore.expressions.wire import as_bytes, encoded, fields_of, message, text

CHUNK = 250
"""Items of one chunk: for 10,000 items some 1.5 million copies instead of 50 million."""

_ID, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _FOLD = 2, 4, 5, 6, 7, 8, 9
_BELOW = {_SELECT: (1,), _CALL: (1, 3), _LIST: (1,)}


@dataclass(frozen=True, slots=True)
class Chunked:
    """A serialised expression that reads the lists at these paths from variables of chunks."""

    serialised: bytes
    paths: Mapping[str, tuple[str, ...]]


def chunked(serialised: bytes, names: frozenset[str]) -> Chunked | None:
    """The second form of an expression; None when no `map` or `filter` goes over plain data.

    `names` are the variables that hold data.
    """
    outer = dict(fields_of(serialised))
    checked = dict(fields_of(message(outer, 2)))
    changer = _Changer(names)
    root = changer.changed(message(checked, 4), frozenset())
    if not changer.paths:
        return None
    checked[4] = [root]
    outer[2] = [encoded(checked)]
    return Chunked(encoded(outer), changer.paths)


def chunks(paths: Mapping[str, tuple[str, ...]], data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The variables of chunks; None when the lists are short, or one of them is not there."""
    found: dict[str, Any] = {}
    longest = 0
    for name, path in paths.items():
        value: Any = data
        for part in path:
            if not is_map(value) or part not in value:
                return None
            value = value[part]
        if is_map(value):
            value = list(value)
        if not is_list(value):
            return None
        longest = max(longest, len(value))
        found[name] = [value[at : at + CHUNK] for at in range(0, len(value), CHUNK)]
    return found if longest > CHUNK else None


class _Changer:
    """Rebuilds an expression; new nodes get ids above all that are in use."""

    def __init__(self, names: frozenset[str]) -> None:
        self.paths: dict[str, tuple[str, ...]] = {}
        self._names = names
        self._next = 1_000_000
        self._chunked = 0

    def changed(self, data: bytes, local: frozenset[str]) -> bytes:
        """The expression with its appending folds over data turned into folds over chunks."""
        fields = dict(fields_of(data))
        if _FOLD in fields:
            return self._fold(data, local)
        for tag, below in _BELOW.items():
            if tag in fields:
                fields[tag] = [self._below(message(fields, tag), below, local)]
                return encoded(fields)
        if _STRUCT in fields:
            struct = dict(fields_of(message(fields, _STRUCT)))
            entries = [as_bytes(each) for each in struct.get(2, [])]
            struct[2] = [self._below(each, (3, 4), local) for each in entries]
            fields[_STRUCT] = [encoded(struct)]
            return encoded(fields)
        return data

    def _below(self, data: bytes, tags: tuple[int, ...], local: frozenset[str]) -> bytes:
        fields = dict(fields_of(data))
        for tag in tags:
            if tag in fields:
                fields[tag] = [self.changed(as_bytes(each), local) for each in fields[tag]]
        return encoded(fields)

    def _fold(self, data: bytes, local: frozenset[str]) -> bytes:
        number = self._chunked
        path = self._base(data, local)
        if path is None:
            return self._bodies(data, local, None)
        self._chunked += 1
        self.paths[f"@chunks{number}"] = path
        inner = self._bodies(data, local, self._name(f"@chunk{number}"))
        return self._all_chunks(number, inner)

    def _base(self, data: bytes, local: frozenset[str]) -> tuple[str, ...] | None:
        """The path that a chain such as `path.filter(…).map(…)` goes over.

        A whole chain may go chunk by chunk, since each link does.
        """
        fold = fields_of(message(fields_of(data), _FOLD))
        if not fold or not _appends(message(fold, 6), text(fold, 3)):
            return None
        source = message(fold, 2)
        found = path_of(read_node(source))
        if found is None:
            return self._base(source, local)
        return found.path if found.path[0] in self._names - local else None

    def _bodies(self, data: bytes, local: frozenset[str], base: bytes | None) -> bytes:
        """The fold with its parts changed; with `base` in the place of the chain's first source."""
        fields = dict(fields_of(data))
        fold = dict(fields_of(message(fields, _FOLD)))
        source = message(fold, 2)
        if base is None:
            fold[2] = [self.changed(source, local)]
        elif _FOLD in fields_of(source):
            fold[2] = [self._bodies(source, local, base)]
        else:
            fold[2] = [base]
        inner = local | {text(fold, 1), text(fold, 3)}
        fields[_FOLD] = [self._below(self._below(encoded(fold), (4,), local), (5, 6, 7), inner)]
        return encoded(fields)

    def _all_chunks(self, number: int, inner: bytes) -> bytes:
        total = f"@all{number}"
        added = encoded({2: [b"_+_"], 3: [self._name(total), inner]})
        fold: dict[int, list[int | bytes]] = {
            1: [f"@chunk{number}".encode()],
            2: [self._name(f"@chunks{number}")],
            3: [total.encode()],
            4: [self._node(_LIST, b"")],
            5: [self._node(3, encoded({2: [1]}))],
            6: [self._node(_CALL, added)],
            7: [self._name(total)],
        }
        return self._node(_FOLD, encoded(fold))

    def _path(self, source: bytes, local: frozenset[str]) -> tuple[str, ...] | None:
        found = path_of(read_node(source))
        free = found is not None and found.path[0] in self._names - local
        return found.path if found and free else None

    def _name(self, name: str) -> bytes:
        return self._node(_IDENT, encoded({1: [name.encode()]}))

    def _node(self, tag: int, content: bytes) -> bytes:
        self._next += 1
        return encoded({_ID: [self._next], tag: [content]})


def _appends(step: bytes, accumulator: str) -> bool:
    """Whether a fold's step is `r + [x]`, also inside `condition ? r + [x] : r`."""
    call = fields_of(message(fields_of(step), _CALL))
    function, arguments = text(call, 2), [as_bytes(each) for each in call.get(3, [])]
    if function == "_+_" and len(arguments) == 2 and _is_name(arguments[0], accumulator):
        return len(fields_of(message(fields_of(arguments[1]), _LIST)).get(1, [])) == 1
    if function == "_?_:_" and len(arguments) == 3 and _is_name(arguments[2], accumulator):
        return _appends(arguments[1], accumulator)
    return False


def _is_name(data: bytes, name: str) -> bool:
    return text(fields_of(message(fields_of(data), _IDENT)), 1) == name
