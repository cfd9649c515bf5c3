"""One tree of errors with stable codes.

Expected refusals are raised as `Refusal` by the verbs that people call, and mapped to HTTP in one
place (`api/problems.py`). Inside the core they are values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in something that a user wrote.

    `pointer` is an RFC 6901 JSON pointer into the document; `line` and `column` count from 1 and
    are known when the document was text; `hint` says what to do; `at_key` places the fault at the
    key instead of its value.
    """

    pointer: str
    message: str
    hint: str = ""
    line: int | None = None
    column: int | None = None
    at_key: bool = False


class OpsCoreError(Exception):
    """Root of everything that Ops-Core raises on purpose."""


class Refusal(OpsCoreError):
    """A request that is refused; nothing was changed."""

    code = "refused"
    status = 400

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        faults: Sequence[Fault] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.faults = tuple(faults)
        self.retry_after = retry_after


class Invalid(Refusal):
    """Malformed or invalid input."""

    code, status = "invalid", 400


class Forbidden(Refusal):
    """Known, but not allowed."""

    code, status = "forbidden", 403


class NotFound(Refusal):
    """Nothing of that name in this namespace."""

    code, status = "not_found", 404


class Conflict(Refusal):
    """The request does not fit the present state."""

    code, status = "conflict", 409


class StaleAttempt(Conflict):
    """The attempt is no longer the current one: the fence."""

    code = "stale_attempt"


class Outdated(Refusal):
    """It has changed since whoever edits it has seen it."""

    code, status = "outdated", 412


class TooLarge(Refusal):
    """A payload over its limit."""

    code, status = "too_large", 413


class Impossible(Refusal):
    """Well-formed but semantically impossible."""

    code, status = "impossible", 422


class Unavailable(Refusal):
    """The server cannot take the request now; the outcome may be unknown."""

    code, status = "unavailable", 503


class StoreRefused(OpsCoreError):
    """The database cannot be opened: in use, too new, corrupt, or not a database of ours."""


class Corrupted(OpsCoreError):
    """The journal contradicts itself: a bug or a damaged file."""
