"""What the checker is given: journals of clients, ledgers of agents, and the database's own rows.

Journals and ledgers are lists of plain records (JSON lines on disk). A client writes

- `{"did": "sent", "who", "n", "verb", "key", "mark", ...}` before a request leaves, and then
  `{"did": "answered", "who", "n", "status", "body"}` or `{"did": "unanswered", "who", "n"}`;
- `{"did": "served", "session": {...}}`: a session as the API showed it after the calm.

An agent writes, each with `instance`, and `task` and `attempt` where it concerns one:

- `connected` (with `slots`), `began` and `effect` (with `key`), `told` (to stop);
- `beat`: a heartbeat sent at `at` was answered, and the attempt was not called stale;
- `verdict` (with `outcome` and `verdict`): the answer to what it reported.

Whoever runs the test writes `{"did": "life", "offset", "after"}` for each life of a server: what its
clock shows is `offset` microseconds ahead of the time in journals, for events behind that position;
`{"did": "lease", "micros"}`; and `{"did": "calm", "after"}` when faults end for good.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import apsw

Record = Mapping[str, Any]


class Event(NamedTuple):
    """One row of the journal; `data` is decoded."""

    position: int
    session: str
    seq: int
    at: int
    type: str
    data: Mapping[str, Any]


@dataclass
class Database:
    """The rows that the rules look at. `left`: what the work tables still hold, by table."""

    events: list[Event] = field(default_factory=list[Event])
    sessions: dict[str, Record] = field(default_factory=dict[str, Record])
    tasks: dict[str, Record] = field(default_factory=dict[str, Record])
    templates: dict[tuple[str, str, str], Record] = field(
        default_factory=dict[tuple[str, str, str], Record]
    )
    audit: list[Record] = field(default_factory=list[Record])
    dead: frozenset[str] = frozenset()
    left: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def by_session(self) -> dict[str, list[Event]]:
        """Events in the order of the journal, session by session."""
        found: dict[str, list[Event]] = {}
        for event in self.events:
            found.setdefault(event.session, []).append(event)
        return found


@dataclass
class Evidence:
    """All there is to judge by."""

    clients: Sequence[Record]
    agents: Sequence[Record]
    database: Database

    def sent(self) -> dict[tuple[str, int], Record]:
        """Requests by their sender and number."""
        return {(r["who"], r["n"]): r for r in self.clients if r["did"] == "sent"}

    def accepted(self) -> Iterable[tuple[Record, Mapping[str, Any]]]:
        """Requests that were answered with 2xx, each with the body of its answer."""
        sent = self.sent()
        for record in self.clients:
            if record["did"] == "answered" and 200 <= record["status"] < 300:
                yield sent[record["who"], record["n"]], record["body"]

    def of(self, did: str) -> list[Record]:
        """The agents' records of one kind."""
        return [record for record in self.agents if record["did"] == did]

    def run(self, did: str) -> list[Record]:
        """The records of whoever ran the test."""
        return [record for record in self.clients if record["did"] == did]


WORK_TABLES = ("ready", "delayed", "gated", "leases", "outbox", "timers", "admitted")
_EVENTS = "select position, session_id, seq, at, type, data from events order by position"
_SESSIONS = "select session_id, namespace, workflow, version, status from sessions"
_TASKS = "select task_id, session_id, status, attempt, failures from tasks"
_TEMPLATES = "select namespace, name, version, source from templates"
_AUDIT = (
    "select writer, seq, at, namespace, actor, key_id, action, subject, details, heads, hash "
    "from audit order by writer, seq"
)


def read_sqlite(path: Path) -> Database:
    """Read a database that no server has open any more."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        return _read(connection)
    finally:
        connection.close()


def _read(connection: apsw.Connection) -> Database:
    rows = [
        Event(position, session, seq, at, kind, json.loads(data))
        for position, session, seq, at, kind, data in connection.execute(_EVENTS)
    ]
    return Database(
        events=rows,
        sessions={row["session_id"]: row for row in _named(connection, _SESSIONS)},
        tasks={row["task_id"]: row for row in _named(connection, _TASKS)},
        templates={
            (row["namespace"], row["name"], row["version"]): json.loads(row["source"])
            for row in _named(connection, _TEMPLATES)
        },
        audit=_named(connection, _AUDIT),
        dead=frozenset(str(row["task_id"]) for row in _named(connection, "select * from dead")),
        left={table: _count(connection, table) for table in WORK_TABLES},
    )


def _named(connection: apsw.Connection, statement: str) -> list[Record]:
    cursor = connection.execute(statement)
    rows: list[Any] = cursor.fetchall()
    if not rows:
        return []
    names = [column[0] for column in connection.execute(statement).get_description()]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _count(connection: apsw.Connection, table: str) -> int:
    return int(connection.execute(f"select count(*) from {table}").get)


def read_lines(*paths: Path) -> list[Record]:
    """Journals on disk. A last line that was cut off by a kill is no record."""
    records: list[Record] = []
    for path in paths:
        lines = path.read_text(encoding="utf-8").split("\n")
        records += [json.loads(line) for line in lines[:-1] if line]
    return records
