"""Examines a real server with schemathesis: examples, coverage, fuzzing and whole sequences of calls.

    python -m tools.fuzz [--seconds 60] [--phases examples,coverage,fuzzing,stateful]

Exit code 1 when a check failed, when the server logged a crash, or when it died.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from opscore.api.examples import TEMPLATE
from opscore.sdk import Client
from opscore.sdk.errors import ServerUnreachable
from opscore.sdk.sync import SyncClient

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sys.executable).parent
KEY = "the-key-with-which-this-server-is-examined"
ALL = "examples,coverage,fuzzing,stateful"
CRASHES = ("request crashed", "answer broke off", "engine_broke", "command_failed", "Traceback")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(folder: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "OPSCORE_API_KEY": KEY,
        "OPSCORE_PORT": str(port),
        "OPSCORE_DATABASE_URL": f"sqlite:///{folder}/ops.db",
    }
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "opscore", "serve"],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=out,
        )


def wait_until_ready(client: SyncClient, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            client.ready()
        except ServerUnreachable:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("fuzz: the server did not start")


def seed(client: SyncClient) -> None:
    """Things to find: the template of the examples, and a session of it."""
    client.workflows.apply(TEMPLATE)
    client.start(TEMPLATE["name"], {"path": "."})


def examine(url: str, seconds: int, phases: str) -> int:
    command = [
        *(str(SCRIPTS / "schemathesis"), "--config-file", str(ROOT / "tools/schemathesis.toml")),
        *("run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {KEY}"),
        *("--phases", phases, "--max-time", str(seconds), "--no-color"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as cache:
        return subprocess.run(command, cwd=cache, env=environment, check=False).returncode


def crashes(log: Path) -> list[str]:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if any(word in line for word in CRASHES)]


def main(arguments: list[str]) -> int:
    options = argparse.ArgumentParser(prog="make fuzz", description="Examine the API.")
    options.add_argument("--seconds", type=int, default=300)
    options.add_argument("--phases", default=ALL)
    given = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        log, port = Path(folder) / "server.log", free_port()
        url = f"http://127.0.0.1:{port}"
        server = serve(Path(folder), port, log)
        try:
            with Client.sync(url, KEY) as client:
                wait_until_ready(client, server)
                seed(client)
            failed = examine(url, given.seconds, given.phases)
            died = server.poll() is not None
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        found = crashes(log)
        print(*found[:20], sep="\n")
        print(f"fuzz: schemathesis {'failed' if failed else 'passed'}, {len(found)} crashes logged")
    return 1 if failed or found or died else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
