"""Opening a database: whose it is, whether it is sound, and that nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from opscore.core import commands as cmd
from opscore.core.errors import StoreRefused
from opscore.engine.engine import Engine
from opscore.store.migrate import APPLICATION_ID, SCHEMA_VERSION
from opscore.store.rows import Changes, TemplateRow, Wants
from opscore.store.sqlite import SqliteStore
from tests.core.scene import completed
from tests.store.house import House, check, open_house

FAN = {
    "name": "fan",
    "version": "1",
    "steps": {"a": {"capability": "work", "foreach": "${{ input.items }}"}},
}
OWNER = """
import sys
from pathlib import Path
from opscore.store.files import locate, own
lock = own(locate(sys.argv[1], "x"))
print("owned", flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.sqlite

VALUE = {"name": "v", "version": "1", "steps": {"a": {"value": 1}}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ops.db"


def store(path: Path | str) -> SqliteStore:
    return SqliteStore(f"sqlite:///{path}", lambda: 0)


def refused(path: Path | str) -> str:
    """What opening it in this process says."""
    with pytest.raises(StoreRefused) as caught:
        asyncio.run(store(path).open())
    return str(caught.value)


def make(path: Path) -> None:
    """Open it and close it, twice."""

    async def open_and_close() -> None:
        one = store(path)
        await one.open()
        await one.close()
        await one.close()

    asyncio.run(open_and_close())


@pytest.mark.parametrize("url", ["sqlite:///", "postgresql://x/y", "ops.db", "sqlite://x.db"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(StoreRefused, match="cannot read the database URL"):
        SqliteStore(url, lambda: 0)


def test_a_file_in_use_by_another_process_is_refused_until_that_one_ends(path: Path) -> None:
    make(path)
    command = [sys.executable, "-c", OWNER, f"sqlite:///{path}"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"owned\n"
        assert "in use by another process" in refused(path)
        owner.kill()
    make(path)


async def test_two_stores_of_one_process_cannot_have_one_file(path: Path) -> None:
    one, two = store(path), store(path)
    await one.open()
    with pytest.raises(StoreRefused, match="in use"):
        await two.open()
    await one.close()
    three = store(path)
    await three.open()
    await three.close()


async def test_databases_in_memory_are_apart() -> None:
    one, two = store(":memory:"), store(":memory:")
    await one.open()
    await two.open()
    row = TemplateRow("default", "t", "1", "", "digest", b"{}", 0)
    await one.transact(Wants(), lambda _: None, lambda _: Changes(templates=[row]))
    assert (await one.templates(), await two.templates()) == ([row], [])
    await one.close()
    await two.close()


def test_a_newer_schema_is_refused_untouched(path: Path) -> None:
    make(path)
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", SCHEMA_VERSION + 1)
    connection.close()
    before = path.read_bytes()
    assert "newer Ops-Core" in refused(path)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_untouched(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("create table notes (text)")
    connection.close()
    before = path.read_bytes()
    assert "another program" in refused(path)
    assert path.read_bytes() == before
    assert not Path(f"{path}-wal").exists()


def test_garbage_is_refused_untouched(path: Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to be one" * 100)
    before = path.read_bytes()
    assert "damaged or not a database" in refused(path)
    assert path.read_bytes() == before


def test_a_file_that_was_cut_off_is_refused(path: Path) -> None:
    async def fill() -> None:
        async with open_house(path) as house:
            await house.start(house.template(FAN), "ses_a", {"items": list(range(300))})

    asyncio.run(fill())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged" in refused(path)


def test_an_empty_file_is_a_new_database(path: Path) -> None:
    path.touch()
    make(path)
    connection = apsw.Connection(str(path))
    assert connection.pragma("application_id") == APPLICATION_ID
    connection.close()


def test_a_place_that_cannot_hold_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot open" in refused(tmp_path / "file" / "ops.db")
    assert "cannot open" in refused(tmp_path)


# -- nothing acknowledged is lost -----------------------------------------------------------


async def work_on(house: House, count: int) -> None:
    for number in range(1, count + 1):
        task_id = f"tsk_a-{number}"
        await house.on("ses_a", cmd.Claim(task_id, "agt_1", "i1"))
        await house.on("ses_a", cmd.Settle(task_id, 1, completed(number), 0.5))


async def test_a_reopened_file_has_everything(path: Path) -> None:
    async with open_house(path) as house:
        await house.start(house.template(FAN), "ses_a", {"items": [1, 2, 3]})
        await work_on(house, 2)
        before = check(house)
    async with open_house(path) as house:
        assert check(house) == before
        house.template(FAN)
        await house.on("ses_a", cmd.Claim("tsk_a-3", "agt_1", "i1"))
        assert check(house)["ses_a"].running == 1


@pytest.mark.parametrize("done", [0, 1, 5])
async def test_a_crash_loses_nothing_that_was_acknowledged(
    path: Path, tmp_path: Path, done: int
) -> None:
    copy = tmp_path / "copy.db"
    async with open_house(path) as house:
        await house.start(house.template(FAN), "ses_a", {"items": list(range(9))})
        await work_on(house, done)
        house.start(house.template(FAN), "ses_b", {"items": list(range(400))})
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{copy}{end}")
    async with open_house(copy) as house:
        folded = check(house)
        assert folded["ses_a"].steps["a"].done == done
        assert folded.get("ses_b") is None or len(folded["ses_b"].tasks) == 400


def test_a_commit_cut_off_in_the_log_is_gone_as_a_whole(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"

    async def two_commits() -> tuple[bytes, bytes]:
        async with open_house(path) as house:
            await house.start(house.template(FAN), "ses_a", {"items": [1]})
            first = _log(path)
            await house.start(house.template(FAN), "ses_b", {"items": list(range(400))})
            shutil.copy(path, copy)
            return first, _log(path)

    async def left() -> set[str]:
        async with open_house(copy) as house:
            return set(check(house))

    first, both = asyncio.run(two_commits())
    Path(f"{copy}-wal").write_bytes(both[: (len(first) + len(both)) // 2])
    assert asyncio.run(left()) == {"ses_a"}


def _log(path: Path) -> bytes:
    return Path(f"{path}-wal").read_bytes()


async def test_positions_are_never_used_again_though_the_newest_session_was_deleted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ops.db"
    async with await Engine.open(f"sqlite:///{path}") as engine:
        await engine.orchestration.create_workflow(VALUE)
        session = await engine.orchestration.start("v")
        last = (await engine.orchestration.history(session)).items[-1].position
        await engine.orchestration.delete_session(session)
    async with await Engine.open(f"sqlite:///{path}") as engine:
        session = await engine.orchestration.start("v")
        assert (await engine.orchestration.history(session)).items[0].position == last + 1
