"""What people send to sessions that wait: signals, and answers to approvals."""

from __future__ import annotations

import msgspec

from opscore.core import commands as cmd
from opscore.core.errors import Fault, Invalid, NotFound, TooLarge
from opscore.core.kinds.signal import awaited
from opscore.core.template import Template
from opscore.core.types import DEFAULT_NAMESPACE, SYSTEM, Actor, Json, step_of
from opscore.engine.audit import Note, ordered
from opscore.engine.journal import raw
from opscore.engine.records import ApprovalRecord, Paged
from opscore.engine.requests import OnSession
from opscore.engine.tools import Tools
from opscore.json_schema import validate
from opscore.store.store import Filters

MAX_NAME = 128
MAX_COMMENT = 4096
NULL: Json = b"null"


class Waiting:
    """The part of `Orchestration` that concerns steps that wait."""

    def __init__(self, tools: Tools) -> None:
        self._t = tools

    async def signal(
        self,
        session_id: str,
        name: str,
        payload: Json = NULL,
        *,
        signal_id: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> str:
        """Send a signal; its id, once it is durable. One sent before its step waits is kept.

        The same `signal_id` again changes nothing. Raises NotFound, Conflict (ended, or too many
        that nobody took), Impossible (no step waits for that name), Invalid (the payload does not
        fit the schema of its steps), TooLarge.
        """
        row = await self._t.views.header(session_id, namespace)
        if signal_id is not None and not 0 < len(signal_id) <= MAX_NAME:
            raise Invalid(f"the id of a signal has 1 to {MAX_NAME} characters")
        self._check_size(payload, "payload")
        _check_payload(
            self._t.templates.parsed(namespace, row.workflow, row.version), name, payload
        )
        chosen = signal_id if signal_id is not None else self._t.ids.new("sig_")
        command = cmd.Signal(name, chosen, raw(payload), str(actor))
        note = ordered(actor, "session.signalled", namespace, session_id, name=name, id=chosen)
        await self._t.writer.submit(OnSession(session_id, command, namespace), note)
        return chosen

    async def list_approvals(
        self,
        *,
        status: str | None = None,
        session: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Paged[ApprovalRecord]:
        """What people are or were asked, the newest session's first."""
        filters: Filters = {"namespace": namespace, "status": status, "session_id": session}
        return await self._t.views.approvals(filters, cursor, limit)

    async def get_approval(
        self, approval_id: str, *, namespace: str = DEFAULT_NAMESPACE
    ) -> ApprovalRecord:
        """One of them. Raises NotFound."""
        return await self._t.views.approval(approval_id, namespace)

    async def approve(
        self,
        approval_id: str,
        content_hash: str,
        *,
        by: str | None = None,
        comment: str = "",
        details: Json | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> ApprovalRecord:
        """Say yes to the content of that hash, or put other `details` in its place and say yes.

        `by` is the approver, when it is not the actor. Raises NotFound, Forbidden (not one of its
        approvers), Conflict (`content_changed`, or it is over), Invalid, TooLarge.
        """
        if details is not None:
            self._check_size(details, "details")
            details = raw(details)
        who = _approver(by, actor, comment)
        session_id, step = _split(approval_id)
        command = cmd.Approve(step, who, comment, content_hash, details)
        told = {"by": who, "contentHash": content_hash, "edited": details is not None or None}
        note = ordered(actor, "approval.approved", namespace, approval_id, **told)
        return await self._decide(approval_id, session_id, command, namespace, note)

    async def reject(
        self,
        approval_id: str,
        *,
        content_hash: str | None = None,
        by: str | None = None,
        comment: str = "",
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> ApprovalRecord:
        """Say no; one is enough. Raises as `approve` does."""
        who = _approver(by, actor, comment)
        session_id, step = _split(approval_id)
        command = cmd.Reject(step, who, comment, content_hash)
        note = ordered(actor, "approval.rejected", namespace, approval_id, by=who)
        return await self._decide(approval_id, session_id, command, namespace, note)

    async def _decide(
        self,
        approval_id: str,
        session_id: str,
        command: cmd.SessionCommand,
        namespace: str,
        note: Note | None,
    ) -> ApprovalRecord:
        try:
            await self._t.writer.submit(OnSession(session_id, command, namespace), note)
        except NotFound:
            raise _unknown(approval_id) from None
        return await self.get_approval(approval_id, namespace=namespace)

    def _check_size(self, document: Json, what: str) -> None:
        limit = self._t.settings.payload_limit
        if len(document) > limit:
            detail = f"the {what} has {len(document)} bytes; the limit is {limit}"
            raise TooLarge(detail, code="payload_too_large")


def _check_payload(template: Template, name: str, payload: Json) -> None:
    """Which step will take the signal is not known: it must fit all that wait for the name."""
    for each in awaited(template).get(name, ()):
        faults = [] if each.schema is None else validate(each.schema, msgspec.Raw(payload))
        if faults:
            told = [Fault(f"/payload{f.pointer}", f.message, f.hint) for f in faults]
            first = told[0]
            detail = f"the payload does not fit signal {name}: {first.pointer}: {first.message}"
            raise Invalid(detail, faults=told)


def _approver(by: str | None, actor: Actor, comment: str) -> str:
    who = actor.name if by is None else by
    if not 0 < len(who) <= MAX_NAME:
        raise Invalid(f"the name of an approver has 1 to {MAX_NAME} characters")
    if len(comment) > MAX_COMMENT:
        raise Invalid(f"a comment has at most {MAX_COMMENT} characters")
    return who


def _split(approval_id: str) -> tuple[str, str]:
    found = step_of(approval_id)
    if found is None:
        raise _unknown(approval_id)
    return found


def _unknown(approval_id: str) -> NotFound:
    return NotFound(f"there is no approval {approval_id}")
