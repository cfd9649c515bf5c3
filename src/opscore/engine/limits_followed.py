"""Limits as other servers' commits change them: memory here counts their attempts too."""

from __future__ import annotations

from opscore.engine.gated import read_terms
from opscore.engine.gates import Gates
from opscore.engine.news import LimitNews, News
from opscore.store.rows import ReadyRow


def follow_limits(gates: Gates, news: News) -> None:
    """Take over what a commit changed: first who left, then who waits or holds."""
    if gates.stale:
        return  # all of it is read again before the next decision
    for task_id in news.freed:
        gates.release(task_id)
    if news.limits is not None:
        _left(gates, news.limits)
        _came(gates, news.limits)


def _left(gates: Gates, limits: LimitNews) -> None:
    for waiting in limits.ungated:
        gates.leave(waiting)
    for session_id in limits.left:
        gates.release(session_id)
    for namespace, key in limits.rates_gone:
        gates.unuse(namespace, key)


def _came(gates: Gates, limits: LimitNews) -> None:
    for gated in limits.gated:
        gates.wait(ReadyRow(*gated[:6]), read_terms(gated.terms))
    for rate in limits.rates:
        gates.use(rate)
    for session in limits.admitted:
        gates.hold(session.namespace, read_terms(session.terms), session.session_id, 0)
    for lease in limits.claimed:
        if lease.terms is not None:
            gates.hold(lease.namespace, read_terms(lease.terms), lease.task_id, lease.attempt)
    for session_id in limits.leaving:
        gates.tell(session_id)
