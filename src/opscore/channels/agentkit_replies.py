"""What AgentKit's agents say: in their replies, and by reports of their state."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from opscore.channels.replies import (
    AGENT_ERROR,
    Reply,
    is_json,
    read_object,
    refusal,
    text_of,
    wrong_content,
)
from opscore.core.agent import Agent
from opscore.core.errors import Invalid
from opscore.core.types import AgentState, ErrorInfo, Micros
from opscore.outgoing.request import Answer

WORKFLOW_TASK = "workflow_task"
FAILED = frozenset({"error", "failed"})
COMPLETED = frozenset({"completed", "success"})
IGNORED = "ignored"

_encode = msgspec.json.Encoder().encode


def meaning(answer: Answer, kind: str, now: Micros) -> Reply:
    """What a reply decides; a 202 to a task without a verdict leaves it to the agent's reports."""
    if answer.status not in {200, 201, 202}:
        return refusal(answer, now)
    try:
        if not is_json(answer):
            raise Invalid("it is not sent as JSON")
        said = read_object(answer.body)
    except Invalid as error:
        if answer.status == 202 and kind == WORKFLOW_TASK:
            return Reply()
        return wrong_content(
            f"the agent answered {answer.status}, but {error.detail}", answer.status
        )
    return _verdict(answer.status, kind, said)


def _verdict(status: int, kind: str, said: dict[str, Any]) -> Reply:
    word = str(said.get("status", "")).lower()
    if word in FAILED:
        why = text_of(said) or f"the agent says {word}"
        return Reply(error=ErrorInfo(AGENT_ERROR, why, http_status=status))
    if kind != WORKFLOW_TASK:
        return Reply(output=_encode(said.get("result", said)))
    if word in COMPLETED:
        return Reply(output=_encode(said.get("result")))
    if word == IGNORED:
        why = text_of(said) or "the agent ignored the task"
        return Reply(error=ErrorInfo(IGNORED, why, http_status=status))
    if status == 202:
        return Reply()
    return wrong_content(f"the agent answered with the status {word[:100]!r}", status)


def reported(before: Agent, agent: Agent) -> bool:
    """Whether a report came between the two; one that was overtaken by a newer is none."""
    return _word(before) != _word(agent)


def _word(agent: Agent) -> tuple[object, ...]:
    return (agent.changed_at, agent.reported, agent.reported_at, agent.previous)


class Relayed:
    """A task whose end only the agent's reports tell: `active`, then `idle`.

    What was received before the dispatch does not count, and an `idle` without an `active` since
    then is about an earlier task.
    """

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.over = asyncio.Event()
        self._active = False

    def hear(self, before: Agent, agent: Agent) -> None:
        """A report was received; two that share a commit show as one, with what was previous."""
        match agent.condition:
            case AgentState.ACTIVE:
                self._active = True
            case AgentState.ERROR:
                why = agent.last_error or "the agent reported an error"
                self._end(Reply(error=ErrorInfo(AGENT_ERROR, why)))
            case AgentState.IDLE:
                fresh = before.condition is not AgentState.ACTIVE
                if self._active or (fresh and agent.previous is AgentState.ACTIVE):
                    self._end(Reply(output=_encode(agent.details)))
            case _:
                pass

    def _end(self, reply: Reply) -> None:
        if self.reply is None:
            self.reply = reply
            self.over.set()
