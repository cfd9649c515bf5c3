"""Examines a real server, and the reader of templates, with what nobody should send.

    python -m tools.fuzz [--seconds 60] [--parts http,stream,templates] [--seed N]

The time is shared: three parts of five for the routes, one for the WebSockets, one for templates.
Exit code 1 when a promise was broken, when the server logged a crash, or when it died. The seed is
printed first; the same one gives the same cases again.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import traceback
from itertools import count
from pathlib import Path
from random import SystemRandom

from tools.fuzz import http, stream
from tools.fuzz.server import KEY, serving

SHARES = {"http": 0.6, "stream": 0.2, "templates": 0.2}
GRACE_SECONDS = 60
"""A template that takes longer than this hangs."""


def fuzz_http(seed: int, seconds: float, phases: str) -> bool:
    """Whether every route keeps what the document promises."""
    with serving() as server:
        passed = http.run(server.url, seed, seconds, phases)
        return _told("the routes", passed, server.findings())


def fuzz_stream(seed: int, seconds: float, only: int | None) -> bool:
    """Whether the WebSockets bear what instances should not say."""
    with serving() as server:
        passed = False
        try:
            cases = count() if only is None else [only]
            print(asyncio.run(stream.run(server.url, KEY, seed, cases, seconds)))
            passed = True
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            traceback.print_exc()
        return _told("the WebSockets", passed, server.findings())


def fuzz_templates(seed: int, seconds: float, only: int | None) -> bool:
    """Whether damaged templates are read or refused: in a process that may crash or hang."""
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "case"
        command = [sys.executable, "-m", "tools.fuzz.templates", "--seed", str(seed)]
        command += ["--seconds", str(seconds), "--note", str(note)]
        command += [] if only is None else ["--case", str(only)]
        try:
            code = subprocess.run(command, check=False, timeout=seconds + GRACE_SECONDS).returncode
        except subprocess.TimeoutExpired:
            code = "no end"
        case = note.read_text() if code and note.exists() else ""
        return _told("templates", code == 0, [f"{code} at case {case}"] if code else [])


def _told(what: str, passed: bool, findings: list[str]) -> bool:
    print(*findings[:20], sep="\n", end="\n" if findings else "")
    good = passed and not findings
    print(f"fuzz: {what} {'passed' if good else 'FAILED'}", flush=True)
    return good


def main(arguments: list[str]) -> int:
    options = argparse.ArgumentParser(prog="make fuzz", description=(__doc__ or "").split("\n")[0])
    options.add_argument("--seconds", type=float, default=300, help="for all parts together")
    options.add_argument("--parts", default=",".join(SHARES), help="which parts, by commas")
    options.add_argument("--phases", default=http.PHASES, help="of schemathesis")
    options.add_argument("--seed", type=int, help="to see the same cases again")
    options.add_argument("--case", type=int, help="only this one (WebSockets and templates)")
    given = options.parse_args(arguments)
    parts: list[str] = given.parts.split(",")
    seed = SystemRandom().randrange(2**31) if given.seed is None else given.seed
    print(f"fuzz: seed {seed}", flush=True)
    share = given.seconds / sum(SHARES[part] for part in parts)
    passed = [
        fuzz_http(seed, share * SHARES["http"], given.phases)
        if part == "http"
        else fuzz_stream(seed, share * SHARES["stream"], given.case)
        if part == "stream"
        else fuzz_templates(seed, share * SHARES["templates"], given.case)
        for part in parts
    ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
