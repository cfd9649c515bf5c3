"""The facts of a session's journal that concern the limits of its template."""

from __future__ import annotations

from typing import ClassVar

from opscore.core.limits import Terms
from opscore.core.record import record


@record
class SessionHeld:
    """The session must find room under these limits before anything of it starts.

    `order` is its place among those that wait. `resumed`: a session that is retried goes on with the
    fallbacks of these tasks then.
    """

    TYPE: ClassVar[str] = "session.held"
    VERSION: ClassVar[int] = 1
    terms: Terms
    order: int
    resumed: tuple[str, ...] = ()


@record
class SessionAdmitted:
    """There is room, and the session takes it until it ends."""

    TYPE: ClassVar[str] = "session.admitted"
    VERSION: ClassVar[int] = 1
