"""One WebSocket connection of one instance: hello, work, settlements, heartbeats."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from opscore.channels.agent_logs import said
from opscore.channels.attempts import attempt_view, report_of, verdict_view
from opscore.channels.documents import check_depth, malformed, refused_value
from opscore.channels.peer import Receive, Send
from opscore.core.access import Principal
from opscore.core.errors import Invalid, NotFound, OpsCoreError, Refusal, StaleAttempt, Unavailable
from opscore.core.logs import LogRecord
from opscore.core.types import Micros
from opscore.engine.records import ClaimedAttempt, SettlementReport
from opscore.wire import stream as wire
from opscore.wire.base import Problem
from opscore.wire.task import Settlement, Verdict

if TYPE_CHECKING:
    from opscore.engine.lifecycle import Connection, Lifecycle
    from opscore.engine.orchestration import Orchestration


HELLO_SECONDS = 10.0
SETTLES_IN_FLIGHT = 64
TASKS_PER_MESSAGE = 500
BYTES_PER_MESSAGE = 1024 * 1024
WAITING_LIMIT = 20_000
_MIDWAY = {Invalid.status: 1007, Unavailable.status: 1013}
"""The close codes of RFC 6455 that say what a refusal after the hello means."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(wire.AgentMessage).decode


class Dropped(OpsCoreError):
    """The peer is given up."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What all connections of a server share: the verbs, the time, and the bounds.

    `describe` turns any exception into a problem document, and logs crashes; `keep` takes agents'
    log records.
    """

    lifecycle: Lifecycle
    orchestration: Orchestration
    now: Callable[[], Micros]
    describe: Callable[[Exception], Problem]
    keep: Callable[[LogRecord], object]
    lease_seconds: float
    silence_seconds: float
    payload_limit: int
    depth_limit: int


class InstanceStream:
    """Reads what an instance says and writes what the engine has for it (a `Receiver`)."""

    local = False

    __slots__ = (
        "_closing",
        "_connection",
        "_gone",
        "_group",
        "_namespace",
        "_outbox",
        "_receive",
        "_room",
        "_send",
        "_settling",
        "_terms",
        "_waiting",
        "_writing",
        "agent_id",
        "heard_at",
        "key_id",
        "writing_since",
    )

    def __init__(
        self,
        terms: Terms,
        agent_id: str,
        principal: Principal,
        *,
        receive: Receive,
        send: Send,
    ) -> None:
        self._terms = terms
        self.agent_id = agent_id
        self._namespace = principal.namespace
        self.key_id = principal.key_id
        self._receive = receive
        self._send = send
        self._group: asyncio.TaskGroup | None = None
        self._connection: Connection | None = None
        self._outbox: deque[wire.ToAgent | list[ClaimedAttempt]] = deque()
        self._waiting = 0
        self._writing = False
        self._settling = 0
        self._room = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._gone = False
        self.heard_at = self._terms.now()
        self.writing_since: Micros | None = None

    # What the engine calls: never blocks.

    def tasks(self, attempts: Sequence[ClaimedAttempt]) -> None:
        """New attempts for this instance."""
        last = self._outbox[-1] if self._outbox else None
        if isinstance(last, list):
            last.extend(attempts)
        else:
            self._outbox.append(list(attempts))
        self._wake(len(attempts))

    def cancel(
        self, attempts: Sequence[tuple[str, int]], reason: str, grace_seconds: float
    ) -> None:
        """Stop working on these."""
        self._put(wire.Cancel(attempts=list(attempts), reason=reason, grace_seconds=grace_seconds))

    def drain(self, reason: str) -> None:
        """Take no more work."""
        self._put(wire.Drain(reason=reason))

    def close(self, reason: str) -> None:
        """Replaced by a newer connection of the instance, or the server is stopping."""
        self.end(4409, reason)

    # What the channel calls.

    def end(self, code: int, reason: str) -> None:
        """Close once everything queued is written and every settlement has its verdict."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake(0)

    def drop(self, reason: str) -> None:
        """Give the peer up at once; its leases run on until they expire."""
        if self._group is not None and not self._gone:
            self._group.create_task(_raise(Dropped(reason)))
        self._gone = True

    async def abandon(self) -> None:
        """Close after a crash of ours; the instance connects again."""
        with suppress(OSError):  # it may be closed already
            await self._send({"type": "websocket.close", "code": 1011, "reason": "internal"})

    async def run(self) -> None:
        """Serve the connection until it ends. Raises `Dropped`, within a group."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._converse()
        finally:
            self._group = None
            if self._connection is not None:
                await self._connection.disconnect()

    async def _converse(self) -> None:
        try:
            hello = await self._hello()
            if hello is None:
                return
            await self._connect(hello)
            await self._read()
        except Refusal as refusal:
            self._refuse(refusal)

    async def _hello(self) -> wire.Hello | None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                message = await self._next()
        except TimeoutError:
            raise Invalid(f"No hello came within {HELLO_SECONDS:g} seconds.") from None
        if message is not None and not isinstance(message, wire.Hello):
            raise Invalid("The first message must be hello.")
        return message

    async def _connect(self, hello: wire.Hello) -> None:
        connection = await self._terms.lifecycle.connect(
            self.agent_id,
            instance_id=hello.instance_id,
            max_in_flight=hello.max_in_flight,
            holding=hello.holding,
            receiver=self,
            namespace=self._namespace,
        )
        self._connection, self.agent_id = connection, connection.agent_id  # not an alias of it
        welcome = wire.Welcome(
            agent_id=self.agent_id,
            lease_seconds=self._terms.lease_seconds,
            heartbeat_seconds=self._terms.lease_seconds / 3,
            payload_limit=self._terms.payload_limit,
            stale=connection.stale,
        )
        # The engine may have handed over attempts already, but welcome is the first word.
        self._outbox.appendleft(welcome)
        self._wake(1)

    # Reading.

    async def _read(self) -> None:
        while (message := await self._next()) is not None:
            match message:
                case wire.Settle():
                    await self._begin_settle(message)
                case wire.Heartbeat():
                    await self._heartbeat(message)
                case wire.Ready():
                    self._connected.ready(message.max_in_flight)
                case wire.Progress():
                    await self._progress(message)
                case wire.Log():
                    at = self._terms.now()
                    self._terms.keep(said(message, self._namespace, self.agent_id, at))
                case wire.Draining():
                    self._connected.ready(0)
                case wire.Hello():
                    raise Invalid("Only the first message may be hello.")

    async def _next(self) -> wire.AgentMessage | None:
        event = await self._receive()
        if event["type"] != "websocket.receive":
            self._gone = True
            return None
        self.heard_at = self._terms.now()
        text: str | bytes | None = event.get("text")
        return self._parse(event["bytes"] if text is None else text)

    def _parse(self, text: str | bytes) -> wire.AgentMessage:
        body = text.encode() if isinstance(text, str) else text
        check_depth(body, self._terms.depth_limit)
        try:
            return _decode(body)
        except msgspec.ValidationError as error:
            raise refused_value(error) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise malformed(error, body) from error

    @property
    def _connected(self) -> Connection:
        assert self._connection is not None
        return self._connection

    async def _heartbeat(self, message: wire.Heartbeat) -> None:
        stale = await self._connected.heartbeat(message.attempts)
        if stale:
            self._put(wire.Stale(attempts=stale))

    async def _progress(self, message: wire.Progress) -> None:
        try:
            await self._terms.orchestration.progress(
                message.task_id,
                message.attempt,
                message.fraction,
                message.message,
                agent_id=self.agent_id,
                namespace=self._namespace,
            )
        except (StaleAttempt, NotFound):
            self._put(wire.Stale(attempts=[(message.task_id, message.attempt)]))

    async def _begin_settle(self, message: wire.Settle) -> None:
        """Settle beside further reading, so that the commits of several messages are shared."""
        while self._settling >= SETTLES_IN_FLIGHT:
            self._room.clear()
            await self._room.wait()
        self._settling += 1
        assert self._group is not None
        self._group.create_task(self._settle(message))

    async def _settle(self, message: wire.Settle) -> None:
        try:
            verdicts = await self._verdicts(message.settlements)
            self._put(wire.VerdictsFor(verdicts=verdicts, ref=message.ref))
        except Refusal as refusal:
            # Nothing was recorded; the instance connects again and sends its settlements again.
            self._put(wire.Refused(problem=self._terms.describe(refusal)))
            self.end(1013, refusal.detail)
        finally:
            self._settling -= 1
            self._room.set()
            self._wake(0)

    async def _verdicts(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        readable: list[SettlementReport] = []
        verdicts: list[Verdict | None] = []
        for settlement in settlements:
            try:
                readable.append(report_of(settlement))
                verdicts.append(None)
            except Invalid as invalid:
                verdicts.append(_invalid(settlement, invalid.detail))
        records = iter(
            await self._terms.orchestration.settle(
                readable, agent_id=self.agent_id, namespace=self._namespace
            )
        )
        return [verdict_view(next(records)) if one is None else one for one in verdicts]

    # Writing.

    def _refuse(self, refusal: Refusal) -> None:
        self._put(wire.Refused(problem=self._terms.describe(refusal)))
        code = 4000 + refusal.status
        if self._connection is not None:
            code = _MIDWAY.get(refusal.status, code)
        self.end(code, refusal.detail)

    def _put(self, message: wire.ToAgent) -> None:
        self._outbox.append(message)
        self._wake(1)

    def _wake(self, added: int) -> None:
        self._waiting += added
        if self._waiting > WAITING_LIMIT:
            self.drop("too much is waiting to be read")
        elif not self._writing and self._group is not None and not self._gone:
            self._writing = True
            self._group.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._outbox and not self._gone:
                message = self._take()
                self.writing_since = self._terms.now()
                await self._send({"type": "websocket.send", "text": _encode(message).decode()})
            await self._close_when_quiet()
        except OSError:
            self._gone = True  # the peer left; the reader is told by the next event
        finally:
            self._writing = False
            self.writing_since = None

    async def _close_when_quiet(self) -> None:
        if self._closing is None or self._settling or self._gone:
            return
        code, reason = self._closing
        self._gone = True
        # The protocol has room for 123 bytes.
        short = reason.encode()[:120].decode(errors="ignore")
        await self._send({"type": "websocket.close", "code": code, "reason": short})

    def _take(self) -> wire.ToAgent:
        first = self._outbox[0]
        if not isinstance(first, list):
            self._waiting -= 1
            self._outbox.popleft()
            return first
        count = _fitting(first)
        self._waiting -= count
        message = wire.Tasks(tasks=[attempt_view(one) for one in first[:count]])
        del first[:count]
        if not first:
            self._outbox.popleft()
        return message


def _fitting(attempts: Sequence[ClaimedAttempt]) -> int:
    """How many attempts go into one message: at least one, else a mebibyte or 500."""
    size = 0
    for count, attempt in enumerate(attempts[:TASKS_PER_MESSAGE]):
        size += len(attempt.input) + len(attempt.context)
        if size > BYTES_PER_MESSAGE:
            return max(1, count)
    return min(len(attempts), TASKS_PER_MESSAGE)


def _invalid(settlement: Settlement, detail: str) -> Verdict:
    return Verdict(
        task_id=settlement.task_id, attempt=settlement.attempt, verdict="invalid", detail=detail
    )


async def _raise(dropped: Dropped) -> None:
    raise dropped
