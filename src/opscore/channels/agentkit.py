"""The `agentkit` channel: agents that registered with AgentKit.

A task is posted directly to the agent's `contactEndpoint`, whose reply decides. AgentKit's own
relay answers 202 and loses every message that is no tool invocation; it is used where a label of
the agent asks for it (`agentkit.delivery: relay`), and there the agent's reports of its state
decide. `agentkit.message: tool_invocation` sends tasks in that form.

Reports carry no task, and those about a task come milliseconds after its reply. So an agent has
one task at a time, and after it stays occupied until it says that it is idle, or half a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from opscore.channels.agentkit_replies import WORKFLOW_TASK, Relayed, meaning, reported
from opscore.channels.attempts import moment
from opscore.channels.push import Home, PushAgent
from opscore.channels.replies import Reply, no_answer
from opscore.core.agent import Agent
from opscore.core.retry import TIMEOUT
from opscore.core.types import SECOND, AgentState, ErrorInfo, Micros
from opscore.engine.records import ClaimedAttempt
from opscore.outgoing.request import Outgoing, OutgoingFailed

OCCUPIED: Micros = SECOND // 2
"""How long an agent may take to say that it is idle after its reply."""
DELIVERY, MESSAGE = "agentkit.delivery", "agentkit.message"
RELAY, TOOL_INVOCATION = "relay", "tool_invocation"

_encode = msgspec.json.Encoder().encode


class AgentKit:
    """Where AgentKit is: the operator's own setting, so that its address is not questioned."""

    def __init__(self, url: str, outgoing: Outgoing) -> None:
        self.url = url.rstrip("/")
        self.outgoing = outgoing

    def relay_url(self, agent: Agent) -> str:
        """Where messages for an agent are posted; AgentKit knows it by its newest id."""
        known_as = agent.aliases[-1] if agent.aliases else agent.agent_id
        return f"{self.url}/v1/agents/{known_as}/run"


class AgentKitAgent(PushAgent):
    """An agent that AgentKit registered."""

    def __init__(self, agent: Agent, home: Home, agentkit: AgentKit | None = None) -> None:
        super().__init__(agent, home)
        self._agentkit = agentkit
        self._occupied = False
        self._occupied_until: Micros = 0
        self._idle = asyncio.Event()
        self._relayed: Relayed | None = None
        self._vacating: asyncio.Task[Any] | None = None

    # -- one task at a time -----------------------------------------------------------------

    def slots(self, now: Micros) -> int:
        """One, unless it is occupied."""
        return 0 if self._occupied else min(1, super().slots(now))

    def reachable(self) -> bool:
        """Whether it is known where to call: the relay needs AgentKit's address."""
        return self._agentkit is not None if self._by_relay else super().reachable()

    @property
    def _by_relay(self) -> bool:
        return self.agent.labels.get(DELIVERY) == RELAY

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """Call it; from now on it is occupied, whoever ends the attempt."""
        self._occupied = True
        super().tasks(attempts)
        self.refresh()

    def over(self, key: tuple[str, int]) -> None:
        """Wait for its word before the next task."""
        super().over(key)
        if not self.busy and not self.ending:
            self._vacating = self.home.spawn(self._vacate())

    async def _vacate(self) -> None:
        wait = max(0, self._occupied_until - self.home.clock.now())
        await self.home.clock.wait(self._idle, wait / SECOND)
        if not self.busy:
            self._occupied = False
            self.free_since = self.home.clock.now()
            self.refresh()

    def close(self, reason: str) -> None:
        """Wait for nothing any more."""
        super().close(reason)
        if self._vacating is not None:
            self._vacating.cancel()

    def changed(self, before: Agent, agent: Agent) -> None:
        """A report tells that it is idle, or how a relayed task stands."""
        if reported(before, agent):
            if agent.condition is AgentState.IDLE:
                self._idle.set()
            if self._relayed is not None:
                self._relayed.hear(before, agent)
        super().changed(before, agent)

    # -- calls ------------------------------------------------------------------------------

    async def call(self, attempt: ClaimedAttempt, seconds: float) -> Reply:
        """Post the task and wait for what decides it.

        When this is cut, the agent still works: it stays occupied for as long as the task may take.
        """
        now = self.home.clock.now()
        self._occupied_until = now + round(seconds * SECOND)
        self._idle.clear()
        self._relayed = relayed = Relayed()
        try:
            reply = await self._post(attempt, seconds)
            if reply.accepted:
                reply = await self._reports(relayed, seconds)
            elif not relayed.over.is_set() or not self._by_relay:
                # What it reported before its reply was about something else.
                self._idle.clear()
        finally:
            self._relayed = None
        self._occupied_until = self.home.clock.now() + OCCUPIED
        return reply

    async def _reports(self, relayed: Relayed, seconds: float) -> Reply:
        await self.home.clock.wait(relayed.over, seconds)
        if relayed.reply is not None:
            return relayed.reply
        message = f"the agent reported no end within {seconds:g} seconds"
        return Reply(error=ErrorInfo(TIMEOUT, message), sick=True)

    async def _post(self, attempt: ClaimedAttempt, seconds: float) -> Reply:
        kind = self.agent.labels.get(MESSAGE, WORKFLOW_TASK)
        url, outgoing = self.agent.contact_endpoint or "", self.home.outgoing
        if self._by_relay and self._agentkit is not None:
            url, outgoing = self._agentkit.relay_url(self.agent), self._agentkit.outgoing
        now = self.home.clock.now()
        headers = {"content-type": "application/json", "traceparent": attempt.traceparent}
        body = _encode(message_of(attempt, kind, now))
        try:
            answer = await outgoing.post(url, body, headers, seconds=seconds)
        except OutgoingFailed as failure:
            return no_answer(failure)
        return meaning(answer, kind, now)


def message_of(attempt: ClaimedAttempt, kind: str, now: Micros) -> dict[str, Any]:
    """The message for an attempt. Unknown fields are dropped on the way, so its ids stand twice."""
    name = attempt.capability or attempt.step
    ids = {
        "taskId": attempt.task_id,
        "sessionId": attempt.session_id,
        "attempt": attempt.attempt,
        "context": msgspec.Raw(attempt.context),
    }
    given = msgspec.Raw(attempt.input)
    asked = (
        {"tool_name": name, "arguments": given}
        if kind == TOOL_INVOCATION
        else {"task_name": name, "parameters": given}
    )
    return {
        "senderId": "opscore",
        "messageType": kind,
        "payload": {**asked, **ids},
        "task_name": name,
        "opscore_session_id": attempt.session_id,
        "opscore_task_id": attempt.task_id,
        "timestamp": moment(now),
    }
