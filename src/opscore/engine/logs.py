"""The log records of this server: kept off the hot path, found again, followed.

Whoever has something to say puts it into a bounded queue and goes on; a thread writes the queue
down in batches. Records are words about the work, not the work: when the store cannot keep up, or
cannot be used, they are dropped and counted, and nothing waits for them.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from opscore.core.errors import Unavailable
from opscore.core.logs import LEVELS, MESSAGE_LIMIT, LogRecord, LogSearch, Retention
from opscore.core.received import ReceivedSpan
from opscore.core.types import SECOND, Micros
from opscore.engine.records import Paged
from opscore.store.log_file import LogFile
from opscore.telemetry.logs import struck

T = TypeVar("T")
_Order = Callable[["Unavailable | None"], None]
"""Work for the thread that writes; given a refusal, it is not carried out."""

RETRY_AFTER = 5.0
WAITING_LIMIT = 10_000
CALM_LIMIT = WAITING_LIMIT // 2
"""From this length on there is room for warnings and errors only."""
AT_ONCE = 1_000
GATHER_SECONDS = 0.02
"""How long the first record of a batch waits for others."""
REST = 4.0
"""After a batch the thread rests so many times as long as it worked."""
RETRY_SECONDS = 1.0
TIDY_SECONDS = 60.0
KEPT_UP_SECONDS = 2.0
"""How long a search waits until what was put before it is kept."""


@dataclass(frozen=True, slots=True)
class LogState:
    """How the log store is: what is wrong (None: nothing), and how many records it lost."""

    problem: str | None
    dropped: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a clean-up deleted, or would delete."""

    outdated: int
    oversized: int
    dry_run: bool


class Logs:
    """Keeps, finds and forgets log records. `put` may be called from every thread."""

    def __init__(self, file: LogFile, now: Callable[[], Micros], retention: Retention) -> None:
        self._file = file
        self._now = now
        self._retention = retention
        self._waiting: deque[LogRecord | ReceivedSpan] = deque()
        self._dropped: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        """All that was ever dropped, by namespace; `_dropped` is what was not told yet."""
        self._put = self._done = 0
        self._problem: str | None = None
        self._filled, self._stop = threading.Event(), threading.Event()
        self._kept = threading.Condition()
        self._tidied_at: Micros = 0
        self._opened = False
        self._suspect = False
        """The reading side complained: the writing side looks at the file anew."""
        self._orders: deque[_Order] = deque()
        self._thread = threading.Thread(target=self._run, name="opscore-logs", daemon=True)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="opscore-logs-read")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._followers: set[asyncio.Event] = set()

    def start(self) -> None:
        """Begin to keep; called on the loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Keep what waits, and end. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._filled.set()
        loop = asyncio.get_running_loop()
        if self._loop is not None:
            await loop.run_in_executor(self._readers, self._thread.join)
        await loop.run_in_executor(self._readers, self._file.close_reader)
        self._readers.shutdown()

    # Keeping

    def put(self, record: LogRecord) -> bool:
        """Keep a record soon; False when there is no room and it is dropped. Never waits."""
        if not self.has_room(record):
            return False
        self._add(_bounded(record))
        return True

    def has_room(self, record: LogRecord) -> bool:
        """Whether a record would be taken now; one that would not is counted as dropped.

        For whoever has work to do before it is put: a burst must cost next to nothing.
        """
        waiting = len(self._waiting)
        if waiting < CALM_LIMIT or (
            waiting < WAITING_LIMIT and LEVELS[record.level] >= LEVELS["warning"]
        ):
            return True
        self._drop(record.namespace, 1)
        return False

    def put_span(self, span: ReceivedSpan) -> bool:
        """The same for a span that an agent sent; records go first."""
        if len(self._waiting) >= CALM_LIMIT:
            self._drop(span.namespace, 1)
            return False
        self._add(span)
        return True

    def _add(self, one: LogRecord | ReceivedSpan) -> None:
        self._waiting.append(one)
        self._put += 1
        if not self._filled.is_set():
            self._filled.set()

    def _drop(self, namespace: str, count: int) -> None:
        with self._kept:
            self._dropped[namespace] = self._dropped.get(namespace, 0) + count
            self._lost[namespace] = self._lost.get(namespace, 0) + count

    @property
    def state(self) -> LogState:
        """How it goes."""
        return LogState(self._problem, sum(list(self._lost.values())), len(self._waiting))

    def lost(self, namespaces: Sequence[str]) -> int:
        """How many records of these were dropped since the server started."""
        return sum(self._lost.get(each, 0) for each in namespaces)

    def _run(self) -> None:
        self._turn()
        while not self._stop.is_set():
            if self._problem is None:
                self._filled.wait(TIDY_SECONDS)
                self._stop.wait(GATHER_SECONDS)
            else:
                self._stop.wait(RETRY_SECONDS)
            self._filled.clear()
            self._turn()
        self._turn()
        self._file.close_writer()

    def _turn(self) -> None:
        try:
            if self._suspect:
                self._suspect = False
                self._file.close_writer()
            self._file.open(self._now())
            self._keep_all()
            self._tidy()
            self._problem = None
            self._opened = True
        except Unavailable as refusal:
            self._problem = refusal.detail
            while self._orders:
                self._orders.popleft()(refusal)
        with self._kept:
            self._kept.notify_all()

    def _keep_all(self) -> None:
        while self._waiting or self._orders:
            while self._orders:
                self._orders[0](None)
                self._orders.popleft()
            began = self._now()
            batch = [self._waiting[n] for n in range(min(AT_ONCE, len(self._waiting)))]
            spans = [one for one in batch if isinstance(one, ReceivedSpan)]
            records = [one for one in batch if isinstance(one, LogRecord)]
            self._file.append([*records, *self._drops_told()], spans)
            for _ in batch:
                self._waiting.popleft()
            with self._kept:
                self._done += len(batch)
                self._kept.notify_all()
            self._tell()
            # A burst may take a fifth of a processor, not more: the engine needs it.
            self._stop.wait((self._now() - began) / SECOND * REST)

    def _drops_told(self) -> list[LogRecord]:
        """That records were dropped is a record too."""
        with self._kept:
            dropped, self._dropped = self._dropped, {}
        return [_drop_record(self._now(), each, count) for each, count in dropped.items()]

    def _tidy(self) -> None:
        """Delete what is too old or too much, a little at a time; new records go first."""
        now = self._now()
        if now - self._tidied_at < TIDY_SECONDS * SECOND:
            return
        before = now - round(self._retention.seconds * SECOND)
        while self._file.forget(before, self._retention.most_bytes):
            if self._waiting or self._stop.is_set():
                self._filled.set()
                return
        self._tidied_at = now

    def kept_up(self, seconds: float = KEPT_UP_SECONDS) -> None:
        """Wait, in a thread, until what was put before is kept, or given up for now."""
        wanted = self._put
        with self._kept:
            self._kept.wait_for(
                lambda: (self._opened and self._done >= wanted) or self._problem is not None,
                seconds,
            )

    # Finding

    async def search(
        self, search: LogSearch, *, cursor: int | None, limit: int, newest_first: bool = True
    ) -> Paged[LogRecord]:
        """A page of records by id; the cursor is the id of the last one of the page before.

        Raises Unavailable when the store cannot be used.
        """
        if cursor is not None:
            place = {"before": cursor} if newest_first else {"after": cursor}
            search = replace(search, **place)
        found = await self._read(
            lambda: self._file.search(search, limit + 1, newest_first=newest_first)
        )
        more = str(found[limit - 1].log_id) if len(found) > limit else None
        return Paged(tuple(found[:limit]), more)

    async def spans(self, namespace: str, trace_id: str, limit: int) -> list[ReceivedSpan]:
        """The spans that agents sent of a trace, by begin. Raises Unavailable."""
        return await self._read(lambda: self._file.spans(namespace, trace_id, limit))

    async def count(self, search: LogSearch) -> int:
        """How many records a search finds. Raises Unavailable."""
        return await self._read(lambda: self._file.count(search))

    async def newest_but(self, search: LogSearch, number: int) -> int:
        """The id of the record behind the `number` newest that are found. Raises Unavailable."""
        return await self._read(lambda: self._file.newest_but(search, number))

    async def newest(self) -> int:
        """The id of the newest record of all. Raises Unavailable."""
        return await self._read(self._file.newest)

    async def _read(self, read: Callable[[], T]) -> T:
        def in_thread() -> T:
            self.kept_up()
            if self._problem is not None:
                raise self._refusal(self._problem)
            try:
                return read()
            except Unavailable as refusal:
                self._problem, self._suspect = refusal.detail, True
                self._filled.set()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._readers, in_thread)

    # Forgetting

    async def forget(
        self,
        *,
        seconds: float | None = None,
        most_bytes: int | None = None,
        namespace: str | None = None,
        dry_run: bool = False,
    ) -> Forgotten:
        """Delete records older than so many seconds, and the oldest beyond so many bytes.

        What is not said is as the retention has it. With a namespace: only its records, and by age
        only. Raises Unavailable.
        """
        kept = self._retention.seconds if seconds is None else seconds
        most = self._retention.most_bytes if most_bytes is None else most_bytes
        if namespace is not None:
            most = sys.maxsize
        before = self._now() - round(kept * SECOND)

        def work() -> Forgotten:
            old, over = self._file.outdated(before, most, namespace)
            if not dry_run:
                while self._file.forget(before, most, namespace):
                    continue
            return Forgotten(old, over, dry_run)

        return await self._ordered(work)

    async def _ordered(self, work: Callable[[], T]) -> T:
        """Do something on the thread that writes."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def carry_out(refusal: Unavailable | None) -> None:
            if refusal is None:
                result = work()
                loop.call_soon_threadsafe(_answer, done, result)
            else:
                loop.call_soon_threadsafe(_refuse, done, refusal)

        if self._problem is not None:
            raise self._refusal(self._problem)
        self._orders.append(carry_out)
        self._filled.set()
        return await done

    def _refusal(self, problem: str) -> Unavailable:
        return Unavailable(problem, code="logs_unavailable", retry_after=RETRY_AFTER)

    # Following

    def follow(self) -> asyncio.Event:
        """An event that is set whenever records were kept; `unfollow` ends it."""
        event = asyncio.Event()
        self._followers.add(event)
        return event

    def unfollow(self, event: asyncio.Event) -> None:
        """Nobody waits for this event any more."""
        self._followers.discard(event)

    def _tell(self) -> None:
        if self._followers and self._loop is not None and not self._stop.is_set():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._followers:
            event.set()


def _answer(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)


def _refuse(done: asyncio.Future[Any], refusal: Unavailable) -> None:
    if not done.done():
        done.set_exception(refusal)


def _bounded(record: LogRecord) -> LogRecord:
    """Without secrets, and not longer than is useful."""
    message = record.message
    if len(message) > MESSAGE_LIMIT:
        message = message[:MESSAGE_LIMIT] + "…"
    if message is record.message and not record.context:
        return record
    return replace(record, message=message, context=struck(record.context))


def _drop_record(now: Micros, namespace: str, count: int) -> LogRecord:
    return LogRecord(
        at=now,
        level="warning",
        operation="log.dropped",
        namespace=namespace,
        message=f"{count} records or spans dropped: they came faster than they could be kept",
        context={"dropped": count},
    )
