"""Connections to PostgreSQL: opening them, what they are set to, and what their errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from opscore.core.errors import StoreRefused, Unavailable

SCHEMES = ("postgresql", "postgres")
CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 30.0
"""A statement that takes longer fails, and its connection is given up: the network may be gone."""
READERS = 3

SETTINGS = {
    "application_name": "opscore",
    "client_min_messages": "error",
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "5s",
    "statement_timeout": "25s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "timezone": "UTC",
    # Statements come with arrays of keys: the same plan for two keys as for five hundred, and never
    # one that was made while the tables were empty and reads all of them.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
WRITING = {
    "synchronous_commit": "on",
    "lock_timeout": "2s",
    "client_connection_check_interval": "2s",
}
READING = {"default_transaction_read_only": "on"}

LOST = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)
"""The connection is gone, or nobody knows what it is doing."""
FAILED = (*LOST, asyncpg.PostgresError)


FORM = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
POOLED = (
    "this is a connection pooler (PgBouncer or the like). Ops-Core takes turns by locks that belong "
    "to a session, and a pooler gives one session's statements to several. Name the database itself "
    "in OPSCORE_DATABASE_URL: a server of Ops-Core needs six connections, however many agents it has"
)


class Connection(Protocol):
    """What is used of asyncpg's connections, which say little about their types."""

    async def execute(self, query: str, *given: Any) -> str: ...
    async def fetch(self, query: str, *given: Any) -> list[Any]: ...
    async def fetchrow(self, query: str, *given: Any) -> Any: ...
    async def fetchval(self, query: str, *given: Any) -> Any: ...
    async def add_listener(self, channel: str, call: Callable[..., None]) -> None: ...
    async def close(self, *, timeout: float) -> None: ...
    def terminate(self) -> None: ...
    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def get_server_pid(self) -> int: ...


def shown(url: str) -> str:
    """The URL as messages may show it: without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


async def connect(url: str, settings: dict[str, str]) -> Connection:
    """A connection with this project's settings and some more. Raises StoreRefused."""
    try:
        found = await cast("Any", asyncpg).connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            statement_cache_size=400,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings={**SETTINGS, **settings},
        )
    except FAILED as error:
        raise StoreRefused(_refusal(url, error)) from error
    except ValueError as error:
        raise StoreRefused(
            f"cannot read the database URL {shown(url)!r}: {error}; {FORM}"
        ) from error
    return cast("Connection", found)


def _refusal(url: str, error: Exception) -> str:
    """What to do about a connection that could not be made."""
    said = str(error) or type(error).__name__
    match error:
        case asyncpg.ClientConfigurationError():
            return f"cannot read the database URL {shown(url)!r}: {said}; {FORM}"
        case asyncpg.InvalidCatalogNameError():
            return (
                f"{said} at {shown(url)}; create it with `createdb`, or name another one with "
                "OPSCORE_DATABASE_URL"
            )
        case asyncpg.PostgresError() if "startup parameter" in said:
            return f"{shown(url)}: {POOLED}"
        case _:
            return (
                f"cannot connect to {shown(url)}: {said}; is PostgreSQL running there, and may "
                "this user connect? (OPSCORE_DATABASE_URL)"
            )


@contextmanager
def at_run_time(what: str) -> Generator[None]:
    """Database errors become Unavailable: it may be back in a moment."""
    try:
        yield
    except StoreRefused as error:
        raise Unavailable(f"{what}: {error}", retry_after=1) from error
    except FAILED as error:
        raise Unavailable(f"{what}: {error or type(error).__name__}", retry_after=1) from error


class Link:
    """One connection, used by one caller at a time, made anew when it was lost."""

    def __init__(self, url: str, settings: dict[str, str]) -> None:
        self._url, self._settings = url, settings
        self._connection: Connection | None = None

    @property
    def alive(self) -> bool:
        """Whether there is a connection that is not known to be lost."""
        return self._connection is not None and not self._connection.is_closed()

    async def get(self) -> Connection:
        """The connection. Raises StoreRefused when there is none to be had."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url, self._settings)
        return self._connection

    def drop(self) -> None:
        """Give it up at once, whatever it is doing."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """End it in order."""
        if self._connection is not None:
            with suppress(*FAILED):
                await self._connection.close(timeout=2)
            self._connection = None


class Readers:
    """A few connections for reading, each lent to one caller at a time."""

    def __init__(self, url: str, count: int = READERS) -> None:
        self._free: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        self._all = [Link(url, READING) for _ in range(count)]
        for line in self._all:
            self._free.put_nowait(line)

    async def open(self) -> None:
        """Make the first one; the others follow when they are needed."""
        await self._all[-1].get()

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[Connection]:
        """Lend one. A connection that was left in the middle of something is given up."""
        line = await self._free.get()
        done = False
        try:
            with at_run_time("cannot read from the database"):
                yield await line.get()
            done = True
        finally:
            if not done:
                line.drop()
            self._free.put_nowait(line)

    async def close(self) -> None:
        """End all of them."""
        for line in self._all:
            await line.close()
