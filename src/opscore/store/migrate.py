"""Bringing a database file to this program's shape: forward only, numbered, one transaction each."""

from __future__ import annotations

from importlib import resources

import apsw

from opscore.core.errors import StoreRefused

APPLICATION_ID = (
    0x4F707343  # "OpsC", in the file header (sqlite.org/pragma.html#pragma_application_id)
)
SCHEMA_VERSION = 12


def check_identity(connection: apsw.Connection, where: str) -> None:
    """Read only: raise StoreRefused for another program's file, or a newer version's of this one."""
    version = schema_of(connection)
    application = _pragma(connection, "application_id")
    if application not in (0, APPLICATION_ID) or (application == 0 and _has_tables(connection)):
        raise StoreRefused(
            f"{where} is a database of another program; "
            "choose another file with OPSCORE_DATABASE_URL"
        )
    if version > SCHEMA_VERSION:
        raise StoreRefused(
            f"{where} was written by a newer Ops-Core (schema {version}, this program knows "
            f"{SCHEMA_VERSION}); upgrade Ops-Core or choose another file"
        )


def migrate(connection: apsw.Connection) -> None:
    """Create or upgrade the schema of a file that `check_identity` let pass."""
    for number in range(schema_of(connection) + 1, SCHEMA_VERSION + 1):
        _apply(connection, number)


def schema_of(connection: apsw.Connection) -> int:
    """The newest migration that a file has had; 0: none yet."""
    return _pragma(connection, "user_version")


def _apply(connection: apsw.Connection, number: int) -> None:
    with connection:
        connection.execute(script("sql", number))
        connection.execute(f"pragma user_version = {number}")
        connection.execute(f"pragma application_id = {APPLICATION_ID}")


def script(folder: str, number: int) -> str:
    """The text of a numbered migration."""
    files = (resources.files("opscore.store") / folder).iterdir()
    return next(f for f in files if f.name.startswith(f"{number:03}_")).read_text(encoding="utf-8")


def names_after(folder: str, schema: int) -> tuple[str, ...]:
    """The migrations that follow one, in order."""
    files = (resources.files("opscore.store") / folder).iterdir()
    names = sorted(f.name.removesuffix(".sql") for f in files if f.name.endswith(".sql"))
    return tuple(name for name in names if int(name[:3]) > schema)


def _has_tables(connection: apsw.Connection) -> bool:
    return bool(connection.execute("select 1 from sqlite_schema limit 1").get)


def _pragma(connection: apsw.Connection, name: str) -> int:
    value = connection.pragma(name)
    assert isinstance(value, int)
    return value
