"""What schemathesis is told of this API that the document cannot say."""

from __future__ import annotations

from typing import Any

import schemathesis

_FOLLOWING = (None, True, "true", "True", "1", 1)
"""Ways to ask for a feed without an end."""


@schemathesis.hook  # pyright: ignore[reportUnknownMemberType]
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Ask for no long wait and for no feed without an end: both are valid, and take all the time."""
    match case.body:
        case {"waitSeconds": int() | float() as wait} if wait is not True and 0 < wait <= 60:
            case.body["waitSeconds"] = 0
        case _:
            pass
    query: dict[str, Any] = dict(case.query or {})
    if case.path.endswith("/event") and query.get("follow") in _FOLLOWING:
        case.query = {**query, "follow": "false"}
    if case.headers and "Prefer" in case.headers:
        case.headers["Prefer"] = "wait=0"
