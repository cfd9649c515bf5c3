"""AgentKit's registration webhook: sent once and never again, so what can be understood is taken.

It carries no key: the request is signed with OPSCORE_WEBHOOK_SECRET over its raw body, which is
why the route itself is public and looks at the signature before anything else.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

from opscore.api.access import Unauthenticated
from opscore.api.answer import ok
from opscore.api.body import BodyReader
from opscore.api.call import Call
from opscore.api.route import Reply, Routes
from opscore.channels.agentkit_notices import deregister, register
from opscore.core.errors import Conflict, Fault, Invalid
from opscore.core.types import DEFAULT_NAMESPACE, SECOND, Actor
from opscore.wire.agentkit import AgentKitView, AgentNotice, NoticeAnswer

TOLERANCE_SECONDS = 300
AGENTKIT = Actor("agentkit", "webhook")

routes = Routes("notify")
_reader = BodyReader(AgentNotice)


@routes.body("POST", "/internal/agent/notify", "public", bytes, {200: NoticeAnswer}, lenient=True)
async def notify(call: Call, body: bytes) -> Reply:
    """Take AgentKit's notice that an agent was registered or deregistered."""
    namespace, signature = _authenticated(call, body)
    if signature is not None and call.context.notices.known(signature):
        return ok(NoticeAnswer(status="duplicate"))
    notice = _reader.decode(body, call.context.settings.depth_limit)
    answer = await _carry_out(call, notice, namespace)
    if signature is not None:
        call.context.notices.done(signature)
    return ok(answer)


@routes.plain("POST", "/internal/agent/refresh", "operate", {200: AgentKitView})
async def refresh(call: Call) -> Reply:
    """Ask AgentKit now how it is and, where its version tells, which agents it has."""
    sync = call.context.agentkit
    if sync is None:
        raise Conflict(
            "No AgentKit is known here: start the server with OPSCORE_AGENTKIT_URL.",
            code="no_agentkit",
        )
    await sync.refresh()
    return ok(sync.view())


async def _carry_out(call: Call, notice: AgentNotice, namespace: str) -> NoticeAnswer:
    told, lifecycle = notice.agent_details, call.engine.lifecycle
    match notice.event_type.upper():
        case "REGISTER":
            if not told.agent_name:
                fault = Fault("/agent_details/agentName", "An agent that registers has a name")
                raise Invalid(f"{fault.message}.", faults=[fault])
            record = await register(lifecycle, told, namespace, AGENTKIT)
            return NoticeAnswer(status="registered", agent_id=record.agent_id)
        case "DEREGISTER":
            gone = await deregister(lifecycle, told, namespace, AGENTKIT)
            return NoticeAnswer(status="deregistered" if gone else "ignored")
        case _:
            return NoticeAnswer(status="ignored")


def _authenticated(call: Call, body: bytes) -> tuple[str, str | None]:
    """The namespace that the notice is for, and its signature. Raises `Unauthenticated`.

    A signature says nothing of a namespace, so it is the default one; a key has its own.
    """
    settings = call.context.settings
    secret = settings.webhook_secret
    if secret is not None:
        refusal = _why_not(call, secret, body)
        if refusal is None:
            return DEFAULT_NAMESPACE, _signature(call)
        if call.header(b"authorization") is None:
            raise Unauthenticated(refusal)
    elif not settings.development and call.header(b"authorization") is None:
        raise Unauthenticated(
            "Unsigned notices are accepted in development mode only; set OPSCORE_WEBHOOK_SECRET "
            "here and in AgentKit, or send a key."
        )
    principal = call.context.access.allow(call.scope, "operate")
    return principal.namespace, None


def _why_not(call: Call, secret: str, body: bytes) -> str | None:
    """What is wrong with the signature; None when nothing is."""
    stamp, given = call.header(b"x-agentkit-timestamp"), _signature(call)
    if stamp is None or given is None:
        return (
            "The notice is not signed: X-AgentKit-Timestamp and X-AgentKit-Signature are missing."
        )
    signed = stamp.encode("latin-1") + b"." + body
    right = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    # In constant time, so that the time taken tells nothing about the right one.
    if not hmac.compare_digest(right.encode(), given.encode("latin-1")):
        return "The signature is not that of this body and timestamp with our secret."
    at = _seconds(stamp)
    if at is None:
        return "X-AgentKit-Timestamp is neither Unix seconds nor an ISO 8601 time."
    if not abs(call.context.clock.now() / SECOND - at) <= TOLERANCE_SECONDS:  # NaN too
        return "The timestamp is off by more than five minutes."
    return None


def _signature(call: Call) -> str | None:
    given = call.header(b"x-agentkit-signature")
    return None if given is None else given.strip().lower()


def _seconds(stamp: str) -> float | None:
    try:
        return float(stamp)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(stamp)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
