"""How a command ends: exit codes, and the one exception that carries words and a code."""

from __future__ import annotations

from collections.abc import Sequence

OK = 0
ERROR = 1
USAGE = 2
NOT_FOUND = 3
SESSION_FAILED = 4
TIMEOUT = 5
INTERRUPTED = 130
"""What shells expect after Ctrl-C."""


class Stop(Exception):
    """End the command with `code` after writing `lines` to stderr."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines: Sequence[str] = lines


def usage(message: str, hint: str = "") -> Stop:
    """The command line itself is wrong."""
    return Stop(USAGE, f"error: {message}", *([f"  {hint}"] if hint else []))


def failure(message: str, hint: str = "") -> Stop:
    """The command was right, and could not be done."""
    return Stop(ERROR, f"error: {message}", *([f"  {hint}"] if hint else []))
