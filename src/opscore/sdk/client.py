"""`Client`: starting sessions, following them, and every other route of the API."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from opscore.sdk.approvals import Approvals
from opscore.sdk.calls import Calls
from opscore.sdk.keys import Keys
from opscore.sdk.routes import Agents, Limits, Sessions, Tasks, Workflows
from opscore.sdk.run import Run
from opscore.sdk.server import Server

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
        self.limits = Limits(self._calls)
        self.keys = Keys(self._calls)

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
        idempotency_key: str | None = None,
    ) -> Run:
        """Start a session; returns when the server has it safe.

        The same `idempotency_key` again, within 24 hours, gives the session that was started then.
        """
        accepted = await self.sessions.start(
            workflow,
            input,
            version=version,
            priority=priority,
            labels=labels,
            context=context,
            idempotency_key=idempotency_key,
        )
        return self.run(accepted.session_id)

    def run(self, session_id: str) -> Run:
        """Follow a session that exists."""
        return Run(self._calls, session_id, self._patience)

    async def health(self) -> dict[str, Any]:
        """Does the server answer?"""
        return msgspec.json.decode(await self._calls.send("GET", "//health"), type=dict[str, Any])

    async def ready(self) -> dict[str, Any]:
        """Does it take work? Raises `OpsCoreProblem` (503), with the reasons, when it does not."""
        return msgspec.json.decode(await self._calls.send("GET", "//ready"), type=dict[str, Any])
