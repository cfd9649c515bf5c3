"""The W3C trace that a request belongs to (w3.org/TR/trace-context)."""

from __future__ import annotations

import random
import re

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_chance = random.Random()
"""Of its own, seeded by the system: an id must be unlikely to come twice, not hard to guess."""
_NONE = b"0" * 32
_NO_SPAN = b"0" * 16


def random_trace_id() -> str:
    """A W3C trace id by which an answer and a log record find each other."""
    return f"{_chance.getrandbits(128):032x}"


def traceparent_of(header: bytes | None) -> str | None:
    """A `traceparent` header in the form of version 00; None without one, or when it is malformed."""
    found = None if header is None else _TRACEPARENT.fullmatch(header)
    if found is None or found[1] == _NONE or found[2] == _NO_SPAN:
        return None
    if found[4] is not None and found.string.startswith(b"00"):
        return None
    return f"00-{found[1].decode()}-{found[2].decode()}-{found[3].decode()}"


def trace_of(header: bytes | None) -> str | None:
    """The trace id of a `traceparent` header; None as above."""
    traceparent = traceparent_of(header)
    return None if traceparent is None else traceparent[3:35]
