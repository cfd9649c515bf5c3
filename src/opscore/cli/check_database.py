"""What `opscore doctor` examines of the database file: read-only, also while a server uses it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from opscore.cli.checks import Finding, fail, ok, size, warn
from opscore.core.errors import StoreRefused
from opscore.store.files import Location, connect, locate
from opscore.store.migrate import APPLICATION_ID, SCHEMA_VERSION

BIG = 1024**3
"""Above this the indexes are not compared with the tables, which would take minutes."""
BIG_WAL = 512 * 1024**2
CLOCK_SLACK = timedelta(seconds=5)
COUNTED = ("sessions", "tasks", "events", "agents", "templates", "ready", "leases")
CHOOSE = "name another file with --database-url or OPSCORE_DATABASE_URL"


def folder_of(url: str) -> Path:
    """Where the database is or will be; the current folder for one in memory."""
    try:
        path = locate(url, "doctor").path
    except StoreRefused:
        return Path()
    return path.parent if path else Path()


def database(url: str, now: datetime) -> Iterator[Finding]:
    """All checks of the database that `url` names."""
    try:
        location = locate(url, "doctor")
    except StoreRefused as refusal:
        yield fail("database", str(refusal), CHOOSE)
        return
    if location.path is None:
        yield ok("database", "in memory: nothing to examine")
        return
    if not location.path.exists():
        yield ok("database", f"{location.path} is not there yet; the first server makes it")
        return
    yield from _file(location, location.path, now)


def _file(location: Location, path: Path, now: datetime) -> Iterator[Finding]:
    used = "in use by a server" if in_use(path) else "not in use"
    yield ok("database", f"{path}: {size(path.stat().st_size)}, {used}")
    yield _age(path, now)
    yield _wal(Path(f"{path}-wal"))
    try:
        connection = connect(location, read_only=True)
        try:
            yield from _content(connection, path)
        finally:
            connection.close()
    except apsw.Error as problem:
        todo = "restore a backup, or move the file away to start empty"
        yield fail("integrity", f"{path}: {problem}", todo)


def in_use(path: Path) -> bool:
    """Whether a process holds the lock beside the database; it is only looked at, never taken."""
    lock = Path(f"{path}-lock")
    if not lock.exists():
        return False
    connection = apsw.Connection(str(lock), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.execute("select count(*) from sqlite_schema").fetchall()
    except apsw.BusyError:
        return True
    finally:
        connection.close()
    return False


def _content(connection: apsw.Connection, path: Path) -> Iterator[Finding]:
    schema = _schema(connection)
    yield schema
    if schema.level == "fail":
        return
    yield _integrity(connection, path)
    counts = {name: _one(connection, f"select count(*) from {name}") for name in COUNTED}  # noqa: S608 - names of ours
    yield ok("content", ", ".join(f"{count} {name}" for name, count in counts.items()))


def _schema(connection: apsw.Connection) -> Finding:
    application = _one(connection, "pragma application_id")
    version = _one(connection, "pragma user_version")
    found = f"version {version}; this program knows {SCHEMA_VERSION}"
    if application != APPLICATION_ID:
        return fail("schema", "a database of another program", CHOOSE)
    if int(version) > SCHEMA_VERSION:
        return fail("schema", found, "upgrade Ops-Core: the file was written by a newer one")
    if int(version) < SCHEMA_VERSION:
        return warn("schema", found, "the next server to open it upgrades it; back it up before")
    return ok("schema", found)


def _integrity(connection: apsw.Connection, path: Path) -> Finding:
    check = "quick_check" if path.stat().st_size > BIG else "integrity_check"
    said = str(_one(connection, f"pragma {check}(1)"))
    if said != "ok":
        todo = "stop the server, keep a copy of the file, restore a backup"
        return fail("integrity", said.splitlines()[0], todo)
    return ok("integrity", f"{check}: ok")


def _wal(wal: Path) -> Finding:
    bytes_used = wal.stat().st_size if wal.exists() else 0
    if bytes_used > BIG_WAL:
        todo = "something reads for very long and keeps the log from being folded in"
        return warn("write-ahead log", size(bytes_used), todo)
    return ok("write-ahead log", size(bytes_used))


def _age(path: Path, now: datetime) -> Finding:
    """The file is proof of an earlier time: a clock behind it has been set back."""
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    found = f"last written {written.isoformat(timespec='seconds')}"
    if written > now + CLOCK_SLACK:
        return warn("database time", found, "that is in the future: has the clock been set back?")
    return ok("database time", found)


def _one(connection: apsw.Connection, statement: str) -> int | str:
    row = connection.execute(statement).fetchone()
    assert row is not None
    value = row[0]
    assert isinstance(value, int | str)
    return value
