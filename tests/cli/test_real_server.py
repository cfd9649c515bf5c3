"""The commands against a real server in a process of its own, and what such a server refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from opscore.cli import exits
from opscore.demo.processes import free_port
from opscore.store.migrate import SCHEMA_VERSION
from tests.cli.conftest import Command
from tests.cli.test_serve import KEY, start

pytestmark = pytest.mark.e2e

GREET = """
name: greet
version: "1"
input: {type: object, required: [name], properties: {name: {type: string}}}
steps:
  hello:
    capability: say-hello
    with: {name: "${{ input.name }}"}
output: "${{ steps.hello.output }}"
"""

AGENT = """
from opscore.sdk import Agent, Fatal

agent = Agent("greeter")

@agent.task("say-hello")
def hello(name: str) -> dict:
    if name == "nobody":
        raise Fatal("there is nobody to greet")
    return {"text": f"hello, {name}"}

agent.run()
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


@contextmanager
def running(*words: str, **more: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """A server that is stopped at the end; gives its process and the URL that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "opscore.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(**more),
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    with running("dev", "--memory", "--port", "0") as (_, url):
        assert url.startswith("http://127.0.0.1:")
        monkeypatch.setenv("OPSCORE_URL", url)
        yield url


@pytest.fixture
def greeter(dev: str, tmp_path: Path) -> Generator[None]:
    file = tmp_path / "agent.py"
    file.write_text(AGENT, encoding="utf-8")
    process = subprocess.Popen([sys.executable, str(file)], env=environment(OPSCORE_URL=dev))
    yield
    process.kill()
    process.wait(30)


@pytest.fixture
def template(tmp_path: Path) -> str:
    file = tmp_path / "greet.yaml"
    file.write_text(GREET, encoding="utf-8")
    return str(file)


@pytest.mark.usefixtures("greeter")
def test_a_template_runs_from_file_to_output(opscore: Command, template: str) -> None:
    ran = opscore("run", template, "name=Ada", "--timeout", "60")
    assert ran.code == exits.OK, ran.err
    assert ran.json == {"text": "hello, Ada"}
    events = opscore("session", "ls", "--workflow", "greet", "--json").json
    session = events[0]["sessionId"]
    ran = opscore("session", "watch", session, "-o", "jsonl")
    assert ran.code == exits.OK
    assert len(ran.lines) >= 4
    ran = opscore("run", "greet", "name=nobody", "--timeout", "60")
    assert ran.code == exits.SESSION_FAILED
    assert "there is nobody to greet" in ran.err
    assert "greeter" in opscore("agent", "ls").out
    assert opscore("agent", "show", "greeter", "--json").json["online"] is True


@pytest.mark.usefixtures("dev")
def test_templates(opscore: Command, template: str, tmp_path: Path) -> None:
    assert opscore("workflow", "apply", template, "--json").json[0]["created"] is True
    assert opscore("workflow", "apply", template, "--json").json[0]["created"] is False
    assert "greet" in opscore("workflow", "ls").out
    assert opscore("workflow", "show", "greet", "1", "--json").json["version"] == "1"
    assert opscore("workflow", "show", "nope").code == exits.NOT_FOUND
    bad = tmp_path / "bad.yaml"
    bad.write_text(GREET.replace("    capability", "    capabilty"), encoding="utf-8")
    ran = opscore("workflow", "apply", str(bad))
    assert ran.code == exits.ERROR
    assert f"{bad}:7:5: " in ran.err
    ran = opscore("workflow", "validate", str(bad), template)
    assert ran.code == exits.ERROR
    assert f"{bad}:7:5: " in ran.err
    assert f"{template}: valid" in ran.err


@pytest.mark.usefixtures("dev")
def test_a_session_is_controlled(opscore: Command, template: str) -> None:
    opscore("workflow", "apply", template)
    session = opscore("session", "start", "greet", "name=Ada", "--label", "a=b").out.strip()
    assert "say-hello" in opscore("task", "ls", "--session", session).out
    assert "no agent with the capability say-hello" in opscore("session", "why", session).out
    assert opscore("session", "pause", session).code == exits.OK
    assert opscore("session", "why", session, "--json").json["reasons"][0]["kind"] == "paused"
    assert opscore("session", "show", session, "--json").json["status"] == "paused"
    assert opscore("session", "resume", session).code == exits.OK
    assert opscore("session", "edit", session, "--priority", "90").code == exits.OK
    assert opscore("session", "show", session, "--json").json["priority"] == 90
    assert opscore("session", "watch", session, "--timeout", "0.2").code == exits.TIMEOUT
    assert opscore("session", "cancel", session, "--reason", "enough").code == exits.OK
    assert opscore("session", "watch", session).code == exits.SESSION_FAILED
    assert opscore("session", "pause", session).code == exits.ERROR
    assert opscore("session", "rm", session).code == exits.OK
    assert opscore("session", "show", session).code == exits.NOT_FOUND
    assert opscore("session", "start", "nope").code != exits.OK


@pytest.mark.usefixtures("dev")
def test_a_task_is_controlled(opscore: Command) -> None:
    ran = opscore("task", "enqueue", "translate", "text=hello", "--priority", "10", "--json")
    task = ran.json["taskId"]
    shown = opscore("task", "show", task, "--json").json
    assert shown["status"] == "available"
    assert shown["input"] == {"text": "hello"}
    assert "number 1 in the queue" not in opscore("task", "why", task).out
    assert opscore("task", "why", task, "--json").json["taskStatus"] == "available"
    assert opscore("task", "edit", task, "--priority", "70").code == exits.OK
    assert opscore("task", "show", task, "--json").json["priority"] == 70
    assert opscore("task", "retry", task).code == exits.ERROR
    assert opscore("task", "cancel", task, "--reason", "enough").code == exits.OK
    assert opscore("task", "ls", "--status", "cancelled", "--json").json[0]["taskId"] == task


@pytest.mark.usefixtures("dev")
def test_an_agent_is_controlled(opscore: Command) -> None:
    assert opscore("agent", "ls", "--json").json == []
    ran = opscore("agent", "register", "one", "--capability", "a", "--label", "x=y", "--json")
    agent = ran.json["agentId"]
    assert opscore("agent", "show", "one", "--json").json["agentId"] == agent
    assert opscore("agent", "drain", "one", "--reason", "update").code == exits.OK
    assert opscore("agent", "show", agent, "--json").json["state"] == "draining"
    assert opscore("agent", "activate", agent).code == exits.OK
    assert opscore("agent", "rm", "one").code == exits.OK
    assert opscore("agent", "show", "one").code == exits.NOT_FOUND


@pytest.mark.usefixtures("dev")
def test_doctor_finds_the_server(opscore: Command) -> None:
    ran = opscore("doctor", "--json")
    assert ran.code == exits.OK
    told = {one["check"]: one["level"] for one in ran.json}
    assert {told[part] for part in ("server", "logs", "callbacks", "hooks")} == {"ok"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_server_keeps_its_database_and_stops_on_request(
    opscore: Command, monkeypatch: pytest.MonkeyPatch, template: str, clean_settings: Path
) -> None:
    session = ""
    for _ in range(2):
        with running("dev", "--port", "0") as (process, url):
            monkeypatch.setenv("OPSCORE_URL", url)
            if not session:
                opscore("workflow", "apply", template)
                session = opscore("session", "start", "greet", "name=Ada").out.strip()
            assert opscore("session", "show", session).code == exits.OK
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == exits.OK
    assert (clean_settings / ".opscore" / "ops.db").is_file()


@contextmanager
def watching(session: str, url: str) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "opscore.cli", "session", "watch", session, "--url", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def told(process: subprocess.Popen[str], words: str) -> None:
    """Wait until the process has said this."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it ended without saying {words!r}")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_session_is_watched_over_a_restart_of_the_server_and_left_by_ctrl_c(
    opscore: Command, template: str, tmp_path: Path
) -> None:
    port = str(free_port())
    (tmp_path / "agent.py").write_text(AGENT, encoding="utf-8")
    with running("dev", "--port", port) as (server, url):
        opscore("workflow", "apply", template, "--url", url)
        ran = opscore("session", "start", "greet", "name=nobody", "--url", url)
        session = ran.out.strip()
        with watching(session, url) as left:
            told(left, "step hello: running")
            left.send_signal(signal.SIGINT)
            told(left, "detached")
            assert left.wait(30) == exits.INTERRUPTED
        with watching(session, url) as process:
            told(process, "step hello: running")
            server.kill()
            server.wait(30)
            told(process, "trying again")
            agent = [sys.executable, str(tmp_path / "agent.py")]
            with (
                running("dev", "--port", port),
                subprocess.Popen(agent, env=environment(OPSCORE_URL=url)) as working,
            ):
                told(process, "there is nobody to greet")
                assert process.wait(60) == exits.SESSION_FAILED
                working.kill()


def test_templates_of_a_directory_are_applied_and_a_bad_one_is_reported(
    opscore: Command, monkeypatch: pytest.MonkeyPatch, template: str, tmp_path: Path
) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    Path(template).rename(folder / "greet.yaml")
    (folder / "a-bad-one.yaml").write_text("steps: [", encoding="utf-8")
    with running("dev", "--memory", "--port", "0", OPSCORE_WORKFLOWS_DIR=str(folder)) as (_, url):
        monkeypatch.setenv("OPSCORE_URL", url)
        assert [one["name"] for one in opscore("workflow", "ls", "--json").json] == [
            "greet",
            "sample_workflow_id",
        ]


def _newer(path: Path) -> None:
    connection = apsw.Connection(str(path))
    cast("Any", connection).pragma("user_version", SCHEMA_VERSION + 1)
    connection.close()


def _damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 65_536)


@pytest.mark.parametrize(("harm", "told"), [(_newer, "newer"), (_damage, "damaged")])
def test_a_database_that_cannot_be_opened_is_told(
    tmp_path: Path, harm: Callable[[Path], None], told: str
) -> None:
    database = f"sqlite:///{tmp_path / 'ops.db'}"
    with running("dev", "--port", "0") as (process, _):
        process.terminate()
        process.wait(30)
    made = tmp_path / ".opscore" / "ops.db"
    made.rename(tmp_path / "ops.db")
    harm(tmp_path / "ops.db")
    ran = start("serve", "--port", "0", database_url=database, api_key=KEY)
    assert ran.code == exits.ERROR
    assert told in ran.err


def test_a_database_in_use_is_told(tmp_path: Path) -> None:
    with running("dev", "--port", "0"):
        ran = start(
            *("serve", "--port", "0"),
            database_url=f"sqlite:///{tmp_path / '.opscore' / 'ops.db'}",
            api_key=KEY,
        )
    assert ran.code == exits.ERROR
    assert "in use by another process" in ran.err
