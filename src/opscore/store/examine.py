"""Looking at a database file without touching it, also while a server uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import apsw

from opscore.core.audit import Checkpoint, Finding, Verdict, verify, vouched_by
from opscore.core.errors import StoreRefused
from opscore.store.audit_rows import vouching_records, walk
from opscore.store.files import Location, connect, locate
from opscore.store.migrate import APPLICATION_ID, SCHEMA_VERSION
from opscore.store.statements import COUNTED_TABLES

WHOLE_CHECK_LIMIT = 1024**3
"""Above this size the indexes are not compared with the tables, which would take minutes."""


AUDIT_SINCE = 11
"""The schema that brought the audit."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a look at a database file showed.

    `written_at` is the file's time (seconds since the epoch). `schema` is None, and what follows
    it empty, when the file is not a database of ours. `check` names SQLite's check and `damage` is
    the first thing that it (or opening the file) complained about; empty: nothing.
    """

    path: Path
    size: int
    wal_size: int
    written_at: float
    in_use: bool
    schema: int | None
    known_schema: int
    check: str
    damage: str
    counts: Mapping[str, int]


def sqlite_version() -> str:
    """The version of the SQLite that comes with apsw."""
    return apsw.sqlite_lib_version()


def path_of(url: str) -> Path | None:
    """The file that a database URL names; None for one in memory. Raises StoreRefused."""
    return locate(url, "examined").path


def examine(path: Path) -> Examined:
    """Look at the existing file `path`: read-only, and its lock is only looked at, never taken."""
    schema, check, damage, counts = _content(path)
    wal = Path(f"{path}-wal")
    return Examined(
        path=path,
        size=path.stat().st_size,
        wal_size=wal.stat().st_size if wal.exists() else 0,
        written_at=path.stat().st_mtime,
        in_use=_in_use(path),
        schema=schema,
        known_schema=SCHEMA_VERSION,
        check=check,
        damage=damage,
        counts=counts,
    )


def examine_audit(path: Path, checkpoint: Checkpoint | None = None) -> Verdict:
    """Verify the audit of the existing file `path`, also while a server writes to it.

    Raises StoreRefused for what is not a database of ours, or one without an audit yet.
    """
    try:
        connection = connect(Location(path), read_only=True)
    except apsw.Error as error:
        raise StoreRefused(f"cannot read {path}: {error}") from error
    try:
        connection.execute("begin")  # one picture, whatever is written meanwhile
        return _verified(connection, path, checkpoint)
    finally:
        connection.close()


def _verified(connection: apsw.Connection, path: Path, checkpoint: Checkpoint | None) -> Verdict:
    try:
        ours = _one(connection, "pragma application_id") == APPLICATION_ID
        if not ours or int(_one(connection, "pragma user_version")) < AUDIT_SINCE:
            raise StoreRefused(f"{path} has no audit: it is not a database of this version yet")
        said = [each for one in vouching_records(connection) for each in vouched_by(one)]
        return verify(walk(connection), said, checkpoint)
    except (apsw.Error, UnicodeDecodeError) as error:
        finding = Finding("unreadable", "", 0, f"the records cannot be read: {error}")
        return Verdict(0, 0, (finding,))


def _content(path: Path) -> tuple[int | None, str, str, Mapping[str, int]]:
    check = "quick_check" if path.stat().st_size > WHOLE_CHECK_LIMIT else "integrity_check"
    try:
        connection = connect(Location(path), read_only=True)
        try:
            if _one(connection, "pragma application_id") != APPLICATION_ID:
                return None, check, "", {}
            schema = int(_one(connection, "pragma user_version"))
            said = str(_one(connection, f"pragma {check}(1)")).splitlines()[0]
            if schema > SCHEMA_VERSION or said != "ok":
                return schema, check, "" if said == "ok" else said, {}
            return schema, check, "", _counts(connection)
        finally:
            connection.close()
    except apsw.Error as error:
        return None, check, str(error), {}


def _counts(connection: apsw.Connection) -> dict[str, int]:
    return {
        table: int(_one(connection, f"select count(*) from {table}")) for table in COUNTED_TABLES
    }


def _in_use(path: Path) -> bool:
    """Whether a process holds the exclusive lock beside the database (`files.own`)."""
    lock = Path(f"{path}-lock")
    if not lock.exists():
        return False
    connection = apsw.Connection(str(lock), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        _one(connection, "select count(*) from sqlite_schema")
    except apsw.BusyError:
        return True
    finally:
        connection.close()
    return False


def _one(connection: apsw.Connection, statement: str) -> Any:
    return cast("Any", connection).execute(statement).fetchone()[0]
