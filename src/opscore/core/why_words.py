"""The reasons of `core.why` in words for people: the one place where they are said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import assert_never

from opscore.core import why
from opscore.core.agent import Availability
from opscore.core.durations import show_duration
from opscore.core.match_rules import choice_of
from opscore.core.template import Target
from opscore.core.types import SECOND, ErrorInfo, Micros, Phase

NAMES_SAID = 3


def words(reason: why.Reason) -> str:
    """One reason in one sentence, without its step and its times of beginning."""
    match reason:
        case why.NoAgent() | why.NobodyFree() | why.InQueue():
            return _queued(reason)
        case why.LimitFull():
            return limit_full(reason.key, reason.in_use, reason.limit, reason.holders) + _place(
                reason.position
            )
        case why.RateShut() | why.StartsShut():
            rate = f"{reason.limit} per {show_duration(reason.per)}"
            opens = f"the next may begin at {moment(reason.until)}"
            return f"the rate {reason.key} ({rate}) is used up; {opens}{_place(reason.position)}"
        case why.Delayed():
            return _delayed(reason)
        case why.Running():
            return _running(reason)
        case why.ParallelFull():
            return (
                f"{reason.active} of {reason.limit} items at once are under way (maxParallel); "
                f"{reason.left} more wait for them"
            )
        case why.WaitsForTime() | why.WaitsForSignal() | why.WaitsForApproval():
            return _waits(reason)
        case _:
            return _of_session(reason)


def _of_session(
    reason: why.Children | why.SessionsFull | why.Paused | why.WindingDown | why.GoingOn,
) -> str:
    match reason:
        case why.SessionsFull():
            return sessions_full(reason.key, reason.in_use, reason.limit, reason.sessions) + _place(
                reason.position
            )
        case why.Children():
            return _children(reason)
        case why.Paused():
            return f"paused by {reason.by}{_because(reason.reason)}"
        case why.WindingDown():
            return _winding_down(reason)
        case why.GoingOn():
            return "nothing: the next commit carries it on"
    assert_never(reason)


def _queued(reason: why.NoAgent | why.NobodyFree | why.InQueue) -> str:
    match reason:
        case why.NoAgent():
            return nobody(reason.target, (), reason.capable)
        case why.NobodyFree():
            return f"{nobody(reason.target, reason.takers)}{_place(reason.position)}"
        case why.InQueue():
            place = _place(reason.position) if reason.position > 1 else ""
            return f"an agent {_wanted(reason.target)} is free; the task is next to be handed out{place}"


def _waits(reason: why.WaitsForTime | why.WaitsForSignal | why.WaitsForApproval) -> str:
    match reason:
        case why.WaitsForTime():
            return f"it waits until {moment(reason.until)}"
        case why.WaitsForSignal():
            return f"it waits for the signal {reason.name}{_until(reason.until)}"
        case why.WaitsForApproval():
            who = ", ".join(reason.approvers) or "anybody who may"
            votes = f"{reason.votes} of {reason.quorum} have"
            return f"{who} must approve {reason.title!r}: {votes}{_until(reason.until)}"


def limit_full(key: str, in_use: int, limit: int, holders: Sequence[tuple[str, int]]) -> str:
    """That there is no room under a concurrency key, and who takes it."""
    named = [task_id for task_id, _ in holders]
    return f"{in_use} of {limit} are running under the limit {key} ({_some(named, in_use)})"


def sessions_full(key: str, in_use: int, limit: int, holders: Sequence[str]) -> str:
    """That no more sessions are let in under a key, and which are."""
    under_way = f"{in_use} of {limit} sessions are under way under the limit {key}"
    return f"{under_way} ({_some(holders, in_use)})"


def nobody(target: Target, takers: Sequence[why.Taker], capable: int = 0) -> str:
    """Why a task for this target has no taker, given all who could be.

    `capable`: how many have the capability, when none of them has what else is asked.
    """
    if not takers and capable:
        agents = "1 agent provides" if capable == 1 else f"{capable} agents provide"
        return f"{agents} {target.capability}, none has {_asked(target)}"
    if not takers:
        return f"no agent {_wanted(target)} is registered"
    if target.agent is not None:
        return f"agent {target.agent} is {takers[0].availability}{_busy_with(takers[0])}"
    counts = Counter(taker.availability for taker in takers)
    how = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
    number = "the one agent" if len(takers) == 1 else f"{len(takers)} agents"
    return f"of {number} {_wanted(target)}: {how}{_who_is_busy(takers)}"


def _wanted(target: Target) -> str:
    if target.agent is not None:
        return f"named {target.agent}"
    asked = _asked(target)
    return f"with the capability {target.capability}" + (f" and {asked}" if asked else "")


def _asked(target: Target) -> str:
    """What a target asks of agents beyond the capability: `labels {gpu: a100}`."""
    return "" if target.match is None else choice_of(target.match).words


def _who_is_busy(takers: Sequence[why.Taker]) -> str:
    busy = [t for t in takers if t.availability is Availability.BUSY and t.busy_with]
    said = [f"{t.name} has {_some(t.busy_with, t.in_flight)}" for t in busy[:NAMES_SAID]]
    return f" ({'; '.join(said)})" if said else ""


def _busy_with(taker: why.Taker) -> str:
    return f" with {_some(taker.busy_with, taker.in_flight)}" if taker.busy_with else ""


def _some(names: Sequence[str], count: int) -> str:
    """The first few names, and how many more there are."""
    said = ", ".join(names[:NAMES_SAID])
    more = max(count, len(names)) - NAMES_SAID
    return f"{said} and {more} more" if more > 0 else said


def _place(position: int) -> str:
    return f"; number {position} in the queue"


def _delayed(reason: why.Delayed) -> str:
    at = moment(reason.until)
    if reason.count > 1:
        return f"{reason.count} tasks wait for their time; the first is due at {at}"
    if reason.error is None:
        return f"it may begin at {at}"
    return f"attempt {reason.attempt} failed ({_error(reason.error)}); the next is due at {at}"


def _running(reason: why.Running) -> str:
    if reason.count > 1:
        return f"{reason.count} tasks are being worked on"
    one = reason.attempts[0]
    return f"agent {one.agent_id} works on {one.task_id}, attempt {one.attempt}"


def _children(reason: why.Children) -> str:
    if reason.count > 1:
        return f"{reason.count} child sessions are under way"
    return (
        f"child session {reason.sessions[0]} is under way: opscore session why {reason.sessions[0]}"
    )


def _winding_down(reason: why.WindingDown) -> str:
    what = f"cancelled by {reason.by}" if reason.cancelled else "failed"
    if reason.phase is Phase.HANDLING:
        return f"{what} ({_error(reason.error)}); the steps for a failure run"
    if reason.phase is Phase.COMPENSATING:
        return f"{what} ({_error(reason.error)}); what completed is being undone"
    return f"{what} ({_error(reason.error)}); what runs has until {moment(reason.until)} to stop"


def _error(error: ErrorInfo) -> str:
    return f"{error.error_class}: {error.message}" if error.message else error.error_class


def _until(at: Micros | None) -> str:
    return "" if at is None else f", until {moment(at)}"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def moment(at: Micros) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    instant = datetime.fromtimestamp(at / SECOND, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
