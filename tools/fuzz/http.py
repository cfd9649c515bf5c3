"""Lets schemathesis examine the HTTP routes: examples, coverage, fuzzing, sequences of calls."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from opscore.api.examples import TEMPLATE
from opscore.sdk import Client
from tools.fuzz.server import KEY

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
PHASES = "examples,coverage,fuzzing,stateful"


def run(url: str, seed: int, seconds: float, phases: str = PHASES) -> bool:
    """Whether it found nothing; what it found is on standard output."""
    with Client.sync(url, KEY) as client:
        # Things to find: the template of the examples, and a session of it.
        client.workflows.apply(TEMPLATE)
        client.start(TEMPLATE["name"], {"path": "."})
    command = [
        *(str(SCRIPTS / "schemathesis"), "--config-file", str(ROOT / "tools/schemathesis.toml")),
        *("run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {KEY}"),
        *("--phases", phases, "--max-time", str(round(seconds)), "--seed", str(seed)),
        "--no-color",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as cache:
        return subprocess.run(command, cwd=cache, env=environment, check=False).returncode == 0
