"""The `local` channel: agents that are Python functions in the engine's own process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from traceback import format_exc
from typing import Any, Protocol

import msgspec
import structlog

from opscore.core.errors import OpsCoreError
from opscore.core.types import SECOND, ErrorInfo, Micros
from opscore.engine.lifecycle import AgentDetails, Connection, Lifecycle
from opscore.engine.orchestration import Orchestration
from opscore.engine.records import ClaimedAttempt, SettlementReport, VerdictRecord

BEATS_PER_LEASE = 3

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
        self._leases: dict[tuple[str, int], Micros] = {}
        self._done: list[SettlementReport] = []
        self.lease_given: Callable[[], None] | None = None
        """Called when an attempt begins that has a lease of its own."""
        self._closed = False

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """Start them all."""
        for attempt in attempts:
            key = (attempt.task_id, attempt.attempt)
            task = self._running[key] = self._spawn(self._run(attempt, key))
            task.add_done_callback(partial(self._never_ran, attempt, key))
            if attempt.heartbeat is not None:
                self._short(key, attempt.heartbeat, task)

    def _short(self, key: tuple[str, int], lease: Micros, task: asyncio.Task[Any]) -> None:
        self._leases[key] = lease
        task.add_done_callback(lambda _: self._leases.pop(key, None))
        if self.lease_given is not None:
            self.lease_given()

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
        """The seat is gone, as a rule because the engine stops: what runs is given back."""
        self._closed = True
        for task in list(self._running.values()):
            task.cancel(reason)

    @property
    def shortest_lease(self) -> Micros | None:
        """Of the attempts that run now, among those whose steps set one."""
        return min(self._leases.values(), default=None)

    @property
    def holding(self) -> list[tuple[str, int]]:
        """The attempts that run now, and those whose report could not be recorded yet."""
        return [*self._running, *((r.task_id, r.attempt) for r in self._done)]

    async def _run(self, attempt: ClaimedAttempt, key: tuple[str, int]) -> None:
        try:
            report = await self._report(attempt)
        except asyncio.CancelledError:
            report = self._stopped(attempt)
        finally:
            self._running.pop(key, None)
        self._add(report)

    def _add(self, report: SettlementReport) -> None:
        self._done.append(report)
        if len(self._done) == 1:
            self._spawn(self.flush())

    def _never_ran(
        self, attempt: ClaimedAttempt, key: tuple[str, int], _task: asyncio.Task[Any]
    ) -> None:
        """A coroutine that is cancelled before its first step cannot report for itself.

        When the engine stops nobody listens any more; the next start finds the attempt unlisted.
        """
        if self._running.pop(key, None) is not None and not self._closed:
            self._add(self._stopped(attempt))

    def _stopped(self, attempt: ClaimedAttempt) -> SettlementReport:
        if self._closed:
            return SettlementReport(attempt.task_id, attempt.attempt, "released")
        return _failed(attempt, ErrorInfo("cancelled", "the attempt was cancelled"))

    async def _report(self, attempt: ClaimedAttempt) -> SettlementReport:
        found = self._chosen(attempt)
        if found is None:
            asked = attempt.capability or f"the step {attempt.step!r}"
            why = f"no function for {asked}; this agent has: {', '.join(self._functions)}"
            return _failed(attempt, ErrorInfo("fatal", why))
        function, is_async = found
        try:
            given = msgspec.json.decode(attempt.input)
            output = await (function(given) if is_async else asyncio.to_thread(function, given))
            encoded = msgspec.Raw(msgspec.json.encode(output))
        except LocalRetry as error:
            wait: Micros | None = None if error.after is None else round(error.after * 1_000_000)
            return _failed(attempt, ErrorInfo("retryable", _clean(str(error)), wait))
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises
            # As text: a renderer of exceptions would print local variables, and with them payloads.
            log.warning("local_function_failed", task_id=attempt.task_id, trace=format_exc())
            return _failed(attempt, ErrorInfo(type(error).__name__, _clean(str(error))))
        return SettlementReport(attempt.task_id, attempt.attempt, "completed", encoded)

    def _chosen(self, attempt: ClaimedAttempt) -> tuple[Function, bool] | None:
        """As the SDK does: a task that names the agent runs its only function, or the step's."""
        known = self._functions.get(attempt.capability or "")
        if known is not None or (attempt.capability is not None and attempt.agent is None):
            return known
        if len(self._functions) == 1:
            return next(iter(self._functions.values()))
        return self._functions.get(attempt.step)

    async def flush(self) -> None:
        """Report what is done. What cannot be recorded now is kept for the next call."""
        reports, self._done = self._done, []
        if not reports:
            return
        try:
            verdicts = await self._settle(reports)
        except OpsCoreError as error:
            log.warning("local_settlement_postponed", attempts=len(reports), error=str(error))
            self._done = [*reports, *self._done]
            return
        for verdict in verdicts:
            if verdict.verdict != "recorded":
                log.warning("local_settlement_refused", task_id=verdict.task_id, why=verdict.detail)


def _clean(text: str) -> str:
    """Text that JSON can carry: file names from the system may hold lone surrogates."""
    return text.encode(errors="backslashreplace").decode()


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
        self._beating: asyncio.Task[Any] | None = None
        self._pace = 0.0

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
        self._receiver.lease_given = self._keep_pace
        self._keep_pace()

    def _keep_pace(self) -> None:
        """Beat often enough for the shortest lease that is held."""
        shortest = self._receiver.shortest_lease
        usual = self._home.heartbeat_seconds
        pace = usual if shortest is None else min(usual, shortest / SECOND / BEATS_PER_LEASE)
        if pace == self._pace:
            return
        self._pace = pace
        if self._beating is not None:
            self._beating.cancel()
        self._beating = self._home.every(pace, self._beat)

    async def leave(self) -> None:
        """Take no more work. Idempotent."""
        if self._beating is not None:
            self._beating.cancel()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect()

    async def _beat(self) -> None:
        if self._connection is None:
            return
        try:
            await self._connection.heartbeat(self._receiver.holding)
        except OpsCoreError as error:
            log.warning("local_heartbeat_failed", agent=self.name, error=str(error))
        await self._receiver.flush()
        self._keep_pace()
