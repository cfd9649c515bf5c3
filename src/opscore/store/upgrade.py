"""What a database lacks of this program's shape: told, or carried out."""

from __future__ import annotations

from typing import NamedTuple

import apsw

from opscore.core.errors import StoreRefused
from opscore.store.files import Location, connect, locate, open_writer, own
from opscore.store.migrate import SCHEMA_VERSION, check_identity, names_after, schema_of
from opscore.store.opening import on_postgres
from opscore.store.postgres_connect import WRITING, Connection
from opscore.store.postgres_connect import connect as connect_postgres
from opscore.store.postgres_migrate import FOLDER, examine, prepare
from opscore.store.postgres_migrate import SCHEMA_VERSION as POSTGRES_VERSION


class Upgrade(NamedTuple):
    """The newest migration that a database had (0: none), that the program knows, and between."""

    schema: int
    known: int
    pending: tuple[str, ...]


async def pending(url: str) -> Upgrade:
    """What `upgrade` would do. The database is only read, also while servers use it.

    Raises StoreRefused for one that this program may not use.
    """
    if not on_postgres(url):
        return _pending_of_file(_file(url))
    connection = await connect_postgres(url, WRITING)
    try:
        return await _pending_of(connection, url)
    finally:
        connection.terminate()


async def upgrade(url: str) -> Upgrade:
    """Bring a database to this program's shape, creating it if need be; what was done.

    Each migration is one transaction. A file must not be in use; a PostgreSQL database may be, by
    servers whose version `min_version` lets in. Raises StoreRefused.
    """
    if not on_postgres(url):
        return _upgrade_file(_file(url))
    connection = await connect_postgres(url, WRITING)
    try:
        found = await _pending_of(connection, url)
        await prepare(connection, url)
        return found
    finally:
        connection.terminate()


async def _pending_of(connection: Connection, url: str) -> Upgrade:
    had = await examine(connection, url)
    return Upgrade(had, POSTGRES_VERSION, names_after(FOLDER, had))


def _upgrade_file(location: Location) -> Upgrade:
    lock = own(location)
    try:
        found = _pending_of_file(location)
        open_writer(location).close()
        return found
    finally:
        if lock is not None:
            lock.close()


def _pending_of_file(location: Location) -> Upgrade:
    assert location.path is not None
    had = _schema_of_file(location) if location.path.exists() else 0
    return Upgrade(had, SCHEMA_VERSION, names_after("sql", had))


def _schema_of_file(location: Location) -> int:
    try:
        connection = connect(location, read_only=True)
        try:
            check_identity(connection, location.text)
            return schema_of(connection)
        finally:
            connection.close()
    except apsw.Error as error:
        raise StoreRefused(f"cannot read {location.text}: {error}") from error


def _file(url: str) -> Location:
    location = locate(url, "upgraded")
    if location.path is None:
        raise StoreRefused("a database in memory is always new; name a file")
    return location
