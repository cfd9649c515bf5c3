"""The audit: appending to this writer's chain, and reading all of them from a SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import apsw

from opscore.core.audit import (
    GENESIS,
    AuditEntry,
    AuditRecord,
    Ends,
    as_heads,
    chained,
    open_ends,
    vouched_by,
    vouching,
)

COLUMNS = ", ".join(AuditRecord._fields)
ADD_AUDIT = f"insert into audit ({COLUMNS}) values "
AUDIT = f"select {COLUMNS} from audit where "
AUDIT_CONDITIONS = {
    "namespace": "namespace = ?",
    "actor": "actor = ?",
    "key_id": "key_id = ?",
    "action": "action = ?",
    # Sessions that were started in one request are one record; their ids stand in its details.
    "subject": "(subject = ? or (action = 'session.started' and subject is null and exists "
    "(select 1 from json_each(details, '$.sessions') one where one.value = ?)))",
    "since": "at >= ?",
    "until": "at < ?",
    "before": "position < ?",
}
VOUCHING = f"select {COLUMNS} from audit where heads is not null"
_WALK = f"select {COLUMNS} from audit order by writer, seq"
# SQLite leaps from one writer to the next in the index, instead of reading all of it.
HEADS = (
    "with recursive writers (writer) as (select min(writer) from audit union all "
    "select (select min(a.writer) from audit a where a.writer > w.writer) from writers w "
    "where w.writer is not null) "
    "select writer, seq, hash, action from writers w join audit a using (writer) "
    "where a.seq = (select max(seq) from audit b where b.writer = w.writer)"
)
HASH = "select hash from audit where writer = ? and seq = ?"
POSITION = "select coalesce(max(position), 0) from audit"
WRITER = "select 'wrt_' || lower(hex(randomblob(10)))"


class Beginning(NamedTuple):
    """How a chain begins: its name, the last position of all chains, and what it vouches for."""

    writer: str
    position: int
    heads: str


class AuditChain:
    """This process's chain. Everything happens within the one transaction at a time."""

    def __init__(self) -> None:
        self._writer = ""
        self._seq, self._hash, self._position = 0, GENESIS, 0
        self._next = (0, GENESIS, 0)

    @property
    def writer(self) -> str | None:
        """The name of the chain, once it has begun."""
        return self._writer if self._seq else None

    def rows(
        self, entries: Sequence[AuditEntry], begin: Callable[[], Beginning]
    ) -> list[AuditRecord]:
        """The records that these entries become; they count once `committed` is called.

        The first record of a chain, for which `begin` is asked, also vouches for those before.
        """
        if self._seq == 0:
            self._writer, self._position, heads = begin()
            entries = [entries[0]._replace(heads=heads), *entries[1:]]
        rows = list(chained(self._writer, self._seq, self._hash, self._position, entries))
        self._next = (rows[-1].seq, rows[-1].hash, rows[-1].position)
        return rows

    def committed(self) -> None:
        """What `rows` gave is durable."""
        self._seq, self._hash, self._position = self._next


def beginning(connection: apsw.Connection) -> Beginning:
    """The file has one owner at a time, so the chains of others have ended for good."""
    return Beginning(
        connection.execute(WRITER).get,
        connection.execute(POSITION).get,
        vouching(ends(connection).heads, final=True),
    )


def ends(connection: apsw.Connection) -> Ends:
    """The chains that no other vouches for, and how many records there are."""
    heads = as_heads(connection.execute(HEADS).fetchall())
    return open_ends(
        heads, (said for one in vouching_records(connection) for said in vouched_by(one))
    )


def hash_at(connection: apsw.Connection, writer: str, seq: int) -> str | None:
    """The hash of one record, if it is there."""
    held: Any = connection.execute(HASH, (writer, seq)).get
    return held.hex() if isinstance(held, bytes) else None


def vouching_records(connection: apsw.Connection) -> list[AuditRecord]:
    """The records that hold heads of other chains: the first of each, and few others."""
    return [AuditRecord(*row) for row in connection.execute(VOUCHING)]


def walk(connection: apsw.Connection) -> Iterator[AuditRecord]:
    """All records, by writer and number."""
    for row in connection.execute(_WALK):
        yield AuditRecord(*row)
