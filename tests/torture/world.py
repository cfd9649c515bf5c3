"""One simulated world: a server that dies and comes back, agents, clients, and faults between them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import apsw

from opscore.engine.settings import Settings
from tests.torture.agents import Habits, Instance, Streaming
from tests.torture.awaits import points
from tests.torture.clients import Client
from tests.torture.evidence import Record
from tests.torture.life import BEGAN, Doom, Life, Time, overlap, simulate_time
from tests.torture.loop import SECOND, SimulatedLoop
from tests.torture.network import Network, Weather
from tests.torture.pollers import Polling

HOUR = 3600 * SECOND
LEASE = 4.0
FAULTY_SECONDS = 10.0
CALM_SECONDS = 300.0
_POSITION = """select max((select coalesce(max(position), 0) from events),
(select coalesce(max(position), 0) from agent_events))"""
_DUE = "select max(due) from (select due from timers union all select due from delayed)"
_PAUSED = "select session_id from sessions where status = 'paused'"
_OPEN = "select session_id from sessions where status not in ('completed', 'error', 'cancelled')"


class World:
    """`run` plays it out; `journal` and `ledger` are what clients and agents wrote down."""

    def __init__(self, loop: SimulatedLoop, chance: Random, path: Path) -> None:
        self.loop = loop
        self.journal: list[Record] = [{"did": "lease", "micros": round(LEASE * SECOND)}]
        self.ledger: list[Record] = []
        self.lives: list[Life] = []
        self.complaints: list[str] = []
        self.faults: Counter[str] = Counter()
        self._chance = chance
        self._path = path
        self._calm = False
        self._time = Time(loop)
        simulate_time(self._time)
        overlap(chance.choice((1, 2, 4)))
        self._settings = Settings(
            lease_seconds=LEASE, cancel_grace_seconds=4.0, offline_after_seconds=12.0
        )
        self.network = Network(loop, Random(chance.getrandbits(64)), self._weather())
        self.agents = self._agents()
        self.clients = [self._client(f"c{number}") for number in range(1, 3)]

    def _weather(self) -> Weather:
        """Every seed has its own: some are fair."""
        dice = self._chance.random
        bad = self._chance.choice((0.0, 0.3, 1.0))
        return Weather(
            lose=0.05 * bad * dice(),
            double=0.06 * bad * dice(),
            reorder=0.05 * bad * dice(),
            late=0.1 * bad * dice(),
            latest=8 * dice(),
            cut=0.04 * bad * dice(),
        )

    def _agents(self) -> list[Instance]:
        kinds: list[tuple[type[Instance], str, int, int]] = [
            (Streaming, "streamer", 1, 2),
            (Streaming, "streamer", 2, 1),
            (Polling, "poller", 1, 2),
        ]
        fails = self._chance.choice((0.05, 0.15, 0.6))
        return [
            kind(
                *(self.network, Random(self._chance.getrandbits(64)), self.ledger),
                *(name, number, slots, Habits(fails=fails)),
            )
            for kind, name, number, slots in kinds
        ]

    def _client(self, name: str) -> Client:
        return Client(self.network, Random(self._chance.getrandbits(64)), self.journal, name)

    # The server

    def _begin_life(self, *, mortal: bool) -> None:
        life = Life(
            *(self.loop, self._path, Random(self._chance.getrandbits(64)), self._settings),
            *(self._doom() if mortal else None, self._died),
        )
        if mortal and self._chance.random() < 0.3:
            life.faults.per_mille = self._chance.choice((5, 30, 120))
        self.lives.append(life)
        after = self._position()
        life.begin()
        self.network.life = life
        self.journal.append({"did": "life", "offset": self._time.skew, "after": after})

    def _doom(self) -> Doom | None:
        dice = self._chance.random()
        steps = round(10 ** (1.5 + 2.2 * self._chance.random()))
        if dice < 0.1:
            return None
        if dice < 0.5:
            return Doom(steps)
        return Doom(20_000, self._chance.choice(points()), self._chance.choice((1, 2, 5, 20)))

    def _died(self, life: Life) -> None:
        self.faults["kills"] += 1
        self.faults["failed commits"] += life.faults.struck
        if self.network.life is life:
            self.network.life = None
        if not self._calm and self._chance.random() < 0.3:
            self._time.skew = self._chance.randrange(-HOUR, HOUR)
            self.faults["clock jumps"] += 1
        self.loop.outside(self._chance.random() * 2, self._come_back)

    def _come_back(self) -> None:
        if self.network.life is None:
            self._begin_life(mortal=not self._calm)

    def _position(self) -> int:
        return int(self._look(_POSITION)[0][0])

    def _look(self, statement: str) -> Sequence[Any]:
        """What the database has, committed."""
        if not self._path.exists() or not self._path.stat().st_size:
            return [(0,)]
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            return connection.execute(statement).fetchall()
        except apsw.SQLError:
            return [(0,)]  # killed before there were tables
        finally:
            connection.close()

    # The course of a run

    async def prepare(self) -> None:
        """Make a database with all templates, from which every run begins."""
        self._begin_life(mortal=False)
        await self.clients[0].prepare()
        await self.lives[0].stop()

    async def run(self) -> None:
        """Faults, then calm, then the end."""
        self._begin_life(mortal=True)
        for agent in self.agents:
            agent.begin()
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(client.play(FAULTY_SECONDS))
            meddling = group.create_task(self._meddle())
            await asyncio.sleep(FAULTY_SECONDS)
            meddling.cancel()
            await self._become_calm()
        await self._end()

    async def _meddle(self) -> None:
        """Faults that come from outside of the server."""
        acts = [self._freeze, self._kill_agent, self._part, self._fill_disk, self._restart]
        acts += [self._jump]
        while True:
            await asyncio.sleep(self._chance.random() * 5)
            await self._chance.choice(acts)()

    async def _jump(self) -> None:
        """The wall clock is set while the server runs: that must move no deadline."""
        self.faults["clock jumps"] += 1
        self._time.skew = self._chance.randrange(-HOUR, HOUR)

    async def _freeze(self) -> None:
        self.faults["zombies"] += 1
        self._chance.choice(self.agents).freeze(self._chance.choice((2, 8, 20)))

    async def _kill_agent(self) -> None:
        self.faults["agents killed"] += 1
        agent = self._chance.choice(self.agents)
        agent.kill()
        await asyncio.sleep(self._chance.random() * 3)
        agent.begin()

    async def _part(self) -> None:
        self.faults["partitions"] += 1
        who = self._chance.choice(self.agents).instance
        self.network.apart.add(who)
        await asyncio.sleep(self._chance.choice((1, 9)))
        self.network.apart.discard(who)

    async def _fill_disk(self) -> None:
        life = self.network.life
        if life is not None:
            self.faults["disk full"] += 1
            life.faults.full = True
            await asyncio.sleep(self._chance.random() * 2)
            life.faults.full = False

    async def _restart(self) -> None:
        life = self.network.life
        if life is not None and life.ready:
            self.faults["restarts"] += 1
            await life.stop()

    async def _become_calm(self) -> None:
        """No more faults. The clock is right again, or where it was latest: what is due is due."""
        self._calm = True
        self.network.weather.calm_down()
        self.network.apart.clear()
        skews = [int(r["offset"]) for r in self.journal if r["did"] == "life"]
        self._time.skew = max(skews)  # what a life before has set for a time is due then
        life = self.network.life
        if life is not None:
            life.kill()
        for agent in self.agents:
            agent.freeze(0)
            agent.habits.repeats = 0.0

    async def _end(self) -> None:
        """Everything comes to its end, and is looked at."""
        one = self.clients[0]
        await self._quick_and_told(one)
        if not await self._all_ended():
            still = [str(row[0]) for row in self._look(_OPEN)][:3]
            self.complaints.append(f"after {CALM_SECONDS:g} s of calm still open: {still}")
        for client in self.clients:
            for known in client.known:
                shown = await client.look(known.session)
                if shown is not None:
                    self.journal.append({"did": "served", "session": shown})
        for agent in self.agents:
            agent.kill()
        life = self.network.life
        if life is not None:
            life.kill()

    async def _quick_and_told(self, client: Client) -> None:
        """In the calm agents that work on something long are told when it is cancelled."""
        await asyncio.sleep(LEASE)
        self.journal.append({"did": "calm", "after": self._position()})
        known = await client.start("long")
        if known is not None:
            await asyncio.sleep(3)
            await client.order("cancel", known)

    async def _all_ended(self) -> bool:
        began = self.loop.time()
        while self._look(_OPEN):
            if self.loop.time() > began + CALM_SECONDS:
                return False
            await self._let_go()
            await asyncio.sleep(5)
            if self.loop.time() > began + CALM_SECONDS / 2:
                self._skip_far_waits()
        return True

    def _skip_far_waits(self) -> None:
        """Who was paused while the clock was set has to wait for as long as it was set by."""
        life = self.network.life
        due = self._look(_DUE)[0][0]
        if life is not None and due is not None:
            left = int(due) - BEGAN - self.loop.micros - life.offset
            if left > CALM_SECONDS * SECOND / 2:
                self._time.skew = life.offset + left
                life.kill()

    async def _let_go(self) -> None:
        """What somebody paused is resumed."""
        paused = {str(row[0]) for row in self._look(_PAUSED)}
        for known in self.clients[0].known + self.clients[1].known:
            if known.session in paused:
                await self.clients[0].order("resume", known)

    def bury(self) -> None:
        """Let go of everything."""
        for life in self.lives:
            life.dead = True
        self.agents.clear()
