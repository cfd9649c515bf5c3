"""What people do in a rehearsal: signals that arrive, and decisions on approvals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from opscore.core.reading import Reader
from opscore.core.trees import is_list, kind_of, pointer
from opscore.core.types import Json, Micros
from opscore.engine.orchestration import Orchestration
from opscore.engine.records import ApprovalRecord

Plan = Callable[[Micros, Callable[[], Awaitable[None]]], None]
"""Have something done so long from now."""

VERBS = ("approve", "reject", "edit")


def after_of(reader: Reader, node: Mapping[str, object], where: str) -> Micros:
    """`after`: a duration, or 0, which is what it is when left out."""
    if node.get("after", 0) == 0:
        return 0
    return reader.duration(node["after"], f"{where}/after", "after") or 0


@dataclass(frozen=True, slots=True)
class SignalMock:
    """A signal that arrives so long after the start."""

    name: str
    payload: Json
    after: Micros
    signal_id: str | None = None


@dataclass(frozen=True, slots=True)
class DecisionMock:
    """A person's decision, so long after the step began to wait; `details` are edited ones."""

    verb: str
    by: str
    comment: str
    after: Micros
    details: Json | None = None


def read_signals(reader: Reader, node: object, where: str) -> tuple[SignalMock, ...]:
    """`signals`: a list of {name, payload, after, id}."""
    return tuple(
        _read_signal(reader, each, f"{where}/{at}")
        for at, each in enumerate(_list(reader, node, "signals", where))
    )


def _read_signal(reader: Reader, node: object, where: str) -> SignalMock:
    found = reader.mapping(node, where, "a signal") or {}
    reader.known_keys(found, where, ("name", "payload", "after", "id"))
    name = reader.name(found.get("name"), f"{where}/name", "name") or ""
    number = reader.name(found["id"], f"{where}/id", "id") if "id" in found else None
    payload = msgspec.Raw(msgspec.json.encode(found.get("payload")))
    return SignalMock(name, payload, after_of(reader, found, where), number)


def read_approvals(reader: Reader, node: object, where: str) -> dict[str, tuple[DecisionMock, ...]]:
    """`approvals`: by the name of a step, a list of decisions."""
    found = reader.mapping(node, where, "approvals") or {}
    return {
        step: tuple(
            _read_decision(reader, each, where + pointer(step, at))
            for at, each in enumerate(_list(reader, decisions, step, where + pointer(step)))
        )
        for step, decisions in found.items()
    }


def _read_decision(reader: Reader, node: object, where: str) -> DecisionMock:
    found = reader.mapping(node, where, "a decision") or {}
    reader.known_keys(found, where, (*VERBS, "details", "comment", "after"))
    verbs = [verb for verb in VERBS if verb in found]
    if len(verbs) != 1 or (verbs == ["edit"]) != ("details" in found):
        hint = "for example {approve: ann}, or {edit: ann, details: …}"
        reader.fault(where, "a decision is one of approve, reject, edit", hint)
        return DecisionMock("approve", "", "", 0)
    by = reader.name(found[verbs[0]], where + pointer(verbs[0]), "a person") or ""
    comment = reader.text(found.get("comment", ""), f"{where}/comment", "comment") or ""
    details = msgspec.Raw(msgspec.json.encode(found["details"])) if "details" in found else None
    return DecisionMock(verbs[0], by, comment, after_of(reader, found, where), details)


def _list(reader: Reader, node: object, what: str, where: str) -> list[object]:
    if is_list(node):
        return node
    reader.fault(where, f"{what} must be a list, not {kind_of(node)}")
    return []


class People:
    """Sends the signals of a case, and decides when something is asked."""

    def __init__(
        self,
        ops: Orchestration,
        signals: tuple[SignalMock, ...],
        approvals: Mapping[str, tuple[DecisionMock, ...]],
        plan: Plan,
    ) -> None:
        self._ops = ops
        self._signals = signals
        self._approvals = approvals
        self._plan = plan
        self._asked: set[str] = set()

    def begin(self, session_id: str) -> None:
        """Plan the signals to a session that has just started."""
        for signal in self._signals:
            self._plan(signal.after, lambda signal=signal: self._send(session_id, signal))

    async def _send(self, session_id: str, signal: SignalMock) -> None:
        await self._ops.signal(session_id, signal.name, signal.payload, signal_id=signal.signal_id)

    async def look(self, workflow: str) -> bool:
        """Plan the decisions on whatever is asked newly; whether there was anything."""
        if not self._approvals:
            return False
        pending = (await self._ops.list_approvals(status="pending")).items
        fresh = [each for each in pending if each.approval_id not in self._asked]
        for approval in fresh:
            self._asked.add(approval.approval_id)
            name = approval.step
            if approval.workflow != workflow:
                name = f"{approval.workflow}/{name}"
            for decision in self._approvals.get(name, ()):
                self._plan(
                    decision.after,
                    lambda approval=approval, decision=decision: self._decide(approval, decision),
                )
        return bool(fresh)

    async def _decide(self, approval: ApprovalRecord, decision: DecisionMock) -> None:
        if decision.verb == "reject":
            await self._ops.reject(approval.approval_id, by=decision.by, comment=decision.comment)
            return
        # People look before they decide: the hash is that of the content as it is by then.
        seen = await self._ops.get_approval(approval.approval_id)
        await self._ops.approve(
            approval.approval_id,
            seen.content_hash,
            by=decision.by,
            comment=decision.comment,
            details=decision.details,
        )
