"""Every setting with its value and where the value comes from, for `opscore doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from cyclopts import App, Argument

from opscore.cli.settings import FILE_KEYS, SETTINGS_FILE, Common, read_file

SECRETS = frozenset({"api_key", "webhook_secret"})
PREFIX = "OPSCORE_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting; `value` can be shown: secrets are described, not told."""

    name: str
    value: str
    origin: str


def configuration(words: Sequence[str]) -> list[Setting]:
    """The settings of this shell and directory; `words` is the command line.

    Flag over environment over profile over file over default, as everywhere.
    """
    table = read_file()
    profiles = cast("dict[str, dict[str, Any]]", table.pop("profile", {}))
    name = _flag(words, "profile") or os.environ.get("OPSCORE_PROFILE")
    layers = [(f"{SETTINGS_FILE} [profile.{name}]", profiles.get(name or "", {}))]
    layers.append((SETTINGS_FILE, table))
    return [_setting(key, one, words, layers) for key, one in sorted(_arguments().items())]


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none."""
    known = {"OPSCORE_PROFILE"}
    known |= {name for one in _arguments().values() for name in _variables(one)}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _setting(
    key: str,
    argument: Argument,
    words: Sequence[str],
    layers: Sequence[tuple[str, Mapping[str, Any]]],
) -> Setting:
    flag = f"--{key.replace('_', '-')}"
    for value, origin in _given(key, flag, argument, words, layers):
        if value is not None:
            return Setting(key, _shown(key, value), origin)
    default = argument.field_info.default
    return Setting(key, "not set" if default in {None, ""} else str(default), "default")


def _given(
    key: str,
    flag: str,
    argument: Argument,
    words: Sequence[str],
    layers: Sequence[tuple[str, Mapping[str, Any]]],
) -> Iterator[tuple[object, str]]:
    yield _flag(words, flag.removeprefix("--")), flag
    for variable in _variables(argument):
        yield os.environ.get(variable), variable
    for origin, table in layers:
        yield table.get(key, table.get(key.replace("_", "-"))), origin


def _flag(words: Sequence[str], name: str) -> str | None:
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if word == "--":
            return None
        if flag == f"--{name}":
            return value if equals else (*words, "")[place + 1]
    return None


def _variables(argument: Argument) -> Sequence[str]:
    return tuple(argument.parameter.env_var or ())


def _shown(key: str, value: object) -> str:
    text = str(value)
    if key in SECRETS:
        return f"set, {len(text)} characters" if text else "set, but empty"
    parts = urlsplit(text) if "://" in text else None
    if parts is not None and (parts.password or parts.query):
        # Addresses can carry passwords and tokens.
        text = f"{parts.scheme}://…@{parts.hostname}" if parts.password else text.partition("?")[0]
        return f"{text} (the rest is not shown)"
    return text or "set, but empty"


def _arguments() -> dict[str, Argument]:
    """What `serve` and every client command take, by the name of the setting."""
    from opscore.cli.serve import serve

    found: dict[str, Argument] = {}
    for function in (_client, serve):
        app = App(default_command=function, help_flags=(), version_flags=())
        for one in app.assemble_argument_collection():
            key = one.name.removeprefix("--").replace("-", "_")
            if key in FILE_KEYS - {"output"}:  # how this very report is printed
                found.setdefault(key, one)
    return found


def _client(*, common: Common) -> None:
    """Takes what client commands take."""
    del common
