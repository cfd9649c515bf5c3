from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from opscore.cli import checks, exits
from opscore.core.errors import StoreRefused
from opscore.store.examine import examine, path_of, sqlite_version
from opscore.store.migrate import SCHEMA_VERSION
from opscore.store.sqlite import SqliteStore
from tests.cli import samples
from tests.cli.conftest import Command, Ran
from tests.cli.fake import FakeServer

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[SqliteStore]:
    store = SqliteStore(f"sqlite:///{path}", lambda: 1)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def change(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    cast("Any", connection).execute(statement).fetchall()
    connection.close()


def level(ran: Ran, check: str) -> str:
    return next(one["level"] for one in ran.json if one["check"] == check)


async def test_a_database_in_use_is_examined_without_touching_it(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    async with opened(path):
        before = path.read_bytes(), path.stat().st_mtime_ns
        seen = examine(path)
        assert seen.in_use
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert seen.schema == seen.known_schema == SCHEMA_VERSION
    assert seen.damage == ""
    assert seen.counts["sessions"] == 0
    assert seen.size == len(before[0])
    assert not examine(path).in_use


async def test_a_server_can_start_right_after_a_look(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    async with opened(path):
        pass
    examine(path)
    async with opened(path):
        assert examine(path).in_use


async def test_a_database_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    async with opened(path):
        with pytest.raises(StoreRefused, match="in use by another process"):
            async with opened(path):
                pass
    async with opened(path):
        pass


async def test_a_newer_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    async with opened(path):
        pass
    change(path, f"pragma user_version = {SCHEMA_VERSION + 1}")
    seen = examine(path)
    assert seen.schema == SCHEMA_VERSION + 1
    finding = checks.schema(seen.schema, seen.known_schema, seen.damage)
    assert finding.level == "fail"
    assert "upgrade" in finding.todo


async def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    async with opened(path):
        pass
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    seen = examine(path)
    assert seen.damage
    assert checks.integrity(seen.check, seen.damage).level == "fail"


def test_a_database_of_another_program_is_told(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    change(path, "create table t (x)")
    assert examine(path).schema is None
    path.write_bytes(b"not a database at all" * 100)
    assert "not a database" in examine(path).damage
    assert checks.schema(None, 1, "").level == "fail"


def test_where_a_database_is() -> None:
    assert path_of("sqlite:///a/b.db") == Path("a/b.db")
    assert path_of("sqlite:////a/b.db") == Path("/a/b.db")
    assert path_of("sqlite:///:memory:") is None


def test_all_is_well(server: FakeServer, opscore: Command, clean_settings: Path) -> None:
    server.on("GET /openapi.json", {"info": {"version": "9.9"}})
    server.on("GET /agent", samples.agents())
    ran = opscore("doctor", "--json")
    assert ran.code == exits.OK
    assert "fail" not in {one["level"] for one in ran.json}
    assert level(ran, "server") == "ok"
    assert "9.9" in ran.out
    assert list(clean_settings.iterdir()) == []


def test_a_failure_is_exit_code_1_and_says_what_to_do(
    opscore: Command, clean_settings: Path
) -> None:
    (clean_settings / "ops.db").write_bytes(b"junk" * 1000)
    ran = opscore("doctor")
    assert ran.code == exits.ERROR
    line = next(at for at, text in enumerate(ran.lines) if text.startswith("fail"))
    assert "schema" in ran.lines[line]
    assert "→" in ran.lines[line + 1]
    assert opscore("doctor", "--database-url", "mysql://x").code == exits.ERROR


def test_a_default_server_may_be_off_but_a_named_one_must_answer(opscore: Command) -> None:
    ran = opscore("doctor", "--json", "--url", "http://127.0.0.1:1")
    assert ran.code == exits.ERROR
    assert level(ran, "server") == "fail"


def test_without_a_name_the_database_of_dev_is_found(
    opscore: Command, clean_settings: Path
) -> None:
    (clean_settings / ".opscore").mkdir()
    (clean_settings / ".opscore" / "ops.db").write_bytes(b"junk" * 1000)
    assert level(opscore("doctor", "--json"), "schema") == "fail"
    assert opscore("doctor", "--database-url", "sqlite:///other.db").code == exits.OK
    (clean_settings / "ops.db").touch()
    assert ".opscore" not in opscore("doctor", "--json").out


def test_a_server_that_refuses_the_key_is_told(server: FakeServer, opscore: Command) -> None:
    server.on("GET /openapi.json", {"info": {"version": "9.9"}})
    server.refuse("GET /agent", 401, "The key is not valid.")
    ran = opscore("doctor", "-o", "jsonl")
    assert ran.code == exits.ERROR
    assert "OPSCORE_API_KEY" in next(line for line in ran.lines if '"check":"server"' in line)


def test_the_sqlite_in_use_is_sound() -> None:
    assert checks.sqlite(sqlite_version()).level == "ok"
    assert checks.sqlite("3.51.2").level == "fail"


def test_levels_of_the_machine() -> None:
    assert checks.clock(NOW).level == "ok"
    assert checks.clock(datetime(1970, 1, 1, tzinfo=UTC)).level == "fail"
    assert checks.written(NOW.timestamp() - 5, NOW).level == "ok"
    assert checks.written(NOW.timestamp() + 60, NOW).level == "warn"
    assert checks.wal(0).level == "ok"
    assert checks.wal(1024**3).level == "warn"
    assert checks.schema(0, 1, "").level == "warn"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    finding = checks.sync_time(tmp_path / "gone")
    assert finding.level == "fail"
    assert "writable" in finding.todo


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (2048, "2 KiB"), (3 * 1024**2, "3 MiB"), (1024**3, "1.0 GiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert checks.size(count) == text


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert checks.nearest(tmp_path / "a" / "b") == tmp_path


@pytest.mark.parametrize(
    ("part", "told", "wanted"),
    [
        ("export", {"problem": None, "waiting": 1, "dropped": 0}, ("ok", "http://c:4318")),
        (
            "export",
            {"problem": "no answer", "waiting": 4, "dropped": 2},
            ("warn", "4 sessions wait"),
        ),
        ("export", {"problem": None, "waiting": 0, "dropped": 9}, ("warn", "9 were not exported")),
        ("callbacks", {"problem": None, "waiting": 0}, ("ok", "0 callbacks wait")),
        ("callbacks", {"problem": "1 receivers", "waiting": 3}, ("warn", "3 callbacks wait")),
        ("hooks", {"problem": None, "waiting": 0}, ("ok", "none failed")),
        ("hooks", {"problem": "notify: KeyError", "waiting": 0}, ("warn", "notify: KeyError")),
    ],
)
def test_parts_that_are_not_well_are_named(
    server: FakeServer, opscore: Command, part: str, told: Any, wanted: tuple[str, str]
) -> None:
    server.on("GET /openapi.json", {"info": {"version": "9"}})
    server.on("GET /agent", {"agents": [], "nextCursor": None})
    told = {"endpoint": "http://c:4318", **told} if part == "export" else told
    server.on("GET /ready", {"ready": True, "reasons": [], part: told})
    (found,) = [one for one in opscore("doctor", "--json").json if one["check"] == part]
    assert (found["level"], wanted[1] in found["found"]) == (wanted[0], True)
