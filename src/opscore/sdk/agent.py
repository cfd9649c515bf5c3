"""`Agent`: functions as capabilities, and the process that serves them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import FrameType
from typing import Any, TypeVar, get_args

from opscore.sdk.capability import Capability
from opscore.sdk.logs import captured
from opscore.sdk.server import Server
from opscore.sdk.serving import Plan, Serving, Transport
from opscore.wire.agent import RegisterAgent

logger = logging.getLogger("opscore.agent")

DRAIN_SECONDS = 30.0
F = TypeVar("F", bound=Callable[..., Any])


class Agent:
    """A named executor. The same name in several processes is one agent with several instances.

    `max_in_flight`: attempts at once in this process. `agent_id`: only to keep an id that exists
    elsewhere. `labels` and `metadata` are shown; lists filter by labels. `url`, `api_key` and
    `namespace` default to `OPSCORE_URL`, `OPSCORE_API_KEY` and `OPSCORE_NAMESPACE`.
    `instance_id`: this process; made up when left out, and never to be shared by two processes.
    `transport`: `stream` (a WebSocket), `poll` (plain HTTP), or `auto`: the WebSocket unless
    something between here and the server refuses it. `capture_output`: what tasks print goes to
    the server's log store as well, under their ids; only with `run`.
    """

    def __init__(
        self,
        name: str,
        *,
        max_in_flight: int = 4,
        agent_id: str | None = None,
        version: str = "",
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        url: str | None = None,
        api_key: str | None = None,
        namespace: str | None = None,
        instance_id: str | None = None,
        transport: Transport = "stream",
        capture_output: bool = False,
    ) -> None:
        if not 1 <= max_in_flight <= 10_000:
            raise ValueError(f"max_in_flight is between 1 and 10,000, not {max_in_flight}")
        if transport not in get_args(Transport):
            raise ValueError(f"transport is stream, poll or auto, not {transport!r}")
        self.name = name
        self.max_in_flight = max_in_flight
        self.agent_id = agent_id
        self.version = version
        self.labels = dict(labels or {})
        self.metadata = dict(metadata or {})
        self.instance_id = instance_id or _made_up_instance()
        self._server = (url, api_key, namespace)
        self._transport: Transport = transport
        self._capture_output = capture_output
        self._capabilities: dict[str, Capability] = {}
        self._serving: Serving | None = None

    def task(self, capability: str) -> Callable[[F], F]:
        """Make the decorated function what this agent does for `capability`.

        Parameters are filled by name from the task's input, converted to their annotated types;
        one annotated `Task` gets the task. The function itself is returned unchanged. Raises
        `TypeError` when its signature cannot be filled, `ValueError` for a second function.
        """
        if capability in self._capabilities:
            raise ValueError(f"agent {self.name!r} already has a function for {capability!r}")

        def register(function: F) -> F:
            self._capabilities[capability] = Capability(capability, function)
            return function

        return register

    @property
    def capabilities(self) -> list[str]:
        """What this agent can do."""
        return list(self._capabilities)

    @property
    def schemas(self) -> dict[str, Any]:
        """The published JSON Schema of each capability's input."""
        return {name: one.schema for name, one in self._capabilities.items()}

    def run(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Serve until SIGTERM or SIGINT, then drain and return.

        Draining takes no more tasks, finishes what runs within `drain_seconds`, gives the rest
        back, and waits for the verdicts. A second SIGINT stops at once: what runs returns to the
        queue when its lease expires. Raises what `serve` raises.
        """
        if not logging.getLogger().handlers:
            logging.basicConfig(
                level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
            )
        with ExitStack() as stack:
            if self._capture_output:
                stack.enter_context(captured())
            runner = stack.enter_context(asyncio.Runner(loop_factory=_loop_factory()))
            runner.run(self._serve_until_signal(drain_seconds))

    async def serve(self) -> None:
        """Serve in the running loop until `stop`.

        Connects for ever: a server that is away is waited for. Raises `OpsCoreProblem` when the
        first registration is refused, `RuntimeError` when this agent is already serving, and
        `ValueError` for an address that is none.
        """
        if self._serving is not None:
            raise RuntimeError(f"agent {self.name!r} is already serving")
        serving = self._serving = Serving(self._plan())
        try:
            await serving.run()
        finally:
            self._serving = None

    async def stop(self, *, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Drain, as on SIGTERM, and return when `serve` has ended. Only from `serve`'s loop."""
        serving = self._serving
        if serving is not None:
            serving.leave(drain_seconds)
            await serving.left()

    def _plan(self) -> Plan:
        return Plan(
            server=Server.resolve(*self._server),
            registration=RegisterAgent(
                agent_name=self.name,
                agent_id=self.agent_id,
                version=self.version,
                capabilities=self.capabilities,
                channel="stream",
                max_in_flight=self.max_in_flight,
                labels=self.labels,
                metadata=self.metadata,
                schemas=self.schemas,
            ),
            instance_id=self.instance_id,
            transport=self._transport,
            capabilities=self._capabilities,
        )

    async def _serve_until_signal(self, drain_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        signals = 0

        def leave(name: str) -> None:
            nonlocal signals
            signals += name == "SIGINT"
            if signals > 1:
                logger.warning("stopped at once; what ran returns when its lease expires")
                logging.shutdown()
                os._exit(130)
            logger.info("%s: leaving", name)
            if self._serving is not None:
                self._serving.leave(drain_seconds)

        for one in (signal.SIGTERM, signal.SIGINT):
            _on_signal(loop, one, leave)
        await self.serve()


def _on_signal(
    loop: asyncio.AbstractEventLoop, one: signal.Signals, leave: Callable[[str], None]
) -> None:
    try:
        loop.add_signal_handler(one, leave, one.name)
    except NotImplementedError:  # Windows has no such thing in its loops

        def tell(number: int, frame: FrameType | None) -> None:
            del number, frame
            loop.call_soon_threadsafe(leave, one.name)

        signal.signal(one, tell)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _made_up_instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
