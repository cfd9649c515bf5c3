"""Clients of the simulation: each sends its requests one after another until it has their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from opscore.api.answer import Answer
from opscore.api.idempotency import once
from opscore.api.views import session_view
from opscore.core.types import Actor
from opscore.engine.engine import Engine
from opscore.engine.tools import TaskRequest
from tests.torture.evidence import Record
from tests.torture.network import Lost, Network, Reply
from tests.torture.work import STARTED, TEMPLATES

ADA = Actor("operator", "ada")
Work = Callable[[Engine], Awaitable[Mapping[str, Any]]]


@dataclass
class Known:
    """A session that a client has started, and what it still means to do with it."""

    session: str
    workflow: str
    orders: list[str] = field(default_factory=list[str])


class Client:
    """Writes down what it sends before it does, and what it is answered."""

    def __init__(self, network: Network, chance: Random, journal: list[Record], name: str) -> None:
        self.network = network
        self.chance = chance
        self.name = name
        self.known: list[Known] = []
        self._journal = journal
        self._number = 0

    async def ask(self, verb: str, work: Work, *, key: str | None = None, **told: Any) -> Reply:
        """Send a request until there is an answer that is none of 5xx, with pauses between."""
        for _ in range(500):
            self._number += 1
            sent = {"who": self.name, "n": self._number}
            self._journal.append({"did": "sent", **sent, "verb": verb, "key": key, **told})
            try:
                reply = await self.network.ask(self.name, _request(verb, work, key, told))
            except Lost:
                self._journal.append({"did": "unanswered", **sent})
                reply = None
            else:
                answered = {"status": reply.status, "body": reply.body}
                self._journal.append({"did": "answered", **sent, **answered})
            if reply is not None and reply.status < 500 and not _running(reply):
                return reply
            await asyncio.sleep(0.2 + self.chance.random())
        raise Lost(f"{verb} was asked for 500 times")

    # What it asks for

    async def prepare(self) -> None:
        """Apply the templates."""
        for template in TEMPLATES:

            async def work(engine: Engine, tree: Any = template) -> Mapping[str, Any]:
                await engine.orchestration.create_workflow(tree, actor=ADA)
                return {}

            await self.ask("workflow.create", work)

    async def start(self, workflow: str, **given: Any) -> Known | None:
        """Start a session; None when that is refused."""
        mark = f"{self.name}-{self._number}-{self.chance.getrandbits(32):08x}"
        context = json.dumps({"mark": mark}).encode()
        entry = json.dumps({"go": self.chance.random() < 0.6, **given}).encode()

        async def work(engine: Engine) -> Mapping[str, Any]:
            session = await engine.orchestration.start(
                workflow,
                input=msgspec.Raw(entry),
                context=msgspec.Raw(context),
                priority=50,
                actor=ADA,
            )
            return {"sessionId": session}

        reply = await self.ask("session.start", work, key=mark, mark=mark)
        if reply.status >= 300:
            return None
        known = Known(reply.body["sessionId"], workflow)
        self.known.append(known)
        return known

    async def enqueue(self) -> None:
        """Enqueue one task, now or later."""
        mark = f"{self.name}-{self._number}-{self.chance.getrandbits(32):08x}"
        request = TaskRequest(
            capability=self.chance.choice(("work", "other")),
            context=msgspec.Raw(json.dumps({"mark": mark}).encode()),
            delay_seconds=self.chance.choice((None, 0.5, 6.0)),
            retry={"maxAttempts": 2, "initialDelay": "1s"},
        )

        async def work(engine: Engine) -> Mapping[str, Any]:
            task, session = await engine.orchestration.enqueue_task(request, actor=ADA)
            return {"taskId": task, "sessionId": session}

        reply = await self.ask("task.enqueue", work, key=mark, mark=mark)
        self.known.append(Known(reply.body["sessionId"], "task"))

    async def order(self, verb: str, known: Known, *, keyed: bool = False) -> Reply:
        """Pause, resume, cancel or retry a session."""

        async def work(engine: Engine) -> Mapping[str, Any]:
            verbs = engine.orchestration
            await getattr(verbs, verb)(known.session, "because", actor=ADA)
            return {}

        key = f"{verb}-{known.session}-{self._number}" if keyed else None
        return await self.ask(f"session.{verb}", work, key=key, session=known.session)

    async def signal(self, known: Known, *, key: str | None = None) -> None:
        """Send the signal that a session waits for."""
        signal = f"sig-{known.session}-{self.chance.randrange(3)}"

        async def work(engine: Engine) -> Mapping[str, Any]:
            await engine.orchestration.signal(
                known.session, "paid", b"5", signal_id=signal, actor=ADA
            )
            return {}

        told = {"session": known.session, "signal": signal}
        await self.ask("session.signal", work, key=key, **told)

    async def approve(self, known: Known) -> None:
        """Say yes to what a session asks."""

        async def work(engine: Engine) -> Mapping[str, Any]:
            approval = f"apr_{known.session[4:]}-review"
            asked = await engine.orchestration.get_approval(approval)
            await engine.orchestration.approve(approval, asked.content_hash, actor=ADA)
            return {}

        await self.ask("session.approve", work, session=known.session)

    async def look(self, session: str) -> dict[str, Any] | None:
        """The session as the API shows it."""

        async def work(engine: Engine) -> Mapping[str, Any]:
            record = await engine.orchestration.get_session(session)
            return json.loads(msgspec.json.encode(session_view(record)))

        reply = await self.ask("session.get", work)
        return dict(reply.body) if reply.status < 300 else None

    # How it spends its time

    async def play(self, seconds: float) -> None:
        """Do this and that until the time is up."""
        over = self.network.loop.time() + seconds
        while self.network.loop.time() < over:
            await self._one_thing()
            await asyncio.sleep(self.chance.random() * 3)

    async def _one_thing(self) -> None:
        dice = self.chance.random()
        known = self.chance.choice(self.known) if self.known else None
        if known is None or dice < 0.5:
            await self.start(self.chance.choice(STARTED))
        elif dice < 0.65:
            await self.enqueue()
        elif dice < 0.72:
            await self.order("cancel", known)
        elif dice < 0.80:
            if (await self.order("pause", known)).status < 300:
                await asyncio.sleep(self.chance.random() * 3)
                await self.order("resume", known)
        elif dice < 0.84:
            await self.order("retry", known, keyed=True)
        elif known.workflow == "patient":
            await self.signal(known)
        elif known.workflow == "asks":
            await self.approve(known)


def _running(reply: Reply) -> bool:
    """The same request is being carried out: its answer is to be had soon."""
    return reply.body.get("code") == "idempotency_running"


def _request(
    verb: str, work: Work, key: str | None, told: Mapping[str, Any]
) -> Callable[[Engine], Awaitable[Reply]]:
    """A request as the API carries it out: under its key, if it has one."""
    path = f"/{verb}/{told.get('session', '')}"

    async def carried_out(engine: Engine) -> Reply:
        async def run() -> Answer:
            return Answer(202, json.dumps(await work(engine)).encode())

        if key is None:
            return _reply(await run())
        call = SimpleNamespace(
            engine=engine,
            namespace="default",
            actor=ADA,
            headers={},
            scope={"path": path, "query_string": b""},
        )
        operation = SimpleNamespace(method="POST", path=path)
        answer = await once(cast("Any", call), cast("Any", operation), key, path.encode(), run)
        return _reply(cast("Answer", answer))

    return carried_out


def _reply(answer: Answer) -> Reply:
    return Reply(answer.status, json.loads(answer.body))
