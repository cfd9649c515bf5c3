"""The `http` channel: we POST the task to the agent's endpoint, signed.

The agent answers 200 with the output as JSON (204: none), or 202 and reports later as any agent
does, with `taskId` and `attempt`. What else it may answer, and what class of error that is, is in
`replies.py`. The signature has the form of Standard Webhooks (github.com/standard-webhooks).
"""

from __future__ import annotations

import msgspec

from opscore.channels.attempts import attempt_view
from opscore.channels.push import PushAgent
from opscore.channels.replies import (
    Reply,
    is_json,
    no_answer,
    read_json,
    refusal,
    wrong_content,
)
from opscore.core.agent import Agent
from opscore.core.errors import Invalid
from opscore.core.types import SECOND
from opscore.engine.records import AgentRecord, ClaimedAttempt
from opscore.outgoing.request import Answer, OutgoingFailed
from opscore.outgoing.signing import Signing, signed

_encode = msgspec.json.Encoder().encode


def secret_of(signing: Signing, agent: Agent | AgentRecord) -> str:
    """The secret of an agent: another one each time the agent is registered anew."""
    return signing.secret("agent", agent.namespace, agent.agent_id, str(agent.created_at))


class HttpAgent(PushAgent):
    """An agent with an HTTP endpoint."""

    async def call(self, attempt: ClaimedAttempt, seconds: float) -> Reply:
        """POST the attempt in the shape in which a claim would have given it."""
        home = self.home
        now = home.clock.now()
        body = _encode(attempt_view(attempt))
        message_id = f"{attempt.task_id}-{attempt.attempt}"
        secret = secret_of(home.signing, self.agent)
        headers = {
            "content-type": "application/json",
            "idempotency-key": attempt.idempotency_key,
            "traceparent": attempt.traceparent,
            **signed(secret, message_id, now // SECOND, body),
        }
        try:
            answer = await home.outgoing.post(
                self.agent.contact_endpoint or "", body, headers, seconds=seconds
            )
        except OutgoingFailed as failure:
            return no_answer(failure)
        return meaning(answer) or refusal(answer, home.clock.now())


def meaning(answer: Answer) -> Reply | None:
    """What a success says; None for what is none."""
    match answer.status:
        case 202:
            return Reply()
        case 204:
            return Reply(output=b"null")
        case 200 | 201:
            return _output(answer)
        case _:
            return None


def _output(answer: Answer) -> Reply:
    if not is_json(answer):
        media = answer.headers.get("content-type", "nothing")[:100]
        return wrong_content(
            f"the agent answered {answer.status} with {media}, not with JSON", answer.status
        )
    try:
        read_json(answer.body)
    except Invalid as error:
        return wrong_content(
            f"the agent answered {answer.status}, but {error.detail}", answer.status
        )
    return Reply(output=msgspec.Raw(answer.body))
