"""A SQLite file as something that is moved."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path

import apsw

from opscore.core.errors import StoreRefused
from opscore.store import statements as sql
from opscore.store.files import Location, connect, locate, open_writer, own
from opscore.store.migrate import SCHEMA_VERSION, check_identity, schema_of
from opscore.store.moving.tables import AT_ONCE, Content, Row, Rows, Table


class SqliteContent:
    """What a connection sees."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.position = int(connection.execute(sql.LAST_POSITION).get)

    async def rows(self, table: Table) -> Rows:
        """See `Reading.rows`."""
        found = self._connection.execute(table.select.format(table.name))
        while some := list(islice(found, AT_ONCE)):
            yield some


class NewSqlite(SqliteContent):
    """A file that is being made beside the place where it will be."""

    def __init__(self, connection: apsw.Connection, part: Path, path: Path) -> None:
        super().__init__(connection)
        self._part, self._path = part, path

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        """See `Writing.add`."""
        marks = ", ".join("?" * len(table.columns))
        text = f"insert into {table.name} ({', '.join(table.columns)}) values ({marks})"
        with self._connection:
            self._connection.executemany(text, rows)

    async def end(self, position: int, content: Mapping[str, Content]) -> None:
        """See `Writing.end`."""
        self._connection.execute(sql.KEEP_POSITION, (str(position),))
        self.position = int(self._connection.execute(sql.LAST_POSITION).get)

    async def done(self) -> None:
        """See `Writing.done`. Closing writes all of it into the one file."""
        self._connection.close()
        self._part.rename(self._path)


@asynccontextmanager
async def read_sqlite(url: str, *, still: bool) -> AsyncGenerator[SqliteContent]:
    """What a file has now. `still`: no server may use it meanwhile. Raises StoreRefused.

    One transaction sees one moment; whoever reads or writes does not wait for it.
    """
    location = _file(url)
    if location.path is None or not location.path.exists():
        raise StoreRefused(f"there is no database {location.text}; name one that exists")
    lock = own(location) if still else None
    try:
        with _errors(location), _read_only(location) as connection:
            yield SqliteContent(connection)
    finally:
        if lock is not None:
            lock.close()


@contextmanager
def _read_only(location: Location) -> Generator[apsw.Connection]:
    connection = connect(location, read_only=True)
    try:
        connection.execute("begin")
        check_identity(connection, location.text)
        if schema_of(connection) != SCHEMA_VERSION:
            raise StoreRefused(
                f"{location.text} has schema {schema_of(connection)}, this program knows "
                f"{SCHEMA_VERSION}; bring it up to date first: opscore migrate"
            )
        yield connection
    finally:
        connection.close()


@asynccontextmanager
async def write_sqlite(url: str) -> AsyncGenerator[NewSqlite]:
    """A new file, which appears when all is done. Raises StoreRefused."""
    location = _file(url)
    path = location.path
    assert path is not None
    lock = own(location)
    part = path.with_name(f"{path.name}.part")
    try:
        if path.exists():
            raise StoreRefused(
                f"{path} is there already; name a file that does not exist, or move it away"
            )
        with _errors(location):
            async with _made(part, path) as new:
                yield new
    finally:
        if lock is not None:
            lock.close()


@asynccontextmanager
async def _made(part: Path, path: Path) -> AsyncGenerator[NewSqlite]:
    _remove(part)
    connection = open_writer(Location(part))
    try:
        connection.pragma("wal_autocheckpoint", 1000)
        yield NewSqlite(connection, part, path)
    finally:
        connection.close()
        _remove(part)


def _remove(part: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        Path(f"{part}{ending}").unlink(missing_ok=True)


def _file(url: str) -> Location:
    location = locate(url, "moved")
    if location.path is None:
        raise StoreRefused("a database in memory ends with its process; name a file")
    return location


@contextmanager
def _errors(location: Location) -> Generator[None]:
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise StoreRefused(f"{location.text}: {error}") from error
