"""Damage: to trees, to the bytes of a document, and to the expressions in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, cast

Tree = Any
DEEP = 300
MANY = 60_000
"""More values than a template may have."""
LONG = 300_000
"""Bytes: longer than any payload may be."""

_ODD_TEXTS = (
    "",
    " ",
    "null",
    "1.10",
    "on",
    "\u0000",
    "\ud800",
    "\u202e\u2066",
    "é" * 70,
    "__proto__",
    "../../etc/passwd",
    "'; drop table sessions; --",
    "\x1b[2J",
    "a\r\nx: y",
    "${{",
    "}}",
    "${{ }}",
    "${{ input }}",
    "${{ steps.a.output }}",
    "9999999999h",
    "1e400s",
    "-1s",
)
_ODD_NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63), 10**30, 0.1, -0.0, 1e308)
_TOKENS = (
    *("input", "steps", "item", "index", "previous", "session", "agent", "error", "env", "context"),
    *(".", "[", "]", "(", ")", "{", "}", ",", ":", "?", "!", "-", "+", "*", "/", "%", "==", "in"),
    *("&&", "||", "<", ">=", "0", "1", "-9223372036854775808", "1u", "1.5e300", "'x'", '"y"'),
    *("b'\\xff'", "r'\\'", "true", "null", "has", "size", "map", "filter", "exists", "matches"),
    *("all", "string", "int", "timestamp", "duration", "'2026-01-01T00:00:00Z'", "lists", "range"),
    *("math", "greatest", "sum", "output", "path", "x", "loop", "'(a+)+$'", "100000", "\\", "`"),
)


def few(chance: Random) -> int:
    """One, or two, or seldom more."""
    count = 1
    while count < 8 and chance.random() < 0.4:
        count += 1
    return count


def odd_value(chance: Random) -> Tree:
    """A value that nobody expects there."""
    kind = chance.randrange(12)
    if kind < 4:
        return chance.choice(_ODD_TEXTS)
    if kind < 7:
        return chance.choice(_ODD_NUMBERS)
    if kind == 7:
        return f"${{{{ {expression(chance)} }}}}"
    odd: Sequence[Tree] = [None, True, False, [], {}, [[]], {"": {}}, [None, 1], {"a": {"b": 1}}]
    return chance.choice(odd)


def expression(chance: Random) -> str:
    """Words of the expression language in any order."""
    return " ".join(chance.choice(_TOKENS) for _ in range(chance.randrange(1, 24)))


def mutated(tree: Tree, chance: Random, others: Sequence[Tree]) -> Tree:
    """The tree with some places changed, as a rule one or two; `others` lend their parts."""
    copy = json.loads(json.dumps(tree))
    for _ in range(few(chance)):
        copy = _with_change(copy, chance, others)
    return copy


def _with_change(tree: Tree, chance: Random, others: Sequence[Tree]) -> Tree:
    places = list(_places(tree))
    if not places:
        return odd_value(chance)
    parent, key = chance.choice(places)
    chance.choice(_CHANGES)(parent, key, chance, others)
    return tree


def _places(tree: Tree) -> list[tuple[Any, Any]]:
    """Every (parent, key or index) of a tree."""
    found: list[tuple[Any, Any]] = []
    ahead: list[Any] = [tree]
    while ahead:
        one = ahead.pop()
        keys: list[Any] = []
        if isinstance(one, dict):
            keys = list(cast("dict[Any, Any]", one))
        elif isinstance(one, list):
            keys = list(range(len(cast("list[Any]", one))))
        found += [(one, key) for key in keys]
        ahead += [one[key] for key in keys]
    return found


def _replaced(parent: Any, key: Any, chance: Random, _others: Sequence[Tree]) -> None:
    parent[key] = odd_value(chance)


def _removed(parent: Any, key: Any, _chance: Random, _others: Sequence[Tree]) -> None:
    del parent[key]


def _renamed(parent: Any, key: Any, chance: Random, _others: Sequence[Tree]) -> None:
    if isinstance(parent, dict):
        tree = cast("dict[str, Any]", parent)
        tree[chance.choice([*_ODD_TEXTS, key + "s", key.upper()])] = tree.pop(key)


def _wrapped(parent: Any, key: Any, chance: Random, _others: Sequence[Tree]) -> None:
    parent[key] = [parent[key]] if chance.random() < 0.5 else {"x": parent[key]}


def _nested(parent: Any, key: Any, chance: Random, _others: Sequence[Tree]) -> None:
    inner: Any = parent[key]
    for _ in range(chance.choice([10, 70, DEEP])):
        inner = [inner] if chance.random() < 0.5 else {"a": inner}
    parent[key] = inner


def _grown(parent: Any, key: Any, chance: Random, _others: Sequence[Tree]) -> None:
    many = chance.choice([100, 3_000, MANY if chance.random() < 0.05 else 500])
    makers: list[Callable[[], Any]] = [
        lambda: [1] * many,
        lambda: dict.fromkeys((f"k{number}" for number in range(many)), 1),
        lambda: "x" * min(LONG, many * 100),
        lambda: "${{ " + "(" * many + "1" + ")" * many + " }}",
        lambda: "${{ " + "1 + " * many + "1 }}",
    ]
    parent[key] = chance.choice(makers)()


def _borrowed(parent: Any, key: Any, chance: Random, others: Sequence[Tree]) -> None:
    places = _places(chance.choice(others))
    if places:
        theirs, where = chance.choice(places)
        parent[key] = json.loads(json.dumps(theirs[where]))


def _garbled(parent: Any, key: Any, chance: Random, _others: Sequence[Tree]) -> None:
    if isinstance(parent[key], str):
        text = damaged(parent[key].encode("utf-8", "surrogatepass"), chance)
        parent[key] = text.decode("utf-8", "replace")


_CHANGES = (
    _replaced,
    _replaced,
    _removed,
    _renamed,
    _wrapped,
    _nested,
    _grown,
    _borrowed,
    _garbled,
)

_PIECES = (
    *(b"&a ", b"*a", b"!!python/object ", b"!!binary x", b"---\n", b"...\n", b"%YAML 1.1\n"),
    *(b"\t", b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"<<: *a\n"),
    *(
        b": ",
        b"- ",
        b"? ",
        b"| \n",
        b">-\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"'",
        b"#",
        b"\\",
        b"\n",
    ),
    *(b"${{ ", b" }}", b"1e999", b"-", b".inf", b"~", b"\\ud800", b"\\u0000"),
)


def damaged(text: bytes, chance: Random) -> bytes:
    """Bytes cut, doubled, swapped, flipped, or with pieces put between them."""
    for _ in range(few(chance)):
        here, there = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        match chance.randrange(7):
            case 0:
                text = text[:here] + text[there:]
            case 1:
                text = text[:there] + text[here:there] * chance.randrange(1, 4) + text[there:]
            case 2:
                text = text[:here] + chance.choice(_PIECES) * chance.randrange(1, 40) + text[here:]
            case 3:
                text = text[:here] + bytes([chance.randrange(256)]) + text[here + 1 :]
            case 4:
                text = text[:here] + text[there:] + text[here:there]
            case 5:
                text = text[:here]
            case _:
                text = text[:here] + chance.choice(_PIECES) + text[there:]
        text = text[:LONG]
    return text
