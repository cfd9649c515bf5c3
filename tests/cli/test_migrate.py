"""`opscore migrate`: what it says before, and that it has done what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from opscore.cli import exits
from opscore.store.migrate import SCHEMA_VERSION, script
from opscore.store.postgres_migrate import SCHEMA_VERSION as POSTGRES_VERSION
from opscore.store.sqlite import SqliteStore
from tests import stores
from tests.cli.conftest import Command

OLD = 9


@pytest.fixture
def old(clean_settings: Path) -> str:
    """A file of an earlier version."""
    connection = apsw.Connection(str(clean_settings / "old.db"))
    for number in range(1, OLD + 1):
        connection.execute(script("sql", number))
    connection.pragma("user_version", OLD)
    connection.pragma("application_id", 0x4F707343)
    connection.close()
    return "sqlite:///old.db"


@pytest.fixture
def database() -> Iterator[str]:
    """An empty PostgreSQL database."""
    yield stores.fresh(empty=True)
    stores.forget()


def schema(path: str) -> int:
    connection = apsw.Connection(path)
    found = connection.pragma("user_version")
    connection.close()
    assert isinstance(found, int)
    return found


def test_a_file_is_brought_up_to_date(opscore: Command, old: str) -> None:
    before = Path("old.db").read_bytes()
    dry = opscore("migrate", "--dry-run", "--database-url", old)
    assert dry.code == exits.ERROR and dry.lines[0].startswith("010_")
    assert len(dry.lines) == SCHEMA_VERSION - OLD and "nothing was changed" in dry.err
    assert Path("old.db").read_bytes() == before
    done = opscore("migrate", "--database-url", old, "--json")
    assert done.code == exits.OK and done.json["migrations"] == dry.lines
    assert schema("old.db") == SCHEMA_VERSION
    again = opscore("migrate", "--dry-run", "--database-url", old)
    assert again.code == exits.OK and again.out == "" and "nothing to do" in again.err


def test_a_new_file_is_told_and_not_made_by_a_dry_run(
    opscore: Command, clean_settings: Path
) -> None:
    dry = opscore("migrate", "--dry-run", "-o", "json")
    assert dry.code == exits.ERROR and dry.json["schema"] == 0 and dry.json["applied"] is False
    assert list(clean_settings.iterdir()) == []
    assert opscore("migrate").code == exits.OK
    assert schema("ops.db") == SCHEMA_VERSION


async def test_a_file_in_use_is_left_alone(clean_settings: Path) -> None:
    from opscore.core.errors import StoreRefused
    from opscore.store.upgrade import pending, upgrade

    store = SqliteStore(f"sqlite:///{clean_settings}/ops.db")
    await store.open()
    assert (await pending(f"sqlite:///{clean_settings}/ops.db")).pending == ()
    with pytest.raises(StoreRefused, match="in use"):
        await upgrade(f"sqlite:///{clean_settings}/ops.db")
    await store.close()


def test_a_newer_file_is_refused(opscore: Command, old: str) -> None:
    connection = apsw.Connection("old.db")
    connection.pragma("user_version", SCHEMA_VERSION + 1)
    connection.close()
    for more in ((), ("--dry-run",)):
        ran = opscore("migrate", "--database-url", old, *more)
        assert ran.code == exits.ERROR and "newer Ops-Core" in ran.err and ran.out == ""


def test_a_database_is_brought_up_to_date(opscore: Command, database: str) -> None:
    dry = opscore("migrate", "--dry-run", "--database-url", database)
    assert dry.code == exits.ERROR and len(dry.lines) == POSTGRES_VERSION
    assert not stores.fetch(database, "select to_regclass('events') is not null")[0][0]
    assert opscore("migrate", "--database-url", database).code == exits.OK
    assert stores.fetch(database, "select count(*) from events") == [(0,)]
    assert opscore("migrate", "--dry-run", "--database-url", database).code == exits.OK


def test_a_database_with_a_newer_schema_is_used_as_far_as_it_lets_us(
    opscore: Command, database: str
) -> None:
    assert opscore("migrate", "--database-url", database).code == exits.OK
    newer = f"update opscore_meta set value = '{POSTGRES_VERSION + 1}' where key = "
    stores.fetch(database, f"{newer}'schema_version'")
    ran = opscore("migrate", "--database-url", database)
    assert ran.code == exits.OK and "nothing to do" in ran.err
    stores.fetch(database, f"{newer}'min_version'")
    ran = opscore("migrate", "--dry-run", "--database-url", database)
    assert ran.code == exits.ERROR and "newer Ops-Core" in ran.err


def test_the_tables_of_another_program_are_left_alone(opscore: Command, database: str) -> None:
    stores.fetch(database, "create table theirs (a int)")
    ran = opscore("migrate", "--database-url", database)
    assert ran.code == exits.ERROR and "another program" in ran.err
    assert not stores.fetch(database, "select to_regclass('events') is not null")[0][0]
