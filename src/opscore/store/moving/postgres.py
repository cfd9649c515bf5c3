"""A PostgreSQL schema as something that is moved."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from opscore.core.errors import StoreRefused
from opscore.store.moving.tables import AT_ONCE, META, Content, Row, Rows, Table, tables
from opscore.store.postgres_connect import FAILED, Connection, connect, shown
from opscore.store.postgres_migrate import SCHEMA_VERSION, known_versions, prepare
from opscore.store.postgres_turns import END, LOCKS, lock_number
from opscore.store.postgres_write import class_of, task_of

SETTINGS = {
    "application_name": "opscore-store",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "enable_seqscan": "on",
}
"""A move takes as long as it takes, and reads whole tables."""
_LEAD = "select pg_try_advisory_lock($1, $2)"
_STILL = "lock table commits in exclusive mode"
_BEGIN = "begin isolation level repeatable read"
_KEEP_END = "update commits set first = $1::bigint + 1, last = $1::bigint where number = 0"


class PostgresContent:
    """What a transaction sees."""

    def __init__(self, connection: Connection, position: int) -> None:
        self._connection = connection
        self.position = position

    async def rows(self, table: Table) -> Rows:
        """See `Reading.rows`."""
        cursor = f"moving_{table.name}"
        select = table.select.format(_name(table))
        await self._connection.execute(f"declare {cursor} no scroll cursor for {select}")
        while some := await self._connection.fetch(f"fetch {AT_ONCE} from {cursor}"):
            yield [tuple(row) for row in some]
        await self._connection.execute(f"close {cursor}")


class NewPostgres(PostgresContent):
    """Tables that are filled by one transaction."""

    async def add(self, table: Table, rows: Sequence[Row]) -> None:
        """See `Writing.add`."""
        columns = [*table.columns]
        follows = _FOLLOWS.get(table.name)
        if follows is not None:
            name, source, rule = follows
            columns.append(name)
            at = table.columns.index(source)
            rows = [(*row, rule(row[at])) for row in rows]
        copying = cast("Any", self._connection).copy_records_to_table
        await copying(_name(table), records=rows, columns=columns)

    async def end(self, position: int, content: Mapping[str, Content]) -> None:
        """See `Writing.end`."""
        await self._connection.execute(_KEEP_END, position)
        _, self.position, _ = await self._connection.fetchrow(END)

    async def done(self) -> None:
        """See `Writing.done`. Then the planner is told what has come."""
        await self._connection.execute("commit")
        for table in tables():
            await self._connection.execute(f"analyze {_name(table)}")


_FOLLOWS: dict[str, tuple[str, str, Callable[[Any], str | None]]] = {
    "events": ("task_id", "data", task_of),
    "tasks": ("error_class", "error", class_of),
}
"""Columns that PostgreSQL's tables have besides: their names, and from what they follow."""


def _name(table: Table) -> str:
    return "opscore_meta" if table.name == META else table.name


@asynccontextmanager
async def read_postgres(url: str, *, still: bool) -> AsyncGenerator[PostgresContent]:
    """What a database has now. `still`: no server may use it meanwhile. Raises StoreRefused."""
    async with _connected(url) as connection:
        versions = await known_versions(connection)
        if versions.get("schema_version") != SCHEMA_VERSION:
            raise StoreRefused(
                f"{shown(url)} has schema {versions.get('schema_version', 'none')}, this program "
                f"knows {SCHEMA_VERSION}; bring it up to date first: opscore migrate"
            )
        if still:
            await _check_unused(connection, url)
        await connection.execute(_BEGIN)
        if still:
            await connection.execute(_STILL)
        _, position, _ = await connection.fetchrow(END)
        yield PostgresContent(connection, position)


@asynccontextmanager
async def write_postgres(url: str) -> AsyncGenerator[NewPostgres]:
    """A database without content, filled when all is done. Raises StoreRefused."""
    async with _connected(url) as connection:
        await prepare(connection, url)
        await _check_unused(connection, url)
        await connection.execute("begin")
        await connection.execute(_STILL)
        number, position, _ = await connection.fetchrow(END)
        for table in tables():
            taken = f"select exists ({table.select.format(_name(table))})"
            if number or await connection.fetchval(taken):
                raise StoreRefused(
                    f"{shown(url)} is not empty; name an empty database: createdb NAME"
                )
        yield NewPostgres(connection, position)


async def _check_unused(connection: Connection, url: str) -> None:
    """Of the servers of a store, one always leads."""
    schema = await connection.fetchval("select current_schema()")
    if not await connection.fetchval(_LEAD, LOCKS, lock_number("lead", schema)):
        raise StoreRefused(f"{shown(url)} is in use by a server; stop all of its servers first")


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator[Connection]:
    """A connection; what it has not committed is undone in the end."""
    connection = await connect(url, SETTINGS)
    try:
        yield connection
    except FAILED as error:
        raise StoreRefused(f"{shown(url)}: {error or type(error).__name__}") from error
    finally:
        connection.terminate()
