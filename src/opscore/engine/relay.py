"""The outbox: what one commit asks of the next one, or of another session.

A row is removed in the very commit that carries it out, so nothing is lost and nothing is done
twice, whenever the process dies.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass

import msgspec
import structlog

from opscore.core import commands as cmd
from opscore.core.errors import Impossible, OpsCoreError
from opscore.core.events import SessionStarted
from opscore.core.state import SessionState
from opscore.core.types import SECOND, Micros, on_error_id_of
from opscore.engine.clock import Clock
from opscore.engine.family import CARRIED_OUT
from opscore.engine.news import News
from opscore.engine.starts import env_of, start_event, versions_of
from opscore.engine.unit import Means, Unit
from opscore.engine.writer import Command, Writer
from opscore.store.rows import OutboxRow, Wants
from opscore.store.store import Store

PAUSE_SECONDS = 1.0
"""After a failure, before the next attempt."""
LEFT_TO_OTHERS: Micros = 2 * SECOND
"""How long another server is given to carry out what it wrote."""

log = structlog.get_logger("opscore.relay")


@dataclass(slots=True)
class CarryOut:
    """One row of the outbox."""

    row: OutboxRow
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """The session that asked."""
        if not means.sessions.has(self.row.session_id):
            wants.sessions.add(self.row.session_id)

    def apply(self, unit: Unit) -> None:
        """Done once and for all with this commit."""
        state = unit.session(self.row.session_id)
        unit.changes.outbox_done.add(self.row.outbox_id)
        if state is None:
            return
        if self.row.kind == "advance":
            unit.decide(state, cmd.Advance())
            return
        event = _on_error_start(state, self.row, unit)
        if event is not None:
            seq = int(self.row.outbox_id.rpartition("/")[2])
            unit.start(on_error_id_of(state.session_id, seq), cmd.Start(event))


def _on_error_start(state: SessionState, row: OutboxRow, unit: Unit) -> SessionStarted | None:
    """The start of a template's `onError` workflow, in the version that the session fixed."""
    templates = unit.means.templates
    on_error = templates.parsed(state.namespace, state.workflow, state.version).on_error
    if on_error is None or state.on_error_version is None:
        return None
    chosen = templates.parsed(state.namespace, on_error.workflow, state.on_error_version)
    try:
        env = env_of(chosen, unit.means.template_env)
        _, versions = versions_of(chosen, templates, state.namespace)
    except Impossible as refusal:
        log.error("on_error_refused", session_id=state.session_id, error=str(refusal))
        return None
    return start_event(
        chosen,
        namespace=state.namespace,
        now=unit.now,
        input=msgspec.Raw(row.data),
        trace_id=state.trace_id,
        traceparent=state.traceparent,
        env=env,
        versions=versions,
        depth=state.depth + 1,
        actor=f"session:{state.session_id}",
        cause=state.session_id,
    )


@dataclass(slots=True)
class _IfOutstanding:
    """What a row asks for, unless another server has carried it out meanwhile."""

    row: OutboxRow
    command: Command[None]
    outstanding: Container[str]
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """What the command wants."""
        self.command.want(wants, means)

    def apply(self, unit: Unit) -> None:
        """Cannot be refused."""
        if self.row.outbox_id in self.outstanding:
            self.command.apply(unit)


class Relay:
    """Carries out outbox rows one after another.

    A server carries out what it wrote itself. What another one wrote is left to that server, and
    taken over when it stands there for too long: then that server has died.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._chance = chance
        self._rows: OrderedDict[str, OutboxRow] = OrderedDict()
        self._outstanding: set[str] = set()
        self._of_others: dict[str, tuple[Micros, OutboxRow]] = {}
        self._arrived = asyncio.Event()

    def committed(self, unit: Unit) -> None:
        """Take note of new rows, and of those that are done."""
        self._outstanding -= unit.changes.outbox_done
        if unit.changes.outbox:
            self._outstanding |= unit.changes.outbox.keys()
            self._rows.update(unit.changes.outbox)
            self._arrived.set()

    def followed(self, news: News) -> None:
        """The same, of another server's commit."""
        self._outstanding.difference_update(news.outbox_done)
        for outbox_id in news.outbox_done:
            self._of_others.pop(outbox_id, None)
        self._outstanding.update(row.outbox_id for row in news.outbox)
        now = self._clock.now()
        self._of_others.update((row.outbox_id, (now, row)) for row in news.outbox)

    async def take_over(self) -> None:
        """Carry out what others should have done by now."""
        since = self._clock.now() - LEFT_TO_OTHERS
        late = [row for at, row in self._of_others.values() if at < since]
        for row in late:
            del self._of_others[row.outbox_id]
            self._rows[row.outbox_id] = row
            self._arrived.set()

    async def load(self) -> None:
        """What an earlier process left."""
        self._rows.update((row.outbox_id, row) for row in await self._store.outbox())
        self._outstanding |= self._rows.keys()
        if self._rows:
            self._arrived.set()

    async def run(self) -> None:
        """Carry out for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._rows:
                rows = list(self._rows.values())[:100]
                if not await self._carry_out(rows):
                    await self._clock.sleep(PAUSE_SECONDS)

    def _command(self, row: OutboxRow) -> Command[None]:
        between = CARRIED_OUT.get(row.kind)
        if between is not None:
            command: Command[None] = between(row, self._chance)
        else:
            command = CarryOut(row)
        return _IfOutstanding(row, command, self._outstanding)

    async def _carry_out(self, rows: list[OutboxRow]) -> bool:
        """Whether all of them were; those that were not are tried again later."""
        for row in rows:
            self._rows.pop(row.outbox_id, None)
        futures = [self._writer.submit(self._command(row)) for row in rows]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        failed = [
            (row, outcome)
            for row, outcome in zip(rows, outcomes, strict=True)
            if isinstance(outcome, BaseException)
        ]
        for row, error in failed:
            self._rows[row.outbox_id] = row
            told = {"error": str(error)} if isinstance(error, OpsCoreError) else {"exc_info": error}
            log.error("outbox_failed", outbox_id=row.outbox_id, **told)
        return not failed
