"""Opening a SQLite file safely: where it is, who owns it, whether it is sound."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import apsw

from opscore.core.errors import StoreRefused
from opscore.store.migrate import check_identity, migrate

SOUNDNESS_LIMIT = 64 * 1024 * 1024
"""Files up to this size are checked whole on opening; larger ones only by `opscore doctor`."""

PATIENCE = 5_000
"""Milliseconds to wait for another connection that writes."""


@dataclass(frozen=True, slots=True)
class Location:
    """A file, or a database in memory that several connections of this process see by name."""

    path: Path | None
    memory_name: str = ""

    @property
    def text(self) -> str:
        """For messages."""
        return str(self.path) if self.path is not None else "the database in memory"


def locate(url: str, unique: str) -> Location:
    """Read `sqlite:///relative.db`, `sqlite:////absolute.db` or `sqlite:///:memory:`.

    `unique` names a database in memory apart from others. Raises StoreRefused.
    """
    prefix = "sqlite:///"
    if not url.startswith(prefix) or len(url) == len(prefix):
        shown = re.sub(r"(?<=//)[^/@]*@", "…@", url)  # it may hold a password
        raise StoreRefused(
            f"cannot read the database URL {shown!r}: this version knows sqlite:///FILE "
            "and sqlite:///:memory:"
        )
    rest = url[len(prefix) :]
    if rest == ":memory:":
        return Location(None, f"opscore-{unique}")
    return Location(Path(rest))


def connect(location: Location, *, read_only: bool = False) -> apsw.Connection:
    """A connection with this project's settings; the first one creates the file."""
    if location.path is None:
        # Memory has no WAL: here the reader and the writer do wait for each other.
        name, flags = f"file:/{location.memory_name}?vfs=memdb", _URI
    else:
        name = str(location.path)
        flags = apsw.SQLITE_OPEN_READONLY if read_only else _CREATE
    connection = apsw.Connection(name, flags=flags, statementcachesize=500)
    connection.set_busy_timeout(PATIENCE)
    return connection


_CREATE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
_URI = _CREATE | apsw.SQLITE_OPEN_URI


def own(location: Location) -> apsw.Connection | None:
    """Take sole ownership of a file, or raise StoreRefused.

    The lock is an open exclusive transaction on a small file beside the database: it works alike
    on every platform, and the operating system lets go of it when the process dies.
    """
    if location.path is None:
        return None
    try:
        location.path.parent.mkdir(parents=True, exist_ok=True)
        lock = apsw.Connection(f"{location.path}-lock")
    except (OSError, *_NO_WAY) as error:
        raise _unreachable(location, error) from error
    try:
        lock.pragma("journal_mode", "memory")
        lock.execute("begin exclusive")
    except apsw.BusyError:
        lock.close()
        raise StoreRefused(
            f"{location.text} is in use by another process; stop that one, "
            "or choose another file with OPSCORE_DATABASE_URL"
        ) from None
    except apsw.Error as error:
        lock.close()
        raise _unreachable(location, error) from error
    return lock


_NO_WAY = (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.IOError)


def _unreachable(location: Location, error: Exception) -> StoreRefused:
    return StoreRefused(
        f"cannot open {location.text}: {error}; choose a file in a directory that can be written "
        "with OPSCORE_DATABASE_URL"
    )


def open_writer(location: Location) -> apsw.Connection:
    """The one writing connection: WAL, synced before every acknowledgement, checked, migrated."""
    try:
        connection = connect(location)
    except _NO_WAY as error:
        raise _unreachable(location, error) from error
    try:
        # Before anything is written: another program's file must stay as it is.
        check_identity(connection, location.text)
        _prepare(connection)
        check_soundness(connection, location, limit=SOUNDNESS_LIMIT)
        migrate(connection)
    except (apsw.NotADBError, apsw.CorruptError) as error:
        connection.close()
        raise _damaged(location, str(error)) from error
    except _NO_WAY as error:
        connection.close()
        raise _unreachable(location, error) from error
    except StoreRefused:
        connection.close()
        raise
    return connection


def _prepare(connection: apsw.Connection) -> None:
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("wal_autocheckpoint", 0)  # `checkpoint.py` sees to it
    connection.pragma("cache_size", -65_536)
    connection.pragma("journal_size_limit", 256 * 1024 * 1024)


def check_soundness(connection: apsw.Connection, location: Location, *, limit: int) -> None:
    """Raise StoreRefused when SQLite finds the file damaged."""
    path = location.path
    if path is None or path.stat().st_size > limit:
        return
    said = str(connection.pragma("quick_check"))
    if said != "ok":
        raise _damaged(location, said.splitlines()[0])


def _damaged(location: Location, said: str) -> StoreRefused:
    return StoreRefused(
        f"{location.text} is damaged or not a database ({said}); restore a backup, or move the "
        "file away to start empty. Nothing was changed."
    )
