"""How a batch lets sessions in whose templates have limits."""

from __future__ import annotations

from opscore.core import commands as cmd
from opscore.core.limits import REJECT
from opscore.core.types import CANCEL_GRACE
from opscore.core.why_words import sessions_full
from opscore.engine.gated import SESSIONS
from opscore.engine.gates import Gates, LineName
from opscore.engine.gating import present
from opscore.engine.seats import Queue
from opscore.engine.unit import Unit

AT_ONCE = 50
"""Sessions that one batch lets in: each makes tasks."""


def places(queue: Queue) -> int:
    """How many sessions of a queue one batch lets in."""
    return AT_ONCE if queue[1] == SESSIONS else 0


def let_in(unit: Unit) -> None:
    """Admit the sessions for which there is room; reject, or make room for, those that do not wait."""
    gates = unit.means.gates
    for row in gates.offers(places, unit.now):
        if present(unit, row):
            state = unit.session(row.session_id)
            assert state is not None
            unit.decide(state, cmd.Admit())
    for name in [name for name in gates.eager if name[1] == SESSIONS]:
        if name[2].on_full == REJECT:
            _reject(unit, gates, name)
        else:
            _cancel_oldest(unit, gates, name)


def _reject(unit: Unit, gates: Gates, name: LineName) -> None:
    for row in gates.line(name):
        shut = gates.shut(row.task_id, unit.now)
        if shut is None or shut.until is not None:
            return
        if not present(unit, row):
            continue
        state = unit.session(row.session_id)
        assert state is not None
        holders = [holder for holder, _ in shut.holders]
        why = sessions_full(shut.key, shut.in_use, shut.limit, holders)
        unit.decide(state, cmd.RejectSession(why))


def _cancel_oldest(unit: Unit, gates: Gates, name: LineName) -> None:
    while (oldest := gates.oldest(name)) is not None:
        state = unit.session(oldest)
        if state is None:
            return
        newest = gates.line(name)[-1].session_id
        why = f"{newest} took its place under the limit {name[2].concurrency}"
        gates.tell(oldest)
        unit.leaving.append(oldest)
        unit.decide(state, cmd.Cancel(why, "system:opscore", CANCEL_GRACE))
