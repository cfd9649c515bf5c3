"""What `opscore doctor` examines of the machine. Each check gives findings and changes nothing."""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from opscore.cli.configuration import Setting

Level = Literal["ok", "warn", "fail"]

LIBRARIES = (
    "apsw",
    "msgspec",
    "litestar",
    "uvicorn",
    "aiohttp",
    "cel-expr-python",
    "uvloop",
    "textual",
)
OPTIONAL = {"uvloop": "the server", "textual": "opscore top"}
SOUND_SQLITE = (3, 51, 3)
"""Older ones can corrupt a database when a WAL is reset (sqlite.org/wal.html, "WAL-reset bug")."""
SYNC_ROUNDS = 20
SLOW_SYNC_MS = 20.0
UNREAL_SYNC_MS = 0.02
"""No disk syncs a write this fast: it is memory, or the sync is not honoured."""
LITTLE_SPACE = 1024**3
NO_SPACE = 100 * 1024**2
FEW_DESCRIPTORS = 4096
BIG_WAL = 512 * 1024**2
CLOCK_SLACK = timedelta(seconds=5)
CHOOSE = "name another file with --database-url or OPSCORE_DATABASE_URL"
BUILT = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock that is right shows an earlier time: the program is younger."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was examined, how it is, and what to do when it is not well."""

    check: str
    level: Level
    found: str
    todo: str = ""
    origin: str = ""
    """Of a setting: the flag, variable or file that its value comes from, or `default`."""

    def as_json(self) -> dict[str, Any]:
        """For `-o json`."""
        return asdict(self)


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", found)


def warn(check: str, found: str, todo: str) -> Finding:
    """It works, and may not for long, or not as well as it could."""
    return Finding(check, "warn", found, todo)


def fail(check: str, found: str, todo: str) -> Finding:
    """It does not work."""
    return Finding(check, "fail", found, todo)


def machine(folder: Path) -> Iterator[Finding]:
    """All checks of the machine; `folder` is where the database is or will be."""
    yield python()
    yield from libraries()
    existing = nearest(folder)
    yield sync_time(existing)
    yield space(existing)
    yield descriptors()
    yield clock(datetime.now(UTC))


def python() -> Finding:
    """The interpreter."""
    return ok("python", f"{sys.version.split()[0]} ({sys.executable})")


def libraries() -> Iterator[Finding]:
    """The libraries that the server stands on."""
    present: list[str] = []
    for name in LIBRARIES:
        try:
            present.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            if name not in OPTIONAL:
                yield fail("libraries", f"{name} is missing", "install ops-core again with pip")
            elif name != "uvloop":
                yield ok("libraries", f"{name} is not there; {OPTIONAL[name]} needs it")
            elif sys.platform != "win32":
                yield warn("libraries", f"{name} is missing", f"pip install {name}: faster")
    yield ok("libraries", ", ".join(present))


def sqlite(found: str) -> Finding:
    """SQLite as the store brings it, by its version."""
    if tuple(int(part) for part in found.split(".")) < SOUND_SQLITE:
        wanted = ".".join(map(str, SOUND_SQLITE))
        return fail("sqlite", found, f"upgrade apsw: SQLite before {wanted} can damage a WAL")
    return ok("sqlite", found)


def nearest(folder: Path) -> Path:
    """`folder`, or the nearest parent that exists."""
    folder = folder.absolute()
    return next(one for one in (folder, *folder.parents) if one.is_dir())


def sync_time(folder: Path) -> Finding:
    """How long the disk takes to make a write durable: the floor under every acknowledgement."""
    try:
        median = statistics.median(_syncs(folder)) * 1000
    except OSError as problem:
        return fail("disk sync", f"{folder}: {problem.strerror}", "make this folder writable")
    found = f"{median:.2f} ms in {folder}"
    if median > SLOW_SYNC_MS:
        return warn("disk sync", found, "every acknowledgement waits for this; use a faster disk")
    if median < UNREAL_SYNC_MS:
        return warn("disk sync", found, "too fast to be durable: a memory disk loses everything")
    return ok("disk sync", found)


def _syncs(folder: Path) -> list[float]:
    block = os.urandom(4096)
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder, prefix=".opscore-doctor-") as file:
        for _ in range(SYNC_ROUNDS):
            file.write(block)
            file.flush()
            start = perf_counter()
            os.fsync(file.fileno())
            times.append(perf_counter() - start)
    return times


def space(folder: Path) -> Finding:
    """Free disk space."""
    free = shutil.disk_usage(folder).free
    found = f"{size(free)} free in {folder}"
    if free < NO_SPACE:
        return fail("disk space", found, "free some space: a full disk refuses every change")
    if free < LITTLE_SPACE:
        return warn("disk space", found, "free some space soon")
    return ok("disk space", found)


def descriptors() -> Finding:
    """How many files and connections a process may have open."""
    if sys.platform == "win32":
        return ok("open files", "no limit on this platform")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{_limit(soft)} (at most {_limit(hard)})"
    if 0 <= soft < FEW_DESCRIPTORS:
        return warn("open files", found, "every connected agent takes one; raise it: ulimit -n")
    return ok("open files", found)


def _limit(number: int) -> str:
    return "no limit" if number < 0 else str(number)


def clock(now: datetime) -> Finding:
    """Whether this machine's clock can be right."""
    found = now.isoformat(timespec="seconds")
    if now < BUILT:
        return fail("clock", found, "set the clock: deadlines and schedules follow it")
    return ok("clock", found)


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def wal(count: int) -> Finding:
    """The write-ahead log."""
    if count > BIG_WAL:
        todo = "something reads for very long and keeps the log from being folded in"
        return warn("write-ahead log", size(count), todo)
    return ok("write-ahead log", size(count))


def written(at: float, now: datetime) -> Finding:
    """A file is proof of an earlier time: a clock behind it has been set back."""
    time = datetime.fromtimestamp(at, UTC)
    found = f"last written {time.isoformat(timespec='seconds')}"
    if time > now + CLOCK_SLACK:
        return warn("database time", found, "that is in the future: has the clock been set back?")
    return ok("database time", found)


def schema(version: int | None, known: int, damage: str) -> Finding:
    """Whether this program can read the file; None: not a database of ours, or not a database."""
    found = f"version {version}; this program knows {known}"
    if version is None:
        return fail("schema", damage or "a database of another program", CHOOSE)
    if version > known:
        return fail("schema", found, "upgrade Ops-Core: the file was written by a newer one")
    if version < known:
        return warn("schema", found, "the next server to open it upgrades it; back it up before")
    return ok("schema", found)


def integrity(check: str, damage: str) -> Finding:
    """What SQLite's own check said."""
    if damage:
        return fail("integrity", damage, "stop the server, keep a copy, restore a backup")
    return ok("integrity", f"{check}: ok")


def template_env(allowed: Mapping[str, str | None]) -> Finding:
    """What templates may read of the environment must be there to be read."""
    missing = [name for name, value in allowed.items() if value is None]
    if missing:
        found = f"OPSCORE_TEMPLATE_ENV lists {', '.join(missing)}, which is not set here"
        return warn("templates", found, "set it where the server starts, or take it off the list")
    listed = ", ".join(allowed) or "nothing"
    return ok("templates", f"may read {listed} of the environment (OPSCORE_TEMPLATE_ENV)")


def settings(found: Iterable[Setting], strange: Sequence[str]) -> Iterator[Finding]:
    """The configuration of this shell, and variables that are misspelt."""
    for one in found:
        yield Finding(one.name, "ok", one.value, origin=one.origin)
    for name in strange:
        todo = f"unset {name}, or correct its name: docs/operations.md has all of them"
        yield warn("configuration", f"{name} is not a setting", todo)


def port(host: str, number: str, taken: int | None) -> Finding:
    """Whether a server could listen; `taken`: the port of one that answers already."""
    found = f"{number} on {host}"
    if not number.isdecimal() or int(number) > 65_535:
        return fail("listen", f"{number!r} is no port", "set OPSCORE_PORT to one, such as 8700")
    if int(number) == taken:
        return ok("listen", f"{found} is in use by the server that answers")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as attempt:
        if sys.platform != "win32":
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, int(number)))
        except OSError as problem:
            todo = "another program has it: stop that, or set OPSCORE_PORT"
            return warn("listen", f"{found}: {problem.strerror}", todo)
    return ok("listen", f"{found} is free")


def versions(here: str, there: str) -> Finding:
    """This command against the server that answers."""
    if here == there:
        return ok("versions", f"{here}, here and on the server")
    todo = "install the same version on both sides; a newer server understands an older command"
    return warn("versions", f"{here} here, {there} on the server", todo)


def skew(server: datetime, now: datetime) -> Finding:
    """The server's clock against this one. It is told in whole seconds."""
    apart = abs(server - now)
    found = f"the server's clock is {apart.total_seconds():.0f} s apart from this one"
    if apart > CLOCK_SLACK:
        todo = "set both by NTP; the server's own clock decides, this one only shows how long ago"
        return warn("server time", found, todo)
    return ok("server time", found)


def log_file(path: Path) -> Finding:
    """The file of the log store beside a database."""
    file = path.with_name(f"{path.stem}-logs.db")
    if not file.exists():
        return ok("log store", f"{file} is not there yet")
    return ok("log store", f"{file}: {size(file.stat().st_size)}")
