"""The same play by the real engine: in this process, in memory, on a clock that jumps.

A spy writes down every decision with the command and the moment it was made for, so that the
journal can be held against them afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.errors import Refusal
from opscore.core.progress import Refused
from opscore.core.session import Decision as Decided
from opscore.core.session import Surroundings, decide
from opscore.core.state import SessionState
from opscore.core.template import Template
from opscore.core.types import SECOND, ErrorInfo
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.records import ClaimedAttempt, SessionRecord, SettlementReport
from opscore.rehearsal.cast import Actor, Script
from opscore.rehearsal.loop import RehearsalLoop
from opscore.rehearsal.mocks import AgentMock, Case
from opscore.rehearsal.mocks import Answer as Mocked
from opscore.rehearsal.outcome import Outcome
from opscore.rehearsal.people import DecisionMock, People, SignalMock
from opscore.rehearsal.stage import WHO, Stage
from tests.model.model import MAIN
from tests.model.world import Answer, Ended, Key, Micros, Play, Seen

START: Micros = 1_767_225_600 * SECOND


@dataclass(frozen=True)
class Spied:
    """One decision: the state's number of events before it, and what was asked when."""

    template: Template
    seq: int
    command: cmd.SessionCommand
    around: Surroundings
    events: tuple[ev.SessionEvent, ...]


@dataclass
class Spy:
    """Remembers decisions, and which task and which session is which in the model's words."""

    decisions: dict[str, list[Spied]] = field(default_factory=dict[str, list[Spied]])
    states: dict[str, SessionState] = field(default_factory=dict[str, SessionState])
    paths: dict[str, str] = field(default_factory=dict[str, str])
    works: dict[str, tuple[str, str, int | None, int, int]] = field(
        default_factory=dict[str, tuple[str, str, int | None, int, int]]
    )
    _places: dict[tuple[str, str, int | None, int], int] = field(
        default_factory=dict[tuple[str, str, int | None, int], int]
    )

    def decide(
        self,
        template: Template,
        state: SessionState,
        command: cmd.SessionCommand,
        around: Surroundings,
    ) -> Decided:
        before = state.seq
        decision = decide(template, state, command, around)
        if not isinstance(decision, Refused) and decision.events:
            events = tuple(decision.events)
            spied = Spied(template, before, command, around, events)
            self.decisions.setdefault(state.session_id, []).append(spied)
            self.states[state.session_id] = state
            for event in events:
                self._note(state.session_id, event)
        return decision

    def _note(self, session_id: str, event: ev.SessionEvent) -> None:
        match event:
            case ev.SessionStarted():
                if event.parent is None:
                    cause = event.cause
                    self.paths[session_id] = MAIN if cause is None else f"{self.paths[cause]}!"
            case ev.TaskCreated():
                self.works[event.task_id] = self._place(session_id, event)
            case ev.ChildCreated():
                path, step, index, member, ordinal = self._place(session_id, event)
                self.paths[event.child_id] = f"{path}/{step}.{index}.{member}.{ordinal}"
            case _:
                pass

    def _place(
        self, session_id: str, event: ev.TaskCreated | ev.ChildCreated
    ) -> tuple[str, str, int | None, int, int]:
        place = (session_id, event.step, event.index, event.member)
        ordinal = self._places.get(place, 0)
        self._places[place] = ordinal + 1
        return self.paths[session_id], event.step, event.index, event.member, ordinal


class Player(Actor):
    """An agent that does with each attempt what the play says."""

    theatre: Theatre

    async def _play(self, attempt: ClaimedAttempt) -> None:
        answer = self.theatre.answer_to(attempt)
        key = (attempt.task_id, attempt.attempt)
        if answer.silent:
            self._holding.pop(key, None)
            return
        if answer.deaf:
            self.theatre.deaf.add(key)
        self._plan(answer.after, lambda: self._say(key, _report(key, answer)))

    async def _say(self, key: tuple[str, int], report: SettlementReport) -> None:
        told = report.error is not None and report.error.error_class == "cancelled"
        if not (told and key in self.theatre.deaf):
            await super()._say(key, report)


def _report(key: tuple[str, int], answer: Answer) -> SettlementReport:
    if answer.error is None:
        output = msgspec.Raw(msgspec.json.encode(answer.output))
        return SettlementReport(*key, "completed", output)
    wait = None if answer.retry_after is None else answer.retry_after * 1_000_000
    error = ErrorInfo(answer.error, f"{answer.error} it is", wait)
    return SettlementReport(*key, "failed", error=error)


class Theatre(Stage):
    """Plays one play."""

    def __init__(self, play: Play, answer: Callable[[Key], Answer]) -> None:
        approvals = {
            step: tuple(
                DecisionMock(
                    d.verb,
                    d.by,
                    "",
                    d.after,
                    msgspec.Raw(msgspec.json.encode(d.details)) if d.verb == "edit" else None,
                )
                for d in decisions
            )
            for step, decisions in play.approvals.items()
        }
        signals = tuple(
            SignalMock(name, msgspec.Raw(msgspec.json.encode(payload)), after, number)
            for name, number, payload, after in play.signals
        )
        # One that is silent makes leases as short as in earnest.
        super().__init__(
            Case(
                input=msgspec.json.encode(play.input),
                start=START,
                env=play.env,
                signals=signals,
                approvals=approvals,
                nobody=play.nobody,
                steps={"": (Mocked(silent=True),)},
            )
        )
        self._play = play
        self._answer = answer
        self.spy = Spy()
        self.seen = Seen()
        self.deaf: set[tuple[str, int]] = set()
        self.records: dict[str, SessionRecord] = {}
        self.journals: dict[str, list[Any]] = {}

    def answer_to(self, attempt: ClaimedAttempt) -> Answer:
        key = Key(*self.spy.works[attempt.task_id], attempt.attempt)
        given = msgspec.json.decode(attempt.input)
        assert key not in self.seen.attempts
        self.seen.attempts[key] = (self._loop.elapsed, given)
        return self._answer(key)

    async def _played(self, templates: Sequence[tuple[str, str]]) -> Outcome:
        ops, main = self._engine.orchestration, self._play.templates[0]["name"]
        made = [await ops.create_workflow(text, name_hint=at) for at, text in reversed(templates)]
        script = Script(self._case, main)
        await self._gather_cast(made, script)
        session = await ops.start(main, input=self._case.input, actor=WHO)
        people = People(ops, self._case.signals, self._case.approvals, self._plan)
        people.begin(session)
        self._plan(self._play.cancel_after, lambda: self._cancel(session))
        await self._until_over(session, main, people)
        await self._look_back()
        return await self._outcome(session, script)

    async def _cancel(self, session: str) -> None:
        await self._engine.orchestration.cancel(session, "enough")

    def _plan(self, after: Micros, action: Callable[[], Awaitable[None]]) -> None:
        async def carefully() -> None:
            try:
                await action()
            except Refusal as refusal:
                self.seen.refused.append((self._loop.elapsed, refusal.code))

        super()._plan(after, carefully)

    async def _enter(self, agent: AgentMock, script: Script) -> None:
        lifecycle, ops = self._engine.lifecycle, self._engine.orchestration
        record = await lifecycle.register_agent(
            AgentDetails(agent.name, capabilities=agent.capabilities, max_in_flight=agent.slots)
        )

        async def nothing(attempt: ClaimedAttempt) -> Mocked:
            raise AssertionError("the play answers")

        player = Player(nothing, script, ops.settle, self._plan)
        player.theatre = self
        connection = await lifecycle.connect(
            record.agent_id,
            instance_id=f"mock:{agent.name}",
            max_in_flight=agent.slots,
            holding=[],
            receiver=player,
        )
        self._actors.append((player, connection))

    async def _look_back(self) -> None:
        ops = self._engine.orchestration
        for session_id in self.spy.decisions:
            record = await ops.get_session(session_id)
            path = self.spy.paths[record.session_id]
            self.records[record.session_id] = record
            self.journals[record.session_id] = await self._engine.store.journal(
                record.session_id, 0, 100_000
            )
            error = record.error
            self.seen.sessions[path] = Ended(
                str(record.status),
                {name: str(step.status) for name, step in record.steps.items()},
                None if record.output is None else msgspec.json.decode(record.output),
                None if error is None else (error.error_class, error.message),
                (record.finished_at or 0) - START,
            )


def perform(play: Play, answer: Callable[[Key], Answer]) -> Theatre:
    """Play it out to its end."""
    theatre = Theatre(play, answer)
    texts = [(f"{t['name']}.json", _text(t)) for t in play.templates]
    with (
        pytest.MonkeyPatch.context() as patched,
        asyncio.Runner(loop_factory=RehearsalLoop) as runner,
    ):
        patched.setattr("opscore.engine.unit.decide", theatre.spy.decide)
        runner.run(theatre.play(texts))
    return theatre


def _text(template: Mapping[str, Any]) -> str:
    return msgspec.json.encode(template).decode()
