"""An engine that begins on a restored backup, or on a moved store, goes on as the first one would."""

from __future__ import annotations

from pathlib import Path

import pytest

from opscore.core.types import Actor, SessionStatus
from opscore.store.examine import examine_audit
from opscore.store.moving import move
from tests import stores
from tests.engine.test_repeats import WORK, carried_out
from tests.engine.whole import HandClock, Whole, whole

ANN = Actor("operator", "ann")


async def history(w: Whole, session: str) -> list[object]:
    return [*(await w.ops.history(session)).items]


async def test_a_backup_made_under_load_goes_on_elsewhere(tmp_path: Path, store_kind: str) -> None:
    url, copy = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    clock = HandClock()
    async with whole(url, clock=clock) as w:
        await w.apply(WORK)
        key = (await w.engine.keys.create("ci", ["admin"], actor=ANN)).key.key_id
        first = await carried_out(w, lambda: w.ops.start("t", actor=ANN))
        worker = await w.worker()
        [attempt] = await worker.got(1)
        await move.backup(stores.url(url), tmp_path / "saved")
        told = await history(w, first)
        position = await w.engine.store.last_position()
        await worker.settle(attempt)
        await w.ops.start("t", actor=ANN)
    target = stores.fresh(empty=True) if store_kind == "postgres" else copy
    await move.restore(tmp_path / "saved", target)
    clock.move(11)  # now no other server can be carrying that request out
    async with whole(target, clock=clock) as w:
        assert await w.engine.store.last_position() == position
        assert await history(w, first) == told
        assert await carried_out(w, lambda: w.ops.start("t", actor=ANN)) == first
        assert len((await w.ops.list_sessions()).items) == 1
        assert any(key.encode() in bytes(row.data) for row in await w.engine.store.keys())
        worker = await w.worker(holding=[(attempt.task_id, attempt.attempt)])
        assert await worker.settle(attempt) == "recorded"
        assert (await w.ended(first)).status is SessionStatus.COMPLETED
        await w.ops.start("t", actor=ANN)
    moved = copy if store_kind == "sqlite" else f"sqlite:///{tmp_path}/c.db"
    if store_kind == "postgres":
        await move.copy(target, moved)
    verdict = examine_audit(Path(moved.removeprefix("sqlite:///")))
    assert verdict.findings == () and verdict.chains >= 2


@pytest.mark.postgres
async def test_an_installation_moves_to_postgres_and_back(tmp_path: Path) -> None:
    first, last = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    database = stores.fresh(empty=True)
    stores.current = "sqlite"
    sessions: list[str] = []
    clock = HandClock()
    for before, url in ((None, first), (first, database), (database, last)):
        if before is not None:
            await move.copy(before, url)
        clock.move(1)
        async with whole(url, clock=clock) as w:
            if before is None:
                await w.apply(WORK)
            assert [one.session_id for one in (await w.ops.list_sessions()).items] == sessions
            sessions = [await w.ops.start("t", actor=ANN), *sessions]
            deleted = await w.ops.start("t", actor=ANN)
            await w.ops.cancel(deleted)
            await w.ops.delete_session(deleted)
            end = await w.engine.store.last_position()
    async with whole(last, clock=clock) as w:
        assert await w.engine.store.last_position() >= end
        worker = await w.worker(slots=5)
        for attempt in await worker.got(3):
            await worker.settle(attempt)
        for session in sessions:
            assert (await w.ended(session)).status is SessionStatus.COMPLETED
    assert examine_audit(tmp_path / "b.db").findings == ()
