"""What docs/operations.md and docs/cli.md say of settings, files, backups and exit codes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from opscore.api.settings import ServerSettings
from opscore.cli import exits
from opscore.cli.settings import FILE_KEYS
from opscore.engine.settings import Settings
from tests.docs.conftest import Run
from tests.docs.pages import ROOT, page

OPERATIONS, CLI = page("docs/operations.md"), page("docs/cli.md")
READ = re.compile(r'(?:env_var=\(?"|environ\.get\("|environ\[")(OPSCORE_\w+)"')


def test_the_settings_are_those_that_are_read() -> None:
    told = set(re.findall(r"^\| `(OPSCORE_\w+)` \|", OPERATIONS, re.MULTILINE))
    sources = [*(ROOT / "src/opscore/cli").glob("*.py"), *(ROOT / "src/opscore/sdk").glob("*.py")]
    read = {name for one in sources for name in READ.findall(one.read_text("utf-8"))}
    assert told == read


def test_the_defaults_are_those_of_the_code() -> None:
    row = {
        line.split("|")[1].strip(" `"): line.split("|")[3].strip()
        for line in OPERATIONS.splitlines()
        if line.startswith("| `OPSCORE_")
    }
    assert float(row["OPSCORE_LEASE_SECONDS"]) == Settings().lease_seconds
    assert int(row["OPSCORE_PAYLOAD_LIMIT"]) == Settings().payload_limit
    assert int(row["OPSCORE_KEY_REQUESTS"]) == ServerSettings().key_requests
    assert int(row["OPSCORE_KEY_CONNECTIONS"]) == ServerSettings().key_connections


def test_the_keys_of_the_file_and_the_exit_codes_are_those_of_the_code() -> None:
    keys = re.search(r"The file may hold `([^`]*)`", CLI)
    assert keys is not None
    assert set(re.split(r",\s+", keys[1])) == FILE_KEYS
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", CLI, re.MULTILINE)}
    assert codes == {value for value in vars(exits).values() if isinstance(value, int)}


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("end", "files"), [(signal.SIGTERM, ["ops.db"]), (signal.SIGKILL, ["ops.db", "ops.db-wal"])]
)
def test_a_backup_is_a_copy(
    tmp_path: Path,
    surroundings: dict[str, str],
    opscore: Run,
    end: signal.Signals,
    files: list[str],
) -> None:
    (tmp_path / "sum.yaml").write_text("{name: s, version: '1', steps: {a: {value: 3}}}", "utf-8")
    with served(surroundings, tmp_path) as server:
        session = json.loads(opscore(["session", "ls", "--json"]).stdout or "[]")
        assert session == []
        assert opscore(["run", "sum.yaml"]).returncode == exits.OK
        present = {one.name for one in (tmp_path / ".opscore").iterdir()}
        logs = {"ops-logs.db", "ops-logs.db-wal", "ops-logs.db-shm"}
        assert logs <= present
        assert present - logs == {"ops.db", "ops.db-wal", "ops.db-shm", "ops.db-lock"}
        server.send_signal(end)
        server.wait(30)
    if end is signal.SIGTERM:
        left = {one.name for one in (tmp_path / ".opscore").iterdir()}
        assert left == {"ops.db", "ops-logs.db", "ops.db-lock"}
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in files:
        shutil.copy(tmp_path / ".opscore" / name, copy)
    with served(surroundings, tmp_path, "--database-url", f"sqlite:///{copy / 'ops.db'}"):
        [session] = json.loads(opscore(["session", "ls", "--json"]).stdout)
        assert session["status"] == "completed"


class served:  # noqa: N801 - reads as a word
    """`opscore dev` on a free port, with `OPSCORE_URL` set to it; killed at the end."""

    def __init__(self, surroundings: dict[str, str], cwd: Path, *words: str) -> None:
        self._surroundings = surroundings
        self._process = subprocess.Popen(
            [sys.executable, "-m", "opscore", "dev", "--port", "0", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=cwd,
            env=surroundings,
        )

    def __enter__(self) -> subprocess.Popen[str]:
        assert self._process.stdout is not None
        self._surroundings["OPSCORE_URL"] = self._process.stdout.readline().strip()
        return self._process

    def __exit__(self, *_: object) -> None:
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait(30)
        self._process.stdout.close()
