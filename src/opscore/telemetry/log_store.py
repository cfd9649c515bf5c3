"""The server's own records on their way to the log store, beside stderr."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

SAID_ALREADY = "opscore.operations"
"""The logger of records that the log store was given by whoever wrote them."""
TRACEBACK_LIMIT = 4_000
_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))

Keep = Callable[[str, str, Mapping[str, Any]], object]
"""Takes what was done, the level, and everything told of it."""


class ToLogStore(logging.Handler):
    """Passes every record of the standard library's loggers on; never waits."""

    def __init__(self, keep: Keep) -> None:
        super().__init__()
        self._keep = keep

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`, from whichever thread."""
        if record.name == SAID_ALREADY:
            return
        operation, told = _told(record)
        self._keep(operation, _level(record.levelno), told)


def _level(number: int) -> str:
    return next((word for least, word in _LEVELS if number >= least), "debug")


def _told(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Our own records are dictionaries with the fact under `event`; libraries' are texts."""
    said: Any = record.msg
    told: dict[str, Any] = {}
    if isinstance(said, dict):
        told = {name: value for name, value in cast("_Said", said).items() if name not in _FRAME}
        operation = str(told.pop("event", record.name))
    else:
        operation, told["message"] = record.name, record.getMessage()
    error = _error(told.pop("exc_info", None) or record.exc_info)
    if error is not None:
        text = "".join(traceback.format_exception(error))
        told |= {"error_type": type(error).__name__, "traceback": text[-TRACEBACK_LIMIT:]}
    return operation, {**told, "logger": record.name}


_Said = dict[str, Any]
_FRAME = frozenset({"level", "timestamp", "logger", "_record", "_from_structlog"})


def _error(told: Any) -> BaseException | None:
    if isinstance(told, tuple):
        told = cast("tuple[Any, ...]", told)[1]
    return told if isinstance(told, BaseException) else None


@contextmanager
def kept(keep: Keep) -> Generator[None]:
    """While this lasts, the process's records go to the log store too."""
    root, sink = logging.getLogger(), ToLogStore(keep)
    root.addHandler(sink)
    try:
        yield
    finally:
        root.removeHandler(sink)
