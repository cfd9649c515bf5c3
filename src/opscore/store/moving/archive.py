"""A backup: one file with everything that a store has.

A line of text names the format. Frames follow: length and CRC-32 of their content (both four bytes,
big-endian), then the content, which is MessagePack compressed by zlib. The first frame says what
each table's columns are, then each has some rows of a table, and the last one says how many rows
each table has, their checksums, and the position of the newest event. A file without its last frame
is one that was cut off.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from opscore.core.errors import StoreRefused
from opscore.store.moving.tables import Content, Row, Rows, Sum, Table, tables

FORMAT = b"opscore backup 1\n"
FAMILY = b"opscore backup "
LEVEL = 3
LARGEST = 2**30
_HEAD = struct.Struct(">II")
_OLDER = (
    "it was made by an Ops-Core whose tables have other columns; restore it with that version, and "
    "then let this one upgrade the database"
)


class Start(msgspec.Struct, tag="start"):
    """The first frame."""

    columns: dict[str, tuple[str, ...]]


class Some(msgspec.Struct, tag="rows"):
    """Rows of a table."""

    table: str
    rows: list[tuple[Any, ...]]


class End(msgspec.Struct, tag="end"):
    """The last frame."""

    position: int
    content: dict[str, Content]


Frame = Start | Some | End
_FRAMES = msgspec.msgpack.Decoder(Frame)


class Archive:
    """A backup that was read from end to end once: it is whole. Raises StoreRefused if not."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._begins: dict[str, int] = {}
        self.position = self._checked().position

    async def rows(self, table: Table) -> Rows:
        """See `Reading.rows`."""
        for _, frame in _frames(self._file, self._begins.get(table.name)):
            if not isinstance(frame, Some) or frame.table != table.name:
                return
            yield frame.rows

    def _checked(self) -> End:
        """The last frame, whose rows are those that were read."""
        sums = {table.name: Sum() for table in tables()}
        last: Frame | None = None
        for at, frame in _frames(self._file, len(FORMAT)):
            self._check_order(frame, last)
            if isinstance(frame, Some):
                sums[frame.table].add(frame.rows)
                self._begins.setdefault(frame.table, at)
            last = frame
        if not isinstance(last, End):
            raise _damaged(self._file, "its end is missing")
        if {name: found.content() for name, found in sums.items()} != last.content:
            raise _damaged(self._file, "its rows are not those that were written")
        return last

    def _check_order(self, frame: Frame, last: Frame | None) -> None:
        if isinstance(frame, Start) != (last is None) or isinstance(last, End):
            raise _damaged(self._file, "its parts are not in order")
        if isinstance(frame, Start) and frame.columns != _known():
            raise StoreRefused(f"{self._file}: {_OLDER}")


class NewArchive:
    """A backup that is being made beside the place where it will be."""

    def __init__(self, part: Path, file: Path, out: BinaryIO) -> None:
        self._part, self._path, self._out = part, file, out
        self.position = -1
        self._whole: Archive | None = None
        out.write(FORMAT)
        self._write(Start({table.name: table.columns for table in tables()}))

    def _write(self, frame: Frame) -> None:
        content = zlib.compress(msgspec.msgpack.encode(frame), LEVEL)
        self._out.write(_HEAD.pack(len(content), zlib.crc32(content)) + content)

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        """See `Writing.add`."""
        self._write(Some(table.name, [tuple(row) for row in rows]))

    async def end(self, position: int, content: Mapping[str, Content]) -> None:
        """See `Writing.end`."""
        self._write(End(position, dict(content)))
        self._out.flush()
        os.fsync(self._out.fileno())
        self._whole = Archive(self._part)
        self.position = self._whole.position

    def rows(self, table: Table) -> Rows:
        """See `Reading.rows`."""
        assert self._whole is not None, "not before the end"
        return self._whole.rows(table)

    async def done(self) -> None:
        """See `Writing.done`."""
        self._part.rename(self._path)


@asynccontextmanager
async def write_archive(file: Path) -> AsyncGenerator[NewArchive]:
    """A new file that only its owner may read. Raises StoreRefused."""
    part = file.with_name(f"{file.name}.part")
    with _errors(file):
        out = _create(file, part)
        try:
            with out:
                yield NewArchive(part, file, out)
        finally:
            part.unlink(missing_ok=True)


def _create(file: Path, part: Path) -> BinaryIO:
    if file.exists():
        raise StoreRefused(f"{file} is there already; name a new file")
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


@asynccontextmanager
async def read_archive(file: Path) -> AsyncGenerator[Archive]:
    """A backup, read once from end to end to see that it is whole. Raises StoreRefused."""
    with _errors(file):
        yield Archive(file)


def _known() -> dict[str, tuple[str, ...]]:
    return {table.name: table.columns for table in tables()}


def _frames(file: Path, begin: int | None) -> Iterator[tuple[int, Frame]]:
    """The frames from a place on, each with its place; None: there are none."""
    with file.open("rb") as stream:
        line = stream.read(len(FORMAT))
        if line != FORMAT:
            raise StoreRefused(f"{file} is {_foreign(line)}")
        if begin is None:
            return
        stream.seek(begin)
        while head := stream.read(_HEAD.size):
            yield stream.tell() - len(head), _frame(file, stream, head)


def _foreign(line: bytes) -> str:
    if line.startswith(FAMILY):
        return "a backup of a newer Ops-Core; restore it with that one"
    return "no backup of Ops-Core (`opscore store backup` makes one)"


def _frame(file: Path, stream: BinaryIO, head: bytes) -> Frame:
    try:
        length, crc = _HEAD.unpack(head)
        content = stream.read(min(length, LARGEST))
        if len(content) != length or zlib.crc32(content) != crc:
            raise ValueError(f"at byte {stream.tell()}")
        return _FRAMES.decode(zlib.decompress(content))
    except (ValueError, struct.error, zlib.error, msgspec.MsgspecError) as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: Path, why: str) -> StoreRefused:
    return StoreRefused(f"{file} is damaged ({why}); take another backup. Nothing was changed.")


@contextmanager
def _errors(file: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreRefused(f"{file}: {error.strerror}") from error
