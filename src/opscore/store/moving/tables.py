"""What a store consists of, alike on both databases, and how two of them are compared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import apsw
import msgspec

from opscore.store.migrate import migrate

AT_ONCE = 500
"""Rows that are in memory at the same time."""
META = "meta"
SECRETS = "key like 'secret:%'"
"""Of the table of odds and ends, what is moved; the rest says how far each database itself is."""

Row = Sequence[Any]
Rows = AsyncIterator[Sequence[Row]]


class Table(NamedTuple):
    """A table and its columns. PostgreSQL's may have more, which follow from these."""

    name: str
    columns: tuple[str, ...]

    @property
    def select(self) -> str:
        """All of its rows."""
        where = f" where {SECRETS}" if self.name == META else ""
        return f"select {', '.join(self.columns)} from {{}}{where}"


class Content(NamedTuple):
    """How many rows a table has, and their checksum, which does not depend on their order."""

    rows: int
    checksum: str


class Reading(Protocol):
    """A store that stands still: what is read of it is of one moment."""

    position: int
    """The place of its newest event."""

    def rows(self, table: Table) -> Rows:
        """All rows of a table, some at a time."""
        ...


class Writing(Reading, Protocol):
    """A new store, which is nobody's before `done`."""

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Take in rows."""
        ...

    async def end(self, position: int, content: Mapping[str, Content]) -> None:
        """All rows were added; from here on it can be read."""
        ...

    async def done(self) -> None:
        """It is as it should be: keep it."""
        ...


@cache
def tables() -> tuple[Table, ...]:
    """Every table, as the migrations of SQLite make them."""
    connection = apsw.Connection(":memory:")
    migrate(connection)
    names = connection.execute("select name from sqlite_schema where type = 'table' order by name")
    return tuple(Table(str(name), _columns(connection, str(name))) for (name,) in names.fetchall())


def _columns(connection: apsw.Connection, table: str) -> tuple[str, ...]:
    found = connection.execute("select name from pragma_table_info(?)", (table,))
    return tuple(str(name) for (name,) in found)


class Sum:
    """The sum of the hashes of a table's rows: the same rows in any order give the same."""

    def __init__(self) -> None:
        self._rows = 0
        self._total = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Count rows in."""
        for row in rows:
            text = msgspec.msgpack.encode(tuple(row))
            self._rows += 1
            self._total += int.from_bytes(sha256(text).digest())

    def content(self) -> Content:
        """What was counted so far."""
        return Content(self._rows, f"{self._total % 2**256:064x}")


async def content_of(store: Reading, table: Table) -> Content:
    """Read a table and sum it up."""
    found = Sum()
    async for rows in store.rows(table):
        found.add(rows)
    return found.content()
