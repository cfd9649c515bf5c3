"""What keeps a server from starting, told before anything is opened."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from opscore.cli import exits
from tests.cli.conftest import Command, Ran

KEY = "k" * 32


def start(*words: str, **environment: str) -> Ran:
    """A server in a process of its own, which is to end by itself."""
    settings = {f"OPSCORE_{name.upper()}": value for name, value in environment.items()}
    done = subprocess.run(
        [sys.executable, "-m", "opscore.cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **settings},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("key", [["--api-key", ""], ["--api-key", "k" * 31]])
def test_a_server_needs_a_good_key(opscore: Command, key: list[str]) -> None:
    ran = opscore("serve", *key)
    assert ran.code == exits.ERROR
    assert ran.out == ""
    assert "OPSCORE_API_KEY" in ran.err
    assert "k" * 31 not in ran.err


def test_the_workflows_directory_must_be_there(clean_settings: Path) -> None:
    ran = start("serve", api_key=KEY, workflows_dir=str(clean_settings / "nope"))
    assert ran.code == exits.USAGE
    assert "nope is not a directory" in ran.err
    assert list(clean_settings.iterdir()) == []


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_a_port_that_is_taken_is_told(clean_settings: Path, command: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = start(command, "--port", port, api_key=KEY)
    assert ran.code == exits.ERROR
    assert f"Port {port} on 127.0.0.1 is taken" in ran.err
    assert "OPSCORE_PORT" in ran.err
    assert ran.out == ""
    assert list(clean_settings.iterdir()) == []


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_port_out_of_range_is_told(port: str) -> None:
    ran = start("serve", f"--port={port}", api_key=KEY)
    assert ran.code == exits.USAGE
    assert f"{port} is not a port" in ran.err


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("--lease-seconds=0.5", "OPSCORE_LEASE_SECONDS"),
        ("--lease-seconds=nan", "OPSCORE_LEASE_SECONDS"),
        ("--payload-limit=10", "OPSCORE_PAYLOAD_LIMIT"),
        ("--otlp-sample=1.5", "OPSCORE_OTLP_SAMPLE"),
        ("--otlp-endpoint=ftp://x", "OPSCORE_OTLP_ENDPOINT"),
        ("--log-file-mib=0", "OPSCORE_LOG_FILE_MIB"),
        ("--log-file=/nowhere/at/all/ops.log", "OPSCORE_LOG_FILE"),
    ],
)
def test_a_bound_out_of_range_is_told(opscore: Command, flag: str, name: str) -> None:
    ran = opscore("serve", "--api-key", KEY, flag)
    assert ran.code == exits.USAGE
    assert name in ran.err


def test_headers_that_are_none_are_told_without_them(opscore: Command) -> None:
    otlp = ["--otlp-endpoint=http://127.0.0.1:1", "--otlp-headers=canary"]
    ran = opscore("serve", "--api-key", KEY, *otlp)
    assert (ran.code, "OPSCORE_OTLP_HEADERS" in ran.err) == (exits.USAGE, True)
    assert "canary" not in ran.err
