"""JSON (RFC 8259) token by token, so that nesting is bounded and every value has its place."""

from __future__ import annotations

import json
import re
from bisect import bisect_right

from opscore.documents.build import Builder, Built, Position, refuse

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_WORD = re.compile(r"[A-Za-z_]+|.", re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None}
_MAX_NUMBER = 100


def read_json(text: str) -> Built:
    """Parse one document. Raises `Invalid` with line and column."""
    reader = _Reader(text)
    reader.value()
    while reader.depth:
        reader.member()
    reader.nothing_more()
    assert reader.builder.root is not None, "a value was read"
    return reader.builder.root


class _Reader:
    """A cursor over the text. `open` holds the closing brackets that are still to come."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.builder = Builder()
        self.position = 0
        self._open: list[str] = []
        self._fresh = False
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    @property
    def depth(self) -> int:
        return len(self._open)

    def value(self) -> None:
        """One scalar, or the opening of a list or object."""
        letter = self._next()
        if letter in ("[", "{"):
            self.builder.start([] if letter == "[" else {}, self._at(), None)
            self._open.append("]" if letter == "[" else "}")
            self._fresh = True
            self.position += 1
        else:
            self._scalar(letter)

    def member(self) -> None:
        """One item or one key with its value, or the closing bracket."""
        closing = self._open[-1]
        letter = self._next()
        if letter == closing:
            self._close()
            return
        if not self._fresh:
            if letter != ",":
                self._unexpected(f"',' or '{closing}'")
            self.position += 1
            letter = self._next()
        self._fresh = False
        if closing == "}":
            if letter != '"':
                self._unexpected("a key in double quotes")
            self._scalar(letter)
            if self._next() != ":":
                self._unexpected("':'")
            self.position += 1
        self.value()

    def nothing_more(self) -> None:
        """Only white space may follow."""
        if self._next():
            self._unexpected("the end of the document")

    def _close(self) -> None:
        self._open.pop()
        self.builder.end()
        self.position += 1
        self._fresh = False

    def _next(self) -> str:
        match = _SPACE.match(self.text, self.position)
        self.position = match.end() if match else self.position
        return self.text[self.position : self.position + 1]

    def _scalar(self, letter: str) -> None:
        if letter == '"':
            self._string()
        elif letter == "-" or letter.isdigit():
            self._number()
        else:
            match = _WORD.match(self.text, self.position)
            if match is None or match[0] not in _WORDS:
                self._unexpected("a value")
            else:
                self.builder.scalar(_WORDS[match[0]], self._at())
                self.position = match.end()

    def _string(self) -> None:
        match = _STRING.match(self.text, self.position)
        if match is None:
            refuse("the text in quotes does not end, or holds a control character", self._at())
        try:
            value = json.loads(match[0])
        except ValueError as error:
            refuse(f"bad escape in text: {error}", self._at())
        self.builder.scalar(value, self._at())
        self.position = match.end()

    def _number(self) -> None:
        match = _NUMBER.match(self.text, self.position)
        if match is None:
            self._unexpected("a number")
        elif len(match[0]) > _MAX_NUMBER:
            refuse(f"a number of {len(match[0])} characters", self._at(), "write it as text")
        else:
            whole = match[1] is None and match[2] is None
            self.builder.scalar(int(match[0]) if whole else float(match[0]), self._at())
            self.position = match.end()

    def _unexpected(self, wanted: str) -> None:
        match = _WORD.match(self.text, self.position)
        found = repr(match[0][:40]) if match else "the end of the document"
        refuse(f"expected {wanted}, found {found}", self._at())

    def _at(self) -> Position:
        line = bisect_right(self._lines, self.position)
        return line, self.position - self._lines[line - 1] + 1
