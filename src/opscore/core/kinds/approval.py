"""An approval: people say yes or no to a content; its hash binds what they saw to what is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from opscore.core import commands as cmd
from opscore.core import events as ev
from opscore.core.expressions import ExpressionFailed, ExpressionScope
from opscore.core.kinds.kind import Kind, Worst
from opscore.core.kinds.task import worst_in_turn, worst_of_chain
from opscore.core.progress import Draft, Refused
from opscore.core.reading import Reader
from opscore.core.retry import REJECTED
from opscore.core.state import Approval
from opscore.core.template import Step, Value
from opscore.core.trees import is_list, kind_of
from opscore.core.types import Json, Micros, StepStatus
from opscore.core.waiting import complete_wait, fail_wait

MAX_APPROVERS = 100
MAX_NAME = 128
MAX_TITLE = 4096
AT_END = ("approve", "reject")
KEYS = ("title", "details", "approvers", "quorum", "timeout", "onTimeout", "escalate")


@dataclass(frozen=True, slots=True)
class Asking:
    """Who is asked, for how long, and what it means that they do not answer in time."""

    approvers: Value | None = None
    timeout: Micros | None = None
    on_timeout: str = "reject"


@dataclass(frozen=True, slots=True)
class Request:
    """What an approval step says. `escalate`: who is asked when nobody answered in time."""

    title: Value
    details: Value
    quorum: int
    asking: Asking
    escalate: Asking | None = None


# -- reading --------------------------------------------------------------------------------


def _read(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Request:
    where = f"{where}/approval"
    found = reader.mapping(node["approval"], where, "approval")
    found = {"title": ""} if found is None else found
    reader.known_keys(found, where, KEYS)
    if "title" not in found:
        reader.fault(where, "the approval has no title", "add 'title: what is asked'")
    quorum = (
        reader.integer(found["quorum"], f"{where}/quorum", "quorum", 1, MAX_APPROVERS)
        if "quorum" in found
        else 1
    )
    asking = _read_asking(reader, found, where, scope, (*AT_END, "escalate"))
    _check_quorum(reader, asking, quorum or 1, f"{where}/quorum")
    return Request(
        title=_read_title(reader, found.get("title", ""), f"{where}/title", scope),
        details=reader.value(found.get("details"), f"{where}/details", scope),
        quorum=quorum or 1,
        asking=asking,
        escalate=_read_escalate(reader, found, where, scope, asking),
    )


def _read_title(reader: Reader, node: object, where: str, scope: ExpressionScope) -> Value:
    if not isinstance(node, str):
        reader.fault(where, f"title must be text, not {kind_of(node)}")
        return Value("", dynamic=False)
    return reader.value(node, where, scope)


def _read_escalate(
    reader: Reader, found: Mapping[str, object], where: str, scope: ExpressionScope, first: Asking
) -> Asking | None:
    wanted, there = first.on_timeout == "escalate", "escalate" in found
    if wanted and not there:
        hint = "add 'escalate: {approvers: [NAME]}'"
        reader.fault(f"{where}/onTimeout", "there is nobody to escalate to", hint)
    if not there:
        return None
    where = f"{where}/escalate"
    if not wanted:
        reader.fault(where, "'escalate' needs 'onTimeout: escalate'", "add it, or leave this out")
    node = reader.mapping(found["escalate"], where, "escalate")
    if node is None:
        return None
    reader.known_keys(node, where, ("approvers", "timeout", "onTimeout"))
    if "approvers" not in node:
        reader.fault(where, "escalate names nobody", "add 'approvers: [NAME]'")
    return _read_asking(reader, node, where, scope, AT_END)


def _read_asking(
    reader: Reader,
    node: Mapping[str, object],
    where: str,
    scope: ExpressionScope,
    words: tuple[str, ...],
) -> Asking:
    timeout = None
    if "timeout" in node:
        timeout = reader.duration(node["timeout"], f"{where}/timeout", "timeout")
    word = node.get("onTimeout", "reject")
    if not isinstance(word, str) or word not in words:
        reader.fault(f"{where}/onTimeout", f"onTimeout is one of: {', '.join(words)}")
        word = "reject"
    if "onTimeout" in node and "timeout" not in node:
        reader.fault(f"{where}/onTimeout", "'onTimeout' needs 'timeout'", "add 'timeout: 1d'")
    return Asking(_read_approvers(reader, node, where, scope), timeout, word)


def _read_approvers(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Value | None:
    if "approvers" not in node:
        return None
    where = f"{where}/approvers"
    value = reader.value(node["approvers"], where, scope)
    if not value.dynamic and (complaint := _complaint(value.tree)) is not None:
        reader.fault(where, complaint, "for example [ada, grace]")
    return value


def _complaint(names: object) -> str | None:
    """What is wrong with a list of approvers, or None."""
    if not is_list(names) or not 0 < len(names) <= MAX_APPROVERS:
        return f"approvers must be a list of 1 to {MAX_APPROVERS} names"
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME for name in names):
        return f"each approver is a name of 1 to {MAX_NAME} characters"
    return "an approver stands twice in 'approvers'" if len({*names}) < len(names) else None


def _check_quorum(reader: Reader, asking: Asking, quorum: int, where: str) -> None:
    names = asking.approvers.tree if asking.approvers is not None else None
    if is_list(names) and names and quorum > len(names):
        reader.fault(where, f"quorum {quorum} is more than there are approvers ({len(names)})")


# -- asking ---------------------------------------------------------------------------------


def _start(draft: Draft, step: Step) -> None:
    request = step.work
    assert isinstance(request, Request)
    scope = draft.scope(step)
    title = json.loads(bytes(draft.expressions.render(request.title, scope)))
    if not isinstance(title, str) or len(title) > MAX_TITLE:
        raise ExpressionFailed(
            f"the title of an approval is text of at most {MAX_TITLE} characters"
        )
    details = draft.expressions.render(request.details, scope)
    if len(details) > draft.payload_limit:
        raise draft.too_large(details, f"what approval {step.name} shows")
    approvers = _approvers(draft, step, request.asking)
    if approvers and request.quorum > len(approvers):
        raise ExpressionFailed(f"quorum {request.quorum} of {len(approvers)} approvers")
    draft.emit(
        ev.ApprovalRequested(
            step=step.name,
            title=title,
            details=details,
            content_hash=content_hash(title, details),
            approvers=approvers,
            quorum=request.quorum,
            due=_until(draft, request.asking),
        )
    )


def content_hash(title: str, details: Json) -> str:
    """SHA-256 in hex of the content's JSON in UTF-8: sorted keys, no spaces."""
    tree = {"title": title, "details": json.loads(bytes(details))}
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _approvers(draft: Draft, step: Step, asking: Asking) -> tuple[str, ...]:
    if asking.approvers is None:
        return ()
    names = json.loads(bytes(draft.expressions.render(asking.approvers, draft.scope(step))))
    complaint = _complaint(names)
    if complaint is not None:
        raise ExpressionFailed(complaint)
    return tuple(names)


def _until(draft: Draft, asking: Asking) -> Micros | None:
    return None if asking.timeout is None else draft.now + asking.timeout


def _due(draft: Draft, step: Step) -> None:
    request, approval = step.work, draft.state.steps[step.name].approval
    assert isinstance(request, Request) and approval is not None
    asking = request.escalate if approval.escalated else request.asking
    late = "nobody decided in time"
    match asking.on_timeout if asking is not None else "reject":
        case "approve":
            _grant(draft, step, approval, None, late)
        case "escalate":
            _escalate(draft, step, approval, request.escalate or Asking())
        case _:
            _refuse(draft, step, None, late)


def _escalate(draft: Draft, step: Step, approval: Approval, asking: Asking) -> None:
    """Others decide from now on. Of a quorum, no more are asked than there are of them."""
    try:
        names = _approvers(draft, step, asking)
    except ExpressionFailed as failure:
        fail_wait(draft, step, failure.error_class, str(failure))
        return
    quorum = min(approval.quorum, len(names))
    draft.emit(ev.ApprovalEscalated(step.name, names, quorum, _until(draft, asking)))


# -- deciding -------------------------------------------------------------------------------


def approve(draft: Draft, c: cmd.Approve) -> Refused | None:
    """Say yes to the content as it is, or to other details in its place.

    An approver who edits says yes to the new content, and what others said of the old one lapses.
    The same approver counts once.
    """
    refused = _may_decide(draft, c.step, c.by, c.content_hash)
    if refused is not None:
        return refused
    approval, step = _approval_of(draft, c.step), draft.template.steps[c.step]
    if c.details is not None:
        new_hash = content_hash(approval.title, c.details)
        if new_hash != approval.content_hash:
            draft.emit(ev.ApprovalEdited(c.step, c.by, c.details, new_hash))
    if all(vote.by != c.by for vote in approval.votes):
        draft.emit(ev.ApprovalApproved(c.step, c.by, c.comment, approval.content_hash))
    if len(approval.votes) >= approval.quorum:
        _grant(draft, step, approval, c.by, "")
    return None


def reject(draft: Draft, c: cmd.Reject) -> Refused | None:
    """Say no: one is enough."""
    refused = _may_decide(draft, c.step, c.by, c.content_hash)
    if refused is not None:
        return refused
    why = f"rejected by {c.by}" + (f": {c.comment}" if c.comment else "")
    _refuse(draft, draft.template.steps[c.step], c.by, why)
    return None


def _may_decide(draft: Draft, name: str, by: str, seen: str | None) -> Refused | None:
    step = draft.state.steps.get(name)
    if step is None or step.approval is None:
        return Refused("not_found", f"session {draft.state.session_id} asks no approval {name}")
    if step.status is not StepStatus.WAITING:
        return Refused("conflict", f"approval {name} is over: the step is {step.status}")
    approval = step.approval
    if approval.approvers and by not in approval.approvers:
        told = ", ".join(approval.approvers[:10])
        return Refused("forbidden", f"{by} is not one of its approvers: {told}")
    if seen is not None and seen != approval.content_hash:
        return Refused(
            "content_changed",
            f"the content is not the one you saw; look at it again (its hash is now "
            f"{approval.content_hash})",
        )
    return None


def _approval_of(draft: Draft, step: str) -> Approval:
    approval = draft.state.steps[step].approval
    assert approval is not None
    return approval


def _refuse(draft: Draft, step: Step, by: str | None, reason: str) -> None:
    draft.emit(ev.ApprovalDecided(step.name, "rejected", reason, by))
    fail_wait(draft, step, REJECTED, reason)


def _grant(draft: Draft, step: Step, approval: Approval, by: str | None, reason: str) -> None:
    draft.emit(ev.ApprovalDecided(step.name, "approved", reason, by))
    comments = [{"by": v.by, "text": v.comment} for v in approval.votes if v.comment]
    output = {
        "approved": True,
        "by": [vote.by for vote in approval.votes],
        "comments": comments,
        "details": json.loads(bytes(approval.details)),
        "contentHash": approval.content_hash,
        "edited": approval.edited,
    }
    complete_wait(draft, step, draft.encode(step, output))


def _worst(step: Step) -> Worst:
    request = step.work
    assert isinstance(request, Request)
    asked = [each for each in (request.asking, request.escalate) if each is not None]
    longest = 0
    for asking in asked:
        if asking.timeout is None:
            return Worst(0, None, ("no timeout of the approval",))
        longest += asking.timeout
    return worst_in_turn(Worst(0, longest), worst_of_chain(step, 0))


APPROVAL = Kind(
    name="approval",
    keys=("approval",),
    modifiers=frozenset({"fallback"}),
    why_not="a step with 'approval' asks people; its own keys stand inside 'approval'",
    read=_read,
    start=_start,
    due=_due,
    worst=_worst,
)
