"""One rehearsal: an engine in memory, mocked agents, and time that jumps to what is due next."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count
from random import Random

from opscore.core.errors import Invalid, Refusal
from opscore.core.expressions import ExpressionFailed
from opscore.core.reading import suggest
from opscore.core.types import SECOND, SESSION_ENDED, Micros
from opscore.core.types import Actor as Who
from opscore.engine.engine import Engine
from opscore.engine.lifecycle import AgentDetails, Connection
from opscore.engine.records import ClaimedAttempt, SessionRecord, TemplateRecord
from opscore.engine.settings import Settings
from opscore.rehearsal.cast import UNDOING, Actor, Script, Unmocked, asked_for, labelled
from opscore.rehearsal.loop import RehearsalClock, RehearsalLoop
from opscore.rehearsal.mocks import AgentMock, Answer, Case
from opscore.rehearsal.outcome import Outcome, decoded, differences
from opscore.rehearsal.people import People
from opscore.templates import read_template

YEAR_SECONDS = 366 * 86_400
LONGEST: Micros = 2 * YEAR_SECONDS * SECOND
"""Simulated time after which a rehearsal is given up."""
QUIET_SECONDS = 5
"""So long nothing may happen before a rehearsal counts as stuck: some loops look every second."""
MOST_JUMPS = 200_000
WHO = Who("operator", "rehearsal")


class Stage:
    """Plays one case."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._plans: list[tuple[Micros, int, Callable[[], Awaitable[None]]]] = []
        self._order = count()
        self._actors: list[tuple[Actor, Connection]] = []
        self._workflows: dict[str, str] = {}
        self._trouble = ""

    async def play(self, templates: Sequence[tuple[str, str]]) -> Outcome:
        """Run the case. Raises Invalid (template, input), Impossible (onError names nothing)."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, RehearsalLoop), "a rehearsal has a loop of its own"
        self._loop = loop
        self._clock = RehearsalClock(loop, self._case.start)
        lease = 15.0 if self._case.some_silent else 10.0 * YEAR_SECONDS
        settings = Settings(
            lease_seconds=lease,
            offline_after_seconds=10.0 * YEAR_SECONDS,
            template_env=self._case.env,
        )
        self._engine = await Engine.open(
            "sqlite:///:memory:", clock=self._clock, chance=Random(7), settings=settings
        )
        try:
            return await self._played(templates)
        finally:
            await self._engine.close(0)

    async def _played(self, templates: Sequence[tuple[str, str]]) -> Outcome:
        ops = self._engine.orchestration
        made = [
            await ops.create_workflow(text, name_hint=name) for name, text in reversed(templates)
        ]
        main = made[-1]
        script = Script(self._case, main.name)
        self._check_names(made, main)
        await self._gather_cast(made, script)
        session = await ops.start(
            main.name,
            version=main.version,
            input=self._case.input,
            context=self._case.context,
            priority=self._case.priority,
            labels=self._case.labels,
            actor=WHO,
        )
        people = People(ops, self._case.signals, self._case.approvals, self._plan)
        people.begin(session)
        await self._until_over(session, main.name, people)
        return await self._outcome(session, script)

    def _check_names(self, made: Sequence[TemplateRecord], main: TemplateRecord) -> None:
        """A mock of a step that does not exist is a slip. Raises Invalid."""
        known: set[str] = set()
        for record in made:
            prefix = "" if record is main else f"{record.name}/"
            for name, step in read_template(record.source).steps.items():
                known.add(prefix + name)
                if step.compensate is not None:
                    known.add(prefix + name + UNDOING)
        for name in self._case.steps:
            if name.partition("[")[0] not in known:
                hint = suggest(name, known) or f"steps: {', '.join(sorted(known)[:20])}"
                raise Invalid(f"the mocks answer for step '{name}', which does not exist ({hint})")

    # -- agents -----------------------------------------------------------------------------

    async def _gather_cast(self, made: Sequence[TemplateRecord], script: Script) -> None:
        """The agents of the case, and stand-ins for whoever else the templates ask for."""
        sources = [record.source for record in made]
        capabilities, names = asked_for(sources)
        given = self._case.agents
        capabilities -= {each for agent in given for each in agent.capabilities}
        names -= {agent.name for agent in given}
        cast = [*given, *(AgentMock(name, (), {}, 1000) for name in sorted(names))]
        stand_in = tuple(sorted(capabilities - self._case.nobody))
        if stand_in:
            cast.append(AgentMock("mocked", stand_in, {}, 1000))
        for capability, labels in labelled(sources):
            if capability in stand_in:
                cast.append(AgentMock(f"mocked-{len(cast)}", (capability,), labels, 1000))
        for agent in cast:
            if agent.name not in self._case.nobody:
                await self._enter(agent, script)

    async def _enter(self, agent: AgentMock, script: Script) -> None:
        lifecycle, ops = self._engine.lifecycle, self._engine.orchestration
        record = await lifecycle.register_agent(
            AgentDetails(
                agent_name=agent.name,
                capabilities=agent.capabilities,
                version=agent.version,
                labels=agent.labels,
                metadata=agent.metadata,
                max_in_flight=agent.slots,
            )
        )

        async def choose(attempt: ClaimedAttempt) -> Answer:
            return await self._chosen(attempt, script)

        actor = Actor(choose, script, ops.settle, self._plan)
        connection = await lifecycle.connect(
            record.agent_id,
            instance_id=f"mock:{agent.name}",
            max_in_flight=agent.slots,
            holding=[],
            receiver=actor,
        )
        self._actors.append((actor, connection))

    async def _chosen(self, attempt: ClaimedAttempt, script: Script) -> Answer:
        ops = self._engine.orchestration
        task = await ops.get_task(attempt.task_id)
        if attempt.session_id not in self._workflows:
            session = await ops.get_session(attempt.session_id)
            self._workflows[attempt.session_id] = session.workflow
        try:
            return script.answer(task, self._workflows[attempt.session_id])
        except Unmocked as unmocked:
            self._trouble = self._trouble or str(unmocked)
            return Answer(silent=True)

    # -- time -------------------------------------------------------------------------------

    def _plan(self, after: Micros, action: Callable[[], Awaitable[None]]) -> None:
        entry = (self._loop.elapsed + after, next(self._order), action)
        heapq.heappush(self._plans, entry)

    async def _until_over(self, session_id: str, workflow: str, people: People) -> None:
        """Let time jump until the session, and all it led to, has ended or nothing happens."""
        quiet = 0
        for _ in range(MOST_JUMPS):
            await self._loop.idle()
            if await self._carry_out() or await people.look(workflow):
                quiet = 0
                continue
            if self._trouble or await self._over(session_id):
                return
            target = await self._next(session_id)
            quiet = quiet + 1 if target is None else 0
            if quiet > QUIET_SECONDS:
                return
            self._loop.jump(self._loop.elapsed + SECOND if target is None else target)
            if self._loop.elapsed > LONGEST:
                break
        self._trouble = "the rehearsal came to no end: is there a loop without a bound?"

    async def _carry_out(self) -> bool:
        """Do what is planned for now; whether there was anything."""
        now = self._loop.elapsed
        ripe: list[Callable[[], Awaitable[None]]] = []
        while self._plans and self._plans[0][0] <= now:
            ripe.append(heapq.heappop(self._plans)[2])
        for action in ripe:
            try:
                await action()
            except (ExpressionFailed, Refusal) as failure:
                self._trouble = self._trouble or f"a mock cannot be played: {failure}"
        return bool(ripe)

    async def _next(self, session_id: str) -> Micros | None:
        """When the next thing happens, as the loop counts; None when nothing is known of."""
        beats: list[Micros] = []
        for actor, connection in self._actors:
            if actor.holding:
                await connection.heartbeat(actor.holding)
                beats.append(actor.lease(self._engine.settings.lease) // 2)
        now = self._clock.now()
        due = (await self._engine.store.due(now, 1)).next_at
        opens = self._engine.limit_opens_at
        if opens is not None and (due is None or opens < due):
            due = opens
        times = [self._plans[0][0]] if self._plans else []
        if due is not None:
            # What is due already and still there waits for the sweeper's next look.
            ahead = due - now if due > now else SECOND
            times.append(self._loop.elapsed + ahead)
        times += [self._loop.elapsed + beat for beat in beats]
        return min(times, default=None)

    async def _over(self, session_id: str) -> bool:
        ops = self._engine.orchestration
        if (await ops.get_session(session_id)).status not in SESSION_ENDED:
            return False
        listed = await ops.list_sessions(limit=500)
        return all(each.status in SESSION_ENDED for each in listed.items)

    # -- what came of it --------------------------------------------------------------------

    async def _outcome(self, session_id: str, script: Script) -> Outcome:
        record = await self._engine.orchestration.get_session(session_id)
        found = Outcome(
            name=self._case.name,
            status=str(record.status),
            waiting_for=record.waiting_for,
            output=decoded(record.output),
            error=record.error,
            steps={name: str(step.status) for name, step in record.steps.items()},
            attempts=dict(script.attempts),
            inputs=script.inputs,
            sessions=await self._others(record),
            took=(record.finished_at or self._clock.now()) - record.created_at,
        )
        mistakes = [self._trouble] if self._trouble else differences(found, self._case.expected)
        return replace(found, mistakes=tuple(mistakes))

    async def _others(self, record: SessionRecord) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in reversed((await self._engine.orchestration.list_sessions(limit=500)).items):
            if each.session_id != record.session_id:
                found.setdefault(each.workflow, []).append(str(each.status))
        return found
