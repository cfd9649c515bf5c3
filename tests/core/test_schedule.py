"""When a schedule's times are, which of them are started, and what overlaps lead to."""

from __future__ import annotations

import pytest

from opscore.core.durations import parse_moment, rfc3339
from opscore.core.schedule import Overlap, Passed, Schedule, next_time, overlap, passed, preview
from opscore.core.types import SECOND, SessionStatus
from opscore.cron import calendar_of


def every(seconds: int, catch_up: int = 0, rule: Overlap = "skip") -> Schedule:
    return Schedule(None, None, seconds * SECOND, "UTC", rule, catch_up * SECOND)


def cron(text: str, zone: str) -> Schedule:
    calendar = calendar_of(text, zone)
    assert not isinstance(calendar, str), calendar
    return Schedule(text, calendar, None, zone, "skip", 0)


def test_intervals_are_counted_from_their_origin() -> None:
    assert next_time(every(10), 3, 3) == 3 + 10 * SECOND
    assert next_time(every(10), 3, 3 + 10 * SECOND) == 3 + 20 * SECOND
    assert next_time(every(10), 3, 3 + 25 * SECOND) == 3 + 30 * SECOND
    assert preview(every(10), 0, 0, 3) == [10 * SECOND, 20 * SECOND, 30 * SECOND]


@pytest.mark.parametrize(
    ("text", "zone", "after", "times"),
    [
        ("30 2 * * *", "UTC", "2026-01-01T02:30:00Z", ["2026-01-02T02:30:00Z"]),
        (
            "*/20 9-10 * * mon-fri",
            "UTC",
            "2026-01-02T10:20:00Z",
            ["2026-01-02T10:40:00Z", "2026-01-05T09:00:00Z"],
        ),
        (
            "0 0 1,15 jan *",
            "UTC",
            "2026-01-10T00:00:00Z",
            ["2026-01-15T00:00:00Z", "2027-01-01T00:00:00Z"],
        ),
        (
            "0 9 * * *",
            "Europe/Berlin",
            "2026-03-28T00:00:00Z",
            ["2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z"],
        ),
        # The clocks skip 02:30 in spring: it runs right after; in autumn 02:30 comes twice: once.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
    ],
)
def test_cron_in_its_time_zone(text: str, zone: str, after: str, times: list[str]) -> None:
    began = parse_moment(after)
    assert began is not None
    found = preview(cron(text, zone), 0, began, len(times))
    assert [rfc3339(at) for at in found] == times


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("0 2 * *", "UTC", "it has five fields, 4 are here"),
        ("61 2 * * *", "UTC", "bad minute"),
        ("0 2 30 2 *", "UTC", "bad day-of-month"),
        ("0 2 * * *", "Europe/Atlantis", "there is no time zone 'Europe/Atlantis'"),
        ("0 2 * * *", "../etc/passwd", "there is no time zone"),
    ],
)
def test_what_is_no_cron_or_no_zone(text: str, zone: str, said: str) -> None:
    found = calendar_of(text, zone)
    assert isinstance(found, str) and said in found


def test_of_what_passed_the_newest_is_started_and_the_rest_within_the_window() -> None:
    ten = 10 * SECOND
    assert passed(every(10), 0, ten, ten) == Passed([ten], 0, 2 * ten)
    assert passed(every(10), 0, ten, 45 * SECOND) == Passed([4 * ten], 3, 5 * ten)
    late = passed(every(10, catch_up=20), 0, ten, 45 * SECOND)
    assert late == Passed([3 * ten, 4 * ten], 2, 5 * ten)


def test_a_long_absence_is_bounded() -> None:
    found = passed(every(1, catch_up=86_400), 0, SECOND, 10_000 * SECOND)
    assert (len(found.start), found.missed) == (100, 9_900)
    assert found.start[-1] == 10_000 * SECOND


@pytest.mark.parametrize(
    ("rule", "running", "queued", "choice"),
    [
        ("skip", None, 0, "start"),
        ("skip", SessionStatus.COMPLETED, 0, "start"),
        ("skip", SessionStatus.PROCESSING, 0, "skip"),
        ("queue", SessionStatus.PAUSED, 99, "queue"),
        ("queue", SessionStatus.PROCESSING, 100, "skip"),
        ("cancel", SessionStatus.PROCESSING, 0, "replace"),
    ],
)
def test_overlaps(rule: Overlap, running: SessionStatus | None, queued: int, choice: str) -> None:
    assert overlap(every(10, rule=rule), running, queued) == choice
