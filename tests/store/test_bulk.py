"""Commits of many rows: all of them or none, and every document byte for byte."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from opscore.core.errors import Unavailable
from opscore.store import statements as sql
from opscore.store.rows import Changes, EventRow, Locked, TaskRow, Wants
from opscore.store.store import Store
from tests.store.house import store_at

DOCUMENTS = (
    b'{ "spaced" : [1 , 2] }',
    b'{"big":123456789012345678901234567890,"small":1.10e-7,"zero":-0.0}',
    '{"text":"Zürich 🜁 \\u0000 \\ud83d\\ude00 \\/"}'.encode(),
    b'{"twice":1,"twice":2}',
    b"[" * 2_000 + b"]" * 2_000,
    b'"a\\u0000b"',
    b"null",
)


def event(session: int, seq: int, data: bytes = b"{}") -> EventRow:
    return EventRow(f"ses_{session}", seq, 1, "task.completed", 1, msgspec.Raw(data))


def task(number: int, document: bytes) -> TaskRow:
    first = (f"tsk_a-{number}", "ses_a", "default", "step", None, 0, "sum", None, document, 1)
    return TaskRow(
        *first, 50, "completed", 2, 1, 0, "agent", "iü", None, 3, document, '["a","\\u0000"]'
    )


async def commit(store: Store, changes: Changes) -> None:
    await store.transact(Wants(), lambda _: 0, lambda _: _given(_, changes))


def _given(_: Locked, changes: Changes) -> Changes:
    return changes


async def opened(path: Path) -> Store:
    store = store_at(path / "ops.db", lambda: 1)
    await store.open()
    return store


@pytest.mark.parametrize("rows", [1, 3, 127, sql.most_rows(7) - 1, 2 * sql.most_rows(7) + 5])
async def test_every_row_of_a_commit_is_written_once(tmp_path: Path, rows: int) -> None:
    store = await opened(tmp_path)
    await commit(store, Changes(events=[event(7, n, b"%d" % n) for n in range(1, rows + 1)]))
    journal = await store.journal("ses_7", 0, rows + 1)
    await store.close()
    assert [row.seq for row in journal] == list(range(1, rows + 1))
    assert [row.position for row in journal] == list(range(1, rows + 1))
    assert [bytes(row.data) for row in journal] == [b"%d" % n for n in range(1, rows + 1)]


async def test_documents_come_back_byte_for_byte(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    given = [event(1, n, data) for n, data in enumerate(DOCUMENTS, 1)]
    tasks = {row.task_id: row for row in (task(n, d) for n, d in enumerate(DOCUMENTS))}
    await commit(store, Changes(events=given, tasks=tasks))
    journal = await store.journal("ses_1", 0, 100)
    found = [await store.task(task_id) for task_id in tasks]
    await store.close()
    assert tuple(bytes(row.data) for row in journal) == DOCUMENTS
    assert [picture.task for picture in found if picture] == list(tasks.values())


async def test_a_commit_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await commit(store, Changes(events=[event(1, 1)]))
    broken = [event(2, n) for n in range(1, 800)]
    broken.insert(700, event(1, 1))
    with pytest.raises(Unavailable):
        await commit(store, Changes(events=broken))
    await commit(store, Changes(events=[event(3, 1)]))
    journals = [await store.journal(name, 0, 10) for name in ("ses_1", "ses_2", "ses_3")]
    await store.close()
    assert [[row.position for row in journal] for journal in journals] == [[1], [], [2]]


def test_no_statement_is_too_long_to_be_kept_prepared() -> None:
    widths = (1, 2, 4, 6, 7, 8, 12, 13, 21)
    longest = (len(sql.values(sql.CHANGE_TASKS, w, sql.most_rows(w), " ")) for w in widths)
    assert max(longest) < 16_384
    assert max(width * sql.most_rows(width) for width in widths) < 32_766
