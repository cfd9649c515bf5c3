"""Whatever happens to limited work, in whatever order: no limit is exceeded, and none leaks.

A trigger in the database counts at every insertion of a lease, so that no commit escapes it.
`HYPOTHESIS_PROFILE=deep` looks at many more histories.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opscore.core.errors import OpsCoreError
from opscore.core.types import SESSION_ENDED, ErrorInfo, SessionStatus
from tests.engine.whole import HandClock, Whole, Worker, whole
from tests.stores import allow, refuse

COUNT = {"quick": 12, "deep": 400}[os.environ.get("HYPOTHESIS_PROFILE", "quick")]
LIMITS = {"one": 1, "two": 2}
COUNTED = """
create table if not exists exceeded (key text);
create trigger if not exists watch after insert on leases when new.terms is not null begin
  insert into exceeded select json_extract(new.terms, '$.concurrency') where (
    select count(*) from leases where terms is not null
    and json_extract(terms, '$.concurrency') = json_extract(new.terms, '$.concurrency')
  ) > json_extract(new.terms, '$.limit');
end
"""
WORDS = (
    *("start", "start", "start", "complete", "complete", "complete", "fail", "fatal", "release"),
    *("cancel", "cancel_task", "pause", "resume", "retry", "time", "lease", "lease"),
    *("priority", "break", "mend", "crash"),
)
moves = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 7)), max_size=25)


def step(key: str, on_full: str) -> dict[str, Any]:
    concurrency = {"key": key, "limit": LIMITS[key], "onFull": on_full}
    retry = {"maxAttempts": 2, "initialDelay": "1s", "jitter": 0}
    rate = {"key": "r", "limit": 3, "per": "2s"}
    return {"capability": "work", "concurrency": concurrency, "retry": retry, "rate": rate}


TEMPLATES = {
    "plain": {"a": step("one", "queue"), "b": step("two", "queue")},
    "each": {"a": {**step("two", "queue"), "foreach": [1, 2, 3]}},
    "pushy": {"a": step("one", "cancelOldest")},
    "proud": {"a": {**step("two", "reject"), "fallback": [{"value": None}]}},
}


class Story:
    """One history: what is done in it, whatever becomes of it."""

    def __init__(self, w: Whole, worker: Worker, path: Path, sessions: list[str]) -> None:
        self.w = w
        self.worker = worker
        self.path = path
        self.sessions = sessions
        self.broken = False

    async def move(self, word: str, n: int) -> None:
        # It may be refused: it does not fit, or the disk is said to be full.
        with suppress(OpsCoreError):
            await self._move(word, n)
        await self.w.calm()

    async def _move(self, word: str, n: int) -> None:
        ops, session = self.w.ops, self.sessions[n % len(self.sessions)] if self.sessions else "-"
        match word:
            case "start":
                self.sessions.append(await ops.start([*TEMPLATES][n % len(TEMPLATES)]))
            case "complete" | "fail" | "fatal" | "release":
                await self._settle(word, n)
            case "cancel":
                await ops.cancel(session, "enough")
            case "cancel_task":
                tasks = (await ops.list_tasks()).items
                if tasks:
                    await ops.cancel_task(tasks[n % len(tasks)].task_id, "no more")
            case "pause" | "resume" | "retry":
                await getattr(ops, word)(session)
            case "priority":
                await ops.patch_session(session, priority=n * 10)
            case "time" | "lease":
                await self.w.pass_by(n if word == "time" else 17)
            case "break" | "mend":
                self._break(broken=word == "break")
            case _:
                return

    async def _settle(self, word: str, n: int) -> None:
        given = self.worker.given
        if not given:
            return
        outcome = {"complete": "completed", "release": "released"}.get(word, "failed")
        error = ErrorInfo("fatal" if word == "fatal" else "boom", "it broke")
        await self.worker.settle(given[-1 - n % len(given)], outcome=outcome, error=error)

    def _break(self, *, broken: bool) -> None:
        if broken != self.broken:
            self.broken = broken
            if broken:
                refuse(self.path, "before insert on events")
            else:
                allow(self.path)


@settings(max_examples=COUNT, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves)
def test_limits_hold_and_are_given_back(played: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder) / "ops.db", played))


async def _play(path: Path, played: list[tuple[str, int]]) -> None:
    clock, sessions = HandClock(), list[str]()
    chapters: list[list[tuple[str, int]]] = [[]]
    for word, n in played:
        chapters[-1].append((word, n))
        if word == "crash":
            chapters.append([])
    for number, chapter in enumerate(chapters):
        async with whole(f"sqlite:///{path}", clock=clock) as w:
            if number == 0:
                for name, steps in TEMPLATES.items():
                    await w.apply(steps, name=name)
                _run(path, COUNTED)
            worker = await w.worker(slots=3, holding=None)
            story = Story(w, worker, path, sessions)
            for word, n in chapter:
                await story.move(word, n)
            story._break(broken=False)  # pyright: ignore[reportPrivateUsage]
            if number == len(chapters) - 1:
                await _end(story)
    assert _run(path, "select key from exceeded") == []
    assert _run(path, "select count(*) from gated") == [(0,)]
    assert _run(path, "select count(*) from leases") == [(0,)]


async def _end(story: Story) -> None:
    """Everybody is let go on, and does its work: everything ends, and nothing is held any more."""
    w, worker = story.w, story.worker
    for session in story.sessions:
        if (await w.ops.get_session(session)).status is SessionStatus.PAUSED:
            await w.ops.resume(session)
    statuses: list[SessionStatus] = []
    for _ in range(200):
        for attempt in list(worker.given):
            await worker.settle(attempt)
        await w.pass_by(8, 4)
        statuses = [(await w.ops.get_session(s)).status for s in story.sessions]
        if all(status in SESSION_ENDED for status in statuses):
            break
    else:
        raise AssertionError(f"stuck: {statuses}; {await w.engine.debugging.limits()}")
    held = [s for s in await w.engine.debugging.limits() if s.in_use or s.ahead]
    assert held == []


def _run(path: Path, statement: str) -> list[Any]:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5_000)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()
