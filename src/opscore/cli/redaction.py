"""Taking secrets out of what leaves the machine.

Stricter than what the server does for its own logs (`telemetry/logs.py`), because a bundle is sent to
people: names are matched by their words, what stood under one is struck wherever else it occurs, and
so is what has the form of a well-known kind of key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, cast

STRUCK = "***"
SHORTEST = 6
"""Shorter values are struck under their name only: elsewhere they would be any word."""
_WORDS = frozenset(
    [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "secrets",
        "token",
        "authorization",
        "credential",
        "credentials",
        "cookie",
        "apikey",
        "privatekey",
        "accesskey",
        "signature",
    ]
)
_PAIRS = frozenset({("api", "key"), ("private", "key"), ("access", "key"), ("signing", "key")})
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_FORMS = re.compile(
    r"opc_\w{8,}"  # keys of Ops-Core, see core/keys.py
    r"|whsec_[\w+/=-]{8,}"  # what callbacks are signed with
    r"|\bsk-[\w-]{16,}"  # providers of models
    r"|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON Web Tokens
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password of an address
    r"|(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]{8,}"
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:\s*)"((?:[^"\\]|\\.)*)("|$)')


def without_secrets(document: Any, known: Iterable[str] = ()) -> Any:
    """A copy of a JSON document without secrets; `known` are such as must not occur in any case."""
    found = {one for one in (*known, *_found(document)) if len(one) >= SHORTEST}
    # As they stand in texts that are JSON themselves, too.
    found |= {json.dumps(one)[1:-1] for one in found}
    longest = sorted(map(re.escape, found), key=len, reverse=True)
    return _struck(document, re.compile("|".join(longest)) if longest else None)


def is_secret(name: str) -> bool:
    """Whether a name says that what stands under it is secret: `apiKey`, `DB_PASSWORD`, not `tokens`."""
    parts = [part.lower() for part in _PARTS.findall(name)]
    pairs = pairwise(parts)
    return name.lower() == "key" or not _WORDS.isdisjoint(parts) or not _PAIRS.isdisjoint(pairs)


def _found(value: Any) -> Iterator[str]:
    """Every text under a secret name, also where a text is JSON itself."""
    if isinstance(value, dict):
        for name, one in cast("dict[str, Any]", value).items():
            yield from _texts(one) if is_secret(name) else _found(one)
    elif isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _found(one)
    elif isinstance(value, str):
        yield from (match[3] for match in _QUOTED.finditer(value) if is_secret(match[1]))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in cast("dict[str, Any]", value).values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _texts(one)


def _struck(value: Any, found: re.Pattern[str] | None) -> Any:
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value).items()
        # Numbers stay: a count of tokens is no token.
        return {
            _text(name, found): STRUCK
            if is_secret(name) and isinstance(one, str | list | dict) and one
            else _struck(one, found)
            for name, one in named
        }
    if isinstance(value, list):
        return [_struck(one, found) for one in cast("list[Any]", value)]
    return _text(value, found) if isinstance(value, str) else value


def _text(text: str, found: re.Pattern[str] | None) -> str:
    if found is not None:
        text = found.sub(STRUCK, text)
    return _FORMS.sub(STRUCK, _QUOTED.sub(_pair, text))


def _pair(match: re.Match[str]) -> str:
    name, between, _, end = match.groups()
    return f'"{name}"{between}"{STRUCK}{end}' if is_secret(name) else match[0]
