"""The tables of commands in docs/cli.md, drawn from what `--help` prints."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from contextlib import redirect_stdout

from opscore.cli import exits
from opscore.cli.app import COMMANDS, build, execute


def tables() -> str:
    """One table of the commands that stand alone, and one for each noun."""
    alone: list[tuple[str, ...]] = []
    nouns: list[str] = []
    root = build()
    for name, (_, summary) in COMMANDS.items():
        inner = [each for each in root[name] if not each.startswith("-")]
        if root[name].default_command is not None:
            alone += [(name,), *((name, each) for each in inner)]
        else:
            nouns.append(
                f"### {name.capitalize()}\n\n{summary}\n\n{table((name, i) for i in inner)}"
            )
    return "\n\n".join([table(alone), *nouns])


def table(commands: Iterable[tuple[str, ...]]) -> str:
    rows = [f"| `{usage}` | {summary} |" for usage, summary in map(described, commands)]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def described(command: tuple[str, ...]) -> tuple[str, str]:
    """The usage and the first sentence of a command's help."""
    usage, text = help_of(command).split("\n\n")[:2]
    words = usage.removeprefix("Usage: ").removesuffix(" [OPTIONS]")
    return words, " ".join(text.split())


def help_of(command: tuple[str, ...]) -> str:
    """What `opscore COMMAND --help` prints at a width that folds nothing of it."""
    printed = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with redirect_stdout(printed):
            code = execute([*command, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    assert code == exits.OK, command
    return printed.getvalue()
