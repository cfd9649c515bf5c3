"""Checkpoints of the audit, who is recorded in process, and crashes between commits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from opscore.core.audit import read_checkpoint
from opscore.core.types import Actor
from opscore.engine.audit_trail import CHECKPOINT_SECONDS
from opscore.outgoing.addresses import LOOPBACK, Rules
from opscore.outgoing.request import Answer, Failure, OutgoingFailed
from opscore.store.examine import examine_audit
from tests.engine.whole import HandClock, Whole, until, whole

ANN = Actor("operator", "key_ann", "key_ann")
WORK = {"a": {"capability": "work"}}


async def actions(w: Whole) -> list[str]:
    return [one.action for one in (await w.engine.audit.records(limit=500)).items][::-1]


async def test_who_embeds_the_engine_is_no_person_but_keys_and_templates_count() -> None:
    async with whole() as w:
        await w.apply(WORK)
        await w.apply(WORK)
        session = await w.ops.start("t")
        await w.ops.cancel(session)
        await w.worker()
        await w.engine.keys.adopt("a text of the operator's own, long enough")
        await w.engine.keys.adopt("a text of the operator's own, long enough")
        assert await actions(w) == ["workflow.created", "key.created"]
        await w.ops.start("t", actor=ANN)
        (one,) = (await w.engine.audit.records(key="key_ann")).items
        assert (one.actor, one.action) == ("operator:key_ann", "session.started")


async def test_every_process_has_its_chain_also_after_a_crash(tmp_path: Path) -> None:
    path, copy = tmp_path / "ops.db", tmp_path / "killed.db"
    async with whole(f"sqlite:///{path}") as w:
        await w.apply(WORK)
        for _ in range(3):
            await w.ops.start("t", actor=ANN)
            for end in ("", "-wal"):
                shutil.copy(f"{path}{end}", f"{copy}{end}")
    clock = HandClock()
    for number in range(1, 4):
        clock.move(1_000)  # ids follow the clock
        async with whole(f"sqlite:///{copy}", clock=clock) as w:
            await w.ops.start("t", actor=ANN)
            verdict = examine_audit(copy)
            assert (verdict.records, verdict.chains) == (4 + number, 1 + number)
            assert verdict.findings == ()


# -- checkpoints ------------------------------------------------------------------------------


async def minute(w: Whole) -> None:
    """The next minute's work is done."""
    before = w.engine.audit.state
    w.clock.move(CHECKPOINT_SECONDS)
    await until(lambda: w.engine.audit.state is not before)


async def test_a_checkpoint_is_written_every_minute_and_when_the_server_stops(
    tmp_path: Path,
) -> None:
    path, file = tmp_path / "ops.db", tmp_path / "elsewhere" / "checkpoint.json"
    async with whole(f"sqlite:///{path}", audit_checkpoint=str(file)) as w:
        assert read_checkpoint(file.read_bytes()).records == 0
        await w.apply(WORK)
        await w.ops.start("t", actor=ANN)
        await minute(w)
        first = read_checkpoint(file.read_bytes())
        assert (first.records, first.heads[0].seq, first.closed) == (2, 2, False)
        state = w.engine.audit.state
        assert state is not None and (state.at, state.problem) == (w.clock.now(), None)
        await w.ops.start("t", actor=ANN)
    last = read_checkpoint(file.read_bytes())
    assert (last.records, last.heads[0].seq, last.closed) == (3, 3, True)
    assert examine_audit(path, last).findings == examine_audit(path, first).findings == ()
    change(path, "delete from audit where seq = 3")
    assert [one.seq for one in examine_audit(path, last).findings] == [3]
    assert [one.name for one in file.parent.iterdir()] == ["checkpoint.json"]


def change(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


async def test_what_contradicts_the_last_checkpoint_is_told_and_the_checkpoint_is_kept(
    tmp_path: Path,
) -> None:
    path, file = tmp_path / "ops.db", tmp_path / "checkpoint.json"
    url = f"sqlite:///{path}"
    async with whole(url, audit_checkpoint=str(file)) as w:
        await w.apply(WORK)
    before = file.read_bytes()
    change(path, "delete from audit")
    clock = HandClock()
    clock.move(1_000)
    async with whole(url, clock=clock, audit_checkpoint=str(file)) as w:
        state = w.engine.audit.state
        assert state is not None and "record 1 of wrt_" in (state.problem or "")
        await w.ops.start("t", actor=ANN)  # nothing stops
        assert w.engine.ready() == []
    assert file.read_bytes() == before
    file.write_text("a note of mine")
    async with whole(url, audit_checkpoint=str(file)) as w:
        state = w.engine.audit.state
        assert state is not None and "is kept" in (state.problem or "")
    assert file.read_text() == "a note of mine"


async def test_a_checkpoint_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    async with whole(audit_checkpoint=str(blocked / "checkpoint.json")) as w:
        state = w.engine.audit.state
        assert state is not None and state.at is None
        assert (state.problem or "").startswith("the file cannot be written: ")
        await w.apply(WORK)
        await minute(w)
        blocked.unlink()
        await minute(w)
        state = w.engine.audit.state
        assert state is not None and state.problem is None


async def test_a_checkpoint_goes_to_an_address_through_the_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[str, Any]] = []
    status = 204
    target = "http://127.0.0.1:9/checkpoints"
    async with whole(audit_checkpoint=target, outgoing=Rules(LOOPBACK)) as w:
        state = w.engine.audit.state
        assert state is not None and "127.0.0.1" in (state.problem or "")  # nobody listens

        async def post(url: str, body: bytes, headers: Any, *, seconds: float) -> Answer:
            sent.append((url, json.loads(body)))
            return Answer(status, {}, b"")

        monkeypatch.setattr(w.engine.outgoing, "post", post)
        await w.apply(WORK)
        await minute(w)
        assert sent[0][0] == "http://127.0.0.1:9/checkpoints" and sent[0][1]["records"] == 1
        status = 500
        await minute(w)
        state = w.engine.audit.state
        assert state is not None and "answered 500" in (state.problem or "")
        monkeypatch.undo()
    async with whole(audit_checkpoint="http://10.0.0.1/checkpoints") as w:
        state = w.engine.audit.state
        assert state is not None and "private" in (state.problem or "")
        with pytest.raises(OutgoingFailed) as refused:
            await w.engine.outgoing.post("http://10.0.0.1/", b"", {}, seconds=1)
        assert refused.value.failure is Failure.DENIED


async def test_other_servers_are_vouched_for_once(tmp_path: Path) -> None:
    """As on a store that replicas share: another chain grows while this one lives."""
    path = tmp_path / "ops.db"
    async with whole(f"sqlite:///{path}", clock=HandClock()) as w:
        await w.apply(WORK)
        change(
            path,
            "insert into audit select 1000, 'wrt_other', 1, at, namespace, actor, key_id, action, "
            "subject, details, heads, hash from audit",
        )
        for _ in range(3):
            await w.engine.audit.tend()
        records = (await w.engine.audit.records(action="audit.signed")).items
        assert len(records) == 1 and "wrt_other" in (records[0].heads or "")
        assert (await w.engine.store.audit_ends()).heads[0].writer == w.engine.store.audit_writer
