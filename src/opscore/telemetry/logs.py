"""Structured logs on stderr: JSON lines for machines, coloured lines for people.

One call per fact, with fixed keys: `namespace, agent_id, session_id, task_id, attempt, trace_id`.
Payloads and secrets are never passed to a logger; as a second line of defence, values under names
that hold secrets are struck out and long texts are cut.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog

from opscore.telemetry.plain import plain, plain_json, plain_lines

Form = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error", "critical"]

SECRET_NAMES = frozenset({"authorization", "api_key", "key", "password", "secret", "token"})
VALUE_LIMIT = 4096
CLIENTS_FAULT = "Invalid UTF-8 sequence received from client."


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file for JSON lines beside stderr: `files` old ones are kept, of `most_bytes` each."""

    path: Path
    most_bytes: int = 50 * 1024 * 1024
    files: int = 5

    def handler(self) -> logging.Handler:
        """The handler of the standard library. Raises OSError when it cannot be written."""
        return _Rotating(
            self.path, maxBytes=self.most_bytes, backupCount=self.files, encoding="utf-8"
        )


class _Rotating(RotatingFileHandler):
    """One that complains once on stderr, not at every line, when its disk is full."""

    _told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """What goes wrong here must not stop whoever has something to say."""
        if not self._told:
            self._told = True
            sys.stderr.write(f"the log file {self.baseFilename} cannot be written; going on\n")


def configure(level: Level = "info", form: Form | None = None, file: LogFile | None = None) -> None:
    """Set logging up for this process; our loggers and those of libraries come out alike.

    Without `form` the console is used on a terminal and JSON elsewhere; `file` gets JSON lines as
    well. May be called again. Raises OSError when the file cannot be written.
    """
    chosen = form or ("console" if sys.stderr.isatty() else "json")
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        strike_out,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_formatter(chosen, shared))
    handlers: list[logging.Handler] = [stream]
    if file is not None:
        rotating = file.handler()
        rotating.setFormatter(_formatter("json", shared))
        handlers.append(rotating)
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(level.upper())
    # The server's library tells each connection and each stop at "info"; we say that ourselves.
    logging.getLogger("uvicorn").setLevel("WARNING")
    logging.getLogger("uvicorn.access").setLevel("INFO")
    logging.getLogger("uvicorn.error").addFilter(not_our_error)


def not_our_error(record: logging.LogRecord) -> bool:
    """Takes the traceback from what is the client's fault: the library tells it as a crash."""
    if record.getMessage() == CLIENTS_FAULT:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = None
    return True


def _formatter(form: Form, shared: list[Any]) -> logging.Formatter:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if form == "json":
        last: list[Any] = [
            strip,
            structlog.processors.ExceptionRenderer(),
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    else:
        # The default way shows every frame's variables, and with them payloads and keys.
        colors = sys.stderr.isatty()
        renderer = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=_traceback, repr_native_str=True
        )
        last = [strip, harmless, renderer]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)


def strike_out(
    _logger: Any, _method: str, record: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Strike secrets out of a record and cut long texts."""
    for name, value in record.items():
        if name.lower() in SECRET_NAMES:
            record[name] = "***"
        elif isinstance(value, str) and len(value) > VALUE_LIMIT:
            record[name] = value[:VALUE_LIMIT] + "…"
    return record


def struck(value: Any) -> Any:
    """A copy in which what stands under names that hold secrets is struck out, at every depth."""
    if isinstance(value, Mapping):
        named = cast("Mapping[Any, Any]", value).items()
        return {
            name: "***" if str(name).lower() in SECRET_NAMES else struck(one) for name, one in named
        }
    if isinstance(value, list | tuple):
        return [struck(one) for one in cast("Sequence[Any]", value)]
    return value


def harmless(
    _logger: Any, _method: str, record: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Show control characters of messages instead of passing them on; values are shown by `repr`."""
    record["event"] = plain(record["event"])
    return record


def _traceback(sio: TextIO, exc_info: Any) -> None:
    """As structlog writes it, with messages of exceptions that drive no terminal."""
    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    sio.write(plain_lines(written.getvalue()))


def _json(record: Any, **_options: Any) -> str:
    return plain_json(msgspec.json.encode(record, enc_hook=repr).decode())
