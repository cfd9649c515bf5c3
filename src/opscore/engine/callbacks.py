"""Completion callbacks: a signed message to whoever started a session, when it has ended.

The row is written in the commit that starts the session, so a crash loses none; its state is what
became of it. The message has the form of Standard Webhooks (github.com/standard-webhooks); it may
come twice, with the same `webhook-id`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import msgspec
import structlog
from yarl import URL

from opscore.core.errors import Fault, Invalid, NotFound, Unavailable
from opscore.core.retry import backoff
from opscore.core.template import RetryPolicy
from opscore.core.types import SECOND, SESSION_ENDED, Json, Micros, SessionStatus
from opscore.engine.clock import Clock
from opscore.engine.news import News
from opscore.engine.records import PartState, SessionRecord
from opscore.engine.unit import Means, Unit
from opscore.engine.views import Views
from opscore.engine.writer import Writer
from opscore.outgoing.request import Outgoing, OutgoingFailed, checked_url
from opscore.outgoing.signing import Signing, signed
from opscore.store.rows import CallbackRow, Wants
from opscore.store.store import Store

PENDING, DELIVERED, GIVEN_UP = "pending", "delivered", "given_up"
POLICY = RetryPolicy(max_attempts=10, initial_delay=5 * SECOND, max_delay=1800 * SECOND)
"""Ten tries over three quarters of an hour."""
SECONDS = 15.0
AT_ONCE, AT_ONCE_PER_HOST = 64, 8
"""So that a slow receiver holds up its own messages only."""
GONE = 410
LOOK_SECONDS = 1.0
"""How often a server looks whether it leads now."""
LOOKED_AT = 1_000
"""So many of what waits are looked at to say how it stands."""

log = structlog.get_logger("opscore.callbacks")
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Record:
    """What became of a try."""

    row: CallbackRow
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing: the row is written whole."""

    def apply(self, unit: Unit) -> None:
        """Nothing happens when the session was deleted meanwhile."""
        if not unit.means.sessions.buried(self.row.session_id):
            unit.changes.callbacks[self.row.session_id] = self.row


class Callbacks:
    """Delivers what is due. `check` says what of a URL can be told before it is called."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        views: Views,
        clock: Clock,
        outgoing: Outgoing,
        signing: Signing,
        chance: Callable[[], float],
        leads: Callable[[], bool],
    ) -> None:
        self._leads = leads
        self._store = store
        self._writer = writer
        self._views = views
        self._clock = clock
        self._outgoing = outgoing
        self._signing = signing
        self._chance = chance
        self._rows: dict[str, CallbackRow] = {}
        self._due: dict[str, Micros] = {}
        self._under_way = Counter[str]()
        self._something = asyncio.Event()

    @property
    def state(self) -> PartState:
        """Whether receivers give no answer. They are not named: they are tenants' business."""
        rows = (self._rows.get(session_id) for session_id in islice(self._due, LOOKED_AT))
        failing = {_host(row) for row in rows if row is not None and row.error is not None}
        problem = f"{len(failing)} receivers gave no good answer; they are tried again"
        return PartState(problem if failing else None, len(self._due) + self._under_way.total())

    def check(self, url: str, pointer: str = "/callback/url") -> None:
        """Raises Invalid for what cannot be called."""
        try:
            checked_url(url, self._outgoing.rules)
        except OutgoingFailed as failure:
            raise Invalid(f"{pointer}: {failure}.", faults=[Fault(pointer, str(failure))]) from None

    def secret(self, session_id: str) -> str:
        """With what the message about a session is signed."""
        return self._signing.secret("callback", session_id)

    async def of(self, session_id: str) -> CallbackRow | None:
        """What became of a session's callback so far; None when it has none."""
        return await self._store.callback(session_id)

    async def load(self) -> None:
        """What an earlier process left."""
        for row in await self._store.pending_callbacks():
            self._rows[row.session_id] = row
            header = await self._store.session(row.session_id)
            if header is not None and SessionStatus(header.status) in SESSION_ENDED:
                self._due[row.session_id] = row.due or 0

    def committed(self, unit: Unit) -> None:
        """Take note of new callbacks, and of sessions that ended."""
        self._note(unit.changes.callbacks.values())
        if self._rows:
            self._over(unit.ended())

    def followed(self, news: News) -> None:
        """The same, of another server's commit."""
        self._note(news.callbacks)
        for row in news.callbacks:
            if row.status == PENDING and row.due is not None:
                self._due[row.session_id] = row.due
        self._over(news.ended)

    def _note(self, rows: Iterable[CallbackRow]) -> None:
        for row in rows:
            if row.status == PENDING:
                self._rows[row.session_id] = row
            else:
                self._rows.pop(row.session_id, None)

    def _over(self, sessions: Iterable[str]) -> None:
        """These sessions have ended."""
        for session_id in sessions:
            if session_id in self._rows:
                self._due.setdefault(session_id, self._clock.now())
                self._something.set()

    async def run(self) -> None:
        """Deliver for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._something.clear()
                now = self._clock.now()
                for row in self._ready(now):
                    group.create_task(self._deliver(row))
                await self._pause(now)

    async def _pause(self, now: Micros) -> None:
        following = [due for due in self._due.values() if due > now]
        if self._due and not self._leads():
            await self._clock.wait(self._something, LOOK_SECONDS)
        elif following:
            await self._clock.wait(self._something, (min(following) - now) / SECOND)
        else:
            await self._something.wait()

    def _ready(self, now: Micros) -> list[CallbackRow]:
        """Those that are due, as far as there is room; each is under way from now on.

        One server is enough for that. When it dies, another one leads and has them all in memory.
        """
        if not self._leads():
            return []
        found: list[CallbackRow] = []
        for session_id in [s for s, due in self._due.items() if due <= now]:
            row = self._rows.get(session_id)
            host = _host(row)
            if row is None:
                del self._due[session_id]
            elif self._under_way.total() < AT_ONCE and self._under_way[host] < AT_ONCE_PER_HOST:
                self._under_way[host] += 1
                del self._due[session_id]
                found.append(row)
        return found

    async def _deliver(self, row: CallbackRow) -> None:
        try:
            after = await self._try(row)
            await self._writer.submit(Record(after))
            if after.due is not None:
                self._due[row.session_id] = after.due
        except NotFound:
            self._rows.pop(row.session_id, None)
        except Unavailable as error:
            log.warning("callback_not_recorded", session_id=row.session_id, error=error.detail)
            self._due[row.session_id] = self._clock.now() + SECOND
        finally:
            self._under_way[_host(row)] -= 1
            self._something.set()

    async def _try(self, row: CallbackRow) -> CallbackRow:
        """The row after one more try. Raises NotFound when the session is gone."""
        session = await self._views.session(row.session_id, row.namespace)
        body = message_of(session)
        seconds = self._clock.now() // SECOND
        headers = {
            "content-type": "application/json",
            **signed(self.secret(row.session_id), f"{row.session_id}-end", seconds, body),
        }
        tries = row.tries + 1
        try:
            answer = await self._outgoing.post(row.url, body, headers, seconds=SECONDS)
        except OutgoingFailed as failure:
            return self._failed(row, tries, str(failure), final=False)
        if 200 <= answer.status < 300:
            return row._replace(status=DELIVERED, tries=tries, due=None, error=None)
        return self._failed(row, tries, f"answered {answer.status}", final=answer.status == GONE)

    def _failed(self, row: CallbackRow, tries: int, error: str, *, final: bool) -> CallbackRow:
        if final or tries >= POLICY.max_attempts:
            log.error("callback_given_up", session_id=row.session_id, tries=tries, error=error)
            return row._replace(status=GIVEN_UP, tries=tries, due=None, error=error)
        due = self._clock.now() + backoff(POLICY, tries, self._chance())
        return row._replace(tries=tries, due=due, error=error)


def _host(row: CallbackRow | None) -> str:
    return "" if row is None else URL(row.url).host or ""


def message_of(session: SessionRecord) -> Json:
    """The document that is sent: what happened, when, and the session's outcome."""
    at = datetime.fromtimestamp((session.finished_at or 0) / SECOND, UTC)
    word = {SessionStatus.ERROR: "failed"}.get(session.status, session.status.value)
    error = session.error
    return _encode(
        {
            "type": f"session.{word}",
            "timestamp": at.isoformat(),
            "data": {
                "sessionId": session.session_id,
                "workflow": session.workflow,
                "version": session.version,
                "status": session.status.value,
                "output": None if session.output is None else msgspec.Raw(session.output),
                "error": error and {"class": error.error_class, "message": error.message},
                "labels": dict(session.labels),
                "traceId": session.trace_id,
            },
        }
    )
