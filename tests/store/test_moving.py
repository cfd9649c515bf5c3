"""A store full of every kind of row arrives whole wherever it is moved, or nothing arrives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from opscore.core.errors import StoreRefused
from opscore.store.moving import archive, move, sqlite
from opscore.store.moving.tables import Content, Row, Sum, Table, tables
from opscore.store.sqlite import SqliteStore
from tests import stores

ROWS = 3 * 500 // 2
"""More than are in memory at once."""
KINDS = {"text": "text", "integer": "int", "blob": "blob"}
BIG = 1_700_000_000_000_000
SPECIAL: dict[tuple[str, str], Callable[[int], Any]] = {
    ("meta", "key"): lambda n: f"secret:{n}",
    ("events", "data"): lambda n: b'{"task_id":"tsk_%d","x":"\\u0000"}' % n if n % 2 else b"{}",
    ("tasks", "error"): lambda n: '["agent_lost","\\u0000 gone"]' if n % 3 else None,
}
LONG = {"position", "at", "place", "due", "until", "tat", "starts", "per", "deadline", "heartbeat"}


def value(table: str, column: Any, number: int) -> Any:
    """What stands in a column (name, type, whether it may be null) of a row."""
    name, kind, needed = column
    if (table, name) in SPECIAL:
        return SPECIAL[table, name](number)
    if not needed and number % 2:
        return None
    if kind == "text":
        return f"{name} é\U0001f600\n'{number}"
    if kind == "blob":
        return b"\x00\xff" * (number % 5) + str(number).encode()
    long = name in LONG or name.endswith("_at")
    return BIG + number if long else number % 30_000


async def full(url: str, rows: int = ROWS) -> None:
    """A file with rows in every table."""
    store = SqliteStore(url)
    await store.open()
    await store.close()
    connection = apsw.Connection(url.removeprefix("sqlite:///"))
    with connection:
        for table in tables():
            columns = connection.execute(
                'select name, lower(type), "notnull" or pk from pragma_table_info(?)',
                (table.name,),
            ).fetchall()
            assert {kind for _, kind, _ in columns} <= set(KINDS), table
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f"insert into {table.name} values ({marks})",
                [tuple(value(table.name, c, n) for c in columns) for n in range(rows)],
            )
        connection.execute("insert into meta values ('position', ?)", (str(BIG * 2),))
    connection.close()


def rows_of(url: str, table: Table) -> list[Row]:
    path = Path(url.removeprefix("sqlite:///"))
    connection = apsw.Connection(str(path))
    try:
        return sorted(connection.execute(table.select.format(table.name)), key=repr)
    finally:
        connection.close()


def same(one: str, other: str) -> None:
    for table in tables():
        assert rows_of(one, table) == rows_of(other, table), table.name
        assert len(rows_of(one, table)) == ROWS, table.name


@pytest.mark.postgres
async def test_there_and_back_nothing_is_lost(tmp_path: Path) -> None:
    first, last = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    between = stores.fresh(empty=True)
    await full(first)
    there = await move.copy(first, between)
    back = await move.copy(between, last)
    assert there == back and {found.rows for found in there.values()} == {ROWS}
    same(first, last)
    [(position,)] = stores.fetch(between, "select last from commits")
    assert position == BIG * 2
    assert stores.fetch(between, "select count(*) from events where task_id = 'tsk_7'") == [(1,)]
    assert stores.fetch(between, "select distinct error_class from tasks where error is not null")
    assert not list(tmp_path.glob("*.part*"))


async def test_a_backup_is_restored_on_either_store(tmp_path: Path, store_kind: str) -> None:
    first, last = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    await full(first)
    source = first
    if store_kind == "postgres":
        source = stores.fresh(empty=True)
        await move.copy(first, source)
    saved = await move.backup(source, tmp_path / "saved")
    assert (tmp_path / "saved").stat().st_mode & 0o777 == 0o600
    if store_kind == "postgres":
        other = stores.fresh(empty=True)
        assert await move.restore(tmp_path / "saved", other) == saved
        await move.copy(other, last)
    else:
        assert await move.restore(tmp_path / "saved", last) == saved
    same(first, last)


@pytest.fixture
async def saved(tmp_path: Path) -> Path:
    await full(f"sqlite:///{tmp_path}/a.db", 3)
    await move.backup(f"sqlite:///{tmp_path}/a.db", tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.sqlite
async def test_no_damage_of_a_backup_goes_unseen(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    target = tmp_path / "b.db"
    for at in range(0, len(whole), max(1, len(whole) // 120)):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StoreRefused, match=r"damaged|no backup|newer"):
            await move.restore(saved, f"sqlite:///{target}")
        saved.write_bytes(whole[:at])
        with pytest.raises(StoreRefused, match=r"damaged|no backup|newer"):
            await move.restore(saved, f"sqlite:///{target}")
    saved.write_bytes(whole + whole[len(archive.FORMAT) :])
    with pytest.raises(StoreRefused, match="not in order"):
        await move.restore(saved, f"sqlite:///{target}")
    assert not target.exists() and not list(tmp_path.glob("*.part*"))


@pytest.mark.sqlite
async def test_rows_that_were_left_out_of_a_backup_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await full(f"sqlite:///{tmp_path}/a.db", 3)
    add = archive.NewArchive.add

    async def forgetful(self: archive.NewArchive, table: Table, rows: list[Row]) -> None:
        await add(self, table, rows[1:])

    monkeypatch.setattr(archive.NewArchive, "add", forgetful)
    with pytest.raises(StoreRefused, match="not those that were written"):
        await move.backup(f"sqlite:///{tmp_path}/a.db", tmp_path / "saved")
    assert not list(tmp_path.glob("saved*"))


@pytest.mark.sqlite
async def test_a_target_that_reads_back_otherwise_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await full(f"sqlite:///{tmp_path}/a.db", 3)
    add = sqlite.NewSqlite.add

    async def forgetful(self: sqlite.NewSqlite, table: Table, rows: list[Row]) -> None:
        await add(self, table, rows[: -1 if table.name == "leases" else None])

    monkeypatch.setattr(sqlite.NewSqlite, "add", forgetful)
    with pytest.raises(StoreRefused, match=r"leases of .*2 rows.*instead of 3"):
        await move.copy(f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db")
    assert not list(tmp_path.glob("b.db.part*")) and not (tmp_path / "b.db").exists()


@pytest.mark.sqlite
async def test_what_is_in_use_or_there_already_is_refused(tmp_path: Path) -> None:
    url, other = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    store = SqliteStore(url)
    await store.open()
    with pytest.raises(StoreRefused, match="in use"):
        await move.copy(url, other)
    await move.backup(url, tmp_path / "saved")
    with pytest.raises(StoreRefused, match="there already"):
        await move.backup(url, tmp_path / "saved")
    with pytest.raises(StoreRefused, match="in use"):
        await move.restore(tmp_path / "saved", url)
    await store.close()
    with pytest.raises(StoreRefused, match="there already"):
        await move.restore(tmp_path / "saved", url)
    with pytest.raises(StoreRefused, match="no database"):
        await move.copy(f"sqlite:///{tmp_path}/none.db", other)
    with pytest.raises(StoreRefused, match="in memory"):
        await move.restore(tmp_path / "saved", "sqlite:///:memory:")
    assert not (tmp_path / "none.db").exists() and not (tmp_path / "b.db").exists()


@pytest.mark.postgres
async def test_a_database_in_use_or_with_content_is_refused(tmp_path: Path) -> None:
    from opscore.store.postgres import PostgresStore

    url, source = stores.fresh(), f"sqlite:///{tmp_path}/a.db"
    await full(source, 3)
    store = PostgresStore(url)
    await store.open()
    for one, other in ((source, url), (url, f"sqlite:///{tmp_path}/b.db")):
        with pytest.raises(StoreRefused, match="in use by a server"):
            await move.copy(one, other)
    await move.backup(url, tmp_path / "empty")
    await store.keep_secret("signing", "s")
    await store.close()
    with pytest.raises(StoreRefused, match="not empty"):
        await move.copy(source, url)
    assert stores.fetch(url, "select count(*) from events") == [(0,)]
    await move.restore(tmp_path / "empty", stores.fresh(empty=True))


@pytest.mark.postgres
async def test_a_database_where_something_fails_stays_empty(tmp_path: Path) -> None:
    url, source = stores.fresh(), f"sqlite:///{tmp_path}/a.db"
    await full(source, 3)
    connection = apsw.Connection(f"{tmp_path}/a.db")
    connection.execute("update timers set step = 'a' || char(0) || session_id")
    connection.close()
    with pytest.raises(StoreRefused, match="0x00"):
        await move.copy(source, url)
    for table in ("events", "sessions", "audit"):
        assert stores.fetch(url, f"select count(*) from {table}") == [(0,)]


@pytest.mark.postgres
def test_both_databases_have_the_same_tables() -> None:
    url = stores.fresh()
    found = stores.fetch(
        url,
        "select table_name, array_agg(column_name::text) from information_schema.columns "
        "where table_schema = 'public' group by 1",
    )
    there = {name: set(columns) for name, columns in found}
    for table in tables():
        mine = there.pop("opscore_meta" if table.name == "meta" else table.name)
        more = mine - set(table.columns)
        assert not set(table.columns) - mine
        assert more == {"events": {"task_id"}, "tasks": {"error_class"}}.get(table.name, set())
    assert set(there) == {"commits", "servers"}


def test_a_checksum_sees_every_change_but_order() -> None:
    def of(*rows: Row) -> Content:
        found = Sum()
        found.add(rows)
        return found.content()

    assert of((1, "a"), (2, "b")) == of((2, "b"), (1, "a"))
    assert of((1, "a")) != of((1, b"a")) != of((1, None)) != of()
    assert of((1, "a"), (1, "a")) != of((1, "a"))
