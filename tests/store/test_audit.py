"""The chains of the audit in a real file: whole after every crash, and no change goes unseen."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opscore.core.audit import (
    AuditEntry,
    Checkpoint,
    Finding,
    Head,
    checkpoint_text,
    digest,
    read_checkpoint,
    vouching,
)
from opscore.core.errors import StoreRefused, Unavailable
from opscore.core.types import SECOND
from opscore.store.examine import examine_audit
from opscore.store.rows import Changes, Locked, Wants
from opscore.store.sqlite import SqliteStore

pytestmark = pytest.mark.sqlite

SIZES = (7, 1, 9, 5)
"""How many records each process writes."""


def entry(number: int, at: int = SECOND) -> AuditEntry:
    said = ("default", "operator:key_1", "key_1", "session.started", f"ses_{number}")
    return AuditEntry(at + number, *said, f'{{"n":{number}}}')


async def write(store: SqliteStore, *entries: AuditEntry) -> None:
    """One commit."""

    def decide(_: Locked) -> Changes:
        return Changes(audit=list(entries))

    await store.transact(Wants(), lambda _: None, decide)


async def lived(path: Path, entries: list[AuditEntry]) -> Checkpoint:
    """One process: it writes its records, two to a commit, and ends."""
    store = SqliteStore(f"sqlite:///{path}", lambda: SECOND)
    await store.open()
    for start in range(0, len(entries), 2):
        await write(store, *entries[start : start + 2])
    ends = await store.audit_ends()
    await store.close()
    return Checkpoint("then", ends.heads, ends.records, closed=True)


@dataclass(frozen=True)
class Kept:
    """A database with several chains, and the last checkpoint of it."""

    path: Path
    checkpoint: Checkpoint
    writers: tuple[str, ...]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    path = tmp_path_factory.mktemp("audit") / "ops.db"
    checkpoint = Checkpoint("never", (), 0)
    for size in SIZES:
        checkpoint = asyncio.run(lived(path, [entry(number) for number in range(size)]))
    rows = query(path, "select distinct writer from audit order by position")
    return Kept(path, checkpoint, tuple(row[0] for row in rows))


def query(path: Path, statement: str, *given: Any) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(path))
    try:
        return cast("list[tuple[Any, ...]]", connection.execute(statement, given).fetchall())
    finally:
        connection.close()


def tampered(kept: Kept, folder: Path, change: Callable[[apsw.Connection], object]) -> Path:
    """A copy of the database, changed behind the server's back."""
    copy = folder / "copy.db"
    for old in folder.glob("copy.db*"):
        old.unlink()
    shutil.copy(kept.path, copy)
    connection = apsw.Connection(str(copy))
    change(connection)
    connection.close()
    return copy


def findings(kept: Kept, path: Path, *, checkpoint: bool = True) -> list[Finding]:
    return list(examine_audit(path, kept.checkpoint if checkpoint else None).findings)


def test_what_was_written_is_whole(kept: Kept) -> None:
    for checkpoint in (None, kept.checkpoint):
        verdict = examine_audit(kept.path, checkpoint)
        assert (verdict.records, verdict.chains, verdict.findings) == (sum(SIZES), 4, ())
    read = read_checkpoint(checkpoint_text(kept.checkpoint))
    assert [h[:3] for h in read.heads] == [h[:3] for h in kept.checkpoint.heads]
    assert (read.at, read.records, read.closed) == ("then", sum(SIZES), True)
    assert kept.checkpoint.records == sum(SIZES)
    assert [head.writer for head in kept.checkpoint.heads] == [kept.writers[-1]]


PLACES = [(chain, seq) for chain, size in enumerate(SIZES) for seq in range(1, size + 1)]
COLUMNS = ["at", "namespace", "actor", "key_id", "action", "subject", "details", "heads", "hash"]
SECRET = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5)
often = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def located(found: list[Finding], writer: str, *seqs: int) -> bool:
    """The first thing told of that chain is at one of these places."""
    told = [one.seq for one in found if one.writer == writer]
    return bool(told) and told[0] in seqs


@often
@given(st.sampled_from(PLACES), st.sampled_from(COLUMNS), SECRET)
def test_a_changed_record_is_found(
    kept: Kept, tmp_path: Path, place: tuple[int, int], column: str, text: str
) -> None:
    writer, seq = kept.writers[place[0]], place[1]
    (before,) = query(
        kept.path, f"select {column} from audit where writer=? and seq=?", writer, seq
    )
    value: Any = len(text) + 7 if column == "at" else text
    if column == "hash":
        value = digest(text.encode(), "", 0, ())
    if before[0] == value:
        return
    update = f"update audit set {column} = ? where writer = ? and seq = ?"
    path = tampered(kept, tmp_path, lambda c: c.execute(update, (value, writer, seq)))
    assert located(findings(kept, path), writer, seq)


@often
@given(st.sampled_from(PLACES), st.booleans())
def test_a_changed_record_with_a_right_hash_is_found(
    kept: Kept, tmp_path: Path, place: tuple[int, int], onwards: bool
) -> None:
    """Who changes a record and reckons its hash anew, or those of all that follow too."""
    writer, seq = kept.writers[place[0]], place[1]

    def change(connection: apsw.Connection) -> None:
        connection.execute(
            "update audit set subject = 'other' where writer = ? and seq = ?", (writer, seq)
        )
        rehash(connection, writer, seq, last=None if onwards else seq)

    path = tampered(kept, tmp_path, change)
    last = SIZES[place[0]]
    assert located(findings(kept, path), writer, last if onwards else min(seq + 1, last))


def rehash(connection: apsw.Connection, writer: str, first: int, last: int | None = None) -> None:
    """Make the hashes of a chain right again, from a record on."""
    rows = cast(
        "list[tuple[Any, ...]]",
        connection.execute(
            "select seq, at, namespace, actor, key_id, action, subject, details, heads, hash "
            "from audit where writer = ? order by seq",
            (writer,),
        ).fetchall(),
    )
    previous = bytes(32)
    for seq, *entry, held in rows:
        if seq < first or (last is not None and seq > last):
            previous = held
            continue
        previous = digest(previous, writer, seq, entry)
        connection.execute(
            "update audit set hash = ? where writer = ? and seq = ?", (previous, writer, seq)
        )


@often
@given(st.sampled_from(PLACES), st.integers(1, 3), st.booleans())
def test_deleted_records_are_found(
    kept: Kept, tmp_path: Path, place: tuple[int, int], count: int, renumber: bool
) -> None:
    writer, seq = kept.writers[place[0]], place[1]
    count = min(count, SIZES[place[0]] - seq + 1)

    def change(connection: apsw.Connection) -> None:
        connection.execute(
            "delete from audit where writer = ? and seq >= ? and seq < ?",
            (writer, seq, seq + count),
        )
        for later in range(seq + count, SIZES[place[0]] + 1) if renumber else ():
            connection.execute(
                "update audit set seq = ? where writer = ? and seq = ?",
                (later - count, writer, later),
            )

    assert located(findings(kept, tampered(kept, tmp_path, change)), writer, seq)


@often
@given(st.sampled_from(PLACES), st.booleans())
def test_an_inserted_record_is_found(
    kept: Kept, tmp_path: Path, place: tuple[int, int], rightly: bool
) -> None:
    """One is put in before a place, or behind the last; with hashes that are right or are not."""
    writer, seq = kept.writers[place[0]], place[1] + 1

    def change(connection: apsw.Connection) -> None:
        for later in range(SIZES[place[0]], seq - 1, -1):
            connection.execute(
                "update audit set seq = ? where writer = ? and seq = ?", (later + 1, writer, later)
            )
        connection.execute(
            "insert into audit (position, writer, seq, at, namespace, actor, action, details, hash)"
            " values (1000, ?, ?, 1, 'default', 'operator:nobody', 'key.created', '{}', x'00')",
            (writer, seq),
        )
        if rightly:
            rehash(connection, writer, seq)

    found = findings(kept, tampered(kept, tmp_path, change))
    assert located(found, writer, *range(seq, SIZES[place[0]] + 2))


@often
@given(st.sampled_from(PLACES), st.sampled_from(PLACES))
def test_records_in_another_order_are_found(
    kept: Kept, tmp_path: Path, one: tuple[int, int], other: tuple[int, int]
) -> None:
    """Two records change places, within a chain or between chains."""
    if one == other:
        return
    (a, b), (c, d) = (kept.writers[one[0]], one[1]), (kept.writers[other[0]], other[1])
    move = "update audit set writer = ?, seq = ? where writer = ? and seq = ?"

    def change(connection: apsw.Connection) -> None:
        for step in (("aside", 1, a, b), (a, b, c, d), (c, d, "aside", 1)):
            connection.execute(move, step)

    found = findings(kept, tampered(kept, tmp_path, change))
    assert located(found, a, *((b,) if a != c else (min(b, d),)))
    assert located(found, c, *((d,) if a != c else (min(b, d),)))


@often
@given(st.sampled_from(range(len(PLACES) - 1)), st.sampled_from(range(len(PLACES) - 1)))
def test_positions_in_another_order_are_found(
    kept: Kept, tmp_path: Path, one: int, other: int
) -> None:
    """Lists go by position: it must follow the chain."""
    (chain, first), (same, second) = PLACES[one], PLACES[other]
    if chain != same or first >= second:
        return
    writer, move = kept.writers[chain], "update audit set position = ? where position = ?"

    def change(connection: apsw.Connection) -> None:
        for step in ((-1, one + 1), (one + 1, other + 1), (other + 1, -1)):
            connection.execute(move, step)

    found = findings(kept, tampered(kept, tmp_path, change))
    assert located(found, writer, *range(first, second + 1))


@often
@given(st.sampled_from(PLACES))
def test_a_chain_that_was_cut_off_is_found(
    kept: Kept, tmp_path: Path, place: tuple[int, int]
) -> None:
    """At the very end only the checkpoint shows it; everywhere else the chain after it does."""
    writer, seq = kept.writers[place[0]], place[1]
    cut = "delete from audit where writer = ? and seq >= ?"
    path = tampered(kept, tmp_path, lambda c: c.execute(cut, (writer, seq)))
    assert located(findings(kept, path), writer, seq)
    assert located(findings(kept, path, checkpoint=False), writer, seq) == (place[0] < 3)


@pytest.mark.parametrize("chain", range(4))
def test_a_whole_chain_that_is_gone_is_found(kept: Kept, tmp_path: Path, chain: int) -> None:
    writer = kept.writers[chain]
    path = tampered(
        kept, tmp_path, lambda c: c.execute("delete from audit where writer = ?", (writer,))
    )
    assert located(findings(kept, path), writer, 1)


@pytest.mark.parametrize("follows", [None, 0, 2])
def test_a_chain_that_was_added_is_found(kept: Kept, tmp_path: Path, follows: int | None) -> None:
    """One with right hashes, that begins anew or claims to follow another."""
    heads = None
    if follows is not None:
        writer = kept.writers[follows]
        ((seq, held),) = query(
            kept.path,
            "select seq, hash from audit where writer = ? order by seq desc limit 1",
            writer,
        )
        heads = vouching([Head(writer, seq, held.hex())], final=True)

    def change(connection: apsw.Connection) -> None:
        connection.execute(
            "insert into audit (position, writer, seq, at, namespace, actor, action, details, "
            "heads, hash) values (1000, 'wrt_forged', 1, 1, 'default', 'operator:x', 'key.created', "
            "'{}', ?, x'00')",
            (heads,),
        )
        rehash(connection, "wrt_forged", 1)

    found = findings(kept, tampered(kept, tmp_path, change))
    assert located(found, "wrt_forged", 1) and found[0].kind == "inserted"


def test_a_text_that_is_none_is_found(kept: Kept, tmp_path: Path) -> None:
    change = "update audit set details = cast(x'ff' as text) where position = 3"
    found = findings(kept, tampered(kept, tmp_path, lambda c: c.execute(change)))
    assert [one.kind for one in found] == ["unreadable"]


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    query(path, "create table t (a)")
    with pytest.raises(StoreRefused, match="no audit"):
        examine_audit(path)


# -- writing ----------------------------------------------------------------------------------


async def test_a_commit_that_fails_leaves_the_chain_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ops.db"
    store = SqliteStore(f"sqlite:///{path}", lambda: SECOND)
    await store.open()
    refuse = "create trigger no before insert on audit when new.subject = 'ses_2' begin select raise(abort, 'no'); end"
    query(path, refuse)
    with pytest.raises(Unavailable):
        await write(store, entry(1), entry(2))
    assert store.audit_writer is None
    await write(store, entry(3))
    with pytest.raises(Unavailable):
        await write(store, entry(4), entry(2))
    await write(store, entry(5), entry(6))
    verdict = examine_audit(path)  # while it is in use
    assert (verdict.records, verdict.chains, verdict.findings) == (3, 1, ())
    assert store.audit_writer is not None
    await store.close()


async def test_replicas_vouch_for_each_other(tmp_path: Path) -> None:
    """Records of another process that lives at the same time are held by one of ours."""
    path = tmp_path / "ops.db"
    await lived(path, [entry(1)])
    ends = Checkpoint("then", (), 0)
    for number in (2, 3):
        ends = await lived(path, [entry(number)])
    (head,) = ends.heads
    heads = vouching([head], final=False)
    await lived(path, [entry(4), entry(5)._replace(heads=heads)])
    query(path, "delete from audit where writer = ?", head.writer)
    assert head.writer in {one.writer for one in examine_audit(path).findings}
