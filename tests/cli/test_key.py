"""`opscore key …` against a server on a real socket, and the first key of a real server."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from opscore.cli import exits
from opscore.sdk.client import Client
from opscore.sdk.errors import OpsCoreProblem
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

VIEW = {
    "keyId": "key_1",
    "name": "ci",
    "namespace": "default",
    "scopes": ["session:start", "session:read"],
    "state": "live",
    "createdAt": "2026-01-01T00:00:00Z",
    "createdBy": "operator:key_0",
}
MADE = {**VIEW, "key": "opc_1_secret"}


def test_only_the_text_of_a_new_key_is_data(server: FakeServer, opscore: Command) -> None:
    server.on("POST /key", MADE, status=201)
    words = ("--scope", "session:start", "--scope", "session:read", "--expires", "90d")
    ran = opscore("key", "create", "ci", *words, "--agent", "scout", "--everywhere")
    assert (ran.code, ran.out) == (exits.OK, "opc_1_secret\n")
    assert "key_1" in ran.err and "opc_1_secret" not in ran.err
    assert server.last.json == {
        "name": "ci",
        "scopes": ["session:start", "session:read"],
        "expiresInSeconds": 7_776_000,
        "agent": "scout",
        "namespace": "*",
    }
    assert opscore("key", "create", "ci", *words, "--json").json == MADE


def test_a_key_needs_a_scope_that_there_is(server: FakeServer, opscore: Command) -> None:
    assert opscore("key", "create", "ci").code == exits.USAGE
    assert opscore("key", "create", "ci", "--scope", "root").code == exits.USAGE
    bad = opscore("key", "create", "ci", "--scope", "admin", "--expires", "soon")
    assert bad.code == exits.USAGE and "--expires" in bad.err
    assert server.seen == []


def test_keys_are_listed(server: FakeServer, opscore: Command) -> None:
    server.on("GET /key", {"keys": [VIEW], "nextCursor": None})
    ran = opscore("key", "ls")
    assert ran.lines[0].split()[:3] == ["KEY", "NAME", "STATE"]
    assert ran.lines[1].split()[:4] == ["key_1", "ci", "live", "default"]


@pytest.mark.parametrize(
    ("words", "seconds"), [((), 86_400), (("--overlap", "0s"), 0), (("--overlap", "1h30m"), 5_400)]
)
def test_a_key_is_rotated(
    server: FakeServer, opscore: Command, words: tuple[str, ...], seconds: float
) -> None:
    server.on("POST /key/key_1/rotate", {**MADE, "previousUntil": "2026-01-02T00:00:00Z"})
    ran = opscore("key", "rotate", "key_1", *words)
    assert (ran.code, ran.out) == (exits.OK, "opc_1_secret\n")
    assert "2026-01-02" in ran.err
    assert server.last.json == {"overlapSeconds": seconds}


def test_a_key_is_revoked(server: FakeServer, opscore: Command) -> None:
    server.on("DELETE /key/key_1", b"", status=204)
    ran = opscore("key", "revoke", "key_1")
    assert (ran.code, ran.out) == (exits.OK, "")
    assert "revoked key_1" in ran.err
    assert opscore("key", "revoke", "key_2").code == exits.NOT_FOUND


def started(*words: str) -> tuple[subprocess.Popen[str], list[str]]:
    """A server in a process of its own, and what it said until it listened."""
    process = subprocess.Popen(
        [sys.executable, "-m", "opscore", "serve", "--port", "0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if '"listening"' in line:
            return process, lines
    raise AssertionError("".join(lines))


def url_of(lines: list[str]) -> str:
    return lines[-1].split('"url":"')[1].split('"')[0]


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == exits.OK
    return out


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_server_without_a_key_makes_one_and_prints_it_once(monkeypatch: Any) -> None:
    process, lines = started()
    with Client.sync(url_of(lines)) as stranger, pytest.raises(OpsCoreProblem):
        stranger.agents.list()
    assert process.stdout is not None
    key = process.stdout.readline().strip()
    assert key.startswith("opc_") and key not in "".join(lines)
    with Client.sync(url_of(lines), key) as client:
        made = client.keys.create("ci", ["session:read"])
        assert [one.name for one in client.keys.list().keys] == ["ci", "first"]
    assert stop(process) == ""
    process, lines = started()
    with Client.sync(url_of(lines), made.key) as client:
        assert client.sessions.list().sessions == []
    assert stop(process) == ""
