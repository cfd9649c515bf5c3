"""The commands of the write path that concern sessions, tasks and attempts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from opscore.core import commands as cmd
from opscore.core.errors import Conflict, NotFound
from opscore.core.events import SessionStarted
from opscore.core.retry import AGENT_LOST, TIMEOUT
from opscore.core.state import SessionState, TaskState
from opscore.core.task import Completed, Failed, Outcome, Released
from opscore.core.types import PUSHED, SESSION_ENDED, ErrorInfo, Micros, session_id_of
from opscore.engine.journal import raw
from opscore.engine.records import SettlementReport, VerdictRecord
from opscore.engine.revisions import ANY, Expected
from opscore.engine.unit import Means, Unit, raise_refused
from opscore.store.rows import CallbackRow, LeaseRow, TemplateRow, Wants


def _want_session(wants: Wants, means: Means, session_id: str) -> None:
    if not means.sessions.has(session_id):
        wants.sessions.add(session_id)


@dataclass(slots=True)
class OnSession:
    """One core command on one session. `namespace` None: whoever asks may see every session."""

    session_id: str
    command: cmd.SessionCommand
    namespace: str | None = None
    expected: Expected = ANY
    weight: int = 1
    changed: bool = True

    def want(self, wants: Wants, means: Means) -> None:
        """The session's journal, unless it is in memory."""
        _want_session(wants, means, self.session_id)

    def apply(self, unit: Unit) -> None:
        """Raises NotFound, Outdated, or what the core's refusal means."""
        state = unit.session(self.session_id)
        if state is None or self.namespace not in (None, state.namespace):
            raise NotFound(f"there is no session {self.session_id}")
        self.expected.check(state)
        before = state.seq
        raise_refused(unit.decide(state, self.command))
        self.changed = state.seq > before


@dataclass(slots=True)
class DeleteSession:
    """Remove an ended session with its journal and tasks."""

    session_id: str
    namespace: str
    expected: Expected = ANY
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The session's journal, unless it is in memory."""
        _want_session(wants, means, self.session_id)

    def apply(self, unit: Unit) -> None:
        """Raises NotFound, Outdated, Conflict."""
        state = unit.session(self.session_id)
        if state is None or state.namespace != self.namespace:
            raise NotFound(f"there is no session {self.session_id}")
        self.expected.check(state)
        if state.status not in SESSION_ENDED:
            raise Conflict(f"session {self.session_id} is {state.status}; cancel it first")
        unit.touched[self.session_id] = state
        unit.means.sessions.bury(self.session_id)
        unit.changes.sessions_gone.add(self.session_id)


@dataclass(slots=True)
class AddTemplate:
    """Store a template version; answers (row, whether it is new).

    `schedule` notes in the same commit what a new version does to the workflow's schedule.
    """

    row: TemplateRow
    schedule: Callable[[Unit], None] | None = None
    weight: int = 1
    changed: bool = True

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing but that the commit before is done: it may add the same version."""
        wants.settled = True

    def apply(self, unit: Unit) -> tuple[TemplateRow, bool]:
        """Raises Conflict when the version exists with other content."""
        row, templates = self.row, unit.means.templates
        staged = [r for r in unit.changes.templates if r[:3] == row[:3]]
        known = staged[0] if staged else templates.find(row.namespace, row.name, row.version)
        self.changed = known is None
        if known is None:
            unit.changes.templates.append(row)
            unit.after.append(lambda: templates.add(row))
            if self.schedule is not None:
                self.schedule(unit)
            return row, True
        if known.digest != row.digest:
            raise Conflict(
                f"workflow {row.name} version {row.version} exists with other content; "
                "give the new content a new version",
                code="version_exists",
            )
        return known, False


@dataclass(slots=True)
class StartSessions:
    """Begin sessions; the ids are new. `callbacks`: whom to tell of their ends, by id."""

    starts: Sequence[tuple[str, SessionStarted]]
    callbacks: Mapping[str, str] = field(default_factory=dict[str, str])
    weight: int = 1

    def __post_init__(self) -> None:
        self.weight = len(self.starts)

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing: no journal knows the ids."""

    def apply(self, unit: Unit) -> list[str]:
        """The ids. Cannot be refused: input and version were checked before."""
        for session_id, event in self.starts:
            unit.start(session_id, cmd.Start(event))
            if session_id in self.callbacks:
                row = CallbackRow(session_id, event.namespace, self.callbacks[session_id])
                unit.changes.callbacks[session_id] = row
        return [session_id for session_id, _ in self.starts]


@dataclass(slots=True)
class SettleAttempts:
    """What agents report of attempts. `agent_id`: only that agent's attempts may be named.

    `namespace` None: whoever asks may see every session.
    """

    reports: Sequence[SettlementReport]
    chance: Callable[[], float]
    namespace: str | None = None
    agent_id: str | None = None
    weight: int = 1

    def __post_init__(self) -> None:
        self.weight = max(1, len(self.reports))

    def want(self, wants: Wants, means: Means) -> None:
        """The journals of the sessions named."""
        wants.ending += len(self.reports)
        for report in self.reports:
            session_id = session_id_of(report.task_id)
            if session_id is not None:
                _want_session(wants, means, session_id)

    def apply(self, unit: Unit) -> list[VerdictRecord]:
        """One verdict for each report, in order."""
        return [self._settle(unit, report) for report in self.reports]

    def _settle(self, unit: Unit, report: SettlementReport) -> VerdictRecord:
        limit = unit.means.payload_limit
        if len(report.output) > limit:
            detail = f"the output has {len(report.output)} bytes; the limit is {limit}"
            return VerdictRecord(report.task_id, report.attempt, "invalid", detail)
        state, task = _task_of(unit, report.task_id)
        if state is None or task is None or self.namespace not in (None, state.namespace):
            return VerdictRecord(
                report.task_id,
                report.attempt,
                "unknown_task",
                f"no task {report.task_id}",
            )
        if self.agent_id is not None and task.agent_id != self.agent_id:
            detail = f"task {report.task_id} is not with agent {self.agent_id}"
            return VerdictRecord(report.task_id, report.attempt, "stale_attempt", detail)
        command = cmd.Settle(report.task_id, report.attempt, _outcome(report), self.chance())
        refused = unit.decide(state, command)
        if refused is not None:
            return VerdictRecord(report.task_id, report.attempt, refused.code, refused.detail)
        return VerdictRecord(report.task_id, report.attempt, "recorded")


def _task_of(unit: Unit, task_id: str) -> tuple[SessionState | None, TaskState | None]:
    session_id = session_id_of(task_id)
    state = unit.session(session_id) if session_id is not None else None
    return state, state.tasks.get(task_id) if state is not None else None


def _outcome(report: SettlementReport) -> Outcome:
    usage = None if report.usage is None else raw(report.usage)
    match report.outcome:
        case "completed":
            return Completed(raw(report.output), usage)
        case "released":
            return Released("released by its agent")
        case _:
            error = report.error or ErrorInfo("error", "the agent gave no reason")
            return Failed(error, usage)


@dataclass(slots=True)
class Beat:
    """Extend the leases of attempts; answers with those that are not the sender's any more.

    The sender is as much as is given of namespace, instance and agent.
    `until`: so long, for work that an agent we call has accepted; nothing makes that lease shorter.
    """

    attempts: Sequence[tuple[str, int]]
    namespace: str | None = None
    instance_id: str | None = None
    until: Micros = 0
    agent_id: str | None = None
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The lease rows."""
        wants.leases.update(task_id for task_id, _ in self.attempts)

    def apply(self, unit: Unit) -> list[tuple[str, int]]:
        """The stale attempts."""
        return [pair for pair in self.attempts if not self._extend(unit, *pair)]

    def _extend(self, unit: Unit, task_id: str, attempt: int) -> bool:
        lease = unit.locked.leases.get(task_id)
        if lease is None or lease.attempt != attempt or task_id in unit.changes.unleased:
            return False
        if self.instance_id not in (None, lease.instance_id):
            return False
        if self.agent_id not in (None, lease.agent_id):
            return False
        if self.namespace not in (None, lease.namespace):
            return False
        until = unit.now + (lease.heartbeat or unit.means.lease)
        if lease.instance_id.startswith(PUSHED):
            until = max(until, lease.until, self.until)
        unit.changes.extended[task_id] = until
        return True


@dataclass(slots=True)
class Expire:
    """A lease or an attempt's time is over, unless a heartbeat came first."""

    lease: LeaseRow
    chance: float
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The lease as it is now, and the session."""
        wants.leases.add(self.lease.task_id)
        _want_session(wants, means, self.lease.session_id)

    def apply(self, unit: Unit) -> bool:
        """Whether the attempt was ended."""
        task_id = self.lease.task_id
        lease = unit.locked.leases.get(task_id)
        if lease is None or lease.attempt != self.lease.attempt:
            return False
        if task_id in unit.changes.unleased:
            return False
        error = _why_over(lease, unit.changes.extended.get(task_id, lease.until), unit.now)
        state = unit.session(lease.session_id)
        if error is None or state is None:
            return False
        command = cmd.Settle(task_id, lease.attempt, Failed(error), self.chance)
        if unit.decide(state, command) is not None:
            return False
        unit.tell(state, task_id, error.message, 0)
        return True


def _why_over(lease: LeaseRow, until: Micros, now: Micros) -> ErrorInfo | None:
    if lease.deadline is not None and lease.deadline <= now:
        return ErrorInfo(TIMEOUT, "the attempt took longer than its timeout")
    if until <= now:
        return ErrorInfo(AGENT_LOST, f"no sign of life from instance {lease.instance_id}")
    return None


@dataclass(slots=True)
class Reclaim:
    """An instance says what it still holds: what it does not list returns at once.

    Answers (owned, stale): of the attempts listed, those it owns and those it does not. Whoever
    gives the id of another agent's instance owns nothing of it and returns nothing.
    """

    namespace: str
    agent_id: str
    instance_id: str
    holding: Sequence[tuple[str, int]]
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The instance's leases, with their sessions."""
        wants.holders.add(self.instance_id)

    def apply(self, unit: Unit) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """See the class."""
        listed = set(self.holding)
        owned: list[tuple[str, int]] = []
        for lease in unit.locked.held.get(self.instance_id, ()):
            pair = (lease.task_id, lease.attempt)
            if lease.task_id in unit.changes.unleased or not self._mine(lease):
                continue
            if pair in listed:
                owned.append(pair)
            else:
                self._return(unit, lease)
        stale = [pair for pair in self.holding if pair not in set(owned)]
        return owned, stale

    def _mine(self, lease: LeaseRow) -> bool:
        return (lease.namespace, lease.agent_id) == (self.namespace, self.agent_id)

    def _return(self, unit: Unit, lease: LeaseRow) -> None:
        state = unit.session(lease.session_id)
        if state is not None:
            why = Released("its instance came back without it")
            unit.decide(state, cmd.Settle(lease.task_id, lease.attempt, why, 0.0))
