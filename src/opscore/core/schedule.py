"""Schedules: when a template starts by itself. Pure: calendars and the clock are passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from opscore.core.reading import Reader
from opscore.core.record import record
from opscore.core.types import SECOND, SESSION_ENDED, Micros, SessionStatus

KEYS = ("cron", "every", "timezone", "overlap", "catchUp")
Overlap = Literal["skip", "queue", "cancel"]
OVERLAPS: tuple[Overlap, ...] = ("skip", "queue", "cancel")
MOST_AT_ONCE = 100
"""Times that wait for the session before them, and missed times that are caught up with."""


class Calendar(Protocol):
    """The times of a cron expression in its time zone."""

    def after(self, moment: Micros) -> Micros | None:
        """The first time later than `moment`; None when there is none."""
        ...


CalendarOf = Callable[[str, str], Calendar | str]
"""(cron expression, time zone) → its calendar, or what is wrong with one of them."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a template says: `calendar` (of `cron`), or `every` so many microseconds."""

    cron: str | None
    calendar: Calendar | None
    every: Micros | None
    timezone: str
    overlap: Overlap
    catch_up: Micros


def read_schedule(
    reader: Reader, node: Mapping[str, object], calendar_of: CalendarOf
) -> Schedule | None:
    """`schedule` of a template, or None."""
    if "schedule" not in node:
        return None
    found = reader.mapping(node["schedule"], "/schedule", "schedule")
    if found is None:
        return None
    reader.known_keys(found, "/schedule", KEYS)
    if ("cron" in found) == ("every" in found):
        found = {key: each for key, each in found.items() if key != "cron"}
        hint = 'for example cron: "0 2 * * *", or every: 1h'
        reader.fault("/schedule", "a schedule is exactly one of cron and every", hint)
    overlap: Overlap | None = next(
        (each for each in OVERLAPS if each == found.get("overlap", "skip")), None
    )
    if overlap is None:
        reader.fault("/schedule/overlap", f"overlap is one of: {', '.join(OVERLAPS)}")
    catch_up = 0
    if found.get("catchUp", "0s") != "0s":
        catch_up = reader.duration(found["catchUp"], "/schedule/catchUp", "catchUp") or 0
    cron, timezone, calendar = _read_cron(reader, found, calendar_of)
    every = _read_every(reader, found)
    return Schedule(cron, calendar, every, timezone, overlap or "skip", catch_up)


def _read_cron(
    reader: Reader, found: Mapping[str, object], calendar_of: CalendarOf
) -> tuple[str | None, str, Calendar | None]:
    timezone = "UTC"
    if "timezone" in found:
        timezone = reader.name(found["timezone"], "/schedule/timezone", "timezone") or "UTC"
    if "cron" not in found:
        if "timezone" in found:
            reader.fault("/schedule/timezone", "'timezone' means nothing without 'cron'")
        return None, timezone, None
    cron = reader.text(found["cron"], "/schedule/cron", "cron", limit=200)
    calendar = None if cron is None else calendar_of(cron, timezone)
    if isinstance(calendar, str):
        reader.fault("/schedule", calendar, 'for example cron: "30 2 * * mon-fri"')
        calendar = None
    return cron, timezone, calendar


def _read_every(reader: Reader, found: Mapping[str, object]) -> Micros | None:
    if "every" not in found:
        return None
    every = reader.duration(found["every"], "/schedule/every", "every")
    if every is not None and every < SECOND:
        reader.fault("/schedule/every", "every must be at least 1s")
    return every


# -- deciding -------------------------------------------------------------------------------


def next_time(schedule: Schedule, origin: Micros, after: Micros) -> Micros | None:
    """The first time later than `after`. Intervals are counted from `origin`."""
    if schedule.calendar is not None:
        return schedule.calendar.after(after)
    assert schedule.every is not None
    passed = max(0, (after - origin) // schedule.every)
    return origin + (passed + 1) * schedule.every


def preview(schedule: Schedule, origin: Micros, after: Micros, count: int) -> list[Micros]:
    """The next `count` times."""
    times: list[Micros] = []
    found = next_time(schedule, origin, after)
    while found is not None and len(times) < count:
        times.append(found)
        found = next_time(schedule, origin, found)
    return times


@record
class Passed:
    """Of the times that have passed: those to be started, oldest first, and how many were not.

    `next_at` is the first one that has not passed.
    """

    start: list[Micros]
    missed: int
    next_at: Micros | None


def passed(schedule: Schedule, origin: Micros, due: Micros, now: Micros) -> Passed:
    """What the time `due`, and perhaps others since, lead to.

    The newest is started however late it is; those before it only within `catchUp`.
    """
    times, count = [due], 1
    following = next_time(schedule, origin, due)
    while following is not None and following <= now:
        times.append(following)
        count += 1
        if len(times) > MOST_AT_ONCE:
            times.pop(0)
        following = next_time(schedule, origin, following)
    start = [t for t in times[:-1] if now - t <= schedule.catch_up] + times[-1:]
    return Passed(start, count - len(start), following)


Choice = Literal["start", "queue", "skip", "replace"]


def overlap(schedule: Schedule, running: SessionStatus | None, queued: int) -> Choice:
    """What a time leads to while the session of the time before it is `running`, if it is."""
    if running is None or running in SESSION_ENDED:
        return "start"
    if schedule.overlap == "cancel":
        return "replace"
    if schedule.overlap == "queue" and queued < MOST_AT_ONCE:
        return "queue"
    return "skip"
