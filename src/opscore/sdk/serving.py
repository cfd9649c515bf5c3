"""One agent at work: registered, connected again after every break, drained in the end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, TypeGuard

import aiohttp
import msgspec

from opscore.sdk.attempts import Attempts, Key
from opscore.sdk.calls import Calls
from opscore.sdk.capability import Capability
from opscore.sdk.errors import OpsCoreProblem, ServerUnreachable
from opscore.sdk.heartbeat import DEFAULT_SECONDS, Heartbeat
from opscore.sdk.outbox import Outbox
from opscore.sdk.poll import Polling
from opscore.sdk.server import Backoff, Server, segment
from opscore.sdk.stream import Conversation
from opscore.wire.agent import RegisterAgent
from opscore.wire.stream import Hello, Welcome

logger = logging.getLogger("opscore.agent")

Transport: TypeAlias = Literal["stream", "poll", "auto"]

MAX_MESSAGE = 64 * 1024 * 1024
PING_SECONDS = 20.0
VERDICT_SECONDS = 5.0
# A connection that ends sooner than this did not really work: delays go on growing.
PROVEN_SECONDS = 5.0
# With these the server means us; another error may come from something between us and it.
_MEANT = frozenset({401, 403, 404})
_PASSING = frozenset({408, 409, 425, 429})
_LOST = (ServerUnreachable, OpsCoreProblem, aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an `Agent` was told, for one run."""

    server: Server
    registration: RegisterAgent
    instance_id: str
    transport: Transport
    capabilities: dict[str, Capability]


class _Registered(msgspec.Struct, rename="camel"):
    """What we need of the answer to a registration."""

    agent_id: str


class Serving:
    """From the registration to the last verdict."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._calls = Calls(plan.server)
        self._outbox = Outbox()
        self._leaving = asyncio.Event()
        self._left = asyncio.Event()
        self._drain_seconds = 0.0
        self._failure: OpsCoreProblem | None = None
        self._backoff = Backoff()
        self._loop = asyncio.get_running_loop()
        self._welcomed = False
        self._away = False

    async def run(self) -> None:
        """Work until `leave`. Raises `OpsCoreProblem` when the server refuses this agent."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._work(group)
        finally:
            await self._calls.close()
            self._left.set()
        if self._failure is not None:
            raise self._failure
        logger.info("%s has left %s", self._name, self._plan.server.url)

    def leave(self, drain_seconds: float) -> None:
        """Take no more work, finish what runs within so many seconds, then end `run`."""
        self._drain_seconds = drain_seconds
        self._leaving.set()

    async def left(self) -> None:
        """Wait for the end of `run`."""
        await self._left.wait()

    @property
    def _name(self) -> str:
        return self._plan.registration.agent_name

    async def _work(self, group: asyncio.TaskGroup) -> None:
        plan = self._plan
        attempts = Attempts(plan.capabilities, plan.registration.max_in_flight, self._outbox, group)
        heartbeat = Heartbeat(
            plan.server,
            plan.instance_id,
            attempts.holding,
            partial(self._stale, attempts),
            attempts.shortest_lease,
        )
        attempts.lease_given = heartbeat.wake
        connection = group.create_task(self._stay_connected(attempts, heartbeat))
        try:
            await self._leaving.wait()
            if self._failure is None:
                await self._drain(attempts)
        finally:
            heartbeat.close()
            attempts.close()
            connection.cancel()

    def _stale(self, attempts: Attempts, keys: list[Key]) -> None:
        """Called in the heartbeat's thread."""
        try:
            self._loop.call_soon_threadsafe(attempts.stale, keys)
        except RuntimeError:
            logger.debug("the loop has ended before a heartbeat's answer")

    async def _drain(self, attempts: Attempts) -> None:
        logger.info("%s takes no more work; %d attempts run", self._name, attempts.running)
        attempts.closing = True
        self._outbox.wake()
        try:
            async with asyncio.timeout(self._drain_seconds):
                await attempts.fewer_running_than(1)
        except TimeoutError:
            logger.warning("%d attempts did not end in time: released", attempts.running)
            attempts.release()
        try:
            async with asyncio.timeout(VERDICT_SECONDS):
                await attempts.empty()
        except TimeoutError:
            logger.warning(
                "no verdict on %d attempts; they return when their leases expire",
                len(attempts.holding()),
            )

    async def _stay_connected(self, attempts: Attempts, heartbeat: Heartbeat) -> None:
        while True:
            began = self._loop.time()
            try:
                reason = await self._connect(attempts, heartbeat)
            except _LOST as error:
                if self._is_refusal(error):
                    self._failure = error
                    self._leaving.set()
                    return
                reason = str(error) or type(error).__name__
            self._lost(reason, len(attempts.holding()))
            if self._loop.time() - began > PROVEN_SECONDS:
                self._backoff.reset()
            await asyncio.sleep(self._backoff.next())

    async def _connect(self, attempts: Attempts, heartbeat: Heartbeat) -> str:
        """Register, then work over one connection. Returns or raises why it ended."""
        registered = await self._calls.post("/agent", self._plan.registration, _Registered)
        agent_id = registered.agent_id
        if self._plan.transport == "poll":
            return await self._poll(agent_id, attempts, heartbeat)
        try:
            return await self._stream(agent_id, attempts, heartbeat)
        except aiohttp.WSServerHandshakeError as error:
            if self._plan.transport == "stream" or error.status in _MEANT:
                message = f"the server refused the WebSocket: {error.message}"
                raise OpsCoreProblem(error.status, "refused", message) from error
            logger.warning("no WebSocket here (HTTP %d); polling instead", error.status)
        return await self._poll(agent_id, attempts, heartbeat)

    async def _stream(self, agent_id: str, attempts: Attempts, heartbeat: Heartbeat) -> str:
        def welcomed(welcome: Welcome) -> None:
            self._back(agent_id)
            heartbeat.beat_for(agent_id, welcome.heartbeat_seconds)

        hello = Hello(
            instance_id=self._plan.instance_id,
            max_in_flight=self._plan.registration.max_in_flight,
            holding=attempts.holding(),
        )
        async with self._calls.session.ws_connect(
            self._plan.server.at(f"/agent/{segment(agent_id)}/channel"),
            heartbeat=PING_SECONDS,
            max_msg_size=MAX_MESSAGE,
        ) as socket:
            return await Conversation(socket, attempts, self._outbox).talk(hello, welcomed)

    async def _poll(self, agent_id: str, attempts: Attempts, heartbeat: Heartbeat) -> str:
        polling = Polling(self._calls, agent_id, self._plan.instance_id, attempts, self._outbox)
        self._back(agent_id)
        heartbeat.beat_for(agent_id, DEFAULT_SECONDS)
        await polling.work(self._plan.registration.max_in_flight, self._leaving)
        return "polling ended"

    def _is_refusal(self, error: BaseException) -> TypeGuard[OpsCoreProblem]:
        """Would trying again be in vain?

        Only before the first success: what worked once (a key, a registration) may be put right
        again on the server's side.
        """
        if self._welcomed or not isinstance(error, OpsCoreProblem):
            return False
        return 400 <= error.status < 500 and error.status not in _PASSING

    def _back(self, agent_id: str) -> None:
        word = "again " if self._welcomed else ""
        logger.info("%s (%s) connected %sto %s", self._name, agent_id, word, self._plan.server.url)
        self._welcomed = True
        self._away = False

    def _lost(self, reason: str, held: int) -> None:
        if not self._away:
            logger.warning(
                "%s lost %s: %s; %d attempts are held; reconnecting",
                self._name,
                self._plan.server.url,
                reason,
                held,
            )
        self._away = True
