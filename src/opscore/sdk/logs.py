"""What code says while it works on a task, under that task's ids: loggers, and standard output."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO

from opscore.sdk.task import Task, running

OURS = "opscore."
TRACEBACK_LIMIT = 4_000
LINE_LIMIT = 8_192
_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TaskLog(logging.Handler):
    """Sends records of the standard library's loggers to the server, under the running task's ids.

    `logging.getLogger().addHandler(TaskLog())`. Which task runs is known by itself, in coroutines
    and in threads that the agent started; what is logged outside of a task stays in the process.
    Fields given as `extra` become the context. The SDK's own records are not sent.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        task = running.get()
        if task is None or record.name.startswith(OURS):
            return
        try:
            _send(task, record)
        except Exception:  # noqa: BLE001 -- as every one of the library's: told, not raised
            self.handleError(record)


def _send(task: Task, record: logging.LogRecord) -> None:
    level = next((word for least, word in _LEVELS if record.levelno >= least), "debug")
    fields: dict[str, Any] = {
        name: value for name, value in vars(record).items() if name not in _USUAL
    }
    fields["logger"] = record.name
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        fields["traceback"] = "".join(traceback.format_exception(error))[-TRACEBACK_LIMIT:]
    kind = None if error is None else type(error).__name__
    task.record("log", record.getMessage(), level, fields, error_type=kind)


class Captured(io.TextIOBase):
    """A stream that passes everything on, and its lines to the running task's log as well."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._begun: dict[Task, str] = {}

    def write(self, text: str, /) -> int:
        """Write through; a line is recorded once it is whole."""
        written = self._stream.write(text)
        task = running.get()
        if task is not None:
            *lines, rest = (self._begun.pop(task, "") + text).split("\n")
            if rest and len(rest) < LINE_LIMIT:
                self._begun[task] = rest
            elif rest:
                lines.append(rest)
            for line in lines:
                if line.strip():
                    task.record(self._name, line.rstrip("\r"), "info", {})
        return written

    def flush(self) -> None:
        """Flush what is passed on."""
        self._stream.flush()

    def writable(self) -> bool:
        """It is written to only."""
        return True

    def isatty(self) -> bool:
        """As the stream behind it."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """That of the stream behind it."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the stream behind it."""
        return self._stream.encoding


@contextmanager
def captured() -> Generator[None]:
    """While this lasts, what tasks print goes to their logs too."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Captured(sys.stdout, "stdout"), Captured(sys.stderr, "stderr")
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
