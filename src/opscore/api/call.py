"""One request on its way to a verb."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from opscore.api.answer import Receive
from opscore.api.limits import TooMany
from opscore.api.tracing import traceparent_of
from opscore.core.errors import Forbidden, Invalid, Refusal

if TYPE_CHECKING:
    from opscore.api.access import Permission, Principal
    from opscore.api.context import Context
    from opscore.core.types import Actor
    from opscore.engine.engine import Engine

T = TypeVar("T")

MAX_WAIT_SECONDS = 300.0
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([^\",;\s]*)\"?", re.IGNORECASE)


class Call:
    """What a route sees of a request: who asks, the path's parts, and the engine's verbs."""

    __slots__ = ("context", "headers", "principal", "receive", "scope", "trace_id")

    def __init__(
        self,
        context: Context,
        scope: Mapping[str, Any],
        receive: Receive,
        principal: Principal,
        headers: Mapping[bytes, bytes],
        trace_id: str,
    ) -> None:
        self.context = context
        self.scope = scope
        self.receive = receive
        self.principal = principal
        self.headers = headers
        self.trace_id = trace_id

    @property
    def engine(self) -> Engine:
        """The engine behind this server."""
        return self.context.engine

    @property
    def namespace(self) -> str:
        """The tenant of the request."""
        return self.principal.namespace

    @property
    def actor(self) -> Actor:
        """Who is written into the journal."""
        return self.principal.actor

    @property
    def acting_as(self) -> str | None:
        """The id of the only agent as which the request may act; None: as any.

        Raises Forbidden when that agent is not registered.
        """
        bound = self.principal.agent
        return None if bound is None else self.engine.bindings.agent_id(bound, self.namespace)

    @property
    def traceparent(self) -> str | None:
        """The caller's span, when it sent one."""
        return traceparent_of(self.headers.get(b"traceparent"))

    def need(self, permission: Permission) -> None:
        """Raises Forbidden when the request lacks a right that only some of its content needs."""
        if permission not in self.principal.permissions:
            raise Forbidden(f"This needs the right `{permission}`.")

    def part(self, name: str) -> str:
        """A parameter of the path."""
        return self.scope["path_params"][name]

    def header(self, name: bytes) -> str | None:
        """The last header of that (lower-case) name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def wait_seconds(self) -> float | None:
        """The `wait` of a `Prefer` header (RFC 7240), at most five minutes; None without one."""
        prefer = self.header(b"prefer")
        found = _WAIT.search(prefer) if prefer is not None else None
        if found is None:
            return None
        try:
            seconds = float(found[1])
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            raise Invalid("Prefer: wait takes a number of seconds.")
        return min(seconds, MAX_WAIT_SECONDS)

    async def while_present(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do `work` until it is done, the client leaves, or the server stops (then None).

        Work that waits for long (claims, `Prefer: wait`, live streams) goes through here, so that
        nothing is given to a client that is gone and a stop does not wait for the time-out. A key
        that has its share of open connections does not wait at all.
        """
        try:
            with self.context.access.shares.connection(self.principal.key_id):
                return await self._while_present(work)
        except TooMany:
            work.close()
            return None

    def check_room(self) -> None:
        """Raises `TooMany` when the key has its share of open connections."""
        self.context.access.shares.check_room(self.principal.key_id)

    async def _while_present(self, work: Coroutine[Any, Any, T]) -> T | None:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(_outcome(work))
            leaving = group.create_task(self._left())
            self.context.waiting[leaving] = self.principal
            if self.context.stopping:
                leaving.cancel()
            try:
                await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.context.waiting.pop(leaving, None)
                leaving.cancel()
                working.cancel()
        if working.cancelled():
            return None
        value, refusal = working.result()
        if refusal is not None:
            raise refusal
        return value

    async def _left(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def _outcome(work: Coroutine[Any, Any, T]) -> tuple[T | None, Refusal | None]:
    # A refusal is carried out as a value: raised, the task group would wrap it.
    try:
        return await work, None
    except Refusal as refusal:
        return None, refusal
