"""What people type: `key=value` words, `@file` documents, labels, durations."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from opscore.cli.exits import usage

MAX_DOCUMENT = 16 * 1024 * 1024
"""Far above what a server takes; it only keeps `@/dev/zero` from filling the memory."""


def payload(words: Sequence[str], document: str | None) -> dict[str, Any]:
    """The input of a session or task: the `--input` document, with `key=value` words laid over it.

    Raises `Stop` (usage) when the document is not a JSON object or a word has no `=`.
    """
    base: Any = read_json(document, "--input") if document is not None else {}
    if not isinstance(base, dict):
        raise usage("--input must be a JSON object", 'for example --input \'{"path": "."}\'')
    result = cast("dict[str, Any]", base)
    for word in words:
        _place(result, word)
    return result


def _place(target: dict[str, Any], word: str) -> None:
    """Lay one word into the document: `a.b=1` sets `{"a": {"b": 1}}`."""
    path, equals, text = word.partition("=")
    if not equals or not all(path.split(".")):
        raise usage(f"{word!r} is not key=value", "write path=. or limits.depth=3")
    *parents, last = path.split(".")
    for name in parents:
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            raise usage(f"{word!r}: {name!r} already has a value that is not an object")
        target = cast("dict[str, Any]", inner)
    target[last] = value(text)


def value(text: str) -> Any:
    """`text` as JSON when it is JSON, else as it stands: `3` is a number, `three` is text."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> Any:
    """NaN and Infinity are Python's, not JSON's: they stay text."""
    raise ValueError(constant)


def read_json(source: str, option: str) -> Any:
    """A JSON value given literally, as `@file`, or as `@-` (standard input)."""
    text = read_text(source[1:]) if source.startswith("@") else source
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as problem:
        place = source if source.startswith("@") else option
        raise usage(f"{place}: not JSON: {problem}", "give JSON, or @file.json") from None


def read_text(name: str) -> str:
    """The text of a file (`-`: standard input), which must be UTF-8 and of sane size."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_DOCUMENT + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_DOCUMENT + 1)
        text = data.decode("utf-8-sig")
    except OSError as problem:
        raise usage(f"{name}: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise usage(f"{name}: not UTF-8 text (byte {problem.start})") from None
    if len(data) > MAX_DOCUMENT:
        raise usage(f"{name}: larger than {MAX_DOCUMENT // 1024 // 1024} MiB")
    return text


def labels(words: Iterable[str]) -> dict[str, str]:
    """`--label key=value`, as often as given."""
    result: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise usage(f"--label {word!r} is not key=value")
        result[key] = text
    return result


def given(**values: object) -> dict[str, Any]:
    """The arguments that are neither None nor empty: what belongs into a body or a query."""
    return {name: one for name, one in values.items() if one not in (None, "", (), [], {})}
