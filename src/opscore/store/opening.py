"""Which store a database URL names."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from opscore.core.errors import StoreRefused
from opscore.core.types import Micros
from opscore.store.postgres import PostgresStore
from opscore.store.postgres_connect import SCHEMES, shown
from opscore.store.sqlite import SqliteStore
from opscore.store.store import Store

KNOWN = "sqlite:///FILE, sqlite:///:memory: and postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


def on_postgres(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    return urlsplit(url).scheme in SCHEMES


def store_of(url: str, now: Callable[[], Micros] | None) -> Store:
    """The store that a URL names, not opened yet. Raises StoreRefused.

    `now`: the clock that deadlines are judged by; None: the store's own.
    """
    if on_postgres(url):
        return PostgresStore(url, now)
    if not url.startswith("sqlite:"):
        raise StoreRefused(
            f"cannot read the database URL {shown(url)!r}: this version knows {KNOWN}"
        )
    return SqliteStore(url, now)


def logs_beside(url: str) -> str:
    """The SQLite database beside which a server keeps its log records: the journal's own.

    Servers that share a PostgreSQL database keep theirs in memory, each its own.
    """
    return "sqlite:///:memory:" if on_postgres(url) else url
