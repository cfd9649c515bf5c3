"""Copying SQLite's write-ahead log into the file, beside the commits instead of inside them.

SQLite's own automatic checkpoint runs within whichever commit crosses its bound, and that commit
waits for two fsyncs and thousands of page writes. Here a thread of its own copies while commits go
on; the writer itself only copies the short rest, so that the log can start over.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import apsw

from opscore.store.files import Location, connect

COPY_PAGES = 4_000
"""The thread copies each time the log has grown by so many pages (16 MB)."""

FINISH_PAGES = 20_000
"""From this length on (80 MB) the writer copies the rest and lets the log start over."""


class Checkpoints:
    """Follows the length of the log, commit by commit. Used on the commits' thread only."""

    def __init__(self, location: Location, writer: apsw.Connection) -> None:
        self._writer = writer
        self._side = connect(location)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="opscore-checkpoint")
        self._copying: Future[None] | None = None
        self._copied = 0
        writer.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, database: str, pages: int) -> int:
        """Called by SQLite after each commit with the length of the log in pages."""
        self._copied = min(self._copied, pages)
        if self._copying is not None and not self._copying.done():
            return apsw.SQLITE_OK
        if pages >= FINISH_PAGES:
            connection.wal_checkpoint(database, apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._copied = pages
        elif pages - self._copied >= COPY_PAGES:
            self._copied = pages
            self._copying = self._thread.submit(self._copy)
        return apsw.SQLITE_OK

    def _copy(self) -> None:
        self._side.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def close(self) -> None:
        """Wait for a copy in progress; the last connection to close copies what is left."""
        self._writer.set_wal_hook(None)
        self._thread.shutdown(wait=True)
        self._side.close()
