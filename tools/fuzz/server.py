"""A real server in a process of its own, and what its log says of crashes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from opscore.sdk import Client
from opscore.sdk.errors import ServerUnreachable
from opscore.sdk.sync import SyncClient

KEY = "the-key-with-which-this-server-is-examined"
CRASHES = ("request crashed", "answer broke off", "engine_broke", "command_failed", "Traceback")


@dataclass(frozen=True, slots=True)
class Server:
    """The process under examination."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def findings(self) -> list[str]:
        """What is wrong with it: it died, or it logged crashes."""
        died = self.process.poll()
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [line for line in lines if any(word in line for word in CRASHES)]
        return found if died is None else [f"the server died with {died}", *lines[-20:], *found]


@contextmanager
def serving() -> Generator[Server, None, None]:
    """Start `opscore serve` on an empty database, and stop it in the end."""
    with tempfile.TemporaryDirectory() as folder:
        server = _start(Path(folder))
        try:
            with Client.sync(server.url, KEY) as client:
                _wait_until_ready(client, server)
            yield server
        finally:
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(folder: Path) -> Server:
    log, port = folder / "server.log", _free_port()
    environment = {
        **os.environ,
        "OPSCORE_API_KEY": KEY,
        "OPSCORE_PORT": str(port),
        "OPSCORE_DATABASE_URL": f"sqlite:///{folder}/ops.db",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "opscore", "serve"],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=out,
        )
    return Server(f"http://127.0.0.1:{port}", log, process)


def _wait_until_ready(client: SyncClient, server: Server) -> None:
    while server.process.poll() is None:
        try:
            client.ready()
        except ServerUnreachable:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"fuzz: the server did not start: {server.log.read_text()}")
