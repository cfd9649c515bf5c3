"""What a batch reads before it decides, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opscore.store import postgres_statements as sql
from opscore.store.postgres_connect import Connection
from opscore.store.postgres_marks import Marks, Queue
from opscore.store.postgres_reads import read_gates
from opscore.store.rows import LeaseRow, Locked, ReadyRow, StoredEvent, Wants

After = Callable[[str], int | None]


async def read_locked(connection: Connection, marks: Marks, wants: Wants, after: After) -> Locked:
    """All that `wants` names, and the journals of all sessions that it leads to.

    A journal is read from where the caller's memory of it ends.
    """
    locked = Locked()
    sessions = set(wants.sessions)
    if wants.claims:
        locked.candidates = await _candidates(connection, marks, wants.claims)
        sessions.update(r.session_id for rows in locked.candidates.values() for r in rows)
    if wants.leases:
        for lease in await _leases(connection, sql.LEASES_OF_TASKS, wants.leases):
            locked.leases[lease.task_id] = lease
            sessions.add(lease.session_id)
    if wants.holders:
        for lease in await _leases(connection, sql.LEASES_OF_INSTANCES, wants.holders):
            locked.held.setdefault(lease.instance_id, []).append(lease)
            sessions.add(lease.session_id)
    if wants.agents:
        for lease in await _leases(connection, sql.LEASES_OF_AGENTS, wants.agents):
            locked.held_by_agent.setdefault(lease.agent_id, []).append(lease)
            sessions.add(lease.session_id)
    if wants.gates:
        locked.gates = await read_gates(connection)
    await _journals(connection, locked, sessions, after)
    return locked


async def _candidates(
    connection: Connection, marks: Marks, claims: dict[Queue, int]
) -> dict[Queue, list[ReadyRow]]:
    begun = marks.scan()
    try:
        columns = (
            [queue[0] for queue in claims],
            [queue[1] for queue in claims],
            [marks.of(queue) for queue in claims],
            list(claims.values()),
        )
        found: dict[Queue, list[ReadyRow]] = {queue: [] for queue in claims}
        for row in await connection.fetch(sql.CANDIDATES, *columns):
            ready = ReadyRow(*row)
            found[ready.namespace, ready.queue].append(ready)
    except BaseException:
        marks.gave_up(begun)
        raise
    for rows in found.values():
        rows.sort(key=_place)
    marks.scanned(begun, {q: rows[0].place if rows else None for q, rows in found.items()})
    return found


def _place(row: ReadyRow) -> tuple[int, str]:
    return row.place, row.task_id


async def _leases(connection: Connection, statement: str, keys: Iterable[str]) -> list[LeaseRow]:
    return [LeaseRow(*row) for row in await connection.fetch(statement, list(keys))]


async def _journals(
    connection: Connection, locked: Locked, sessions: Iterable[str], after: After
) -> None:
    known = {session_id: after(session_id) for session_id in sessions}
    wanted = {session_id: seq for session_id, seq in known.items() if seq is not None}
    if not wanted:
        return
    rows = await connection.fetch(sql.JOURNALS, list(wanted), list(wanted.values()))
    for row in rows:
        event = StoredEvent(*row)
        locked.journals.setdefault(event.owner, []).append(event)
