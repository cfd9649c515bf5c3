"""Spans that agents sent: a table in the file of the log records, found by their trace.

A span that comes again (its answer was lost) is the same one. Plain statements on a connection; the
file is `log_file.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

from opscore.core.received import ReceivedEvent, ReceivedSpan, SpanStatus, Value
from opscore.core.types import Micros

SCHEMA = """
create table spans (
  at integer not null,
  namespace text not null,
  trace_id text not null,
  span_id text not null,
  parent_id text,
  started_at integer not null,
  ended_at integer not null,
  span text not null,
  primary key (namespace, trace_id, span_id)
) strict, without rowid;
create index spans_at on spans (at);
"""
_KEEP = """insert into spans
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
  value ->> 7 from json_each(?) where true on conflict do nothing"""
_OF_TRACE = """select at, namespace, trace_id, span_id, parent_id, started_at, ended_at, span
from spans where namespace = ? and trace_id = ? order by started_at, span_id limit ?"""
_OLD = "from spans where at < ?"
_OLD_OF_NAMESPACE = "from spans where at < ? and namespace = ?"
_FORGET = """delete from spans where (namespace, trace_id, span_id) in
(select namespace, trace_id, span_id {} order by at limit ?)"""
_ANY = "from spans"

_encode = msgspec.json.Encoder().encode


class _Said(msgspec.Struct, omit_defaults=True):
    """What a span says beyond its columns."""

    name: str
    status: SpanStatus = "unset"
    message: str = ""
    source: str = ""
    attributes: dict[str, Value] = {}
    events: list[tuple[str, Micros, dict[str, Value]]] = []


_read = msgspec.json.Decoder(_Said).decode


def keep_spans(connection: apsw.Connection, spans: Sequence[ReceivedSpan]) -> None:
    """Write spans down, in the transaction that is open."""
    rows = [
        (
            *(one.at, one.namespace, one.trace_id, one.span_id, one.parent_id),
            *(one.started_at, one.ended_at, _said(one)),
        )
        for one in spans
    ]
    connection.execute(_KEEP, (_encode(rows).decode(),))


def _said(one: ReceivedSpan) -> str:
    events = [(event.name, event.at, dict(event.attributes)) for event in one.events]
    said = _Said(one.name, one.status, one.message, one.source, dict(one.attributes), events)
    return _encode(said).decode()


def spans_of_trace(
    connection: apsw.Connection, namespace: str, trace_id: str, limit: int
) -> list[ReceivedSpan]:
    """The first spans of a trace, in the order in which they began."""
    rows: Any = connection.execute(_OF_TRACE, (namespace, trace_id, limit))
    return [_span(*row) for row in rows]


def _span(
    at: Micros,
    namespace: str,
    trace_id: str,
    span_id: str,
    parent_id: str | None,
    started_at: Micros,
    ended_at: Micros,
    span: str,
) -> ReceivedSpan:
    said = _read(span)
    return ReceivedSpan(
        *(at, namespace, trace_id, span_id, parent_id, said.name, started_at, ended_at),
        *(said.status, said.message, said.source, said.attributes),
        tuple(ReceivedEvent(*one) for one in said.events),
    )


def outdated_spans(connection: apsw.Connection, before: Micros, namespace: str | None) -> int:
    """How many were received before then; only those of a namespace, if one is named."""
    return _count(connection, *_old(before, namespace))


def all_spans(connection: apsw.Connection) -> int:
    """How many there are."""
    return _count(connection, _ANY)


def oldest_span(connection: apsw.Connection) -> Micros | None:
    """When the oldest was received."""
    found: Any = connection.execute("select min(at) from spans").fetchone()
    return found[0]


def forget_spans(
    connection: apsw.Connection, before: Micros, namespace: str | None, most: int
) -> int:
    """Delete some of those that were received before then, the oldest first; how many it were."""
    rest, *values = _old(before, namespace)
    return _changed(connection, rest, *values, most)


def forget_oldest_spans(connection: apsw.Connection, most: int) -> int:
    """Delete the oldest."""
    return _changed(connection, _ANY, most)


def _old(before: Micros, namespace: str | None) -> tuple[str, *tuple[int | str, ...]]:
    if namespace is None:
        return _OLD, before
    return _OLD_OF_NAMESPACE, before, namespace


def _count(connection: apsw.Connection, rest: str, *values: int | str) -> int:
    found: Any = connection.execute(f"select count(*) {rest}", values).fetchone()
    return int(found[0])


def _changed(connection: apsw.Connection, rest: str, *values: int | str) -> int:
    connection.execute(_FORGET.format(rest), values)
    return connection.changes()
