"""A commit's changes as parts of PostgreSQL statements."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from opscore.core.audit import AuditRecord
from opscore.core.types import Json
from opscore.store import postgres_verbs as verbs
from opscore.store.gate_rows import GateChanges
from opscore.store.postgres_verbs import Part, part, part_of_keys
from opscore.store.rows import Changes

_TASK = b'{"task_id":"'
_END = b'"'


def task_of(data: Json) -> str | None:
    """The task that an event is about: all events of tasks begin with its id."""
    text = bytes(data)
    if not text.startswith(_TASK):
        return None
    return text[len(_TASK) : text.index(_END, len(_TASK))].decode()


def class_of(error: str | None) -> str | None:
    """The class of an error as its column keeps it: a JSON list of class and message."""
    if error is None:
        return None
    return str(json.loads(error)[0]).replace("\0", "")


def parts(c: Changes, position: int, audit: Sequence[AuditRecord]) -> Iterator[Part]:
    """All that a commit changes, after `position`; in this order, where the order matters.

    `audit`: the records that its entries for the audit have become.
    """
    yield from _parts_of_agents(c, position + len(c.events))
    if c.sessions:
        yield part(verbs.PUT_SESSIONS, c.sessions.values())
    if c.events:
        yield part(
            verbs.ADD_EVENTS,
            [(p, *e, task_of(e.data)) for p, e in enumerate(c.events, position + 1)],
        )
    yield from _parts_of_tasks(c)
    if c.limits:
        yield from _parts_of_limits(c.limits)
    yield from _parts_of_waits(c)
    yield from _parts_of_requests(c)
    if audit:
        yield part(verbs.ADD_AUDIT, audit)
    if c.sessions_gone:
        first, *others = verbs.REMOVE_SESSIONS
        gone = list(c.sessions_gone)
        yield Part(None, first, [gone])
        for verb in others:
            yield part_of_keys(verb, gone)


def _parts_of_agents(c: Changes, position: int) -> Iterator[Part]:
    if c.templates:
        yield part(verbs.ADD_TEMPLATES, c.templates)
    if c.agents_gone:
        # First those that are gone: their names may be taken over in the same commit.
        yield part_of_keys(verbs.REMOVE_AGENTS, c.agents_gone)
    if c.agents:
        yield part(verbs.PUT_AGENTS, c.agents.values())
    if c.agent_events:
        rows = [(p, *e) for p, e in enumerate(c.agent_events, position + 1)]
        yield part(verbs.ADD_AGENT_EVENTS, rows)
    if c.keys:
        yield part(verbs.PUT_KEYS, c.keys.values())
    if c.key_uses:
        yield part(verbs.USE_KEYS, c.key_uses.items(), _apart("keys", c.keys, c.key_uses))


def _parts_of_tasks(c: Changes) -> Iterator[Part]:
    if c.tasks:
        yield part(verbs.ADD_TASKS, [(*t, class_of(t.error)) for t in c.tasks.values()])
    if c.task_changes:
        rows = [(*t, class_of(t.error)) for t in c.task_changes.values()]
        yield part(verbs.CHANGE_TASKS, rows, _apart("tasks", c.tasks, c.task_changes))
    if c.unready:
        yield part(verbs.DEQUEUE, [r[:4] for r in c.unready.values()])
    if c.ready:
        yield part(verbs.ENQUEUE, c.ready.values(), _apart("ready", c.unready, c.ready))
    if c.unleased:
        yield part_of_keys(verbs.END_LEASES, c.unleased)
    if c.leases:
        yield part(verbs.ADD_LEASES, c.leases.values(), _apart("leases", c.unleased, c.leases))
    if c.extended:
        known = c.leases.keys() | c.unleased if c.leases or c.unleased else ()
        yield part(
            verbs.EXTEND_LEASES,
            c.extended.items(),
            "leases extended" if c.extended.keys().isdisjoint(known) else "leases",
        )


def _parts_of_limits(limits: GateChanges) -> Iterator[Part]:
    if limits.ungated:
        yield part(verbs.UNGATE, [r[:4] for r in limits.ungated.values()])
    if limits.gated:
        rows = _apart("gated", limits.ungated, limits.gated)
        yield part(verbs.GATE, limits.gated.values(), rows)
    if limits.rates_gone:
        yield part(verbs.END_RATES, list(limits.rates_gone))
    if limits.rates:
        rows = _apart("rates", limits.rates_gone, limits.rates)
        yield part(verbs.PUT_RATES, limits.rates.values(), rows)
    if limits.left:
        yield part_of_keys(verbs.LEAVE, limits.left)
    if limits.admitted:
        rows = _apart("admitted", limits.left, limits.admitted)
        yield part(verbs.ADMIT, limits.admitted.values(), rows)


def _parts_of_waits(c: Changes) -> Iterator[Part]:
    if c.undelayed:
        yield part(verbs.UNDELAY, [r[:2] for r in c.undelayed.values()])
    if c.delayed:
        yield part(verbs.DELAY, c.delayed.values(), _apart("delayed", c.undelayed, c.delayed))
    if c.untimed:
        yield part(verbs.STOP_TIMERS, list(c.untimed))
    if c.timers:
        yield part(verbs.SET_TIMERS, c.timers.values(), _apart("timers", c.untimed, c.timers))
    if c.callbacks:
        yield part(verbs.PUT_CALLBACKS, c.callbacks.values())
    if c.approvals:
        yield part(verbs.PUT_APPROVALS, c.approvals.values())
    if c.schedules_gone:
        yield part(verbs.REMOVE_SCHEDULES, list(c.schedules_gone))
    if c.schedules:
        yield part(verbs.PUT_SCHEDULES, c.schedules.values())


def _parts_of_requests(c: Changes) -> Iterator[Part]:
    if c.requests:
        yield part(verbs.PUT_REQUESTS, c.requests.values())
    if c.requests_before is not None:
        yield Part("idempotency", verbs.FORGET_REQUESTS, [c.requests_before])
    if c.revived:
        yield part_of_keys(verbs.REVIVE, c.revived)
    if c.dead:
        yield part(verbs.ADD_DEAD, c.dead)
    if c.outbox:
        yield part(verbs.ADD_OUTBOX, c.outbox.values())
    if c.outbox_done:
        rows = _apart("outbox", c.outbox, c.outbox_done)
        yield part_of_keys(verbs.END_OUTBOX, c.outbox_done, rows)


def _apart(
    table: str,
    ones: Mapping[Any, Any] | AbstractSet[Any],
    others: Mapping[Any, Any] | AbstractSet[Any],
) -> str:
    """The name of the others' rows: the table's own when both touch one row."""
    return table if any(key in others for key in ones) else f"{table} too"
