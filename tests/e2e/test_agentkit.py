"""AgentKit and Ops-Core as processes: every kind of wrong message, and each of the two killed."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from opscore.api.sample import SAMPLE
from opscore.sdk import Client, OpsCoreProblem, ServerUnreachable
from opscore.sdk.sync import SyncClient
from tests.docs.pages import ROOT

pytestmark = pytest.mark.e2e

KEY = "a-key-for-tests-that-is-long-enough-0123"
SECRET = "shared-with-agentkit"
SECONDS = 60.0
AGENTS = ("tester", "other")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Scene:
    """Both programs, each of which can be killed and started again."""

    folder: Path
    stack: ExitStack
    port: int = field(default_factory=free_port)
    kit_port: int = field(default_factory=free_port)
    work_seconds: float = 0.0
    kit: subprocess.Popen[str] | None = None
    server: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_server(self) -> None:
        settings = {
            "API_KEY": KEY,
            "PORT": str(self.port),
            "DATABASE_URL": f"sqlite:///{self.folder}/ops.db",
            "WEBHOOK_SECRET": SECRET,
            "AGENTKIT_URL": f"http://127.0.0.1:{self.kit_port}",
            "OUTGOING_ALLOW": "127.0.0.0/8",
            "LEASE_SECONDS": "2",
        }
        environment = {f"OPSCORE_{name}": value for name, value in settings.items()}
        self.server = self._run("-m", "opscore", "serve", **environment)
        with Client.sync(self.url) as client:
            server = self.server
            until(lambda: _answers(client, server))

    def start_kit(self) -> dict[str, str]:
        """The agents' ids, by name; both have registered."""
        words = ["--opscore", self.url, "--secret", SECRET, "--key", KEY]
        words += ["--port", str(self.kit_port), "--seconds", str(self.work_seconds)]
        self.kit = self._run(str(ROOT / "examples/agentkit/fake.py"), *words)
        assert "stand-in" in self._line(self.kit)
        told = [self._line(self.kit).split() for _ in AGENTS]
        assert [(one[1], one[-1]) for one in told] == [(name, "200") for name in AGENTS]
        return {one[1]: one[-2].rstrip(":") for one in told}

    def _run(self, *words: str, **more: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(ROOT), *sys.path])
        log = self.stack.enter_context((self.folder / "log").open("a"))
        process = subprocess.Popen(
            [sys.executable, "-u", *words],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, **more},
        )
        assert process.stdout is not None
        self.stack.callback(process.stdout.close)
        self.stack.callback(kill, process)
        return process

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line, (self.folder / "log").read_text()
        return line

    def client(self) -> SyncClient:
        return self.stack.enter_context(Client.sync(self.url, KEY))

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """One request without anything of ours around it."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}/v1/opscore{path}"
        request = Request(url, data, {"content-type": "application/json", **told}, method=method)
        try:
            with urlopen(request, timeout=SECONDS) as answer:
                return answer.status, json.loads(answer.read() or b"{}")
        except HTTPError as refused:
            return refused.code, json.loads(refused.read())

    def report(self, agent_id: str, state: str, at: str, **headers: str) -> int:
        details: dict[str, str] = {}
        body = {"agentId": agent_id, "timestamp": at, "state": state, "details": details}
        return self.ask("POST", f"/agent/{agent_id}/state", body, **headers)[0]

    def notify(self, body: bytes, **headers: str) -> int:
        status, told = self.ask("POST", "/internal/agent/notify", body, **headers)
        assert status == 200 or isinstance(told["detail"], str)
        return status


def _answers(client: SyncClient, server: subprocess.Popen[str]) -> bool:
    assert server.poll() is None, "the server ended"
    try:
        return bool(client.ready()["ready"])
    except (ServerUnreachable, OpsCoreProblem):
        return False


def kill(process: subprocess.Popen[str] | None) -> None:
    assert process is not None
    process.kill()
    process.wait()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"


@contextmanager
def programs(folder: Path, **options: Any) -> Generator[Scene]:
    with ExitStack() as stack:
        scene = Scene(folder, stack, **options)
        scene.start_server()
        yield scene


def notice(event: str, agent_id: str, name: str) -> bytes:
    details = {
        "agentId": agent_id,
        "agentName": name,
        "version": "1.0",
        "capabilities": ["extra"],
        "contactEndpoint": "http://127.0.0.1:9/agent/extra",
        "metadata": None,
    }
    return json.dumps({"event_type": event, "agent_details": details}).encode()


def signature(body: bytes, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    mac = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x_agentkit_timestamp": stamp, "x_agentkit_signature": mac}


BEARER = {"authorization": f"Bearer {KEY}"}


def trigger(scene: Scene, agent_id: str) -> dict[str, Any]:
    """Start the sample as AgentKit does, and wait for its end."""
    order = {
        "agentId": agent_id,
        "workflowDefinition": SAMPLE,
        "initialPayload": None,
        "context": {"who": "me"},
    }
    path = f"/agent/{agent_id}/workflow"
    status, told = scene.ask("POST", path, order, **BEARER, prefer="wait=30")
    assert (status, told["status"], told["workflowId"]) == (200, "completed", SAMPLE["id"]), told
    return told


def names(client: SyncClient) -> list[str]:
    return sorted(one.agent_name for one in client.agents.list().agents)


def test_from_the_notice_to_the_completed_session_and_every_wrong_message(tmp_path: Path) -> None:
    with programs(tmp_path) as scene:
        ids, client = scene.start_kit(), scene.client()
        tester = ids["tester"]
        found = client.agents.get(tester)
        assert (found.channel, found.state, found.reported_state) == ("agentkit", "unknown", None)
        _reports(scene, client, tester)
        session = trigger(scene, tester)
        steps = client.sessions.get(session["sessionId"]).steps
        tasks = [client.tasks.get(task) for step in steps.values() for task in step.tasks]
        assert [(one.agent_id, one.attempt, one.status) for one in tasks] == [
            (ids["tester"], 1, "completed"),
            (ids["other"], 1, "completed"),
        ]
        _notices(scene, client)
        assert names(client) == ["other", "tester"]


def _reports(scene: Scene, client: SyncClient, agent_id: str) -> None:
    """Duplicated, late, without a key, about another agent, of an agent that nobody knows."""
    at = ["2026-04-01T12:00:00.000001+00:00", "2026-04-01T12:00:01.000001+00:00"]
    assert [scene.report(agent_id, "idle", at[1], **BEARER) for _ in range(2)] == [202, 202]
    assert scene.report(agent_id, "error", at[0], **BEARER) == 202
    assert client.agents.get(agent_id).state == "idle"
    assert scene.report(agent_id, "error", at[1]) == 401
    assert scene.report(agent_id, "error", at[1], authorization="Bearer wrong") == 401
    body = {"agentId": "somebody-else", "state": "error"}
    assert scene.ask("POST", f"/agent/{agent_id}/state", body, **BEARER)[0] == 400
    assert client.agents.get(agent_id).state == "idle"
    assert scene.report("early", "UNKNOWN", at[0], **BEARER) == 202
    early = client.agents.state("early")
    assert (early.state, early.reported_state) == ("unknown", "UNKNOWN")
    client.agents.deregister("early")


def _notices(scene: Scene, client: SyncClient) -> None:
    """Unsigned, wrongly signed, changed, too old, duplicated, replayed."""
    body = notice("REGISTER", "x1", "extra")
    right = signature(body)
    assert scene.notify(body) == 401
    assert scene.notify(body, **signature(body, "another-secret")) == 401
    assert scene.notify(body.replace(b"extra", b"intruder"), **right) == 401
    assert scene.notify(body, **signature(body, at=time.time() - 301)) == 401
    assert scene.notify(body, **{**right, "x_agentkit_timestamp": "1"}) == 401
    assert names(client) == ["other", "tester"]
    assert [scene.notify(body, **right) for _ in range(2)] == [200, 200]
    assert names(client) == ["extra", "other", "tester"]
    gone = notice("DEREGISTER", "x1", "extra")
    assert scene.notify(gone, **signature(gone)) == 200
    assert scene.notify(body, **right) == 200
    with pytest.raises(OpsCoreProblem, match="there is no agent x1"):
        client.agents.get("x1")


PATIENT = """
name: patient
version: "1"
steps:
  only:
    capability: test_capability
    timeout: {attempt: 4s}
    retry: {maxAttempts: 100, backoff: constant, initialDelay: 100ms}
"""


def test_agentkit_is_killed_and_comes_back_with_new_ids(tmp_path: Path) -> None:
    with programs(tmp_path) as scene:
        old, client = scene.start_kit(), scene.client()
        client.workflows.apply(PATIENT)
        kill(scene.kit)
        run = client.start("patient")
        (task,) = client.tasks.list(session=run.id).tasks
        until(lambda: client.tasks.get(task.task_id).failures > 0)
        assert client.agents.refresh().reachable is False
        assert client.ready()["agentkit"]["reachable"] is False
        told = subprocess.run(
            [sys.executable, "-m", "opscore", "doctor", "--json"],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "OPSCORE_URL": scene.url, "OPSCORE_API_KEY": KEY},
        )
        (finding,) = [one for one in json.loads(told.stdout) if one["check"] == "agentkit"]
        assert (finding["level"], "works on" in finding["found"]) == ("warn", True)
        new = scene.start_kit()
        assert not set(new.values()) & set(old.values())
        assert run.result(SECONDS) is None
        assert client.agents.refresh().reachable is True
        assert names(client) == ["other", "tester"]
        for agent_id in (old["tester"], new["tester"]):
            assert client.agents.get(agent_id).agent_id == old["tester"]
            trigger(scene, agent_id)
        assert scene.report(new["tester"], "idle", "2030-01-01T00:00:00Z", **BEARER) == 202
        assert client.agents.get(old["tester"]).state == "idle"


def test_ops_core_is_killed_in_the_middle_of_a_task(tmp_path: Path) -> None:
    with programs(tmp_path, work_seconds=1.0) as scene:
        scene.start_kit()
        client = scene.client()
        client.workflows.apply(PATIENT)
        runs = [client.start("patient") for _ in range(2)]
        tasks = [client.tasks.list(session=one.id).tasks[0].task_id for one in runs]
        until(lambda: any(client.tasks.get(one).status == "running" for one in tasks))
        kill(scene.server)
        scene.start_server()
        for run, task_id in zip(runs, tasks, strict=True):
            run.result(SECONDS)
            events = client.sessions.history(run.id, limit=1000).events
            assert [one.seq for one in events] == list(range(1, len(events) + 1))
            assert [one.type for one in events].count("task.completed") == 1
            assert client.tasks.get(task_id).status == "completed"
        assert sum(client.tasks.get(one).attempt for one in tasks) == 3
