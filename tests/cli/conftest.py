from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from opscore.cli.app import execute
from tests.cli.fake import FakeServer


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Command = Callable[..., Ran]


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting of the machine, and a working directory of its own."""
    for name in ("URL", "API_KEY", "NAMESPACE", "DATABASE_URL", "HOST", "PORT", "PROFILE"):
        monkeypatch.delenv(f"OPSCORE_{name}", raising=False)
    monkeypatch.delenv("OPSCORE_WORKFLOWS_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    fake.start()
    monkeypatch.setenv("OPSCORE_URL", fake.url)
    yield fake
    fake.stop()


@pytest.fixture
def opscore(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process."""

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = execute(words)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run
