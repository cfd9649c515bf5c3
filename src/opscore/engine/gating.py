"""How tasks with limits come into a batch: who is let through, and who makes room for whom."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from opscore.core import commands as cmd
from opscore.core.errors import Corrupted
from opscore.core.limits import REJECT
from opscore.core.types import session_id_of
from opscore.core.why_words import limit_full
from opscore.engine.gated import SESSIONS
from opscore.engine.gates import Gates, LineName
from opscore.engine.seats import Queue
from opscore.engine.unit import Means, Unit
from opscore.store.rows import ReadyRow, Wants

Slots = Callable[[Queue], int]
"""How many tasks of a queue could be claimed now."""

log = structlog.get_logger("opscore.gates")


def want_gated(wants: Wants, means: Means, slots: Slots) -> None:
    """The sessions of those who may be let through, and of those who may have to make room."""
    gates = means.gates
    if gates.stale:
        wants.gates = wants.settled = True
        return
    wanted = [row.session_id for row in gates.first(slots)]
    for name in gates.eager:
        oldest = gates.oldest(name)
        if oldest is not None:
            wanted.append(oldest if name[1] == SESSIONS else session_id_of(oldest) or "")
            wanted += [row.session_id for row in gates.line(name)]
    wants.sessions.update(each for each in wanted if not means.sessions.has(each))


def let_through(unit: Unit, slots: Slots) -> list[tuple[Queue, ReadyRow]]:
    """Candidates for a claim; all of them fit under their limits together."""
    offered = unit.means.gates.offers(slots, unit.now)
    return [((row.namespace, row.queue), row) for row in offered if present(unit, row)]


def present(unit: Unit, row: ReadyRow) -> bool:
    """Whether its session is in memory; else the next batch wants it first."""
    try:
        return unit.session(row.session_id) is not None
    except Corrupted as error:
        # One journal that cannot be read must not stop the others.
        log.error("claim_passed_over", task_id=row.task_id, error=str(error))
        unit.means.gates.leave(row.task_id)
        return False


def make_room(unit: Unit) -> None:
    """Where a key is full: reject those who do not wait, or cancel who has held it longest."""
    gates = unit.means.gates
    for name in [name for name in gates.eager if name[1] != SESSIONS]:
        if name[2].on_full == REJECT:
            _reject(unit, gates, name)
        else:
            _cancel_oldest(unit, gates, name)


def _reject(unit: Unit, gates: Gates, name: LineName) -> None:
    if gates.oldest(name) is None:
        return
    for row in gates.line(name):
        shut = gates.shut(row.task_id, unit.now)
        if shut is None or shut.until is not None:
            return
        why = limit_full(shut.key, shut.in_use, shut.limit, shut.holders)
        state = unit.session(row.session_id) if present(unit, row) else None
        if state is not None:
            unit.decide(state, cmd.RejectTask(row.task_id, why))


def _cancel_oldest(unit: Unit, gates: Gates, name: LineName) -> None:
    for row in gates.line(name):
        oldest = gates.oldest(name)
        state = None if oldest is None else unit.session(session_id_of(oldest) or "")
        if oldest is None or state is None:
            return
        why = f"{row.task_id} took its place under the limit {name[2].concurrency}"
        if unit.decide(state, cmd.CancelTask(oldest, why)) is not None:
            return
