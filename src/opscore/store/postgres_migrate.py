"""Bringing a PostgreSQL schema to this program's shape: forward only, one transaction each.

`min_version` in the database says which programs may still use it: a migration that an older
program can live with leaves it as it is, so servers can be replaced one by one.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from opscore.core.errors import StoreRefused
from opscore.store.migrate import script
from opscore.store.postgres_connect import FAILED, POOLED, Connection, shown

SCHEMA_VERSION = 1
OLDEST_SERVER = 140_000
FOLDER = "postgres_sql"

_ABOUT = (
    "select current_schema() as schema, pg_backend_pid() as pid, "
    "current_setting('server_version_num')::int as version, "
    "current_setting('server_version') as shown, current_setting('server_encoding') as encoding, "
    "pg_is_in_recovery() as standby, "
    "(select count(*) from pg_tables where schemaname = current_schema()) as tables, "
    "to_regclass('opscore_meta') is not null as ours"
)
_VERSIONS = "select key, value from opscore_meta where key in ('schema_version', 'min_version')"
_KEEP = (
    "insert into opscore_meta (key, value) values ('schema_version', $1) "
    "on conflict (key) do update set value = excluded.value"
)
_LOCK = "select pg_advisory_xact_lock($1, hashtext(current_schema()))"
_LOCKED = 0x4F707342


async def examine(connection: Connection, url: str) -> int:
    """The newest migration that the database has had; 0: none yet. It is only read.

    Raises StoreRefused for one that this program may not use, with what to do.
    """
    try:
        _check(await connection.fetchrow(_ABOUT), connection, shown(url))
        known = await known_versions(connection)
    except FAILED as error:
        raise StoreRefused(f"cannot read {shown(url)}: {error}") from error
    _check_versions(known, shown(url))
    return known.get("schema_version", 0)


async def prepare(connection: Connection, url: str) -> str:
    """Check that the database can be used, create or upgrade; the schema's name.

    Raises StoreRefused with what to do; nothing is changed then.
    """
    try:
        about = await connection.fetchrow(_ABOUT)
        _check(about, connection, shown(url))
        for _ in range(SCHEMA_VERSION + 1):
            if await _step(connection, shown(url)):
                return str(about["schema"])
        raise AssertionError("the migrations do not end")
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreRefused(
            f"{shown(url)}: {error}; this user must be allowed to create tables in its schema: "
            "GRANT CREATE, USAGE ON SCHEMA … TO …"
        ) from error
    except FAILED as error:
        raise StoreRefused(f"cannot prepare {shown(url)}: {error}") from error


def _check(about: Any, connection: Connection, where: str) -> None:
    if connection.get_server_pid() != about["pid"]:
        raise StoreRefused(f"{where}: {POOLED}")
    if about["version"] < OLDEST_SERVER:
        raise StoreRefused(
            f"{where} is PostgreSQL {about['shown']}; Ops-Core needs version 14 or newer"
        )
    if about["standby"]:
        raise StoreRefused(f"{where} is a standby, which cannot be written to; name the primary")
    if about["encoding"] != "UTF8":
        raise StoreRefused(
            f"{where} keeps text as {about['encoding']}; create a database with ENCODING 'UTF8'"
        )
    if about["schema"] is None:
        raise StoreRefused(f"{where}: no schema of its search_path exists; CREATE SCHEMA first")
    if about["tables"] and not about["ours"]:
        raise StoreRefused(
            f"{where}: the schema {about['schema']} has tables of another program; name a database "
            "of its own with OPSCORE_DATABASE_URL, or a schema: …?options=-csearch_path%3DNAME"
        )


async def _step(connection: Connection, where: str) -> bool:
    """Apply the next migration, if there is one; whether that was all."""
    await connection.execute("begin")
    try:
        await connection.fetchval(_LOCK, _LOCKED)
        known = await known_versions(connection)
        _check_versions(known, where)
        number = known.get("schema_version", 0) + 1
        if number <= SCHEMA_VERSION:
            await connection.execute(script(FOLDER, number))
            await connection.execute(_KEEP, str(number))
        await connection.execute("commit")
        return number >= SCHEMA_VERSION
    except BaseException:
        if not connection.is_closed():
            await connection.execute("rollback")
        raise


async def known_versions(connection: Connection) -> dict[str, int]:
    """What the database says: `schema_version` and `min_version`; nothing when it is not ours yet."""
    if not await connection.fetchval("select to_regclass('opscore_meta') is not null"):
        return {}
    return {row["key"]: int(row["value"]) for row in await connection.fetch(_VERSIONS)}


def _check_versions(known: dict[str, int], where: str) -> None:
    if known.get("min_version", 0) > SCHEMA_VERSION:
        raise StoreRefused(
            f"{where} was written by a newer Ops-Core (schema {known['schema_version']}, which "
            f"programs that know {known['min_version']} may use; this one knows {SCHEMA_VERSION}); "
            "upgrade Ops-Core or name another database"
        )
