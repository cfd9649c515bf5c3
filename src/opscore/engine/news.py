"""What a commit means to the other servers of a shared store: what they have in memory of it.

Sessions are only named with the number of their last event: a server that has one in memory reads
the rest of its journal when it next needs it. Everything else is rare, and told whole.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from opscore.core.types import Micros
from opscore.engine.unit import CancelNotice, Unit
from opscore.store.gate_rows import AdmittedRow, GatedRow, RateRow
from opscore.store.rows import (
    AgentRow,
    CallbackRow,
    Changes,
    LeaseRow,
    OutboxRow,
    RequestName,
    ScheduleRow,
    TemplateRow,
)


class LimitNews(msgspec.Struct, array_like=True, frozen=True):
    """What a commit changed of limits; `claimed`: the leases that began under some."""

    gated: list[GatedRow]
    ungated: list[str]
    rates: list[RateRow]
    rates_gone: list[tuple[str, str]]
    admitted: list[AdmittedRow]
    left: list[str]
    claimed: list[LeaseRow]
    leaving: list[str]


class News(msgspec.Struct, array_like=True, frozen=True):
    """One commit. `soonest` is the next deadline that it set, `ended` are sessions."""

    sessions: dict[str, int]
    ended: list[str]
    deleted: list[str]
    queues: list[tuple[str, str]]
    soonest: Micros | None
    freed: dict[str, tuple[str, int]]
    cancels: list[CancelNotice]
    seated: list[tuple[str, str]]
    agents: list[AgentRow]
    agents_gone: dict[str, int]
    templates: list[TemplateRow]
    keys: list[bytes]
    schedules: list[ScheduleRow]
    schedules_gone: list[tuple[str, str]]
    outbox: list[OutboxRow]
    outbox_done: list[str]
    callbacks: list[CallbackRow]
    requests: list[RequestName]
    limits: LimitNews | None


_encode = msgspec.msgpack.Encoder().encode
read_news = msgspec.msgpack.Decoder(News).decode
"""The reverse of `news_of`. Raises msgspec.MsgspecError for what is none."""


def news_of(unit: Unit) -> bytes:
    """What other servers must know of a batch that is decided."""
    c = unit.changes
    last = {row.agent_id: row.seq for row in c.agent_events}
    return _encode(
        News(
            sessions={s: state.seq for s, state in unit.touched.items()},
            ended=unit.ended(),
            deleted=[*c.sessions_gone],
            queues=[*{(row.namespace, row.queue) for row in c.ready.values()}],
            soonest=soonest_of(c),
            freed=unit.freed,
            cancels=unit.cancels,
            seated=unit.seated,
            agents=[*c.agents.values()],
            agents_gone={agent_id: last[agent_id] for agent_id in c.agents_gone},
            templates=c.templates,
            keys=[row.data for row in c.keys.values()],
            schedules=[*c.schedules.values()],
            schedules_gone=[*c.schedules_gone],
            outbox=[row._replace(data=bytes(row.data)) for row in c.outbox.values()],
            outbox_done=[*c.outbox_done],
            callbacks=[*c.callbacks.values()],
            requests=[*c.requests],
            limits=_limits_of(unit),
        )
    )


def _limits_of(unit: Unit) -> LimitNews | None:
    c = unit.changes
    claimed = [row for row in c.leases.values() if row.terms is not None]
    if not (c.limits or claimed or unit.leaving):
        return None
    return LimitNews(
        gated=[*c.limits.gated.values()],
        ungated=[*c.limits.ungated],
        rates=[*c.limits.rates.values()],
        rates_gone=[*c.limits.rates_gone],
        admitted=[*c.limits.admitted.values()],
        left=[*c.limits.left],
        claimed=claimed,
        leaving=unit.leaving,
    )


def soonest_of(changes: Changes) -> Micros | None:
    """The next of the deadlines that a commit set."""
    return min(_deadlines(changes), default=None)


def _deadlines(c: Changes) -> Iterable[Micros]:
    times: list[Micros | None] = [row.due for row in c.delayed.values()]
    times += [row.expires_at for row in c.ready.values()]
    times += [row.due for row in c.timers.values()]
    times += [row.next_at for row in c.schedules.values()]
    times += [row.expires_at for row in c.limits.gated.values()]
    times += [row.deadline for row in c.leases.values()]
    times += [row.deadline for row in c.sessions.values()]
    return (at for at in times if at is not None)
