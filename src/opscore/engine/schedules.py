"""Schedules at work: all of them are in memory, and each change is one row of a commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import structlog

from opscore.core import commands as cmd
from opscore.core.errors import Conflict, NotFound, Refusal
from opscore.core.events import SessionStarted
from opscore.core.schedule import Schedule, next_time, overlap, passed
from opscore.core.template import Template
from opscore.core.types import CANCEL_GRACE, Micros
from opscore.engine.unit import Means, Unit
from opscore.store.rows import ScheduleRow, Wants

Key = tuple[str, str]
StartEvent = Callable[[ScheduleRow, Micros], SessionStarted]
"""(the schedule, the time it is started for) → the first event of the session."""

log = structlog.get_logger("opscore.schedules")


@dataclass(slots=True)
class ScheduleBook:
    """The schedules as they were last committed.

    `waiting`: whose queued times wait for the end of which session; `ready`: whose wait is over.
    """

    rows: dict[Key, ScheduleRow] = field(default_factory=dict[Key, ScheduleRow])
    waiting: dict[str, Key] = field(default_factory=dict[str, Key])
    ready: set[Key] = field(default_factory=set[Key])

    def load(self, rows: Iterable[ScheduleRow]) -> None:
        """What an earlier process left. Whether a session ended meanwhile is looked at first."""
        for row in rows:
            self.put(row)
        self.ready.update(self.waiting.values())

    def put(self, row: ScheduleRow) -> None:
        """A schedule as it is now."""
        self.rows[row[:2]] = row
        if row.last_session is not None and times_of(row):
            self.waiting[row.last_session] = row[:2]

    def remove(self, key: Key) -> None:
        """The template has no schedule any more."""
        self.rows.pop(key, None)

    def get(self, unit: Unit, key: Key) -> ScheduleRow | None:
        """A schedule as a batch has it so far."""
        if key in unit.changes.schedules_gone:
            return None
        return unit.changes.schedules.get(key) or self.rows.get(key)

    def ended(self, sessions: Iterable[str]) -> bool:
        """These sessions have ended; whether queued times waited for one of them."""
        if not self.waiting:
            return False
        ended = [s for s in sessions if s in self.waiting]
        self.ready.update(self.waiting.pop(session) for session in ended)
        return bool(ended)

    def due(self, now: Micros) -> list[Key]:
        """Those whose time has come."""
        due = [k for k, row in self.rows.items() if row.next_at is not None and row.next_at <= now]
        ready, self.ready = self.ready, set()
        return [*due, *(ready - set(due))]

    def next_at(self) -> Micros | None:
        """The next time of any."""
        times = [row.next_at for row in self.rows.values() if row.next_at is not None]
        return min(times, default=None)


def times_of(row: ScheduleRow) -> list[Micros]:
    """The times that wait for the session before them."""
    return msgspec.json.decode(row.queued, type=list[int])


def _queue(times: list[Micros]) -> str:
    return msgspec.json.encode(times).decode()


def first_row(template: Template, namespace: str, now: Micros) -> ScheduleRow | None:
    """The row with which a template's schedule begins."""
    if template.schedule is None:
        return None
    at = next_time(template.schedule, now, now)
    return ScheduleRow(namespace, template.name, template.version, now, 0, at, None, None, "[]", 0)


def replace_schedule(unit: Unit, book: ScheduleBook, key: Key, row: ScheduleRow | None) -> None:
    """A new version of a template brings its schedule, or none, in place of the old one's.

    One that was paused stays so, and overlaps are counted on.
    """
    old = book.get(unit, key)
    if row is None:
        if old is not None:
            unit.changes.schedules.pop(key, None)
            unit.changes.schedules_gone.add(key)
            unit.after.append(lambda: book.remove(key))
        return
    if old is not None:
        row = row._replace(
            paused=old.paused,
            next_at=None if old.paused else row.next_at,
            last_session=old.last_session,
            last_at=old.last_at,
            queued=old.queued,
        )
    _save(unit, book, row)


def _save(unit: Unit, book: ScheduleBook, row: ScheduleRow) -> None:
    unit.changes.schedules[row[:2]] = row
    unit.changes.schedules_gone.discard(row[:2])
    unit.after.append(lambda: book.put(row))


@dataclass(slots=True)
class _OnSchedule:
    """What the commands have in common: one schedule, and the session it started last."""

    key: Key
    book: ScheduleBook
    new_id: Callable[[], str]
    event: StartEvent
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """What was committed before, and the last session."""
        wants.settled = True
        row = self.book.rows.get(self.key)
        last = None if row is None else row.last_session
        if last is not None and not means.sessions.has(last):
            wants.sessions.add(last)

    def _start(self, unit: Unit, row: ScheduleRow, at: Micros) -> ScheduleRow:
        """Start a session, in the very commit that notes it: so never twice, whatever crashes."""
        session_id = self.new_id()
        unit.start(session_id, cmd.Start(self.event(row, at)))
        return row._replace(last_session=session_id, last_at=at)


class Fire(_OnSchedule):
    """A schedule's time has come, or the session that queued times waited for has ended."""

    __slots__ = ()

    def apply(self, unit: Unit) -> None:
        """Nothing happens when it was paused or changed meanwhile."""
        row = self.book.get(unit, self.key)
        if row is None or row.paused:
            return
        before = row
        schedule = schedule_of(unit.means, row)
        try:
            row = self._late(unit, row)
            if row.next_at is not None and row.next_at <= unit.now:
                row = self._due(unit, row, schedule, row.next_at)
        except Refusal as refusal:
            log.error("schedule_failed", workflow=row.workflow, error=refusal.detail)
            following = next_time(schedule, row.origin, unit.now)
            row = before._replace(next_at=following, missed=before.missed + 1)
        if row != before:
            _save(unit, self.book, row)
        elif row.last_session is not None and times_of(row):
            last = row.last_session
            unit.after.append(lambda: self.book.waiting.setdefault(last, self.key))

    def _late(self, unit: Unit, row: ScheduleRow) -> ScheduleRow:
        """The oldest queued time, when nothing runs any more."""
        times = times_of(row)
        if not times or self._running(unit, row):
            return row
        return self._start(unit, row, times[0])._replace(queued=_queue(times[1:]))

    def _running(self, unit: Unit, row: ScheduleRow) -> bool:
        state = None if row.last_session is None else unit.session(row.last_session)
        return state is not None and state.finished_at is None

    def _due(self, unit: Unit, row: ScheduleRow, schedule: Schedule, due: Micros) -> ScheduleRow:
        found = passed(schedule, row.origin, due, unit.now)
        row = row._replace(next_at=found.next_at, missed=row.missed + found.missed)
        for at in found.start:
            row = self._one(unit, row, schedule, at)
        return row

    def _one(self, unit: Unit, row: ScheduleRow, schedule: Schedule, at: Micros) -> ScheduleRow:
        state = None if row.last_session is None else unit.session(row.last_session)
        times = times_of(row)
        choice = overlap(schedule, None if state is None else state.status, len(times))
        if choice == "queue":
            return row._replace(queued=_queue([*times, at]))
        if choice == "skip":
            return row._replace(missed=row.missed + 1)
        if choice == "replace" and state is not None and state.stopping is None:
            why = "the schedule's next time has come"
            unit.decide(state, cmd.Cancel(why, "system:schedule", CANCEL_GRACE))
        return self._start(unit, row, at)


class Trigger(_OnSchedule):
    """Start one now, whatever runs."""

    __slots__ = ()

    def apply(self, unit: Unit) -> str:
        """The session's id. Raises NotFound, and what starting raises."""
        row = _require(self.book.get(unit, self.key), self.key)
        row = self._start(unit, row, unit.now)
        _save(unit, self.book, row)
        assert row.last_session is not None
        return row.last_session


@dataclass(slots=True)
class Hold:
    """Pause a schedule, or let it go on."""

    key: Key
    book: ScheduleBook
    paused: bool
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """What was committed before."""
        wants.settled = True

    def apply(self, unit: Unit) -> None:
        """Raises NotFound, Conflict when it is so already."""
        row = _require(self.book.get(unit, self.key), self.key)
        if bool(row.paused) == self.paused:
            word = "paused" if self.paused else "not paused"
            raise Conflict(f"the schedule of {row.workflow} is {word}")
        schedule = schedule_of(unit.means, row)
        following = None if self.paused else next_time(schedule, row.origin, unit.now)
        queued = "[]" if self.paused else row.queued
        changed = row._replace(paused=int(self.paused), next_at=following, queued=queued)
        _save(unit, self.book, changed)


def _require(row: ScheduleRow | None, key: Key) -> ScheduleRow:
    if row is None:
        raise NotFound(f"workflow {key[1]} has no schedule")
    return row


def schedule_of(means: Means, row: ScheduleRow) -> Schedule:
    """What the template of a row says."""
    schedule = means.templates.parsed(row.namespace, row.workflow, row.version).schedule
    assert schedule is not None
    return schedule
