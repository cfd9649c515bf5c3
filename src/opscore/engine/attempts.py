"""Attempts: the verbs of agents. Claim, heartbeat, progress, settle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from opscore.core.agent import Agent
from opscore.core.errors import NotFound, StaleAttempt
from opscore.core.types import DEFAULT_NAMESPACE, AgentState, session_id_of
from opscore.engine.records import ClaimedAttempt, SettlementReport, VerdictRecord
from opscore.engine.requests import Beat, Reclaim, SettleAttempts
from opscore.engine.seats import Seat, queues_of
from opscore.engine.tools import Tools


class Poll:
    """The receiver of one long-poll: over with the first tasks, or when it is told to end."""

    local = False

    def __init__(self) -> None:
        self.attempts: list[ClaimedAttempt] = []
        self.over = asyncio.Event()

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """The answer."""
        self.attempts.extend(attempts)
        if attempts:
            self.over.set()

    def cancel(
        self, attempts: Sequence[tuple[str, int]], reason: str, grace_seconds: float
    ) -> None:
        """A poll holds nothing that could be cancelled."""

    def drain(self, reason: str) -> None:
        """Tasks come when the agent is activated in time; an answer now would only be asked again."""

    def close(self, reason: str) -> None:
        """A newer poll took the seat, or the server stops."""
        self.over.set()


class Attempts:
    """The part of `Orchestration` that agents use."""

    def __init__(self, tools: Tools) -> None:
        self._t = tools
        self._progress: dict[str, tuple[int, float | None, str]] = {}

    async def settle(
        self,
        reports: Sequence[SettlementReport],
        *,
        agent_id: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> list[VerdictRecord]:
        """Report the end of attempts; one verdict each, in order, once they are durable."""
        if not reports:
            return []
        command = SettleAttempts(reports, self._t.chance, namespace, agent_id)
        return await self._t.writer.submit(command)

    async def heartbeat_task(
        self,
        task_id: str,
        attempt: int,
        *,
        agent_id: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        """Extend one lease, of that agent if one is given. Raises StaleAttempt, NotFound."""
        session_id = self._session_of(task_id)
        beat = Beat([(task_id, attempt)], namespace, agent_id=agent_id)
        if await self._t.writer.submit(beat):
            await self._require(task_id, session_id, namespace)
            raise StaleAttempt(f"attempt {attempt} of task {task_id} is not the current one")

    async def progress(
        self,
        task_id: str,
        attempt: int,
        fraction: float | None,
        message: str,
        *,
        agent_id: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> None:
        """Note how far a running attempt is: kept in memory, shown, not journaled.

        It is a sign of life too. `agent_id`: only of that agent's attempts. Raises StaleAttempt,
        NotFound.
        """
        await self.heartbeat_task(task_id, attempt, agent_id=agent_id, namespace=namespace)
        self._progress[task_id] = (attempt, fraction, message)

    def progress_of(self, task_id: str) -> tuple[float | None, str]:
        """What the running attempt last said of its progress."""
        _, fraction, message = self._progress.get(task_id, (0, None, ""))
        return fraction, message

    def forget_progress(self, over: Iterable[str]) -> None:
        """The attempts of these tasks are over, and have no progress."""
        if self._progress:
            for task_id in over:
                self._progress.pop(task_id, None)

    async def claim(
        self,
        agent_id: str,
        *,
        instance_id: str,
        max: int = 10,
        wait_seconds: float = 0.0,
        holding: Sequence[tuple[str, int]] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> list[ClaimedAttempt]:
        """Long-poll for attempts; [] when none came in time. Raises NotFound, Conflict.

        With `holding`, attempts of the instance that it does not list return at once.
        """
        attempts = await self.claim_now(
            agent_id, instance_id=instance_id, max=max, holding=holding, namespace=namespace
        )
        if attempts or wait_seconds <= 0:
            return attempts
        return await self.claim_later(
            agent_id,
            instance_id=instance_id,
            max=max,
            wait_seconds=wait_seconds,
            namespace=namespace,
        )

    async def claim_now(
        self,
        agent_id: str,
        *,
        instance_id: str,
        max: int = 10,
        holding: Sequence[tuple[str, int]] | None = None,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> list[ClaimedAttempt]:
        """As `claim`, without waiting."""
        agent = self._t.find_agent(namespace, agent_id)
        await self._t.seen(agent, instance_id)
        if holding is not None:
            reclaim = Reclaim(namespace, agent.agent_id, instance_id, holding)
            await self._t.writer.submit(reclaim)
        return await self._t.dispatcher.claim_now(self._seat(agent, instance_id, max, Poll()))

    async def claim_later(
        self,
        agent_id: str,
        *,
        instance_id: str,
        max: int = 10,
        wait_seconds: float,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> list[ClaimedAttempt]:
        """The first attempts that come within the time; [] when none came. Raises NotFound.

        An agent that drains waits too: it may be activated in time.
        """
        agent, poll = self._t.find_agent(namespace, agent_id), Poll()
        seat = self._seat(agent, instance_id, max, poll)
        self._t.dispatcher.sit(seat)
        self._t.dispatcher.wake(seat.queues)
        try:
            await self._t.clock.wait(poll.over, wait_seconds)
        finally:
            self._t.dispatcher.leave(seat)
        return poll.attempts

    def _seat(self, agent: Agent, instance_id: str, slots: int, poll: Poll) -> Seat:
        self._t.dispatcher.check_instance(agent.agent_id, instance_id)
        queues = queues_of(agent.namespace, agent.agent_name, agent.capabilities)
        return Seat(
            namespace=agent.namespace,
            agent_id=agent.agent_id,
            instance_id=instance_id,
            queues=queues,
            max_in_flight=slots,
            receiver=poll,
            agent=agent,
            idle_since=self._t.now(),
            once=True,
            draining=agent.state is AgentState.DRAINING,
        )

    async def _require(self, task_id: str, session_id: str, namespace: str) -> None:
        try:
            await self._t.views.header(session_id, namespace)
        except NotFound:
            raise NotFound(f"there is no task {task_id}") from None

    def _session_of(self, task_id: str) -> str:
        session_id = session_id_of(task_id)
        if session_id is None:
            raise NotFound(f"there is no task {task_id}")
        return session_id
