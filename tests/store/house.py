"""A real writer over a real store, and the oracle that its rows are held against."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from opscore.core import commands as cmd
from opscore.core.errors import Refusal
from opscore.core.state import SessionState, TaskState
from opscore.core.template import Template
from opscore.core.types import SECOND, Micros, SessionStatus, TaskStatus
from opscore.engine.cache import SessionCache, TemplateCache
from opscore.engine.gated import gated_row
from opscore.engine.gates import Gates
from opscore.engine.journal import fold
from opscore.engine.projection import error_text, header_of, ready_row
from opscore.engine.requests import OnSession, StartSessions
from opscore.engine.starts import start_event
from opscore.engine.unit import Means, Unit
from opscore.engine.writer import Command, Writer
from opscore.expressions import CelExpressions
from opscore.store.gate_rows import AdmittedRow, GatedRow, GateRows, RateRow
from opscore.store.postgres import PostgresStore
from opscore.store.rows import DelayedRow, LeaseRow, SessionRow, StoredEvent, TaskRow, TemplateRow
from opscore.store.sqlite import SqliteStore
from opscore.templates import read_template
from tests import stores

BEGIN = 1_000_000 * SECOND
EXPRESSIONS = CelExpressions()


class House:
    """Store, writer and clock; `path` names the database, at which others may look."""

    def __init__(self, path: Path, kept: int = 200_000) -> None:
        self.path = path
        self.now: Micros = BEGIN
        self.store = store_at(path, lambda: self.now)
        self.templates = TemplateCache()
        self.means = Means(SessionCache(kept), self.templates, EXPRESSIONS, 10_000, 15 * SECOND)
        self.published: list[Unit] = []
        self.writer = Writer(
            self.store,
            self.means,
            lambda unit, _: self.published.append(unit),
            under_way=((0, 4),),  # so that single commands are decided over uncommitted ones
        )

    def template(self, tree: dict[str, Any]) -> Template:
        """Make a template known, as the engine does after its commit."""
        template = read_template(tree)
        row = ("default", template.name, template.version, "", template.digest)
        self.templates.add(TemplateRow(*row, bytes(template.source), self.now))
        return template

    def start(self, template: Template, session_id: str, input: Any) -> asyncio.Future[list[str]]:
        event = start_event(
            template,
            namespace="default",
            now=self.now,
            input=msgspec.json.encode(input),
            trace_id="0" * 32,
            actor="system:test",
            versions={"w": "1"},
        )
        return self.writer.submit(StartSessions([(session_id, event)]))

    def on(self, session_id: str, command: cmd.SessionCommand) -> asyncio.Future[None]:
        return self.writer.submit(OnSession(session_id, command))

    async def all(self, *commands: Command[Any]) -> list[Any]:
        """Submit at once, so that they form one batch; answers and refusals in order."""
        futures = [self.writer.submit(command) for command in commands]
        answers = await asyncio.gather(*futures, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Refusal):
                raise answer
        return answers

    def look(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        """What another connection sees."""
        return stores.look(self.path, statement, *given)

    def change(self, statement: str) -> None:
        """Change the database behind the store's back."""
        stores.change(self.path, statement)

    def slow_disk(self) -> AbstractContextManager[None]:
        """Commits begun in the block end after it."""
        return stores.slow_disk(self.path)

    @contextmanager
    def held_back(self) -> Generator[None, None, None]:
        """Commits begun in the block wait for its end."""
        release = asyncio.Event()
        held = asyncio.get_running_loop().create_task(self._hold(release))
        try:
            yield
        finally:
            release.set()
            assert not held.cancelled()

    async def _hold(self, release: asyncio.Event) -> None:
        async with self.store._turn:  # pyright: ignore[reportPrivateUsage]
            await release.wait()

    async def decided(self) -> None:
        """Let everything happen that needs no commit."""
        for _ in range(20):
            await self.store.queues()

    def refuse_commits(self, when: str = "before insert on events") -> None:
        stores.refuse(self.path, when)

    def allow_commits(self) -> None:
        stores.allow(self.path)


def store_at(path: Path, now: Callable[[], Micros]) -> PostgresStore | SqliteStore:
    """The store of the running test that this path names."""
    url = stores.at(path)
    return PostgresStore(url, now) if stores.current == "postgres" else SqliteStore(url, now)


@asynccontextmanager
async def open_house(path: Path, kept: int = 200_000) -> AsyncGenerator[House, None]:
    house = House(path, kept)
    await house.store.open()
    async with asyncio.TaskGroup() as group:
        group.create_task(house.writer.run())
        try:
            yield house
        finally:
            house.writer.close()
    await house.store.close()


# -- the oracle -----------------------------------------------------------------------------


def states(house: House) -> dict[str, SessionState]:
    """Every session as its journal tells it."""
    rows = house.look(
        "select position, session_id, seq, at, type, version, data from events order by position"
    )
    positions = [row[0] for row in rows]
    assert positions == sorted(set(positions))
    found: dict[str, SessionState] = {}
    for row in rows:
        event = StoredEvent(*row)
        fold(found.setdefault(event.owner, SessionState(event.owner)), [event])
    return found


def _columns(row: Any) -> str:
    return ", ".join(row._fields)


def check(house: House) -> dict[str, SessionState]:
    """The rows say what the journal says: headers, tasks, queues, leases."""
    folded = states(house)
    tasks = [(s, t) for s in folded.values() for t in s.tasks.values()]
    _check_sessions(house, folded)
    _check_tasks(house, tasks)
    ready = [
        ready_row(s, t)
        for s, t in tasks
        if t.status is TaskStatus.AVAILABLE and s.status is not SessionStatus.PAUSED
        if t.terms is None
    ]
    queued = house.look(
        "select namespace, queue, place, task_id, session_id, expires_at from ready"
    )
    assert sorted(queued, key=str) == sorted(map(tuple, ready), key=str)
    gated = [
        gated_row(ready_row(s, t), t.terms)
        for s, t in tasks
        if t.status is TaskStatus.AVAILABLE and s.status is not SessionStatus.PAUSED
        if t.terms is not None
    ]
    rows = house.look(f"select {_columns(GatedRow)} from gated")
    assert sorted(rows, key=str) == sorted(map(tuple, gated), key=str)
    delayed = [
        DelayedRow(t.due or 0, t.task_id, s.session_id)
        for s, t in tasks
        if t.status is TaskStatus.SCHEDULED
    ]
    delayed += [
        DelayedRow(child.due, child.child_id, state.session_id)
        for state in folded.values()
        for child in state.children.values()
        if child.due is not None
    ]
    waiting = house.look(f"select {_columns(DelayedRow)} from delayed")
    assert sorted(waiting) == sorted(map(tuple, delayed))
    _check_leases(house, tasks)
    _check_gates(house)
    return folded


def _check_gates(house: House) -> None:
    """Memory is what the rows are, if it is not to be read again; and no limit is exceeded."""
    leases = house.look(f"select {_columns(LeaseRow)} from leases where terms is not null")
    waiting = house.look(f"select {_columns(GatedRow)} from gated")
    rates = house.look(f"select {_columns(RateRow)} from rates")
    rows = GateRows(
        [LeaseRow(*r) for r in leases],
        [GatedRow(*r) for r in waiting],
        [RateRow(*r) for r in rates],
        [AdmittedRow(*r) for r in house.look(f"select {_columns(AdmittedRow)} from admitted")],
    )
    fresh = Gates()
    fresh.load(rows)
    if not house.means.gates.stale:
        assert report_of(house.means.gates, house.now) == report_of(fresh, house.now)
    for shut in fresh.report("default", house.now):
        assert shut.kind != "concurrency" or shut.in_use <= shut.limit


def report_of(gates: Gates, now: Micros) -> list[Any]:
    """What all limits are like, holders in no order."""
    return [
        (s.kind, s.key, s.limit, s.per, s.in_use, sorted(s.holders), s.until, s.ahead)
        for s in gates.report("default", now)
    ]


def _check_sessions(house: House, folded: dict[str, SessionState]) -> None:
    rows = [SessionRow(*r) for r in house.look(f"select {_columns(SessionRow)} from sessions")]
    assert {r.session_id for r in rows} == set(folded)
    for row in rows:
        state = folded[row.session_id]
        # A header is not rewritten for what concerns its tasks only.
        assert row == header_of(state)._replace(updated_at=row.updated_at)


def _check_tasks(house: House, tasks: list[tuple[SessionState, TaskState]]) -> None:
    rows = {r[0]: TaskRow(*r) for r in house.look(f"select {_columns(TaskRow)} from tasks")}
    assert set(rows) == {t.task_id for _, t in tasks}
    for state, task in tasks:
        row = rows[task.task_id]
        fixed = (state.session_id, state.namespace, task.step, task.index, task.member)
        assert row[1:6] == fixed
        assert (row.capability, row.agent) == (task.capability, task.agent)
        assert row.created_at == task.created_at
        assert task.input is None or bytes(task.input) == row.input
        if task.status is not TaskStatus.RUNNING:
            _check_changing(row, task)


def _check_changing(row: TaskRow, task: TaskState) -> None:
    output = None if task.output is None else bytes(task.output)
    assert row[10:] == (
        task.priority,
        task.status,
        task.updated_at,
        task.attempt,
        task.failures,
        task.agent_id,
        task.instance_id,
        task.due,
        task.finished_at,
        output,
        error_text(task.error),
    )


def _check_leases(house: House, tasks: list[tuple[SessionState, TaskState]]) -> None:
    rows = [LeaseRow(*r) for r in house.look(f"select {_columns(LeaseRow)} from leases")]
    held = {
        (t.task_id, t.attempt, s.session_id, s.namespace, t.agent_id, t.instance_id, t.deadline)
        for s, t in tasks
        if t.status is TaskStatus.RUNNING
    }
    assert {(*row[:6], row.deadline) for row in rows} == held
    assert all(row.until > BEGIN for row in rows)
