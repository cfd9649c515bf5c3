"""YAML 1.2 (core schema) by the events of ruamel.yaml, so that bounds hold while it is parsed."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from opscore.documents.build import Builder, Built, Position, refuse

# YAML 1.2.2, section 10.3.2 (core schema): `on`, `no` and `1:30` are text.
_PLAIN_WORDS: dict[str, object] = {"null": None, "true": True, "false": False}
_WORDS: dict[str, object] = {"": None, "~": None} | {
    spelt: value
    for word, value in _PLAIN_WORDS.items()
    for spelt in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    re.ASCII,
)
_MAX_NUMBER = 100
"""Characters of a number: longer ones are text of digits that somebody forgot to quote."""


def read_yaml(text: str) -> Built:
    """Parse one document. Raises `Invalid` with line and column."""
    builder = Builder()
    try:
        _feed(builder, text)
    except ReaderError as error:
        _refuse_character(text, error)
    except MarkedYAMLError as error:
        _refuse_marked(error)
    except YAMLError as error:
        refuse(f"not YAML: {str(error)[:200]}", (1, 1))
    if builder.root is None:
        refuse("the document is empty", (1, 1))
    return builder.root


def _feed(builder: Builder, text: str) -> None:
    parser: Any = YAML(typ="safe", pure=True)
    documents = 0
    event: Any
    for event in parser.parse(text):
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                refuse("a second document begins here", _at(event), "one document per file")
        else:
            _take(builder, event)


def _take(builder: Builder, event: Any) -> None:
    kind = _kind(event)
    if kind is MappingStartEvent or kind is SequenceStartEvent:
        _no_tag(event)
        builder.start({} if kind is MappingStartEvent else [], _at(event), event.anchor)
    elif kind is MappingEndEvent or kind is SequenceEndEvent:
        builder.end()
    elif kind is ScalarEvent:
        _no_tag(event)
        plain = event.style is None
        value = _resolve(event.value, _at(event)) if plain else event.value
        builder.scalar(value, _at(event), event.anchor)
    elif kind is AliasEvent:
        builder.alias(event.anchor, _at(event))
    # Starts and ends of the stream and ends of documents carry nothing.


def _kind(event: object) -> type[object]:
    return type(event)


def _no_tag(event: Any) -> None:
    if event.ctag is not None or event.tag is not None:
        refuse(f"the tag '{event.tag}' is not allowed", _at(event), "remove the tag")


def _resolve(text: str, at: Position) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if not (text[0].isdigit() or text[0] in "+-."):
        return text
    integer = _INTEGER.fullmatch(text)
    if not integer and not _FLOAT.fullmatch(text):
        return text
    if len(text) > _MAX_NUMBER:
        refuse(f"a number of {len(text)} characters", at, "write it in quotes if it is text")
    if integer:
        return int(text, 0 if text[1:2] in ("o", "x") else 10)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _refuse_character(text: str, error: Any) -> NoReturn:
    before = text[: error.position]
    at = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    refuse(f"the character U+{ord(text[error.position]):04X} is not allowed in YAML", at)


def _refuse_marked(error: Any) -> NoReturn:
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem or error.context or "not YAML")
    if mark is None:
        refuse(problem, (1, 1))
    refuse(_in_words(problem), (mark.line + 1, mark.column + 1), _hint(problem, _line_of(mark)))


def _in_words(problem: str) -> str:
    if "'\\t'" in problem:
        return "a tab cannot indent or begin a value in YAML"
    return problem


def _hint(problem: str, line: str) -> str:
    if "'\\t'" in problem:
        return "use spaces"
    if "${{" in line:
        return 'put the expression in quotes: "${{ … }}"'
    if "mapping values are not allowed" in problem:
        return "put text that holds ': ' in quotes, and check the indentation"
    if "expected <block end>" in problem:
        return "check the indentation of this line against the lines above it"
    if "cannot start any token" in problem:
        return "put the text in quotes"
    return ""


def _line_of(mark: Any) -> str:
    buffer: str = mark.buffer or ""
    start = buffer.rfind("\n", 0, mark.pointer) + 1
    return buffer[start : start + 2000].split("\n", 1)[0]


def _at(event: Any) -> Position:
    return event.start_mark.line + 1, event.start_mark.column + 1
