"""Durations and times as people write them: `500ms`, `1m30s`, `2026-05-01T09:00:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from opscore.core.types import SECOND, Micros

MAX_DURATION: Micros = 30 * 86_400 * 1_000_000
"""Thirty days: the longest duration that a template may hold."""

UNITS: dict[str, Micros] = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}
HINT = "write a number with a unit, from 1ms to 30d: 500ms, 10s, 5m, 1h30m, 2d"

# Largest unit first and each at most once, so that "1s1s" or "5m1h" are slips, not sums.
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_MAX_TEXT = 40


def parse_duration(text: str) -> Micros | None:
    """The duration in microseconds, or None when the text is not one from 1ms to 30d."""
    match = _DURATION.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        return None
    pairs = zip(match.groups(), UNITS.values(), strict=True)
    total = sum(int(number) * unit for number, unit in pairs if number is not None)
    return total if 0 < total <= MAX_DURATION else None


def show_duration(micros: Micros) -> str:
    """The shortest text that `parse_duration` reads back; parts below 1ms are left out."""
    parts: list[str] = []
    rest = micros
    for unit, size in UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0ms"


def rfc3339(at: Micros) -> str:
    """A time as people write it, in UTC; the reverse of `parse_moment`."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat().replace("+00:00", "Z")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT_HINT = "write an RFC 3339 time with an offset, for example 2026-05-01T09:00:00Z"


def parse_moment(text: str) -> Micros | None:
    """Microseconds since the epoch of an RFC 3339 time with an offset; None for other text."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else round(at.timestamp() * SECOND)
