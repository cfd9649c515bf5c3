"""Cron expressions in time zones, behind the core's `Calendar`.

The rules are those of Debian's cron, by cronsim: a job at a fixed time that a change of clocks
skips runs right after it, and one that would come twice runs once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from opscore.core.schedule import Calendar
from opscore.core.types import Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIELDS = 5


def calendar_of(cron: str, timezone: str) -> Calendar | str:
    """The calendar of a cron expression of five fields, or what is wrong with it or its zone."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"there is no time zone '{timezone}'"
    if len(cron.split()) != FIELDS:
        return (
            f"'{cron}' is not a cron expression: it has five fields, {len(cron.split())} are here"
        )
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=zone)))
    except CronSimError as error:
        return f"'{cron}' is not a cron expression: {str(error).lower()}"
    except StopIteration:
        return f"'{cron}' never comes"
    return _Cron(cron, zone)


class _Cron:
    """See `Calendar`."""

    def __init__(self, cron: str, zone: ZoneInfo) -> None:
        self._cron = cron
        self._zone = zone

    def after(self, moment: Micros) -> Micros | None:
        at = (_EPOCH + timedelta(microseconds=moment)).astimezone(self._zone)
        found = next(CronSim(self._cron, at), None)
        if found is None:
            return None
        return round((found - _EPOCH) / timedelta(microseconds=1))
