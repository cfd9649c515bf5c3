"""Listens, serves, and stops gracefully."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog
import uvicorn

from opscore.api.app import Application
from opscore.api.connection import connection_class
from opscore.api.settings import ServerSettings
from opscore.api.tuning import most_connections, tune_interpreter
from opscore.core.errors import OpsCoreError

if TYPE_CHECKING:
    from opscore.engine.engine import Engine

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("opscore.server")

BACKLOG = 2048
MESSAGE_LIMIT = 16 * 1024 * 1024
PING_SECONDS = 20.0


class PortTaken(OpsCoreError):
    """Nothing can listen there; the text says why and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket (port 0: any free port), made before anything else is touched.

    Raises `PortTaken`.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortTaken(f"Cannot listen on {host}: {error.strerror or error}.") from error
    try:
        if os.name == "posix":
            # Lets a restarted server listen at once; on POSIX it never shares a live port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(_why(host, port, error)) from error
    listener.setblocking(False)
    return listener


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken by another process. "
            "Stop that process or choose another port (--port or OPSCORE_PORT)."
        )
    return f"Cannot listen on {host}:{port}: {error.strerror}."


async def serve(
    engine: Engine,
    settings: ServerSettings,
    listener: socket.socket,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT (or cancellation), then stop gracefully and close the engine.

    `ready` is called with the URL once connections are accepted. Raises `SettingsRefused`.
    """
    tune_interpreter()
    try:
        if settings.api_key is not None and not settings.development:
            await engine.keys.adopt(settings.api_key)
        application = Application(engine, settings)
        server = _Server(_config(application, engine, settings), application, listener, ready)
        with _signals(server.ask_to_stop):
            await _serve(server, listener)
    finally:
        await engine.close(settings.stop_seconds)


async def _serve(server: _Server, listener: socket.socket) -> None:
    """Serve in a task of its own, so that a cancellation too becomes a graceful stop."""
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.wait({serving})
        except asyncio.CancelledError:
            server.ask_to_stop()
            await asyncio.wait({serving})
            raise


@contextmanager
def _signals(stop: Callable[[], None]) -> Generator[None, None, None]:
    loop = asyncio.get_running_loop()
    taken: list[signal.Signals] = []
    # Windows, and threads other than the main one, cannot: there whoever cancels `serve` stops it.
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


async def run(
    open_engine: Callable[[], Awaitable[Engine]],
    settings: ServerSettings,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Check the settings, take the port, open the engine, serve. In this order.

    Raises `SettingsRefused`, `PortTaken`, and what `open_engine` raises; nothing is left open.
    """
    settings.check()
    listener = listen(settings.host, settings.port)
    try:
        engine = await open_engine()
        await serve(engine, settings, listener, ready=ready)
    finally:
        listener.close()


def url_of(listener: socket.socket) -> str:
    """The URL under which a listener is reached from this machine."""
    host, port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - only compared
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _config(application: Application, engine: Engine, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=connection_class(settings.head_seconds, settings.connections or most_connections()),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=MESSAGE_LIMIT + engine.settings.payload_limit,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        log_config=None,
        access_log=settings.access_log,
        proxy_headers=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(settings.stop_seconds)),
    )


class _Server(uvicorn.Server):
    """uvicorn with our signals, our stop, and a call when it is ready."""

    def __init__(
        self,
        config: uvicorn.Config,
        application: Application,
        listener: socket.socket,
        ready: Callable[[str], None] | None,
    ) -> None:
        super().__init__(config)
        self._application = application
        self._listener = listener
        self._ready = ready

    def ask_to_stop(self) -> None:
        """Begin a graceful stop; asked a second time, do not wait for open connections."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `serve`: uvicorn would raise them again after the stop."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then tell."""
        await super().startup(sockets)
        url = url_of(self._listener)
        log.info("listening", url=url)
        if self._ready is not None:
            self._ready(url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, end what waits, tell the agents, then let requests finish."""
        log.info("stopping")
        for server in self.servers:
            server.close()
        await self._application.stop()
        await super().shutdown(sockets)
