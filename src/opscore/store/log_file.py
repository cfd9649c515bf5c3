"""The file of the log records: beside the journal, and never in its way.

Each side (writing, reading) is used by one thread and has its own connection, opened when it is
needed. Whatever SQLite complains about closes it again and is told as `Unavailable`; the next call
tries anew, so a file that was mended, or moved away, is taken up without a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import apsw
import msgspec

from opscore.core.errors import StoreRefused, Unavailable
from opscore.core.logs import LogRecord, LogSearch
from opscore.core.received import ReceivedSpan
from opscore.core.types import Micros
from opscore.store.files import SOUNDNESS_LIMIT, Location, check_soundness, connect, locate
from opscore.store.log_words import expression, keys_of, text_of
from opscore.store.span_rows import SCHEMA as SPANS
from opscore.store.span_rows import (
    all_spans,
    forget_oldest_spans,
    forget_spans,
    keep_spans,
    oldest_span,
    outdated_spans,
    spans_of_trace,
)

T = TypeVar("T")
APPLICATION_ID = 0x6F70736C  # "opsl"
VERSION = 2
"""2: with the table of spans."""
RETRY_AFTER = 5.0
DELETED_AT_ONCE = 2_000

_SCHEMA = f"""
pragma auto_vacuum = incremental;
pragma application_id = {APPLICATION_ID};
create table logs (
  log_id integer primary key autoincrement,
  at integer not null,
  record text not null
) strict;
create index logs_at on logs (at);
create virtual table words using fts5 (
  keys, text, content = '', contentless_delete = 1, detail = 'column',
  tokenize = 'unicode61 remove_diacritics 0'
);
{SPANS}
pragma user_version = {VERSION};
"""
_FROM_1 = f"{SPANS} pragma user_version = {VERSION};"
_TO_JSON = """insert into logs (log_id, at, record)
select value ->> 0, value ->> 1, value ->> 2 from json_each(?)"""
_TO_WORDS = """insert into words (rowid, keys, text)
select value ->> 0, value ->> 3, value ->> 4 from json_each(?)"""
_SEARCH = """select l.log_id, l.at, l.record from words w join logs l on l.log_id = w.rowid
where w.words match ? and w.rowid > ? and w.rowid < ? order by w.rowid {} limit ?"""
_COUNT = "select count(*) from words w where w.words match ? and w.rowid > ? and w.rowid < ?"
_NTH = """select w.rowid from words w where w.words match ? and w.rowid > ? and w.rowid < ?
order by w.rowid desc limit 1 offset ?"""
_FIRST_SINCE = "select log_id from logs where at >= ? order by at, log_id limit 1"
_LAST_BEFORE = "select log_id from logs where at < ? order by at desc, log_id desc limit 1"
_OLD = "select {} from logs where at < ?"
_OLD_OF_NAMESPACE = "select {} from logs where at < ? and log_id in (select rowid from words(?))"
_FORGET = "delete from logs where log_id in (select value from json_each(?))"
_FORGET_WORDS = "delete from words where rowid in (select value from json_each(?))"
_OLDEST_AT = "select at from logs order by log_id limit 1"
_OLDEST_ANY = "select log_id from logs order by log_id limit ?"

_MOST = 2**62
_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_KEPT = tuple(
    name for name in LogRecord.__dataclass_fields__ if name not in {"at", "context", "log_id"}
)
CONTEXT_BYTES = 16_384


class LogFile:
    """Log records on disk (or in memory, beside a journal in memory)."""

    def __init__(self, url: str, unique: str) -> None:
        journal = locate(url, unique)
        if journal.path is None:
            self.location = Location(None, f"{journal.memory_name}-logs")
        else:
            path = journal.path
            self.location = Location(path.with_name(f"{path.stem}-logs.db"))
        self._writer: apsw.Connection | None = None
        self._reader: apsw.Connection | None = None
        self._anchor: apsw.Connection | None = None
        self._inode = 0
        self._opened = 0
        """How often the writing side was opened; the reading side follows."""
        self._reading = 0
        self._next = 1
        self._last_at: Micros = 0

    # The writing side

    def open(self, now: Micros) -> None:
        """Open the writing side, unless it is open on the file that is there. Raises Unavailable.

        Records from the future (the clock was set back) are taken for ones of now, so that ids
        and times rise together: what is sought by time is found by id.
        """
        if self._writer is not None and self._inode != self._file_id():
            self.close_writer()
        if self._writer is None:
            with self._telling(self.close_writer):
                self._open(now)

    def _open(self, now: Micros) -> None:
        self._remove_leavings()
        self._writer = writer = connect(self.location)
        application, version = (_one(writer, f"pragma {name}") for name in _IDENTITY)
        if (application, version) == (0, 0) and not _one(
            writer, "select count(*) from sqlite_schema"
        ):
            writer.execute(_SCHEMA)
        elif (application, version) == (APPLICATION_ID, 1):
            with writer:
                writer.execute(_FROM_1)
        elif (application, version) != (APPLICATION_ID, VERSION):
            raise StoreRefused(f"{self.location.text} is not a log store of this version")
        writer.pragma("journal_mode", "wal")
        writer.pragma("synchronous", "normal")  # the last instant may be lost with the power
        check_soundness(writer, self.location, limit=SOUNDNESS_LIMIT)
        writer.execute("update logs set at = ? where at > ?", (now, now))
        self._next = 1 + int(_one(writer, "select coalesce(max(seq), 0) from sqlite_sequence"))
        self._last_at = int(_one(writer, "select coalesce(max(at), 0) from logs"))
        self._inode = self._file_id()
        self._opened += 1
        if self.location.path is None and self._anchor is None:
            self._anchor = connect(self.location)  # memory lives as long as a connection does

    def _remove_leavings(self) -> None:
        """What a file that is gone has left beside it would be taken for a new one's."""
        path = self.location.path
        if path is not None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            for ending in ("-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)

    def _file_id(self) -> int:
        """Which file is there; 0: none."""
        path = self.location.path
        try:
            return path.stat().st_ino if path is not None else -1
        except OSError:
            return 0

    def append(self, records: Sequence[LogRecord], spans: Sequence[ReceivedSpan] = ()) -> None:
        """Keep all of it, in one transaction. Raises Unavailable; then nothing of it is kept."""
        rows: list[tuple[int, int, str, str, str]] = []
        last = self._last_at
        for log_id, record in enumerate(records, self._next):
            last = max(last, record.at)
            rows.append((log_id, last, _written(record), keys_of(record), text_of(record)))
        document = _encode(rows).decode(errors="replace")
        with self._telling(self.close_writer):
            writer = self._open_writer
            with writer:
                writer.execute(_TO_JSON, (document,))
                writer.execute(_TO_WORDS, (document,))
                if spans:
                    keep_spans(writer, spans)
        self._next += len(rows)
        self._last_at = last

    def outdated(
        self, before: Micros, most_bytes: int, namespace: str | None = None
    ) -> tuple[int, int]:
        """How many records and spans are older, and how many more are beyond the size.

        Only those of a namespace, if one is named. Raises Unavailable.
        """
        with self._telling(self.close_writer):
            writer = self._open_writer
            old = int(_one(writer, *_old("count(*)", before, namespace)))
            old += outdated_spans(writer, before, namespace)
            size = self._size(writer)
            if size <= most_bytes:
                return old, 0
            count = int(_one(writer, "select count(*) from logs")) + all_spans(writer)
            over = round(count * (size - most_bytes) / size)
            return old, max(0, over - old)

    def forget(self, before: Micros, most_bytes: int, namespace: str | None = None) -> int:
        """Delete a few of the oldest records and spans, too old or too many; how many it were.

        0: nothing is left to delete. Only those of a namespace, if one is named. Raises
        Unavailable.
        """
        with self._telling(self.close_writer):
            writer, gone = self._open_writer, 0
            with writer:
                gone = self._forget_old(writer, before, namespace)
                if not gone and namespace is None and self._size(writer) > most_bytes:
                    gone = self._forget_oldest(writer)
            if gone:
                writer.pragma("incremental_vacuum")
            return gone

    def _forget_old(self, writer: apsw.Connection, before: Micros, namespace: str | None) -> int:
        statement, *values = _old("log_id", before, namespace)
        ids = _column(writer, f"{statement} order by log_id limit ?", *values, DELETED_AT_ONCE)
        return _forget(writer, ids) or forget_spans(writer, before, namespace, DELETED_AT_ONCE)

    def _forget_oldest(self, writer: apsw.Connection) -> int:
        """Whichever was received first: records or spans."""
        span, record = oldest_span(writer), _column(writer, _OLDEST_AT)
        if span is not None and (not record or span < record[0]):
            return forget_oldest_spans(writer, DELETED_AT_ONCE)
        return _forget(writer, _column(writer, _OLDEST_ANY, DELETED_AT_ONCE))

    def _size(self, connection: apsw.Connection) -> int:
        """Bytes in use."""
        pages = int(_one(connection, "pragma page_count"))
        free = int(_one(connection, "pragma freelist_count"))
        return (pages - free) * int(_one(connection, "pragma page_size"))

    @property
    def _open_writer(self) -> apsw.Connection:
        assert self._writer is not None, "open() comes first"
        return self._writer

    def close_writer(self) -> None:
        """Close the writing side; the file is complete then. Idempotent."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close(True)

    # The reading side

    def search(self, search: LogSearch, limit: int, *, newest_first: bool) -> list[LogRecord]:
        """Records in the order of their ids. Raises Unavailable."""

        def read(reader: apsw.Connection) -> list[LogRecord]:
            low, high = _bounds(reader, search)
            order = "desc" if newest_first else "asc"
            values = (expression(search), low, high, limit)
            return [_read(*row) for row in reader.execute(_SEARCH.format(order), values)]

        return self._read(read)

    def count(self, search: LogSearch) -> int:
        """How many records there are. Raises Unavailable."""

        def read(reader: apsw.Connection) -> int:
            return int(_one(reader, _COUNT, expression(search), *_bounds(reader, search)))

        return self._read(read)

    def newest_but(self, search: LogSearch, number: int) -> int:
        """The id of the record behind the `number` newest ones; 0: there are not so many.

        Raises Unavailable.
        """

        def read(reader: apsw.Connection) -> int:
            values = (expression(search), *_bounds(reader, search), number)
            return next(iter(_column(reader, _NTH, *values)), 0)

        return self._read(read)

    def spans(self, namespace: str, trace_id: str, limit: int) -> list[ReceivedSpan]:
        """The spans that were received of a trace, by begin. Raises Unavailable."""
        return self._read(lambda reader: spans_of_trace(reader, namespace, trace_id, limit))

    def newest(self) -> int:
        """The id of the newest record; 0: there was none ever. Raises Unavailable."""
        newest = "select coalesce(max(seq), 0) from sqlite_sequence"
        return self._read(lambda reader: int(_one(reader, newest)))

    def _read(self, read: Callable[[apsw.Connection], T]) -> T:
        with self._telling(self._end_reading):
            if self._reading != self._opened:
                self._end_reading()
            if self._reader is None:
                self._reading = self._opened
                self._reader = connect(self.location)
                self._reader.pragma("query_only", True)
            return read(self._reader)

    def _end_reading(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.close(True)

    def close_reader(self) -> None:
        """Close the reading side; records in memory are gone then. Idempotent."""
        self._end_reading()
        if self._anchor is not None:
            anchor, self._anchor = self._anchor, None
            anchor.close()

    @contextmanager
    def _telling(self, close: Callable[[], None]) -> Generator[None]:
        try:
            yield
        except (apsw.Error, StoreRefused, OSError) as error:
            close()
            raise Unavailable(
                f"the log store {self.location.text} cannot be used: {error}; it is tried again by "
                "itself (a damaged file: move it away, and a new one is begun)",
                code="logs_unavailable",
                retry_after=RETRY_AFTER,
            ) from error


_IDENTITY = ("application_id", "user_version")


def _old(what: str, before: Micros, namespace: str | None) -> tuple[str, *tuple[int | str, ...]]:
    if namespace is None:
        return _OLD.format(what), before
    return _OLD_OF_NAMESPACE.format(what), before, expression(LogSearch((namespace,)))


def _forget(writer: apsw.Connection, ids: list[int]) -> int:
    if ids:
        writer.execute(_FORGET_WORDS, (_encode(ids).decode(),))
        writer.execute(_FORGET, (_encode(ids).decode(),))
    return len(ids)


def _bounds(reader: apsw.Connection, search: LogSearch) -> tuple[int, int]:
    """Between which ids, both left out, the search can find something."""
    low, high = search.after or 0, search.before or _MOST
    if search.since is not None:
        first = next(iter(_column(reader, _FIRST_SINCE, search.since)), _MOST)
        low = max(low, first - 1)
    if search.until is not None:
        last = next(iter(_column(reader, _LAST_BEFORE, search.until)), 0)
        high = min(high, last + 1)
    return low, high


def _written(record: LogRecord) -> str:
    fields = {name: value for name in _KEPT if (value := getattr(record, name)) is not None}
    context = _encode(record.context)
    if len(context) > CONTEXT_BYTES:
        context = _encode({"cut": context[: CONTEXT_BYTES // 2].decode(errors="ignore")})
    return _encode({**fields, "context": msgspec.Raw(context)}).decode()


def _read(log_id: int, at: Micros, record: str) -> LogRecord:
    return LogRecord(log_id=log_id, at=at, **_decode(record))


def _one(connection: apsw.Connection, statement: str, *values: int | str) -> Any:
    found: Any = connection.execute(statement, values).fetchone()
    return found[0]


def _column(connection: apsw.Connection, statement: str, *values: int | str) -> list[int]:
    rows: Any = connection.execute(statement, values)
    return [row[0] for row in rows]
