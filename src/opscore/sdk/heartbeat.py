"""Heartbeats on their own thread, over their own connection.

A function that blocks the agent's loop blocks its WebSocket too, so a beat must need neither. The
simplest thing that cannot be blocked is one plain HTTP request from a plain thread: no second
loop, no shared socket, no state to repair, and the same over stream and long-poll. Each beat
opens a new connection: at one beat every few seconds that is cheap, a connection kept open would
be found dead by a beat that then comes late, and idle agents hold no second connection.
"""

from __future__ import annotations

import http.client
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec

from opscore.sdk.attempts import Key
from opscore.sdk.server import BASE, Server, segment
from opscore.wire.agent import AgentHeartbeat, HeartbeatAnswer

logger = logging.getLogger("opscore.agent")

DEFAULT_SECONDS = 5.0
BEATS_PER_LEASE = 3
# A beat that failed is tried again sooner, so that one lost packet does not cost the lease.
RETRY_SHARE = 0.2


class Heartbeat:
    """Beats until it is closed. `stale` is called in this thread with what the server disowns.

    `shortest_lease` says how long, in seconds, the shortest lease is of those that steps have set.
    """

    def __init__(
        self,
        server: Server,
        instance_id: str,
        holding: Callable[[], list[Key]],
        stale: Callable[[list[Key]], None],
        shortest_lease: Callable[[], float | None],
    ) -> None:
        self._server = server
        self._instance_id = instance_id
        self._holding = holding
        self._stale = stale
        self._shortest_lease = shortest_lease
        self._path = ""
        self._seconds = DEFAULT_SECONDS
        self._closed = False
        self._connection: http.client.HTTPConnection | None = None
        self._complained = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="opscore-heartbeat", daemon=True)

    def beat_for(self, agent_id: str, seconds: float) -> None:
        """Beat for this agent every so many seconds, beginning now."""
        path = f"{BASE}/agent/{segment(agent_id)}/heartbeat"
        if (path, seconds) == (self._path, self._seconds):
            return
        self._path, self._seconds = path, seconds
        if self._thread.is_alive():
            self._wake.set()
        else:
            self._thread.start()

    def wake(self) -> None:
        """Beat now, then at the pace that is needed now."""
        self._wake.set()

    def close(self) -> None:
        """Stop beating; a beat under way is broken off."""
        self._closed = True
        self._wake.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            # It may have ended in this very moment; then there is nothing to break off.
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._closed:
            well = self._beat()
            pace = self._pace()
            self._wake.wait(pace if well else pace * RETRY_SHARE)
            self._wake.clear()

    def _pace(self) -> float:
        """Often enough for the shortest lease that is held."""
        shortest = self._shortest_lease()
        if shortest is None:
            return self._seconds
        return min(self._seconds, shortest / BEATS_PER_LEASE)

    def _beat(self) -> bool:
        beat = AgentHeartbeat(instance_id=self._instance_id, attempts=self._holding())
        try:
            status, body = self._post(msgspec.json.encode(beat))
        except (OSError, http.client.HTTPException) as error:
            # The connection's own line says that the server is away; a second one would only
            # repeat it.
            logger.debug("heartbeat lost: %s", error)
            return False
        if status >= 300:
            self._complain(status, body)
            return False
        self._complained = False
        stale = msgspec.json.decode(body, type=HeartbeatAnswer).stale if body else []
        if stale:
            self._stale(stale)
        return True

    def _complain(self, status: int, body: bytes) -> None:
        if not self._complained:
            logger.warning(
                "heartbeat refused: HTTP %d %s", status, body[:200].decode("utf-8", "replace")
            )
        self._complained = True

    def _post(self, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(self._server.url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=max(1.0, self._pace()))
        self._connection = connection
        headers = {"Content-Type": "application/json", "Connection": "close"}
        try:
            connection.connect()
            if self._closed:  # `close` may have looked before there was a socket
                raise ConnectionAbortedError("the agent has left")
            connection.request(
                "POST", parts.path + self._path, body, self._server.headers() | headers
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            self._connection = None
            connection.close()
