"""Steps that wait, on a whole engine: timers, signals, approvals, pauses, restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from opscore.core.errors import Conflict, Forbidden, Impossible, Invalid, NotFound, TooLarge
from opscore.core.types import SECOND, Actor, SessionStatus, StepStatus
from opscore.engine.records import ApprovalRecord
from tests.engine.whole import HandClock, Whole, until, whole
from tests.stores import allow, refuse

SHIP = {"approval": {"title": "Ship?", "details": {"n": 1}, "approvers": ["ada", "bob"]}}
ADA = Actor("operator", "ada")
SCHEMA = {"type": "object", "required": ["sum"]}


async def waiting(w: Whole, step: dict[str, Any], **rest: Any) -> str:
    await w.apply({"w": step}, output="${{ steps.w.output }}", **rest)
    return await w.ops.start("t")


def given(record: Any) -> Any:
    return msgspec.json.decode(record.output)


async def counted(w: Whole, table: str) -> int:
    return (await w.engine.store.counts())[table]


# -- timers ---------------------------------------------------------------------------------


async def test_a_wait_fires_when_it_is_due_and_leaves_nothing_behind() -> None:
    async with whole() as w:
        session = await waiting(w, {"wait": "10m"})
        record = await w.ops.get_session(session)
        assert (record.status, record.waiting_for) == (SessionStatus.PROCESSING, "time")
        told = record.steps["w"].waiting_for
        assert told is not None and told.until == w.clock.now() + 600 * SECOND
        assert await counted(w, "timers") == 1
        await w.pass_by(599, step=60)
        assert (await w.ops.get_session(session)).status is SessionStatus.PROCESSING
        w.clock.move(1)
        assert (await w.ended(session)).status is SessionStatus.COMPLETED
        assert await counted(w, "timers") == 0


async def test_a_short_wait_does_not_wait_for_the_next_sweep() -> None:
    async with whole() as w:
        session = await waiting(w, {"wait": "10ms"})
        w.clock.move(0.010)
        assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def test_a_pause_takes_the_timer_away_and_a_resume_puts_it_back_later() -> None:
    async with whole() as w:
        session = await waiting(w, {"wait": "1m"})
        await w.pass_by(40, step=20)
        await w.ops.pause(session)
        assert await counted(w, "timers") == 0
        await w.pass_by(100, step=50)
        assert (await w.ops.get_session(session)).status is SessionStatus.PAUSED
        await w.ops.resume(session)
        await w.pass_by(19, step=19)
        assert (await w.ops.get_session(session)).status is SessionStatus.PROCESSING
        await w.pass_by(1)
        assert (await w.ended(session)).status is SessionStatus.COMPLETED


async def test_a_cancel_takes_the_timer_away() -> None:
    async with whole() as w:
        session = await waiting(w, {"wait": "1m"})
        await w.ops.cancel(session)
        record = await w.ended(session)
        assert (record.status, record.steps["w"].status) == (
            SessionStatus.CANCELLED,
            StepStatus.CANCELLED,
        )
        assert await counted(w, "timers") == 0


async def test_a_wait_outlives_the_process_and_fires_once(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/ops.db", HandClock()
    async with whole(url, clock=clock) as w:
        session = await waiting(w, {"wait": "1m"})
        # The commit that would end the wait is refused; then the process is gone.
        refuse(tmp_path / "ops.db", "before delete on timers")
        await w.pass_by(70, step=35)
        assert (await w.ops.get_session(session)).status is SessionStatus.PROCESSING
    allow(tmp_path / "ops.db")
    async with whole(url, clock=clock) as w:
        assert (await w.ended(session)).status is SessionStatus.COMPLETED
        types = [e.type for e in (await w.ops.history(session)).items]
        assert types.count("step.completed") == 1


# -- signals --------------------------------------------------------------------------------


async def test_a_signal_is_taken_once_and_wakes_its_session() -> None:
    async with whole() as w:
        session = await waiting(w, {"signal": {"name": "paid", "schema": SCHEMA}})
        assert (await w.ops.get_session(session)).waiting_for == "signal"
        sent = await w.ops.signal(session, "paid", b'{"sum": 3}', signal_id="x")
        assert (sent, await w.ops.signal(session, "paid", b'{"sum": 4}', signal_id="x")) == (
            "x",
            "x",
        )
        assert given(await w.ended(session)) == {"sum": 3}
        with pytest.raises(Conflict, match="takes no signals"):
            await w.ops.signal(session, "paid", b'{"sum": 5}')


async def test_a_signal_that_no_step_can_take_changes_nothing() -> None:
    async with whole() as w:
        session = await waiting(w, {"signal": {"name": "paid", "schema": SCHEMA}})
        before = len((await w.ops.history(session)).items)
        with pytest.raises(Impossible, match="it knows: paid"):
            await w.ops.signal(session, "payed", b"{}")
        with pytest.raises(Invalid, match="does not fit signal paid"):
            await w.ops.signal(session, "paid", b'{"total": 3}')
        with pytest.raises(TooLarge):
            await w.ops.signal(session, "paid", b'"' + b"x" * 300_000 + b'"')
        with pytest.raises(NotFound):
            await w.ops.signal(session, "paid", b'{"sum": 3}', namespace="other")
        assert len((await w.ops.history(session)).items) == before


async def test_a_kept_signal_outlives_the_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    async with whole(url) as w:
        await w.apply({"p": {"wait": "1m"}, "w": {"needs": "p", "signal": "go"}})
        session = await w.ops.start("t")
        await w.ops.signal(session, "go", b"7", signal_id="s")
    async with whole(url) as w:
        await w.ops.signal(session, "go", b"8", signal_id="s")
        await w.pass_by(61, step=61)
        assert (await w.ended(session)).status is SessionStatus.COMPLETED
        (taken,) = [e for e in (await w.ops.history(session)).items if e.type == "signal.taken"]
        assert msgspec.json.decode(taken.data)["signalId"] == "s"


async def test_a_signal_that_does_not_come_in_time() -> None:
    async with whole() as w:
        session = await waiting(w, {"signal": "go", "timeout": "1m"})
        await w.pass_by(60, step=30)
        error = (await w.ended(session)).error
        assert error is not None and error.error_class == "timeout"


# -- approvals ------------------------------------------------------------------------------


async def asked(w: Whole, status: str | None = "pending") -> list[ApprovalRecord]:
    return list((await w.ops.list_approvals(status=status)).items)


async def test_what_is_asked_is_listed_shown_and_decided() -> None:
    async with whole() as w:
        session = await waiting(w, SHIP)
        (found,) = await asked(w)
        assert (found.title, bytes(found.details), found.session_id) == (
            "Ship?",
            b'{"n":1}',
            session,
        )
        record = await w.ops.get_session(session)
        told = record.steps["w"].waiting_for
        assert told is not None
        assert (record.waiting_for, told.kind, told.name) == (
            "approval",
            "approval",
            found.approval_id,
        )
        with pytest.raises(Forbidden, match="anonymous is not one of its approvers: ada, bob"):
            await w.ops.approve(
                found.approval_id, found.content_hash, actor=Actor("operator", "anonymous")
            )
        with pytest.raises(Conflict) as stale:
            await w.ops.approve(found.approval_id, "0" * 64, actor=ADA)
        assert stale.value.code == "content_changed"
        done = await w.ops.approve(found.approval_id, found.content_hash, actor=ADA, comment="go")
        assert (done.status, done.votes) == ("approved", (("ada", "go"),))
        assert given(await w.ended(session))["by"] == ["ada"]
        assert not await asked(w)
        assert len(await asked(w, "approved")) == len(await asked(w, None)) == 1
        await w.ops.delete_session(session)
        assert not await asked(w, None)


async def test_an_edit_is_what_is_used() -> None:
    async with whole() as w:
        session = await waiting(w, SHIP)
        (found,) = await asked(w)
        await w.ops.approve(found.approval_id, found.content_hash, by="bob", details=b'{"n": 2}')
        output = given(await w.ended(session))
        assert (output["details"], output["edited"], output["by"]) == ({"n": 2}, True, ["bob"])


async def test_a_rejection_a_timeout_and_a_cancel_are_told_apart() -> None:
    async with whole() as w:
        await w.apply({"w": {"approval": {"title": "x", "timeout": "1m"}}})
        one, two, three = [await w.ops.start("t") for _ in range(3)]
        await w.ops.reject(f"apr_{one[4:]}-w", comment="no", by="ada")
        await w.ops.cancel(two, "enough")
        await w.pass_by(60, step=60)
        for session in (one, two, three):
            await w.ended(session)
        found = {a.session_id: (a.status, a.reason) for a in await asked(w, None)}
        assert found == {
            one: ("rejected", "rejected by ada: no"),
            two: ("cancelled", "enough"),
            three: ("rejected", "nobody decided in time"),
        }


async def test_unknown_approvals_are_not_found() -> None:
    async with whole() as w:
        session = await waiting(w, SHIP)
        for wrong in ("nonsense", "apr_nobody-w", f"apr_{session[4:]}-other"):
            with pytest.raises(NotFound, match="there is no approval"):
                await w.ops.reject(wrong)
            with pytest.raises(NotFound, match="there is no approval"):
                await w.ops.get_approval(wrong)
        with pytest.raises(NotFound):
            await w.ops.get_approval(f"apr_{session[4:]}-w", namespace="other")


async def test_an_approval_outlives_the_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    async with whole(url) as w:
        session = await waiting(w, {"approval": {**SHIP["approval"], "quorum": 2}})
        (found,) = await asked(w)
        await w.ops.approve(found.approval_id, found.content_hash, by="ada")
    async with whole(url) as w:
        await w.ops.approve(found.approval_id, found.content_hash, by="bob")
        assert given(await w.ended(session))["by"] == ["ada", "bob"]


async def test_none_of_them_holds_an_agent() -> None:
    async with whole() as w:
        worker = await w.worker()
        await w.apply(
            {
                "t": {"wait": "1m"},
                "s": {"signal": "go"},
                "a": SHIP,
                "work": {"needs": ["t", "s", "a"], "capability": "work"},
            },
            name="long",
        )
        await w.apply({"w": {"capability": "work"}}, name="short")
        session = await w.ops.start("long")
        await w.ops.start("short")
        (attempt,) = await worker.got(1)
        assert attempt.session_id != session
        await worker.settle(attempt)
        await w.ops.signal(session, "go")
        (found,) = await asked(w)
        await w.ops.approve(found.approval_id, found.content_hash, by="ada")
        await w.pass_by(60, step=30)
        await until(lambda: len(worker.given) == 2)
