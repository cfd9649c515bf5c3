"""Spans of sessions that ended, on their way to a collector.

A session that ends is put into a bounded queue; everything else happens beside the work and is paced:
journals are read, spans drawn and sent in batches. A collector that is down is asked again after a
while, ever more rarely; what finds no room meanwhile is counted. A journal can always tell its
trace again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from google.protobuf.message import DecodeError

from opscore.core import events as ev
from opscore.core.retry import backoff
from opscore.core.template import RetryPolicy
from opscore.core.types import SECOND, Micros
from opscore.debugging.session_spans import SessionSpans
from opscore.debugging.spans import AgentName, Span
from opscore.engine.clock import Clock
from opscore.engine.journal import decode
from opscore.engine.unit import Unit
from opscore.outgoing.addresses import Rules
from opscore.outgoing.request import Answer, Outgoing, OutgoingFailed
from opscore.store.rows import StoredEvent
from opscore.store.store import Store
from opscore.telemetry import measures as m
from opscore.telemetry.otlp.sending import rejected_of, requests_of
from opscore.telemetry.otlp.target import Target

WAITING_LIMIT = 10_000
AT_ONCE = 50
"""Sessions in one turn."""
EVENTS_READ = 20_000
"""Of one session; a longer one is exported as far as these tell."""
GATHER_SECONDS = 1.0
"""How long the first session of a batch waits for others."""
SHARE = 0.2
"""Of one processor that exporting may take."""
SECONDS = 10.0
FLUSH_SECONDS = 2.0
POLICY = RetryPolicy(max_attempts=1_000_000, initial_delay=SECOND, max_delay=60 * SECOND)
AGAIN = frozenset({429, 502, 503, 504})
"""Answers after which the same request is sent again (OTLP's specification)."""
LONGEST_WAIT = 300
_ENDS = (ev.SessionCompleted, ev.SessionFailed, ev.SessionCancelled)

log = structlog.get_logger("opscore.exporting")


@dataclass(frozen=True, slots=True)
class ExportState:
    """How exporting goes: what is wrong (None: nothing), and how many sessions were lost to it."""

    problem: str | None
    waiting: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A session whose spans are to be exported."""

    session_id: str
    namespace: str
    trace_id: str


class Exporting:
    """Sends the spans of sessions that ended to one collector."""

    def __init__(
        self,
        target: Target,
        store: Store,
        clock: Clock,
        measures: m.Measures,
        agent_name: AgentName,
        chance: Callable[[], float],
    ) -> None:
        self.target = target
        self._store = store
        self._clock = clock
        self._measures = measures
        self._agent_name = agent_name
        self._chance = chance
        self._outgoing = Outgoing(Rules(trusted=True))  # the operator named its address
        self._waiting: deque[Ended] = deque()
        self._problem: str | None = None
        self._dropped = 0
        self._something, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    @property
    def state(self) -> ExportState:
        """How it goes."""
        return ExportState(self._problem, len(self._waiting), self._dropped)

    def committed(self, unit: Unit) -> None:
        """Take note of sessions that ended, if their trace is one of the sample."""
        for state, events in unit.recorded:
            if state.finished_at is None or not any(isinstance(one, _ENDS) for one in events):
                continue
            if self.target.takes(state.trace_id, state.traceparent):
                self._put(Ended(state.session_id, state.namespace, state.trace_id))

    def _put(self, ended: Ended) -> None:
        if len(self._waiting) >= WAITING_LIMIT:
            self._lose(1, "full")
            return
        self._waiting.append(ended)
        self._idle.clear()
        self._something.set()

    def _lose(self, sessions: int, why: str) -> None:
        self._dropped += sessions
        self._measures.count(m.EXPORT_DROPPED, (why,), sessions)

    async def run(self) -> None:
        """Export for ever."""
        while True:
            await self._something.wait()
            await self._clock.sleep(GATHER_SECONDS)
            self._something.clear()
            while self._waiting:
                await self._turn([self._waiting.popleft() for _ in range(self._count)])
            self._idle.set()

    @property
    def _count(self) -> int:
        return min(AT_ONCE, len(self._waiting))

    async def _turn(self, sessions: Sequence[Ended]) -> None:
        """Whatever goes wrong here must not reach the engine, whose loop this is."""
        began = self._clock.now()
        try:
            journals = [await self._journal(one) for one in sessions]
            requests = await asyncio.to_thread(self._requests, sessions, journals)
            worked = (self._clock.now() - began) / SECOND
            for body, spans in requests:
                await self._deliver(body, spans, len(sessions))
            await self._clock.sleep(worked * (1 / SHARE - 1))
        except Exception:
            log.exception("export_failed", sessions=len(sessions))
            self._lose(len(sessions), "failed")

    async def _journal(self, one: Ended) -> Sequence[StoredEvent]:
        return await self._store.journal(one.session_id, 0, EVENTS_READ)

    def _requests(
        self, sessions: Sequence[Ended], journals: Sequence[Sequence[StoredEvent]]
    ) -> list[tuple[bytes, int]]:
        drawn = [
            (one.namespace, one.trace_id, self._spans(one, journal))
            for one, journal in zip(sessions, journals, strict=True)
            if journal  # else it was deleted meanwhile
        ]
        return list(requests_of(drawn))

    def _spans(self, one: Ended, journal: Sequence[StoredEvent]) -> list[Span]:
        events = [(decode(row.type, row.version, row.data), row.at) for row in journal]
        return SessionSpans(one.session_id, events, self._agent_name).spans

    async def _deliver(self, body: bytes, spans: int, sessions: int) -> None:
        """Send until it is taken or refused for good."""
        tries = 0
        while True:
            tries += 1
            try:
                answer = await self._outgoing.post(
                    self.target.url, body, self._headers(), seconds=SECONDS
                )
            except OutgoingFailed as failure:
                await self._pause(str(failure), tries, None)
                continue
            if answer.status in AGAIN:
                why = f"the collector answered {answer.status}"
                await self._pause(why, tries, _retry_after(answer))
                continue
            self._taken(answer, spans, sessions)
            return

    def _headers(self) -> dict[str, str]:
        coding = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
        return {**self.target.headers, **coding}

    def _taken(self, answer: Answer, spans: int, sessions: int) -> None:
        if not 200 <= answer.status < 300:
            self._problem = f"the collector answered {answer.status}: its spans are not taken"
            log.error("export_refused", status=answer.status)
            self._lose(sessions, "refused")
            return
        rejected, why = _rejected(answer)
        self._problem = f"{rejected} spans were rejected: {why[:500]}" if rejected else None
        self._measures.count(m.EXPORTED_SPANS, (), spans - rejected)

    async def _pause(self, problem: str, tries: int, wanted: Micros | None) -> None:
        if self._problem is None:
            log.warning("collector_unavailable", error=problem)
        self._problem = problem
        least = backoff(POLICY, min(tries, 20), self._chance())
        await self._clock.sleep(max(least, wanted or 0) / SECOND)

    async def flush(self, seconds: float) -> None:
        """Give what waits so much time to leave, unless the collector is down."""
        if self._problem is None and seconds > 0:
            await self._clock.wait(self._idle, seconds)

    async def release(self) -> None:
        """Let go of every connection, once `run` has ended."""
        await self._outgoing.close()


def _rejected(answer: Answer) -> tuple[int, str]:
    """What a partial success says; an answer that cannot be read is a success without words."""
    try:
        return rejected_of(answer.body)
    except DecodeError:
        return 0, ""


def _retry_after(answer: Answer) -> Micros | None:
    given = answer.headers.get("retry-after", "").strip()
    if not (given.isascii() and given.isdigit()):
        return None
    return min(int(given[:9]), LONGEST_WAIT) * SECOND
