"""Real processes: a server, agents and clients, each with a journal, for whoever wants to hurt them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from opscore.demo.processes import SERVER, Child, Processes, free_port
from tests.torture.checker import ROOT, Violation, check
from tests.torture.evidence import Evidence, read_lines, read_sqlite
from tests.torture.work import TEMPLATES

STARTED = ("chain", "chain", "fan", "saga", "family")
LEASE_SECONDS = 3.0
READY_SECONDS = 60.0
CALM_SECONDS = 180.0
LOOK_SECONDS = 0.05
BASE = "/v1/opscore"


class Field:
    """Everything lives in `directory`; `host` is where agents find the server."""

    def __init__(self, directory: Path, seed: int, host: str = "127.0.0.1") -> None:
        self.directory = directory
        self.chance = Random(seed)
        self.database = directory / "ops.db"
        self._host, self._port = host, free_port()
        key = secrets.token_hex(32)
        self.url = f"http://{host}:{self._port}"
        self._environment = {
            "OPSCORE_URL": self.url,
            "OPSCORE_API_KEY": key,
            "OPSCORE_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "OPSCORE_DATABASE_URL": f"sqlite:///{self.database}",
            "PYTHONPATH": _paths(),
        }
        self.processes = Processes(directory, self._environment)
        self.headers = {"Authorization": f"Bearer {key}"}
        self.server: Child | None = None
        self.agents: dict[str, tuple[Child, list[str]]] = {}
        self.known: list[str] = []
        self.loading = True
        self._journal = (directory / "all.client").open("a", encoding="utf-8")
        self._sent = 0
        self.session: aiohttp.ClientSession | None = None

    def use(self, database: Path) -> None:
        """Another file, before the server is started."""
        self.database = database
        self._environment["OPSCORE_DATABASE_URL"] = f"sqlite:///{database}"
        self.processes = Processes(self.directory, self._environment)

    # Processes

    def start_server(self) -> None:
        """`opscore serve`, on the same port and file every time."""
        words = ("serve", "--host", self._host, "--port", str(self._port))
        self.server = self.processes.start(SERVER, "opscore", *words)

    def kill_server(self) -> None:
        """`kill -9`."""
        assert self.server is not None
        self.server.kill()

    def start_agent(self, name: str, instance: str, transport: str, *before: str) -> None:
        """Start an instance, or start it again; `before` is what its command is given to."""
        seed = str(self.chance.randrange(1 << 30))
        ledger = str(self.directory / f"{instance}.agent")
        module = [sys.executable, "-m", "tests.torture.worker"]
        command = [*before, *module, name, instance, transport, ledger, seed]
        child = self._spawn(instance, command)
        self.agents[instance] = (child, [name, instance, transport, *before])

    def _spawn(self, name: str, command: list[str]) -> Child:
        log = self.directory / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.processes.children.append(child)
        return child

    def restart_agent(self, instance: str) -> None:
        """`kill -9`, and a new process of the same instance."""
        child, words = self.agents[instance]
        child.kill()
        self.start_agent(*words)

    async def ready(self) -> None:
        """Wait until the server takes work."""
        over = time.monotonic() + READY_SECONDS
        while await self.get("/ready") is None:
            self.processes.check()
            assert time.monotonic() < over, f"the server is not ready after {READY_SECONDS:g} s"
            await asyncio.sleep(LOOK_SECONDS)

    # Requests

    def write(self, did: str, **told: Any) -> None:
        """A line of the clients' journal, before anything else happens."""
        self._journal.write(json.dumps({"did": did, **told}) + "\n")
        self._journal.flush()

    async def get(self, path: str) -> dict[str, Any] | None:
        """The document at a path; None when there is no answer, or none of success."""
        assert self.session is not None
        try:
            async with self.session.get(f"{self.url}{path}", headers=self.headers) as answer:
                return await answer.json() if answer.status < 300 else None
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def post(
        self, verb: str, path: str, body: Mapping[str, Any], *, key: str | None, **told: Any
    ) -> tuple[int, dict[str, Any]]:
        """One request, journalled; status 0 when there is no answer."""
        assert self.session is not None
        self._sent += 1
        sent = {"who": "all", "n": self._sent}
        self.write("sent", **sent, verb=verb, key=key, **told)
        headers = self.headers | ({} if key is None else {"Idempotency-Key": key})
        url = f"{self.url}{BASE}{path}"
        try:
            async with self.session.post(url, json=body, headers=headers) as answer:
                document: dict[str, Any] = await answer.json(content_type=None)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.write("unanswered", **sent)
            return 0, {}
        self.write("answered", **sent, status=status, body=document)
        return status, document

    async def until_answered(
        self, verb: str, path: str, body: Mapping[str, Any], *, key: str | None, **told: Any
    ) -> tuple[int, dict[str, Any]]:
        """Ask again while nobody answers, or is busy."""
        over = time.monotonic() + CALM_SECONDS
        while True:
            status, document = await self.post(verb, path, body, key=key, **told)
            if status not in {0, 429, 500, 503} and document.get("code") != "idempotency_running":
                return status, document
            assert time.monotonic() < over, f"{verb}: no answer for {CALM_SECONDS:g} s: {document}"
            await asyncio.sleep(LOOK_SECONDS * (1 + self.chance.random()))

    async def start_one(self) -> None:
        """Start a session, or enqueue a task, under a key of its own."""
        mark = f"m{len(self.known)}-{secrets.token_hex(4)}"
        context = {"mark": mark}
        if self.chance.random() < 0.3:
            path, verb = "/task", "task.enqueue"
            body: dict[str, Any] = {"capability": "work", "context": context}
        else:
            path, verb = "/session", "session.start"
            name = self.chance.choice(STARTED)
            entry = {"go": self.chance.random() < 0.5}
            body = {"workflow": name, "input": entry, "context": context}
        _, document = await self.until_answered(verb, path, body, key=mark, mark=mark)
        self.known.append(document["sessionId"])
        if self.chance.random() < 0.04:
            session = self.known[-1]
            path, nothing = f"/session/{session}/cancel", dict[str, Any]()
            await self.until_answered("session.cancel", path, nothing, key=None, session=session)

    async def load(self, pause: float) -> None:
        """One client."""
        while self.loading:
            await self.start_one()
            await asyncio.sleep(self.chance.random() * pause)

    async def prepare(self) -> None:
        """A server with templates, and agents of both kinds."""
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self.write("lease", micros=round(LEASE_SECONDS * 1_000_000))
        self.start_server()
        await self.ready()
        for template in TEMPLATES:
            status, said = await self.until_answered(
                "workflow.create", "/workflow", template, key=None
            )
            assert status < 300, said

    # The end

    async def calm(self) -> None:
        """Nobody starts anything any more; everything that was accepted comes to its end."""
        self.loading = False
        self.write("calm", after=0)
        over = time.monotonic() + CALM_SECONDS
        while await self._open():
            self.processes.check()
            assert time.monotonic() < over, f"still open after {CALM_SECONDS:g} s: {self.known[-1]}"
            await asyncio.sleep(0.3)
        for session in self.chance.sample(self.known, min(60, len(self.known))):
            shown = await self.get(f"{BASE}/session/{session}")
            assert shown is not None, f"session {session} is not served"
            self.write("served", session=shown)

    async def _open(self) -> bool:
        for status in ("waiting", "processing", "paused"):
            page = await self.get(f"{BASE}/session?status={status}&limit=1")
            if page is None or page["sessions"]:
                return True
        return False

    async def end(self) -> list[Violation]:
        """Stop everything, and let the checker judge."""
        if self.session is not None:
            await self.session.close()
        for child, _ in self.agents.values():
            child.expected = True
            child.signal(signal.SIGCONT)
        self.processes.stop()
        self._journal.close()
        return check(self.evidence())

    def evidence(self) -> Evidence:
        """What everybody wrote down, and the database."""
        return Evidence(
            read_lines(self.directory / "all.client"),
            read_lines(*sorted(self.directory.glob("*.agent"))),
            read_sqlite(self.database),
        )


def _paths() -> str:
    return os.pathsep.join([str(ROOT / "src"), str(ROOT)])
