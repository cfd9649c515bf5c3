"""The demo's operating-system processes: a server and six agents, and none left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import opscore

SERVER = "server"
STOP_SECONDS = 2.0
TAIL_LINES = 5


class Died(Exception):
    """A process ended that nobody had told to; the text says which and what it said last."""


@dataclass(slots=True, eq=False)
class Child:
    """One process in a process group of its own, so that nothing it starts can stay."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    expected: bool = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Does it run?"""
        return self.process.poll() is None

    def kill(self) -> None:
        """`kill -9`, and wait until the system has taken it."""
        self.expected = True
        self.signal(signal.SIGKILL)
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its whole group; one that is gone gets none."""
        if self.alive:
            os.killpg(self.pid, number)


class Processes:
    """Starts the demo's processes in its directory, and stops them all."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory = directory
        self._environment = {**_inherited(), **environment}
        self.children: list[Child] = []

    def start(self, name: str, *words: str) -> Child:
        """Start `python -m WORDS`; what it says goes to `logs/NAME.log`."""
        log = self._directory / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self._directory,
                env=self._environment,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raise `Died` when a process has ended by itself."""
        for child in self.children:
            if not child.expected and not child.alive:
                raise Died(
                    f"{child.name} ended with code {child.process.returncode}; "
                    f"its log {child.log} ends with:\n{_tail(child.log)}"
                )

    def stop(self) -> None:
        """Ask every process to end, and kill what does not. Idempotent.

        Agents first: they give back or settle what they hold while there is a server.
        """
        servers = [child for child in self.children if child.name == SERVER]
        _stop([child for child in self.children if child.name != SERVER])
        _stop(servers)


def _stop(children: list[Child]) -> None:
    for child in children:
        child.expected = True
        child.signal(signal.SIGCONT)
        child.signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        _wait(child.process, deadline)
        child.signal(signal.SIGKILL)
        child.process.wait()


def _wait(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _inherited() -> dict[str, str]:
    """This process's environment without settings for another server, and with our own modules."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPSCORE_")}
    paths = [str(Path(opscore.__file__).parents[1]), *kept.get("PYTHONPATH", "").split(os.pathsep)]
    kept["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in paths if path)
    return kept


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
