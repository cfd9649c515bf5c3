"""Recordings of decisions: what was asked of a session, when, and the events that followed.

A file holds one line of JSON a session, compressed. Commands are written by the names of their
classes and fields; documents of JSON stand as text.
"""

from __future__ import annotations

import dataclasses
import lzma
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from opscore.core import commands, task, types
from opscore.core import events as ev
from opscore.core.record import record
from opscore.engine.journal import encode, raw

FOLDER = Path(__file__).parent / "journals"
ENDING = ".jsonl.xz"


@record
class Decision:
    """`events` are (type, version, encoded fields), as in the journal."""

    at: int
    command: Any
    events: list[tuple[str, int, str]]


@record
class Recording:
    """All decisions of one session. `template` is its source."""

    name: str
    session_id: str
    template: str
    payload_limit: int
    decisions: list[Decision]


def write(path: Path, recordings: Iterable[Recording]) -> None:
    """Write a file of recordings."""
    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in recordings)
    path.write_bytes(lzma.compress(lines, preset=9 | lzma.PRESET_EXTREME))


def read(path: Path) -> Iterator[Recording]:
    """The recordings of a file."""
    for line in lzma.decompress(path.read_bytes()).splitlines():
        yield msgspec.json.decode(line, type=Recording)


def event_row(event: ev.SessionEvent) -> tuple[str, int, str]:
    """An event as recordings have it."""
    return event.TYPE, event.VERSION, bytes(encode(event)).decode()


def to_plain(value: Any) -> Any:
    """A command as JSON can hold it."""
    if isinstance(value, bytes | msgspec.Raw):
        return {"$json": bytes(value).decode()}
    if dataclasses.is_dataclass(value):
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"$": type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return [to_plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def from_plain(value: Any) -> Any:
    """The command again. Fields that did not exist then have their defaults."""
    if isinstance(value, list):
        return tuple(from_plain(each) for each in value)  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, Mapping):
        return value
    tree: dict[str, Any] = {**value}
    if "$json" in tree:
        return raw(tree["$json"].encode())
    if "$" not in tree:
        return tree
    kind = _KINDS[tree.pop("$")]
    return kind(**{name: from_plain(each) for name, each in tree.items()})


_KINDS: dict[str, Any] = {
    **{kind.__name__: kind for kind in (task.Completed, task.Failed, task.Released)},
    **{kind.__name__: kind for kind in (types.ErrorInfo, ev.SessionStarted)},
    **{kind.__name__: kind for kind in vars(commands).values() if isinstance(kind, type)},
}
