"""The attempts that this instance holds: running them, stopping them, keeping their settlements.

An attempt is held from its arrival until the server's verdict on its settlement. Everything that
is held is listed in heartbeats and in the next hello, so nothing is lost with a connection.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeAlias, TypeVarTuple

from msgspec import UNSET

from opscore.sdk import outcome
from opscore.sdk.capability import Capability
from opscore.sdk.outbox import Outbox
from opscore.sdk.task import Task, running
from opscore.sdk.threads import Threads
from opscore.wire.agent import Attempt
from opscore.wire.stream import Log, Progress
from opscore.wire.task import Settlement, Verdict

logger = logging.getLogger("opscore.agent")

Key: TypeAlias = tuple[str, int]
Ts = TypeVarTuple("Ts")


@dataclass(slots=True, eq=False)
class Held:
    """One attempt in our hands. `stopped` is why we stopped it; `settlement` awaits its verdict."""

    key: Key
    attempt: Attempt
    task: Task | None = None
    work: asyncio.Task[None] | None = None
    settlement: Settlement | None = None
    stopped: str | None = None


class Attempts:
    """Runs attempts and puts their settlements into the outbox.

    Everything here happens on the loop's thread, except `holding`, `shortest_lease`, `report`,
    `in_thread` and the functions that run in threads. `group` owns the coroutines.
    """

    def __init__(
        self,
        capabilities: Mapping[str, Capability],
        max_in_flight: int,
        outbox: Outbox,
        group: asyncio.TaskGroup,
    ) -> None:
        self.payload_limit: int | None = None
        self.closing = False
        self.lease_given: Callable[[], None] | None = None
        """Called when an attempt arrives that has a lease of its own."""
        self._capabilities = capabilities
        self._outbox = outbox
        self._group = group
        self._threads = Threads(max_in_flight, "opscore-task")
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._held: dict[Key, Held] = {}
        self._running = 0
        self._changed = asyncio.Event()

    @property
    def running(self) -> int:
        """How many attempts are being worked on."""
        return self._running

    def holding(self) -> list[Key]:
        """Attempts that are running or await a verdict; callable from every thread."""
        return list(self._held)

    def shortest_lease(self) -> float | None:
        """In seconds, of the attempts held whose steps set one; callable from every thread."""
        own = [held.attempt.lease_seconds for held in list(self._held.values())]
        return min((seconds for seconds in own if seconds is not UNSET), default=None)

    async def fewer_running_than(self, number: int) -> None:
        """Wait until fewer than `number` attempts are being worked on."""
        while self._running >= number:
            self._changed.clear()
            await self._changed.wait()

    async def empty(self) -> None:
        """Wait until every attempt has its verdict."""
        while self._held:
            self._changed.clear()
            await self._changed.wait()

    # What the server says

    def accept(self, attempts: Sequence[Attempt]) -> None:
        """Start these; one that is already here was sent twice and is left alone."""
        for attempt in attempts:
            key = (attempt.task_id, attempt.attempt)
            if key in self._held:
                logger.debug("attempt %d of %s came twice", attempt.attempt, attempt.task_id)
                continue
            held = self._held[key] = Held(key, attempt)
            self._running += 1
            if attempt.lease_seconds is not UNSET and self.lease_given is not None:
                self.lease_given()
            if self.closing:
                self._settle(held, outcome.released(attempt))
            else:
                self._start(held)

    def resend(self) -> None:
        """A new connection: every settlement without a verdict is sent again."""
        settled = [held.settlement for held in self._held.values() if held.settlement is not None]
        self._outbox.restart(settled)

    def verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Let go of what the server has judged."""
        for verdict in verdicts:
            key = (verdict.task_id, verdict.attempt)
            held = self._held.get(key)
            if held is None or held.settlement is None:
                continue
            if verdict.verdict == "invalid" and self._settle_invalid(held, verdict):
                continue
            if verdict.verdict != "recorded":
                logger.warning(
                    "the server did not record attempt %d of %s: %s %s",
                    verdict.attempt,
                    verdict.task_id,
                    verdict.verdict,
                    verdict.detail,
                )
            del self._held[key]
        self._changed.set()

    def stale(self, keys: Sequence[Key]) -> None:
        """These are not ours any more: stop the work, report nothing.

        One that is settled already is left to its verdict: a heartbeat that was under way while
        the settlement was recorded calls it stale too.
        """
        for key in keys:
            held = self._held.get(key)
            if held is None or held.settlement is not None:
                continue
            logger.warning("attempt %d of %s is not ours any more; stopped", key[1], key[0])
            del self._held[key]
            self._running -= 1
            self._stop(held, "the attempt is not this instance's any more")
        self._changed.set()

    def cancel(self, keys: Sequence[Key], reason: str) -> None:
        """Stop these; each is settled as cancelled when its function has ended."""
        for key in keys:
            held = self._held.get(key)
            if held is not None and held.settlement is None:
                self._stop(held, reason or "cancelled")

    def release(self) -> None:
        """Time is up: stop all work and give the attempts back."""
        for held in list(self._held.values()):
            if held.settlement is None:
                self._settle(held, outcome.released(held.attempt))
                self._stop(held, "the agent is leaving")

    def close(self) -> None:
        """Let the threads go."""
        self._threads.close()

    # What a running function says

    def report(self, note: Progress | Log) -> None:
        """Send a note, from whichever thread."""
        if self.in_thread():
            self._call(self._outbox.note, note)
        else:
            self._outbox.note(note)

    def in_thread(self) -> bool:
        """Is the caller outside the loop's thread?"""
        return threading.get_ident() != self._loop_thread

    # Running

    def _start(self, held: Held) -> None:
        capability = self._chosen(held.attempt)
        if capability is None:
            self._settle(held, self._unknown(held.attempt))
            return
        held.task = Task(held.attempt, self)
        if capability.is_async:
            held.work = self._group.create_task(self._work(held, capability))
        else:
            context = copy_context()
            self._threads.submit(lambda: context.run(self._work_in_thread, held, capability))

    def _chosen(self, attempt: Attempt) -> Capability | None:
        """The function for an attempt, None when there is none.

        A task that names the agent may name no capability, or, as a fallback, one of another
        agent: then it is the only function there is, else the one that is called like the step.
        """
        known = self._capabilities.get(attempt.capability or "")
        if known is not None or (attempt.capability is not None and attempt.agent is None):
            return known
        if len(self._capabilities) == 1:
            return next(iter(self._capabilities.values()))
        return self._capabilities.get(attempt.step)

    def _unknown(self, attempt: Attempt) -> Settlement:
        wanted = attempt.capability or f"one called like the step {attempt.step!r}"
        known = ", ".join(self._capabilities) or "none"
        return outcome.failed(
            attempt, "unknown_capability", f"no function for {wanted}; this agent has: {known}"
        )

    async def _work(self, held: Held, capability: Capability) -> None:
        attempt = held.attempt
        running.set(held.task)
        try:
            arguments = capability.arguments(attempt.input, held.task)
            value = await capability.function(**arguments)
            settlement = outcome.completed(attempt, value, self.payload_limit)
        except asyncio.CancelledError:
            if held.stopped is None and _asked_to_stop():
                raise  # the whole agent was cancelled from outside
            reason = held.stopped or "the function was cancelled from within"
            settlement = outcome.failed(attempt, "cancelled", reason)
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- it is reported, in full
            settlement = outcome.of_error(attempt, error)
        self._finish(held, settlement)

    def _work_in_thread(self, held: Held, capability: Capability) -> None:
        attempt = held.attempt
        running.set(held.task)
        try:
            if held.stopped is not None:
                settlement = outcome.failed(attempt, "cancelled", held.stopped)
            else:
                value = capability.function(**capability.arguments(attempt.input, held.task))
                settlement = outcome.completed(attempt, value, self.payload_limit)
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- it is reported, in full
            settlement = outcome.of_error(attempt, error)
        self._call(self._finish, held, settlement)

    def _finish(self, held: Held, settlement: Settlement) -> None:
        """The function has ended. What was settled or taken away meanwhile stays so."""
        if held.settlement is None and self._held.get(held.key) is held:
            settlement.usage = None if held.task is None else held.task.spent
            self._settle(held, settlement)

    def _settle(self, held: Held, settlement: Settlement) -> None:
        held.settlement = settlement
        self._running -= 1
        self._changed.set()
        self._outbox.settle(settlement)

    def _settle_invalid(self, held: Held, verdict: Verdict) -> bool:
        """Turn a completion that the server cannot take into a failure; False if it was none."""
        if held.settlement is None or held.settlement.outcome != "completed":
            return False
        message = f"the server refused the result: {verdict.detail}"
        spent = held.settlement.usage
        held.settlement = outcome.failed(held.attempt, "invalid_output", message)
        held.settlement.usage = spent
        self._outbox.settle(held.settlement)
        return True

    def _stop(self, held: Held, reason: str) -> None:
        held.stopped = reason
        if held.task is not None:
            held.task.cancel(reason)
        if held.work is not None:
            # A coroutine cancelled before its first step never gets to settle itself.
            settlement = outcome.failed(held.attempt, "cancelled", reason)
            held.work.add_done_callback(lambda _: self._finish(held, settlement))
            held.work.cancel(reason)

    def _call(self, function: Callable[[*Ts], object], *arguments: *Ts) -> None:
        """Call it on the loop's thread; a thread that outlives the agent has nobody to tell."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            logger.warning("a function ended after its agent had left; its result is lost")


def _asked_to_stop() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
