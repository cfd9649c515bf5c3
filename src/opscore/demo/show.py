"""The job and what happens to it on the way: two kills, a file that is none, a quota, an urgency.

Each story waits for its moment in the session's journal, does what it does to the processes, and
tells what the journal or the API says came of it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from opscore.demo.fleet import Fleet
from opscore.demo.ledger import STEP, Entry, Ledger
from opscore.demo.processes import Child
from opscore.demo.screen import Screen, counted, shown
from opscore.demo.settings import (
    KILL_MEASURER_AT,
    KILL_SERVER_AT,
    LEASE_SECONDS,
    RATE_LIMIT_SECONDS,
    STALL_SECONDS,
    URGENT_AT,
)
from opscore.sdk.errors import OpsCoreProblem, ServerUnreachable
from opscore.sdk.run import Run
from opscore.wire.session import EventView
from opscore.wire.task import TaskView

DRAW_SECONDS = 0.15
SETTLE_SECONDS = 0.05
"""What a process sent before it was stopped is with the server after this."""


class Stalled(Exception):
    """Nothing happened for too long."""


@dataclass(slots=True)
class Told:
    """What the stories found; None: the tree gave no occasion."""

    kills: int = 0
    moved: int | None = None
    retried_after: float | None = None
    overtaken: int | None = None
    unparsed: str | None = None
    server_away: float | None = None
    wrong: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Job:
    """The session's input. `limited` and `urgent` are files that parse, or empty."""

    root: str
    report: str
    limited: str
    urgent: str


class Show:
    """Follows one session to its end. `told` is what came of the stories."""

    def __init__(self, fleet: Fleet, screen: Screen, job: Job, run: Run) -> None:
        self._fleet = fleet
        self._screen = screen
        self._job = job
        self._run = run
        self._news = asyncio.Event()
        self.ledger = Ledger()
        self.told = Told()

    async def watch(self) -> None:
        """Return when the session has ended and every story is told.

        Raises, within a group, `Died`, `Stalled`, `Gap` and what the SDK raises.
        """
        async with asyncio.TaskGroup() as group:
            drawing = group.create_task(self._draw())
            async with asyncio.TaskGroup() as stories:
                stories.create_task(self._follow())
                stories.create_task(self._disturb(stories))
                stories.create_task(self._tell_limited())
                stories.create_task(self._tell_unparsed())
            drawing.cancel()
        await self._look()

    async def _follow(self) -> None:
        """Enter every event into the ledger, over every restart of the server."""
        async with aclosing(self._run.events()) as events:
            while (event := await _next(events)) is not None:
                self.ledger.add(event)
                news, self._news = self._news, asyncio.Event()
                news.set()

    async def _until(self, holds: Callable[[], bool]) -> bool:
        """Wait until it holds, or the session is over; says whether it holds."""
        while not holds() and not self.ledger.over:
            await self._news.wait()
        return holds()

    async def _moment(self, share: float) -> bool:
        """Wait until so many files are done; False when the session was over sooner."""
        return await self._until(lambda: self.ledger.share >= share) and not self.ledger.over

    async def _draw(self) -> None:
        while True:
            self._fleet.processes.check()
            await self._look()
            await asyncio.sleep(DRAW_SECONDS)

    async def _look(self) -> None:
        """Ask for the picture; while the server is away the old one stays."""
        try:
            session = await self._run.status()
            self._screen.picture.steps = session.steps
            self._screen.picture.agents = await self._fleet.look()
            self._screen.picture.away = False
        except (ServerUnreachable, OpsCoreProblem):
            self._screen.picture.away = True
        self._screen.draw()

    async def _disturb(self, stories: asyncio.TaskGroup) -> None:
        """What is done to the fleet, one after the other."""
        if await self._moment(KILL_MEASURER_AT):
            await self._kill_measurer(stories)
        if self._job.urgent and await self._moment(URGENT_AT):
            await self._overtake()
        if await self._moment(KILL_SERVER_AT):
            await self._kill_server()
        else:
            self._say("the job was over before the server could be killed: a tiny tree")

    # 1: a measurer dies.

    async def _kill_measurer(self, stories: asyncio.TaskGroup) -> None:
        found = await self._busy_measurer()
        if found is None:
            self._say("no measurer held a file any more when one was to be killed: a tiny tree")
            return
        victim, held = found
        victim.kill()
        killed_at = time.time()
        self.told.kills += 1
        self._screen.picture.killed.add(victim.name)
        self._say(
            f"kill -9 {victim.name} (pid {victim.pid}) while it holds {counted(len(held), 'file')}",
            "bold red",
        )
        stories.create_task(self._tell_moved(victim.name, held, killed_at))

    async def _busy_measurer(self) -> tuple[Child, list[str]] | None:
        """A measurer, stopped in the middle of its work, and the tasks that it holds."""
        while not self.ledger.over and self.ledger.share < 1:
            for child in self._fleet.measurers:
                child.signal(signal.SIGSTOP)
                await asyncio.sleep(SETTLE_SECONDS)
                if held := await self._held_by(child.name):
                    return child, held
                child.signal(signal.SIGCONT)
        return None

    async def _held_by(self, instance: str) -> list[str]:
        tasks = self._fleet.client.tasks
        page = await tasks.list(status="running", session=self._run.id, limit=100)
        return [task.task_id for task in page.tasks if task.instance_id == instance]

    async def _tell_moved(self, victim: str, held: list[str], killed_at: float) -> None:
        """Once when the leases are over, and once when others have done the work."""
        entries = [self.ledger.tasks[task_id] for task_id in held]
        await self._until(lambda: all(_let_go(entry, victim) for entry in entries))
        lost = self.ledger.lost_by(victim)
        if not lost:
            self.told.moved = 0
            self._say(f"{victim} had settled all it held in its last moment: nothing had to move")
            return
        ends = [t.ended for e in lost for t in e.attempts if t.instance == victim and t.ended]
        self._say(
            f"{max(ends) - killed_at:.1f} s later its lease ({LEASE_SECONDS:g} s) is over: "
            f"{counted(len(lost), 'file')} queued again"
        )
        await self._until(lambda: all(entry.over for entry in lost))
        done = [entry for entry in lost if entry.over and entry.attempts[-1].instance != victim]
        self.told.moved = len(done)
        others = sorted({entry.attempts[-1].instance for entry in done})
        self._say(
            f"{counted(len(done), 'file')} of {victim}: done by {' and '.join(others) or 'nobody'}",
            "green",
        )

    # 2: a file that does not parse.

    async def _tell_unparsed(self) -> None:
        if not await self._until(lambda: self._fallen_back() is not None):
            self._say("every file parses: no fallback was needed")
            return
        pair = self._fallen_back()
        assert pair is not None
        failed, careful = [await self._task(entry) for entry in pair]
        last = failed.attempt_history[-1]
        if last.error is None or last.error.error_class != "fatal" or len(pair[0].attempts) > 1:
            self.told.wrong.append(f"{failed.task_id} was given up for another reason than Fatal")
        self.told.unparsed = self.ledger.file(pair[0])
        self._say(
            f"{shown(self.told.unparsed)} does not parse: Fatal, no retry; "
            f"{pair[1].agent} counted {counted(msgspec.json.decode(careful.output)[1], 'line')}"
        )

    def _fallen_back(self) -> tuple[Entry, Entry] | None:
        """A task given up at its first attempt, and the fallback that completed."""
        for entry in self.ledger.given_up():
            later = [e for e in self.ledger.of_files() if e.index == entry.index and e.member]
            if len(entry.attempts) == 1 and later and later[0].over:
                return entry, later[0]
        return None

    # 3: a quota.

    async def _tell_limited(self) -> None:
        if not self._job.limited:
            return
        if not await self._until(lambda: len(self._limited_attempts()) > 1):
            self._say("the rate-limited file was not tried twice")
            return
        first, second = (await self._task(self._limited())).attempt_history[:2]
        if first.error is None or first.error.error_class != "rate_limited":
            self._say("the rate-limited file was lost with its measurer, and not limited")
            return
        after = _seconds(second.started_at) - _seconds(first.ended_at or first.started_at)
        self.told.retried_after = after
        if after < RATE_LIMIT_SECONDS:
            self.told.wrong.append(f"the rate-limited file was retried after {after:.3f} s already")
        self._say(
            f'{shown(self._job.limited)}: "rate limited, after {RATE_LIMIT_SECONDS:g} s"; '
            f"tried again after {after:.2f} s, not before"
        )

    def _limited(self) -> Entry:
        return self.ledger.of_file(self._job.limited)[0]

    def _limited_attempts(self) -> list[Any]:
        found = self.ledger.of_file(self._job.limited) if self.ledger.files else []
        return list(found[0].attempts) if found else []

    # 4: something urgent.

    async def _overtake(self) -> None:
        given = {"path": self._job.root, "file": self._job.urgent}
        run = await self._fleet.client.start("urgent-file", given)
        started = time.monotonic()
        await run.result(STALL_SECONDS)
        took = time.monotonic() - started
        book = await read_ledger(self._fleet, run.id)
        (entry,) = book.tasks.values()
        created, claimed = entry.position, entry.claimed_at or 0
        await self._until(lambda: self.ledger.position > claimed)
        waiting = self.ledger.overtaken(created, claimed)
        self.told.overtaken = waiting
        if not waiting:
            self._say("nothing was queued any more when the urgent session came: a tiny tree")
            return
        self._say(
            f"an urgent session (priority 95) overtook {waiting:,} queued tasks: {took:.2f} s",
            "bold",
        )

    # 5: the server dies.

    async def _kill_server(self) -> None:
        fleet, server = self._fleet, self._fleet.server
        assert server is not None
        recorded = len(self.ledger.completions)
        server.kill()
        killed_at = time.time()
        self.told.kills += 1
        self._screen.picture.server = f"killed pid {server.pid}"
        self._say(
            f"kill -9 the server (pid {server.pid}); {counted(recorded, 'file')} recorded",
            "bold red",
        )
        fresh = fleet.start_server()
        await fleet.ready()
        self.told.server_away = time.time() - killed_at
        self._screen.picture.server = f"up pid {fresh.pid}"
        session = await fleet.asked(self._run.status)
        if session.steps[STEP].completed < recorded:
            self.told.wrong.append(
                f"of {recorded} results {session.steps[STEP].completed} survived"
            )
        self._say(
            f"{self.told.server_away:.1f} s later it is back on the same file (pid {fresh.pid}): "
            f"{counted(session.steps[STEP].completed, 'file')} recorded",
            "green",
        )
        moment = datetime.fromtimestamp(killed_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        back = await fleet.connected(moment)
        await self._until(lambda: len(self.ledger.completions) > recorded)
        self._say(f"all {len(back)} agent processes reconnected, and the work goes on", "green")

    def _say(self, text: str, style: str = "") -> None:
        self._screen.say(text, style)

    async def _task(self, entry: Entry) -> TaskView:
        return await self._fleet.asked(lambda: self._fleet.client.tasks.get(entry.task_id))


async def _next(events: Any) -> EventView | None:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            return await anext(events, None)
    except TimeoutError:
        raise Stalled(f"nothing happened for {STALL_SECONDS:g} s") from None


async def read_ledger(fleet: Fleet, session_id: str) -> Ledger:
    """A session's books, read anew from its whole journal."""
    book, cursor = Ledger(), None
    while True:
        at = cursor
        page = await fleet.asked(
            lambda at=at: fleet.client.sessions.history(session_id, cursor=at, limit=500)
        )
        for event in page.events:
            book.add(event)
        cursor = page.next_cursor
        if cursor is None:
            return book


def _let_go(entry: Entry, victim: str) -> bool:
    """Has every attempt of the victim ended?"""
    return all(tried.ended is not None for tried in entry.attempts if tried.instance == victim)


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
