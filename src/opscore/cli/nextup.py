"""The commands that a screen offers next: whole, quoted, with the flags that named the server."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from itertools import pairwise

from opscore.demo.program import program
from opscore.telemetry.plain import plain

CARRIED = ("--url", "--profile", "--namespace")
"""Flags that say which server is meant. A key is never repeated on a screen."""

words: ContextVar[tuple[str, ...]] = ContextVar("words", default=())
"""The command line that runs."""

Step = tuple[str, str]
"""What a command is for, in few words, and the command."""


def carried(tokens: Sequence[str]) -> tuple[str, ...]:
    """The words of a command line that name the server."""
    found: list[str] = []
    for word, after in pairwise((*tokens, "")):
        if word == "--":
            break
        if word in CARRIED:
            found += [word, after]
        elif word.startswith(tuple(f"{flag}=" for flag in CARRIED)):
            found.append(word)
    return tuple(found)


def command(verb: str, *arguments: str, **options: str) -> str:
    """One command: a word that looks like an option stands behind `--`, so that it is none."""
    parts = [program(), *verb.split(), *carried(words.get())]
    parts += [part for name, value in options.items() for part in _option(name, value)]
    if any(word.startswith("-") for word in arguments):
        parts.append("--")
    return " ".join([parts[0], *(shlex.quote(plain(part)) for part in (*parts[1:], *arguments))])


def _option(name: str, value: str) -> tuple[str, ...]:
    flag = f"--{name.replace('_', '-')}"
    return (f"{flag}={value}",) if value.startswith("-") else (flag, value)


def next_lines(steps: Iterable[Step]) -> list[str]:
    """The commands under a heading, each after what it is for; nothing when there are none."""
    shown = list(steps)
    width = max((len(what) for what, _ in shown), default=0)
    lines = [f"  {what:<{width}}  {line}" for what, line in shown]
    return ["", "next", *lines] if lines else []
