"""The log of a whole engine: what it records by itself, what it drops, what breaks, what mends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from opscore.core.errors import Invalid, Unavailable
from opscore.core.logs import SERVER, LogRecord, LogSearch, Retention
from opscore.core.received import ReceivedSpan
from opscore.core.types import SECOND, ErrorInfo, SessionStatus
from opscore.engine import logs as logs_module
from opscore.engine.logs import Logs
from opscore.engine.operation_log import SESSION_EVENTS, SHOWN
from opscore.engine.registry import Registry
from opscore.engine.shipping import Shipping
from opscore.store.log_file import LogFile
from opscore.telemetry.log_store import kept
from opscore.telemetry.logs import configure
from tests.engine.whole import Whole, until, whole

ALL = LogSearch(("default",))


async def records(w: Whole, search: LogSearch = ALL) -> Sequence[LogRecord]:
    page = await w.engine.debugging.search_logs(search, limit=500, newest_first=False)
    return page.items


async def test_an_operation_is_one_record_with_its_ids() -> None:
    async with whole() as w:
        told = {"agent_id": "a1", "attempt": 2, "file": "main.py", "deep": {"token": "secret"}}
        with capture_logs() as said:
            await w.engine.debugging.log_operation("file.read", told, level="warning")
        (one,) = await records(w)
        assert (one.operation, one.level, one.namespace) == ("file.read", "warning", "default")
        assert (one.agent_id, one.attempt, one.at) == ("a1", 2, w.clock.now())
        assert one.context == {"file": "main.py", "deep": {"token": "***"}}
        assert [each["event"] for each in said] == ["file.read"]
        with pytest.raises(Invalid, match="not a level"):
            await w.engine.debugging.log_operation("x", level="loud")
        with pytest.raises(Invalid, match="cursor"):
            await w.engine.debugging.search_logs(ALL, cursor="x")


async def test_a_storm_of_failures_is_kept_and_shown_in_part() -> None:
    async with whole() as w:
        await w.apply({"work": {"capability": "work", "retry": 1}})
        worker = await w.worker(slots=100)

        async def fail(count: int) -> None:
            begun = len(worker.given)
            sessions = [await w.ops.start("t") for _ in range(count)]
            for attempt in (await worker.got(begun + count))[begun:]:
                error = ErrorInfo("broken", "no")
                await worker.settle(attempt, None, outcome="failed", error=error)
            for session in sessions:
                await w.ended(session)

        with capture_logs() as said:
            await fail(SHOWN)
            shown = [one for one in said if one["event"] in SESSION_EVENTS]
            assert len(shown) <= SHOWN
            failed = [one for one in await records(w) if one.operation == "task.failed"]
            assert len(failed) == SHOWN
            w.clock.move(1)
            await fail(1)
        (left,) = [one for one in said if one["event"] == "operations_not_shown"]
        counted = [one for one in await records(w) if one.operation in SESSION_EVENTS]
        again = [one for one in said if one["event"] in SESSION_EVENTS]
        assert left["count"] == len(counted) - len(again) > 0


async def test_failures_and_orders_are_recorded_with_everything_known_of_them() -> None:
    async with whole() as w:
        await w.apply({"work": {"capability": "work", "retry": 1}})
        worker = await w.worker()
        session = await w.ops.start("t", input=b"{}")
        (attempt,) = await worker.got(1)
        error = ErrorInfo("timeout", "the model said nothing")
        await worker.settle(attempt, None, outcome="failed", error=error)
        await w.ended(session)
        trace = (await w.ops.get_session(session)).trace_id
        (failure,) = await records(w, replace(ALL, error_type="timeout", task_id=attempt.task_id))
        assert (failure.operation, failure.level) == ("task.failed", "error")
        assert failure.message == "the model said nothing"
        assert (failure.session_id, failure.attempt, failure.trace_id) == (session, 1, trace)
        assert failure.agent_id == worker.agent_id and failure.agent
        assert failure.context == {"workflow": "t", "step": "work"}
        kinds = [one.operation for one in await records(w)]
        assert kinds[0] == "agent.registered" and "session.failed" in kinds
        assert not {"task.created", "task.claimed", "session.started"} & set(kinds)


async def test_pages_go_on_where_they_ended() -> None:
    async with whole() as w:
        for number in range(7):
            await w.engine.debugging.log_operation(f"op{number}")
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = await w.engine.debugging.search_logs(ALL, cursor=cursor, limit=3)
            seen += [one.operation for one in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == [f"op{number}" for number in reversed(range(7))]


@pytest.fixture
def configured() -> Any:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    configure("info", "json")
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


@pytest.mark.usefixtures("configured")
async def test_the_servers_own_records_are_kept_too() -> None:
    async with whole() as w:
        with kept(w.engine.debugging.keep):
            ours = structlog.get_logger("opscore.server")
            ours.warning("peer dropped", namespace="default", agent_id="a1", reason="silence")
            ours.debug("not from this level on")
            logging.getLogger("library").warning("%s went wrong", "it")
            try:
                raise ValueError("broken")
            except ValueError as error:
                ours.error("request crashed", exc_info=error)
            await w.engine.debugging.log_operation("once")
        mine = await records(w)
        assert [one.operation for one in mine] == ["peer dropped", "once"]
        assert (mine[0].agent_id, mine[0].context["reason"]) == ("a1", "silence")
        library, crash = await records(w, LogSearch((SERVER,)))
        assert (library.message, library.context) == ("it went wrong", {"logger": "library"})
        assert (crash.error_type, crash.level) == ("ValueError", "error")
        assert "broken" in crash.context["traceback"]


class Slow(LogFile):
    """A store whose disk can be made to stand still."""

    def __init__(self) -> None:
        super().__init__("sqlite:///:memory:", "slow")
        self.goes_on = threading.Event()
        self.writes = threading.Event()

    def append(self, records: Sequence[LogRecord], spans: Sequence[ReceivedSpan] = ()) -> None:
        self.writes.set()
        assert self.goes_on.wait(60)
        super().append(records, spans)


NOTHING = LogRecord(0, "info", "op", "default", "text")


async def test_what_finds_no_room_is_dropped_counted_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs_module, "WAITING_LIMIT", 20)
    monkeypatch.setattr(logs_module, "CALM_LIMIT", 10)
    file = Slow()
    logs = Logs(file, lambda: SECOND, Retention())
    logs.start()
    assert logs.put(NOTHING)
    await until(file.writes.is_set)
    taken = [logs.put(NOTHING) for _ in range(15)]
    assert taken == [True] * 9 + [False] * 6
    errors = [logs.put(replace(NOTHING, level="error")) for _ in range(15)]
    assert errors == [True] * 10 + [False] * 5
    theirs = replace(NOTHING, namespace="other", level="error")
    assert Shipping(logs.put, Registry(), logs.has_room).ship(theirs) is False
    assert (logs.state.dropped, logs.state.waiting) == (12, 20)
    file.goes_on.set()
    page = await logs.search(ALL, cursor=None, limit=500)
    (told,) = [one for one in page.items if one.operation == "log.dropped"]
    assert told.message.startswith("11 records or spans dropped") and told.context == {
        "dropped": 11
    }
    assert len(page.items) == 21
    theirs = await logs.search(LogSearch(("other",)), cursor=None, limit=5)
    assert [one.context for one in theirs.items] == [{"dropped": 1}]
    await logs.close()


async def test_retention_is_kept_by_the_server_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1_000 * SECOND]
    logs = Logs(LogFile("sqlite:///:memory:", "old"), lambda: moment[0], Retention(seconds=3_600))
    logs.start()
    logs.put(replace(NOTHING, at=moment[0], message="old"))
    assert len((await logs.search(ALL, cursor=None, limit=5)).items) == 1
    moment[0] += 3_601 * SECOND
    logs.put(replace(NOTHING, at=moment[0], message="new"))

    async def left() -> list[str]:
        return [one.message for one in (await logs.search(ALL, cursor=None, limit=5)).items]

    while await left() != ["new"]:  # the thread that writes tidies up after it has written
        logs.put(replace(NOTHING, at=0, namespace="other"))
    mine: dict[str, Any] = {"seconds": 0, "namespace": "default"}
    dry = await logs.forget(**mine, dry_run=True)
    assert (dry.outdated, dry.dry_run, await left()) == (0, True, ["new"])
    moment[0] += 1
    assert (await logs.forget(**mine, dry_run=True)).outdated == 1
    assert await left() == ["new"]
    assert (await logs.forget(**mine)).outdated == 1
    assert await left() == []
    await logs.close()


async def test_a_broken_log_store_stops_nothing_and_mends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "RETRY_SECONDS", 0.01)
    path = tmp_path / "ops-logs.db"
    path.write_bytes(b"this is no database at all" * 400)
    async with whole(f"sqlite:///{tmp_path}/ops.db") as w:
        logs = w.engine.logs
        await until(lambda: logs.state.problem is not None)
        assert "ops-logs.db" in str(logs.state.problem)
        await w.apply({"work": {"capability": "work"}})
        worker = await w.worker()
        session = await w.ops.start("t", input=b"{}")
        await worker.settle((await worker.got(1))[0], "done")
        await w.ended(session)
        for asked in (w.engine.debugging.search_logs(ALL), w.engine.debugging.forget_logs()):
            with pytest.raises(Unavailable) as refused:
                await asked
            assert (refused.value.code, refused.value.retry_after) == ("logs_unavailable", 5.0)
        assert w.engine.ready() == []
        path.unlink()
        await until(lambda: logs.state.problem is None)
        kinds = [one.operation for one in await records(w)]
        assert "agent.registered" in kinds  # what was said meanwhile waited


async def test_a_full_disk_stops_nothing_and_loses_nothing_that_has_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs_module, "RETRY_SECONDS", 0.01)
    original, full = LogFile.append, [True]

    def append(self: LogFile, records: Sequence[LogRecord], spans: Sequence[ReceivedSpan]) -> None:
        if full[0]:
            raise Unavailable("the disk is full")
        original(self, records, spans)

    monkeypatch.setattr(LogFile, "append", append)
    async with whole() as w:
        for number in range(3):
            await w.engine.debugging.log_operation(f"op{number}")
        await until(lambda: w.engine.logs.state.problem == "the disk is full")
        with pytest.raises(Unavailable):
            await records(w)
        await w.apply({"only": {"value": 3}})
        session = await w.ops.start("t", input=b"{}")
        assert (await w.ended(session)).status is SessionStatus.COMPLETED
        full[0] = False
        await until(lambda: w.engine.logs.state.problem is None)
        assert [one.operation for one in await records(w)] == ["op0", "op1", "op2"]
        assert w.engine.logs.state.dropped == 0


async def test_damage_that_only_a_reader_meets_is_told_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "RETRY_SECONDS", 0.01)
    async with whole(f"sqlite:///{tmp_path}/ops.db") as w:
        await w.engine.debugging.log_operation("before")
        assert await records(w)
        original, broken, closed = LogFile.search, [True], list[str]()
        close = LogFile.close_writer

        def search(self: LogFile, *values: Any, **named: Any) -> Any:
            if broken[0]:
                raise Unavailable("input/output error")
            return original(self, *values, **named)

        def close_writer(self: LogFile) -> None:
            closed.append("closed")
            close(self)

        monkeypatch.setattr(LogFile, "search", search)
        monkeypatch.setattr(LogFile, "close_writer", close_writer)
        with pytest.raises(Unavailable, match="input/output error"):
            await records(w)
        broken[0] = False
        await until(lambda: closed and w.engine.logs.state.problem is None)
        assert await records(w)
