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


def store_of(
    url: str, process_time: Callable[[], Micros], now: Callable[[], Micros] | None
) -> Store:
    """The store that a URL names, not opened yet.

    `now`: the clock that deadlines are judged by, if it is given. Else the store's own: the
    database's, or for a file, which one process owns, `process_time`. Raises StoreRefused.
    """
    if on_postgres(url):
        return PostgresStore(url, now)
    if not url.startswith("sqlite:"):
        raise StoreRefused(
            f"cannot read the database URL {shown(url)!r}: this version knows {KNOWN}"
        )
    return SqliteStore(url, now or process_time)
