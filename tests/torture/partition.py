"""A street between server and agents: two network namespaces joined by a pair of virtual cards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass


class Forbidden(Exception):
    """The machine does not allow it; the text says what, and why it matters."""


GONE = ("blackhole",)
NARROW = ("tbf", "rate", "24kbit", "burst", "1540", "latency", "300ms")
"""Nothing passes; so little passes that most is late or lost."""


@dataclass(frozen=True)
class Street:
    """Agents run `inside` (words before their command) and reach the server at `address`."""

    address: str
    inside: tuple[str, ...]
    card: str

    def spoil(self, *how: str) -> None:
        """Let what the server sends be lost or late, by a queueing discipline of tc(8)."""
        _must("tc", "qdisc", "replace", "dev", self.card, "root", *how)

    def mend(self) -> None:
        """All is well again."""
        _must("tc", "qdisc", "del", "dev", self.card, "root")


def _must(*command: str) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Forbidden(f"there is no program {command[0]}") from None
    if ran.returncode:
        raise Forbidden(f"`{' '.join(command)}` failed: {ran.stderr.strip()}")


@contextmanager
def street() -> Generator[Street]:
    """Build it, and take it away in the end. Raises Forbidden without the rights for that."""
    number = os.getpid()
    space, here, there = f"torture{number}", f"tort{number}a"[-15:], f"tort{number}b"[-15:]
    net = f"10.{200 + number % 50}.{number % 250}"
    try:
        _must("ip", "netns", "add", space)
        _must("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", space)
        _must("ip", "addr", "add", f"{net}.1/24", "dev", here)
        _must("ip", "link", "set", here, "up")
        inside = ("ip", "netns", "exec", space)
        _must(*inside, "ip", "addr", "add", f"{net}.2/24", "dev", there)
        _must(*inside, "ip", "link", "set", there, "up")
        way = Street(f"{net}.1", inside, here)
        for how in (GONE, NARROW):
            way.spoil(*how)
        way.mend()
        yield way
    finally:
        for command in (("ip", "link", "del", here), ("ip", "netns", "del", space)):
            subprocess.run(command, capture_output=True, check=False)
