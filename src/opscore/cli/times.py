"""Times as people read them: how long something took, and how long ago it was."""

from __future__ import annotations

import re
import time
from datetime import datetime

from opscore.cli.exits import usage

_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.ASCII)
_SIZES = (86_400, 3_600, 60, 1)


def moment(text: object) -> float:
    """Seconds since 1970 of an RFC 3339 time; 0 for what is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def duration(seconds: float) -> str:
    """A length of time for people, in three digits or so."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 or seconds == 0 else "<1 ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def took(start: object, end: object) -> str | None:
    """From one time to another, or to now when there is no other; None when it never began."""
    if not start or not moment(start):
        return None
    ended = moment(end) if end else time.time()
    return duration(max(ended - moment(start), 0.0))


def ago(at: object) -> str | None:
    """How long ago, in one unit; None when there is no such time."""
    if not at or not moment(at):
        return None
    return f"{age(max(time.time() - moment(at), 0.0))} ago"


def age(seconds: float) -> str:
    """A length of time in its largest unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def seconds_of(option: str, text: str) -> float:
    """The seconds of a duration that an option was given. Raises `Stop` (usage)."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise usage(f"{option} {text!r} is not a duration", "for example 30s, 1h30m, 24h, 90d")
    return float(
        sum(int(number or 0) * size for number, size in zip(match.groups(), _SIZES, strict=True))
    )
