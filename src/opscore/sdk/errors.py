"""What an agent's function raises to say how it failed, and what a client may meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opscore.wire.base import PointedError

MAX_AFTER = 31_536_000.0
FINAL_CLASSES = frozenset({"fatal", "invalid_input", "invalid_output"})
"""Classes of this SDK that are not retried, unless a policy names them under `errors`."""


class Retryable(Exception):
    """The attempt failed, another one may succeed.

    `after`: not before this many seconds from now; the policy's own delay when left out.
    `error_class` is what retry policies match: by default `rate_limited` when `after` is given,
    else `retryable`.
    """

    def __init__(
        self, message: str = "", *, after: float | None = None, error_class: str | None = None
    ) -> None:
        super().__init__(message)
        if after is not None and not 0 <= after <= MAX_AFTER:
            raise ValueError(f"after is between 0 and {MAX_AFTER:.0f} seconds, not {after}")
        self.after = after
        self.error_class = error_class or ("retryable" if after is None else "rate_limited")


class Fatal(Exception):
    """The task cannot succeed: no retry, the fallback (if there is one) is next.

    The class on the wire stays one that is not retried by default: an `error_class` of your own is
    put in front of the message, which is settled with the class `fatal`.
    """

    def __init__(self, message: str = "", error_class: str = "fatal") -> None:
        final = error_class in FINAL_CLASSES
        super().__init__(message if final else f"{error_class}: {message}")
        self.error_class = error_class if final else "fatal"


class Cancelled(Exception):
    """Raised by `task.progress` in a thread whose attempt was cancelled.

    Let it pass: the attempt is then settled as cancelled. Coroutines get
    `asyncio.CancelledError` instead, wherever they wait.
    """


class SdkError(Exception):
    """Root of what a client raises."""


class OpsCoreProblem(SdkError):
    """The server refused (RFC 9457): `status`, stable `code`, `detail`, pointed `errors`."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Sequence[PointedError] = (),
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code}, HTTP {status})")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.retry_after = retry_after


class ServerUnreachable(SdkError):
    """No answer from the server. `sent` says whether the request may have reached it."""

    def __init__(self, url: str, reason: str, *, sent: bool = False) -> None:
        hint = (
            "the outcome of the request is unknown"
            if sent
            else "is it running? Start one with `opscore dev`, or set OPSCORE_URL"
        )
        super().__init__(f"cannot reach Ops-Core at {url} ({reason}): {hint}")
        self.url = url
        self.reason = reason
        self.sent = sent


class SignatureRefused(SdkError):
    """A message that came is not signed with the secret, or was changed, or is too old."""


class SessionFailed(SdkError):
    """The session ended in error. `error_class` and `message` are the failed step's."""

    def __init__(self, session_id: str, error_class: str, message: str) -> None:
        super().__init__(f"session {session_id} failed: {message} ({error_class})")
        self.session_id = session_id
        self.error_class = error_class
        self.message = message


class SessionCancelled(SdkError):
    """The session was cancelled before it could end."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id} was cancelled")
        self.session_id = session_id
