"""`opscore store …` as a user types it: what is printed, what is refused, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from opscore.cli import exits
from opscore.core.types import Actor
from opscore.engine.engine import Engine
from tests import stores
from tests.cli.conftest import Command

TREE = {"name": "t", "version": "1", "steps": {"a": {"capability": "work"}}}


@pytest.fixture
def ops_db(clean_settings: Path) -> Path:
    """A database with a session in the working directory."""

    async def work() -> None:
        async with await Engine.open("sqlite:///ops.db") as engine:
            await engine.orchestration.create_workflow(TREE, actor=Actor("operator", "ann"))
            await engine.orchestration.start("t")

    asyncio.run(work())
    return clean_settings / "ops.db"


@pytest.fixture
def database() -> Iterator[str]:
    """An empty PostgreSQL database."""
    yield stores.fresh(empty=True)
    stores.forget()


def test_a_backup_is_restored(opscore: Command, ops_db: Path) -> None:
    saved = opscore("store", "backup", "saved.opscore")
    assert saved.code == exits.OK
    assert ["sessions", "1"] in [line.split()[:2] for line in saved.lines]
    assert "saved.opscore: " in saved.err
    restored = opscore(
        "store", "restore", "saved.opscore", "--database-url", "sqlite:///new.db", "-o", "json"
    )
    assert restored.code == exits.OK
    assert restored.json == opscore("store", "backup", "again", "-o", "json").json
    row = next(row for row in restored.json if row["table"] == "sessions")
    assert row["rows"] == 1 and len(row["checksum"]) == 64
    again = opscore("store", "restore", "saved.opscore", "--database-url", "sqlite:///new.db")
    assert again.code == exits.ERROR and "new.db is there already" in again.err
    assert ops_db.exists()


def test_an_installation_is_moved(opscore: Command, ops_db: Path, database: str) -> None:
    there = opscore("store", "copy", f"sqlite:///{ops_db}", database, "--json")
    assert there.code == exits.OK and database.partition("@")[2] in there.err
    back = opscore("store", "copy", database, "sqlite:///back.db", "--json")
    assert back.code == exits.OK and back.json == there.json
    again = opscore("store", "copy", "sqlite:///back.db", database)
    assert again.code == exits.ERROR and "is not empty" in again.err and again.out == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("backup", "x", "--database-url", "sqlite:///none.db"), "there is no database"),
        (("backup", "x", "--database-url", "sqlite:///other"), "not a database"),
        (("backup", "x", "--database-url", "mysql://a"), "this version knows"),
        (("backup", "no/where", "--database-url", "sqlite:///ops.db"), "No such file"),
        (("restore", "other", "--database-url", "sqlite:///new.db"), "no backup of Ops-Core"),
        (("restore", "none", "--database-url", "sqlite:///new.db"), "No such file"),
        (("copy", "sqlite:///ops.db", "postgresql://127.0.0.1:1/x"), "cannot connect"),
    ],
)
def test_what_cannot_be_done_is_told(
    opscore: Command, ops_db: Path, words: tuple[str, ...], told: str
) -> None:
    Path("other").write_text("nothing of ours")
    ran = opscore("store", *words)
    assert ran.code == exits.ERROR and told in ran.err and "Traceback" not in ran.err
    there = {path.name.partition("-")[0] for path in ops_db.parent.iterdir()}
    assert there <= {"other", "ops.db", "ops", "new.db"} and not Path("new.db").exists()
