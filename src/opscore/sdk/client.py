"""`Client`: starting sessions, following them, and every other route of the API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from opscore.sdk.approvals import Approvals
from opscore.sdk.audit import Audit
from opscore.sdk.calls import Calls, body_of, decode
from opscore.sdk.follow import feed
from opscore.sdk.keys import Keys
from opscore.sdk.log_routes import LogRoutes
from opscore.sdk.routes import Agents, Limits, Sessions, Workflows
from opscore.sdk.run import Run
from opscore.sdk.schedules import Schedules
from opscore.sdk.server import Server
from opscore.sdk.task_routes import Tasks
from opscore.wire.session import EventView

if TYPE_CHECKING:
    from opscore.sdk.sync import SyncClient

PATIENCE_SECONDS = 60.0


class Client:
    """A connection pool to one server, for one event loop.

    What is not given comes from `OPSCORE_URL` (else http://127.0.0.1:8700), `OPSCORE_API_KEY` and
    `OPSCORE_NAMESPACE`. `patience`: for how many seconds a `Run` waits for a server that is away.
    Every call raises `OpsCoreProblem` when the server refuses and `ServerUnreachable` when it
    does not answer. Every call is tried again for a moment; what changes something carries an
    `Idempotency-Key`, so that it is done once all the same.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        namespace: str | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._calls = Calls(Server.resolve(url, api_key, namespace))
        self._patience = patience
        self.agents = Agents(self._calls)
        self.workflows = Workflows(self._calls)
        self.sessions = Sessions(self._calls)
        self.tasks = Tasks(self._calls)
        self.approvals = Approvals(self._calls)
        self.schedules = Schedules(self._calls)
        self.limits = Limits(self._calls)
        self.keys = Keys(self._calls)
        self.audit = Audit(self._calls)
        self.logs = LogRoutes(self._calls, patience)

    @classmethod
    def sync(
        cls,
        url: str | None = None,
        api_key: str | None = None,
        namespace: str | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> SyncClient:
        """The same for plain code."""
        from opscore.sdk.sync import SyncClient

        return SyncClient(cls(url, api_key, namespace, patience=patience))

    @property
    def url(self) -> str:
        """The server's address."""
        return self._calls.server.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._calls.close()

    async def start(
        self,
        workflow: str,
        input: Any = None,
        *,
        version: str | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        context: Any = None,
        callback: str | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a session; returns when the server has it safe.

        `callback`: the URL that is told when it has ended; the run's `callback_secret` signs what is
        sent (`opscore.sdk.verify`). The same `idempotency_key` again, within 24 hours, gives the session that was started then.
        """
        accepted = await self.sessions.start(
            workflow,
            input,
            version=version,
            priority=priority,
            labels=labels,
            context=context,
            callback=callback,
            idempotency_key=idempotency_key,
        )
        run = self.run(accepted.session_id)
        run.callback_secret = accepted.callback_secret or None
        return run

    def run(self, session_id: str) -> Run:
        """Follow a session that exists."""
        return Run(self._calls, session_id, self._patience)

    async def events(
        self,
        *,
        session: str | None = None,
        agent: str | None = None,
        workflow: str | None = None,
        capability: str | None = None,
        types: Iterable[str] = (),
        after: int | None = None,
        follow: bool = True,
    ) -> AsyncGenerator[EventView, None]:
        """What happens in the namespace, each event once and in order, over restarts too.

        What is not named does not matter; `types` are event types (`task.failed`) or their first
        words. `after` is the `position` of an event, 0 for the very first; without it only what is
        new is told. Endless, unless `follow` is false: then it ends with what has happened. Keep
        up with it: the server lets go who is far behind, and what was missed is told again from
        its journal. Raises `ServerUnreachable` when the server stays away.
        """
        wanted = body_of(
            session=session,
            agent=agent,
            workflow=workflow,
            capability=capability,
            type=",".join(types) or None,
            after=after,
            follow=None if follow else "false",
        )
        async with aclosing(feed(self._calls, wanted, self._patience)) as events:
            async for event in events:
                yield decode(event, EventView)

    async def health(self) -> dict[str, Any]:
        """Does the server answer?"""
        return msgspec.json.decode(await self._calls.send("GET", "//health"), type=dict[str, Any])

    async def ready(self) -> dict[str, Any]:
        """Does it take work? Raises `OpsCoreProblem` (503), with the reasons, when it does not."""
        return msgspec.json.decode(await self._calls.send("GET", "//ready"), type=dict[str, Any])
