"""What schemathesis is told of this API that the document cannot say."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook  # pyright: ignore[reportUnknownMemberType]
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Ask for no long wait: sixty seconds are as valid as none, and take the whole time."""
    match case.body:
        case {"waitSeconds": int() | float() as wait} if wait is not True and 0 < wait <= 60:
            case.body["waitSeconds"] = 0
        case _:
            pass
    if case.headers and "Prefer" in case.headers:
        case.headers["Prefer"] = "wait=0"
