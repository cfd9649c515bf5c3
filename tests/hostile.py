"""Texts that want to be something else: SQL, CEL, a header, a log entry, a terminal's order, HTML."""

from __future__ import annotations

from typing import Any

HOSTILE: dict[str, str] = {
    "sql quote": "'; drop table sessions; --",
    "sql union": "' union select data from keys --",
    "sql identifier": '"; delete from audit; --',
    "sql like": "%_\\",
    "cel": "${{ env.OPSCORE_API_KEY }}",
    "cel call": "${{ input.matches('(a+)+$') }}",
    "json": '","admin":true,"x":"',
    "header": "x\r\nSet-Cookie: a=b\r\n\r\n<p>body</p>",
    "line feed": "ok\n2026-01-01 [critical] the disk is full",
    "carriage return": "all is well\rALL IS LOST",
    "clear screen": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "hyperlink": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "c1 csi": "\x9b31mred",
    "c1 osc": "\x9d0;owned\x9c",
    "backspace": "safe\b\b\b\bevil",
    "bell and delete": "\x07\x7f",
    "bidi override": "abc\u202egnp.exe",
    "bidi isolate": "\u2066evil\u2069",
    "zero width": "pay\u200bpal",
    "line separator": "a\u2028b\u2029c",
    "byte order mark": "\ufeffa",
    "html": "<script>alert(1)</script>",
    "html attribute": '" onmouseover="alert(1)',
    "markup of rich": "[red]red[/red] [link=https://evil.example]x[/link]",
    "format": "{0} {self.__class__} %s %n",
    "path": "../../etc/passwd",
    "shell": "$(reboot) `reboot`",
}


def poisoned(value: Any, text: str) -> Any:
    """A JSON document with this text in place of every text in it."""
    match value:
        case str():
            return text
        case dict():
            return {name: poisoned(one, text) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list():
            return [poisoned(one, text) for one in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


def variants(value: Any, text: str) -> list[Any]:
    """The document again and again, each time with the text in place of one other text of it."""
    match value:
        case str():
            return [text]
        case dict():
            return [
                {**value, name: one}
                for name, inner in value.items()  # pyright: ignore[reportUnknownVariableType]
                for one in variants(inner, text)
            ]
        case list():
            return [
                [*value[:place], one, *value[place + 1 :]]
                for place, inner in enumerate(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                for one in variants(inner, text)
            ]
        case _:
            return []
