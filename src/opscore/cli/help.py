"""`--help` as plain text.

cyclopts draws help with rich, whose import alone takes as long as the rest of a client command;
so the text is laid out here, from cyclopts' own description of the command.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from cyclopts import App, Argument

COLUMN = 30


def print_help(
    path: tuple[str, ...], app: App, summaries: Mapping[str, str], stream: TextIO
) -> None:
    """Write the help of the command at `path` to `stream`.

    `summaries` are one-line descriptions of the root's commands, which are not imported for this.
    """
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    lines = _group(path, app, summaries) if app.default_command is None else _leaf(path, app)
    stream.writelines(_fold(line, width) + "\n" for line in lines)


def _group(path: tuple[str, ...], app: App, summaries: Mapping[str, str]) -> Iterator[str]:
    yield f"Usage: {' '.join(path)} COMMAND"
    yield from ("", app.help, "", "Commands:")
    for name in app:
        text = summaries.get(name) if len(path) == 1 else _summary(app[name])
        yield _entry(name, text or "")
    yield from ("", "Options:", _entry("-h, --help", "Show this text and leave."))
    if len(path) == 1:
        yield _entry("--version", "Show the version and leave.")


def _leaf(path: tuple[str, ...], app: App) -> Iterator[str]:
    arguments = [one for one in app.assemble_argument_collection() if one.show and one.parse]
    words = [one for one in arguments if _positional(one)]
    options = [one for one in arguments if not _positional(one)]
    yield f"Usage: {' '.join(path)} {' '.join([*map(_word, words), '[OPTIONS]'])}"
    yield from ("", *_description(app))
    if commands := list(app):
        yield from ("", "Commands:")
        yield from (_entry(name, _summary(app[name])) for name in commands)
    if words:
        yield from ("", "Arguments:")
        yield from (_entry(_word(one), _explain(one)) for one in words)
    yield from ("", "Options:")
    yield from (_entry(_names(one), _explain(one)) for one in options)
    yield _entry("-h, --help", "Show this text and leave.")


def _summary(app: App) -> str:
    return next(iter(_description(app)), "")


def _description(app: App) -> list[str]:
    """The docstring's prose: everything before its `Args:` section."""
    text = inspect.getdoc(app.default_command) or app.help
    return text.split("\nArgs:")[0].strip().splitlines()


def _positional(argument: Argument) -> bool:
    return argument.is_positional_only() or argument.is_var_positional()


def _word(argument: Argument) -> str:
    name = argument.name.lstrip("-").upper()
    if argument.is_var_positional():
        return f"[{name} …]"
    return name if argument.required else f"[{name}]"


def _names(argument: Argument) -> str:
    names = sorted(argument.names, key=len)
    short = ", ".join(name for name in names if not name.startswith("--no-"))
    return short if argument.is_flag() else f"{short} {_metavar(argument)}"


def _metavar(argument: Argument) -> str:
    choices = argument.get_choices()
    return "|".join(choices) if choices else argument.name.lstrip("-").upper().split("-")[-1]


def _explain(argument: Argument) -> str:
    parts = [argument.parameter.help or ""]
    if variables := argument.parameter.env_var:
        parts.append(f"[{', '.join(variables)}]")
    default = argument.field_info.default
    if default not in {None, inspect.Parameter.empty, False, "", ()}:
        parts.append(f"(default: {default})")
    return " ".join(part for part in parts if part)


def _entry(name: str, text: str) -> str:
    wide = len(name) > COLUMN
    return f"  {name}\n" + " " * (COLUMN + 3) + text if wide else f"  {name:<{COLUMN}} {text}"


def _fold(line: str, width: int) -> str:
    """Wrap a line; an entry's continuation stands under its text."""
    if "\n" in line:
        return "\n".join(_fold(part, width) for part in line.split("\n"))
    if len(line) <= width:
        return line
    hang = " " * (COLUMN + 3) if line.startswith("  ") else ""
    return textwrap.fill(
        line, width, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False
    )
