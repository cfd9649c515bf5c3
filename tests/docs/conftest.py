"""A real server in a process of its own, and programs that talk to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TypeAlias

import pytest

from tests.docs.pages import ROOT

Start: TypeAlias = Callable[..., IO[str]]
Run: TypeAlias = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    """Our environment, without settings for another server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPSCORE_")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}


@pytest.fixture
def start(tmp_path: Path, surroundings: dict[str, str]) -> Generator[Start]:
    """Starts `python WORDS` in an empty directory; gives what it prints. All end with the test."""
    with ExitStack() as running:

        def begin(*words: str) -> IO[str]:
            process = subprocess.Popen(
                [sys.executable, *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=tmp_path,
                env=surroundings,
            )
            assert process.stdout is not None
            running.callback(process.stdout.close)
            running.callback(process.wait, 30)
            running.callback(process.kill)
            return process.stdout

        yield begin


@pytest.fixture
def server(start: Start, surroundings: dict[str, str]) -> str:
    """`opscore dev` on a free port; programs started afterwards find it."""
    url = start("-m", "opscore", "dev", "--memory", "--port", "0").readline().strip()
    assert url.startswith("http://127.0.0.1:")
    surroundings["OPSCORE_URL"] = url
    return url


@pytest.fixture
def opscore(tmp_path: Path, surroundings: dict[str, str]) -> Run:
    """Runs one `opscore` command to its end."""

    def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "opscore", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
            cwd=tmp_path,
            env=surroundings,
        )

    return run
