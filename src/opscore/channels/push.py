"""Agents that we call. Each has one implied instance, whose receiver makes the calls.

An attempt that was handed out is driven here: called, its lease renewed for as long as the call
lasts, its answer settled. One slow agent holds up nobody else: what it can hold is bounded by its
slots, and while its circuit is open it holds nothing.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import structlog

from opscore.channels.circuit import Circuit
from opscore.channels.replies import AGENT_ERROR, INVALID_OUTPUT, Reply, failed
from opscore.core.agent import Agent, Availability
from opscore.core.errors import OpsCoreError, Unavailable
from opscore.core.push import ACCEPTED, push_slots
from opscore.core.retry import CANCELLED
from opscore.core.types import PUSHED, SECOND, AgentState, ErrorInfo, Micros
from opscore.engine.lifecycle import Connection, Lifecycle
from opscore.engine.orchestration import Orchestration
from opscore.engine.records import ClaimedAttempt, SettlementReport
from opscore.outgoing.request import Outgoing
from opscore.outgoing.signing import Signing

CALL_SECONDS = 300.0
"""How long a call may take when its step has no timeout; an agent that needs longer accepts."""
BELIEVED: Micros = 300 * SECOND
"""How long `active` is believed of an agent that has nothing from us: its `idle` may be lost."""
TICK_SECONDS = 1.0
BEATS = 3
"""Renewals in a lease: one may be late, another lost."""

Key: TypeAlias = tuple[str, int]

log = structlog.get_logger("opscore.push")


class Time(Protocol):
    """The engine's clock."""

    def now(self) -> Micros: ...
    async def sleep(self, seconds: float) -> None: ...
    async def wait(self, event: asyncio.Event, seconds: float) -> bool: ...


class Home(Protocol):
    """What these channels need of the engine they live in."""

    @property
    def lifecycle(self) -> Lifecycle: ...
    @property
    def orchestration(self) -> Orchestration: ...
    @property
    def outgoing(self) -> Outgoing: ...
    @property
    def signing(self) -> Signing: ...
    @property
    def clock(self) -> Time: ...
    @property
    def heartbeat_seconds(self) -> float: ...
    @property
    def leads(self) -> bool:
        """Whether this server does what one server of a store is enough for."""
        ...

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine for as long as the engine runs."""
        ...

    def every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> asyncio.Task[Any]:
        """Do something again and again."""
        ...


class PushAgent(ABC):
    """One agent that we call: the receiver of its seat. `agent` is its registration now."""

    local = False

    def __init__(self, agent: Agent, home: Home) -> None:
        self.agent = agent
        self.home = home
        self.circuit = Circuit()
        self.free_since: Micros = 0
        self._calls: dict[Key, asyncio.Task[Any]] = {}
        self._accepted: set[Key] = set()
        self._connection: Connection | None = None
        self.ending = False
        self._reasons: dict[Key, str] = {}
        self._finished: Callable[[], object] = lambda: None

    # -- what a channel says of itself --------------------------------------------------------

    @abstractmethod
    async def call(self, attempt: ClaimedAttempt, seconds: float) -> Reply:
        """Make the call; it has so much time. Raises nothing that is expected."""

    def reachable(self) -> bool:
        """Whether it is known where to call."""
        return bool(self.agent.contact_endpoint)

    def changed(self, before: Agent, agent: Agent) -> None:
        """The agent reported, or its registration changed."""
        if agent.contact_endpoint != before.contact_endpoint:
            self.circuit = Circuit()
        self.agent = agent
        self.refresh()

    def over(self, key: Key) -> None:
        """A call has ended, whatever came of it."""
        self._calls.pop(key, None)
        self._reasons.pop(key, None)
        self._finished()
        if not self.busy:
            self.free_since = self.home.clock.now()
        self.refresh()

    # -- slots ------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether it works for us."""
        return bool(self._calls or self._accepted)

    @property
    def calling(self) -> bool:
        """Whether a call is under way."""
        return bool(self._calls)

    def slots(self, now: Micros) -> int:
        """How many attempts it takes, by what it says of itself."""
        since = self.agent.changed_at
        active = self.agent.state is AgentState.ACTIVE and not self.busy
        elsewhere = active and since > self.free_since and now - since < BELIEVED
        return push_slots(self.agent, elsewhere=elsewhere)

    def refresh(self) -> None:
        """Take as much as can be done now."""
        connection = self._connection
        if connection is None:
            return
        self._accepted = {key for key in self._accepted if connection.holds(key)}
        now = self.home.clock.now()
        slots = 0 if self.ending else self.slots(now)
        room = self.circuit.room(slots, len(self._accepted), now) if self.reachable() else 0
        connection.ready(room, Availability.UNREACHABLE if slots and not room else None)

    # -- its seat ---------------------------------------------------------------------------

    @property
    def seated(self) -> bool:
        """Whether it is connected."""
        return self._connection is not None

    async def join(self) -> None:
        """Take the seat. Raises NotFound, Conflict, Unavailable."""
        connection = await self.home.lifecycle.connect(
            self.agent.agent_id,
            instance_id=PUSHED + self.agent.agent_id,
            max_in_flight=0,
            holding=None,
            receiver=self,
            namespace=self.agent.namespace,
        )
        self._accepted.update(connection.owned)
        self._connection = connection
        self.refresh()

    async def leave(self) -> None:
        """Give the seat up: it is called no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect()
        self.close("it is not called any more")

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """Call it for each."""
        for attempt in attempts:
            key = (attempt.task_id, attempt.attempt)
            task = self._calls[key] = self.home.spawn(self._drive(attempt, key))
            task.add_done_callback(partial(self._done, key))
        if any(attempt.heartbeat for attempt in attempts):
            # A lease shorter than the server's is for agents that beat by themselves.
            self.home.spawn(self.renew())

    def _done(self, key: Key, _task: asyncio.Task[Any]) -> None:
        self.over(key)

    def cancel(self, attempts: Sequence[Key], reason: str, grace_seconds: float) -> None:
        """End the calls; an agent that works on what it accepted cannot be told, and is fenced."""
        for key in attempts:
            self._accepted.discard(key)
            if key in self._calls:
                if grace_seconds:
                    self._reasons[key] = reason
                self._calls[key].cancel()

    def drain(self, reason: str) -> None:
        """Take no more work."""
        self.refresh()

    def close(self, reason: str) -> None:
        """Another seat, or none: what is being called is given back."""
        self.ending = True
        for task in list(self._calls.values()):
            task.cancel()

    def finish(self, then: Callable[[], object]) -> None:
        """Begin no call; `then` is called whenever one has ended."""
        self.ending, self._finished = True, then
        self.refresh()

    # -- one attempt ------------------------------------------------------------------------

    async def _drive(self, attempt: ClaimedAttempt, key: Key) -> None:
        try:
            reply = await self.call(attempt, self._seconds(attempt))
        except asyncio.CancelledError:
            await self._stopped(attempt, self._reasons.get(key))
            return
        except Exception as error:  # a bug must not leave the attempt without an end
            log.error("call_crashed", task_id=attempt.task_id, exc_info=error)
            reply = Reply(error=ErrorInfo(AGENT_ERROR, "the call crashed; the server's log has it"))
        self._note(reply)
        if not reply.accepted:
            await self.settle(reply.report(attempt))
        elif await self._keep(attempt):
            self._accepted.add(key)

    def _seconds(self, attempt: ClaimedAttempt) -> float:
        if attempt.deadline is None:
            return CALL_SECONDS
        # The sweeper ends the attempt at its deadline; the call must not end it before.
        return max(0.0, (attempt.deadline - self.home.clock.now()) / SECOND) + TICK_SECONDS

    def _note(self, reply: Reply) -> None:
        """Before the settlement frees the slot: the next task must meet the circuit as it is now."""
        now = self.home.clock.now()
        if not reply.sick:
            self.circuit.good()
        else:
            self.circuit.bad(now)
            if reply.error is not None and reply.error.retry_after:
                self.circuit.hold(now + reply.error.retry_after)
        self.refresh()

    async def _stopped(self, attempt: ClaimedAttempt, reason: str | None) -> None:
        """Told to end it, or leaving; without either the attempt is over already."""
        if reason is not None:
            await self.settle(failed(attempt, ErrorInfo(CANCELLED, reason)))
        elif self.ending:
            await self.settle(SettlementReport(attempt.task_id, attempt.attempt, "released"))

    async def _keep(self, attempt: ClaimedAttempt) -> bool:
        """Give the agent the time that it has; whether the attempt is still its own."""
        now = self.home.clock.now()
        until = now + ACCEPTED
        if attempt.deadline is not None:
            # Its deadline ends it; the lease must not be over before.
            until = attempt.deadline + round(self.home.heartbeat_seconds * SECOND)
        while self._connection is not None:
            try:
                key = (attempt.task_id, attempt.attempt)
                return not await self._connection.keep([key], until)
            except Unavailable:
                await self.home.clock.sleep(TICK_SECONDS)
        return False

    async def settle(self, report: SettlementReport) -> None:
        """Report until it is recorded or refused; meanwhile the lease is renewed."""
        ids = {"task_id": report.task_id, "attempt": report.attempt}
        while True:
            try:
                verdicts = await self.home.orchestration.settle(
                    [report], agent_id=self.agent.agent_id, namespace=self.agent.namespace
                )
            except Unavailable as error:
                log.warning("settlement_postponed", **ids, error=error.detail)
                if self.ending:
                    return
                await self.home.clock.sleep(TICK_SECONDS)
                continue
            verdict = verdicts[0]
            if verdict.verdict == "invalid" and report.outcome == "completed":
                error_info = ErrorInfo(INVALID_OUTPUT, verdict.detail)
                report = SettlementReport(
                    report.task_id, report.attempt, "failed", error=error_info
                )
                continue
            if verdict.verdict != "recorded":
                log.info("settlement_refused", **ids, why=verdict.detail)
            return

    async def renew(self) -> None:
        """Extend the leases of the calls; end those whose attempt is over."""
        if self._connection is None or not self._calls:
            return
        try:
            lease = round(BEATS * self.home.heartbeat_seconds * SECOND)
            until = self.home.clock.now() + lease
            stale = await self._connection.keep([*self._calls], until)
        except OpsCoreError as error:
            log.warning("renewal_failed", agent_id=self.agent.agent_id, error=str(error))
            return
        self.cancel(stale, "", 0)
