"""The `local` channel: agents that are Python functions in the engine's own process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from opscore.core.types import ErrorInfo, Micros
from opscore.engine.lifecycle import AgentDetails, Connection, Lifecycle
from opscore.engine.orchestration import Orchestration
from opscore.engine.records import ClaimedAttempt, SettlementReport, VerdictRecord

Function = Callable[[Any], Any]
"""Takes the decoded input; may be a coroutine function; what it gives is the output."""

Settle = Callable[[Sequence[SettlementReport]], Awaitable[list[VerdictRecord]]]
Spawn = Callable[..., asyncio.Task[Any]]

log = structlog.get_logger("opscore.local")


class LocalRetry(Exception):
    """Raised by a local function: try again, after `after` seconds if given."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class LocalReceiver:
    """Runs functions for the attempts it is given and settles them in batches.

    `functions` maps a capability to its function. Coroutine functions run on the loop, plain
    functions in threads. `spawn` starts a coroutine in a task group that outlives this call.
    """

    local = True

    def __init__(self, functions: Mapping[str, Function], settle: Settle, spawn: Spawn) -> None:
        self._functions = {
            name: (function, inspect.iscoroutinefunction(function))
            for name, function in functions.items()
        }
        self._settle = settle
        self._spawn = spawn
        self._running: dict[tuple[str, int], asyncio.Task[Any]] = {}
        self._done: list[SettlementReport] = []
        self.beating: asyncio.Task[Any] | None = None

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """Start them all."""
        for attempt in attempts:
            key = (attempt.task_id, attempt.attempt)
            self._running[key] = self._spawn(self._run(attempt, key))

    def cancel(
        self, attempts: Sequence[tuple[str, int]], reason: str, grace_seconds: float
    ) -> None:
        """Cancel the coroutines; a thread cannot be stopped and is fenced instead."""
        for key in attempts:
            task = self._running.get(key)
            if task is not None:
                task.cancel(reason)

    def drain(self, reason: str) -> None:
        """Nothing to do: the seat takes no more."""

    def close(self, reason: str) -> None:
        """The engine stops: what runs is cancelled; its leases return with the next start."""
        if self.beating is not None:  # the engine waits for all that it spawned
            self.beating.cancel()
        for task in list(self._running.values()):
            task.cancel(reason)

    @property
    def holding(self) -> list[tuple[str, int]]:
        """The attempts that run now."""
        return list(self._running)

    async def _run(self, attempt: ClaimedAttempt, key: tuple[str, int]) -> None:
        try:
            report = await self._report(attempt)
        except asyncio.CancelledError:
            report = _failed(attempt, ErrorInfo("cancelled", "the attempt was cancelled"))
        finally:
            self._running.pop(key, None)
        if not self._done:
            asyncio.get_running_loop().call_soon(self._flush)
        self._done.append(report)

    async def _report(self, attempt: ClaimedAttempt) -> SettlementReport:
        chosen = self._chosen(attempt)
        if chosen is None:
            known = ", ".join(self._functions) or "none"
            wanted = attempt.capability or f"the step {attempt.step!r}"
            message = f"no function for {wanted}; this agent has: {known}"
            return _failed(attempt, ErrorInfo("unknown_capability", message))
        function, is_async = chosen
        try:
            given = msgspec.json.decode(attempt.input)
            output = await (function(given) if is_async else asyncio.to_thread(function, given))
            encoded = msgspec.Raw(msgspec.json.encode(output))
        except LocalRetry as error:
            wait: Micros | None = None if error.after is None else round(error.after * 1_000_000)
            return _failed(attempt, ErrorInfo("retryable", str(error), wait))
        except Exception as error:
            log.warning("local_function_failed", task_id=attempt.task_id, exc_info=error)
            return _failed(attempt, ErrorInfo(type(error).__name__, str(error)))
        return SettlementReport(attempt.task_id, attempt.attempt, "completed", encoded)

    def _chosen(self, attempt: ClaimedAttempt) -> tuple[Function, bool] | None:
        """As the SDK does: a task that names the agent runs its only function, or the step's."""
        known = self._functions.get(attempt.capability or "")
        if known is not None or (attempt.capability is not None and attempt.agent is None):
            return known
        if len(self._functions) == 1:
            return next(iter(self._functions.values()))
        return self._functions.get(attempt.step)

    def _flush(self) -> None:
        reports, self._done = self._done, []
        self._spawn(self._settle_all(reports))

    async def _settle_all(self, reports: Sequence[SettlementReport]) -> None:
        for verdict in await self._settle(reports):
            if verdict.verdict != "recorded":
                log.warning("local_settlement_refused", task_id=verdict.task_id, why=verdict.detail)


def _failed(attempt: ClaimedAttempt, error: ErrorInfo) -> SettlementReport:
    return SettlementReport(attempt.task_id, attempt.attempt, "failed", error=error)


class Home(Protocol):
    """What a local agent needs of the engine it lives in."""

    @property
    def lifecycle(self) -> Lifecycle: ...
    @property
    def orchestration(self) -> Orchestration: ...
    @property
    def heartbeat_seconds(self) -> float: ...
    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine for as long as the engine runs."""
        ...

    def every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> asyncio.Task[Any]:
        """Do something again and again."""
        ...


class LocalAgent:
    """Functions of this process as one agent with one instance."""

    def __init__(self, name: str, functions: Mapping[str, Function], home: Home) -> None:
        self.name = name
        self.agent_id = ""
        self._home = home
        self._capabilities = tuple(functions)
        self._receiver = LocalReceiver(functions, home.orchestration.settle, home.spawn)
        self._connection: Connection | None = None

    async def join(self, max_in_flight: int) -> None:
        """Register and take work. Raises Conflict, Invalid as registration does."""
        lifecycle = self._home.lifecycle
        details = AgentDetails(
            agent_name=self.name,
            capabilities=self._capabilities,
            channel="local",
            max_in_flight=max_in_flight,
        )
        record = await lifecycle.register_agent(details)
        self.agent_id = record.agent_id
        self._connection = await lifecycle.connect(
            record.agent_id,
            instance_id=f"local:{record.agent_id}",
            max_in_flight=max_in_flight,
            holding=[],
            receiver=self._receiver,
        )
        self._receiver.beating = self._home.every(self._home.heartbeat_seconds, self._beat)

    async def leave(self) -> None:
        """Take no more work. Idempotent."""
        if self._receiver.beating is not None:
            self._receiver.beating.cancel()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect()

    async def _beat(self) -> None:
        if self._connection is not None:
            await self._connection.heartbeat(self._receiver.holding)
