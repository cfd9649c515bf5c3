"""Which session a trace is of: asked when telemetry comes that names nothing else."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable

from opscore.core.types import SECOND, Micros
from opscore.store.store import Store

KEPT = 50_000
LOOKED_AT = 1_000
"""The newest sessions of a namespace; telemetry of older ones is found by its trace only."""
MISSED: Micros = 10 * SECOND
"""For so long a trace that is no session's is not looked for again."""

Key = tuple[str, str]


class KnownTraces:
    """Remembers the sessions that it saw, and looks again for a trace that is not among them.

    One look at a time, for all who wait: so a flood of strange traces costs one look after the
    other, not one each.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[Key, str] = OrderedDict()
        self._missed: OrderedDict[Key, Micros] = OrderedDict()
        self._wanted: dict[str, set[str]] = {}
        self._turn = asyncio.Lock()

    async def of(self, namespace: str, trace_ids: Iterable[str]) -> Callable[[str], str | None]:
        """Tells the session of each of these traces: the first, when a trace has several."""
        traces = set(trace_ids)
        if self._strange(namespace, traces):
            self._wanted.setdefault(namespace, set()).update(traces)
            async with self._turn:
                if self._strange(namespace, traces):
                    await self._look(namespace)
        found = {one: self._known.get((namespace, one)) for one in traces}
        return found.get

    def _strange(self, namespace: str, traces: set[str]) -> bool:
        since = self._store.now() - MISSED
        keys = ((namespace, one) for one in traces)
        return any(key not in self._known and self._missed.get(key, -1) < since for key in keys)

    async def _look(self, namespace: str) -> None:
        wanted = self._wanted.pop(namespace, set[str]())
        for row in await self._store.sessions({"namespace": namespace}, None, LOOKED_AT):
            key = (namespace, row.trace_id)
            # Ids are ordered by time: children and those that were started from within come later.
            self._known[key] = min(self._known.get(key, row.session_id), row.session_id)
        now = self._store.now()
        for key in ((namespace, one) for one in wanted):
            if key not in self._known:
                self._missed[key] = now
        for kept in (self._known, self._missed):
            while len(kept) > KEPT:
                kept.popitem(last=False)
