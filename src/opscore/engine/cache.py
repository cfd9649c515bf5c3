"""What the writer keeps in memory: session states and parsed templates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container

from opscore.core.errors import Corrupted
from opscore.core.state import SessionState
from opscore.core.template import Template
from opscore.store.rows import TemplateRow
from opscore.templates import read_template

TASKS_KEPT = 200_000
PARSED_KEPT = 1_000


class SessionCache:
    """Sessions that the writer has folded; the least recently used leave first.

    Bounded by the number of tasks they hold, since a large fan-out weighs as much as thousands of
    small sessions. A session in the cache is as the journal has it, unless another server has gone
    on with it: then it is behind, and counts as away until the rest of its journal is folded in.
    """

    def __init__(self, limit: int = TASKS_KEPT) -> None:
        self._limit = limit
        self._sessions: OrderedDict[str, SessionState] = OrderedDict()
        self._weights: dict[str, int] = {}
        self._total = 0
        self._buried: set[str] = set()
        self._behind: set[str] = set()

    def has(self, session_id: str) -> bool:
        """Whether the session is here."""
        return session_id in self._sessions and session_id not in self._behind

    def after(self, session_id: str) -> int | None:
        """None: the session is here; else the event after which a journal must be read."""
        if self.has(session_id):
            return None
        state = self._sessions.get(session_id)
        return 0 if state is None else state.seq

    def fall_behind(self, session_id: str, seq: int) -> None:
        """Another server has written the session's journal up to that event."""
        state = self._sessions.get(session_id)
        if state is not None and state.seq < seq:
            self._behind.add(session_id)

    def take_behind(self, session_id: str) -> SessionState | None:
        """A session that is behind, to be brought up to its journal's end and put back."""
        if session_id not in self._behind:
            return None
        state = self._sessions[session_id]
        self.evict(session_id)
        return state

    def get(self, session_id: str) -> SessionState | None:
        """The session's state, marked as used; None when it is not here."""
        if session_id in self._behind:
            return None
        state = self._sessions.get(session_id)
        if state is not None:
            self._sessions.move_to_end(session_id)
        return state

    def put(self, state: SessionState) -> None:
        """Keep a state, or note its new weight. `trim` makes room afterwards."""
        weight = 1 + len(state.tasks)
        self._total += weight - self._weights.get(state.session_id, 0)
        self._weights[state.session_id] = weight
        self._sessions[state.session_id] = state

    def bury(self, session_id: str) -> None:
        """The session is being deleted: it is here, and yet there is none, until it is evicted."""
        self._buried.add(session_id)

    def buried(self, session_id: str) -> bool:
        """Whether the session is being deleted."""
        return session_id in self._buried

    def evict(self, session_id: str) -> None:
        """Forget a state: it ended, or may not be as the journal has it."""
        self._buried.discard(session_id)
        self._behind.discard(session_id)
        if self._sessions.pop(session_id, None) is not None:
            self._total -= self._weights.pop(session_id)

    def trim(self, kept: Container[str]) -> None:
        """Forget what was used longest ago, down to the limit, but nothing of `kept`.

        Called between batches only.
        """
        if self._total <= self._limit:
            return
        for session_id in [s for s in self._sessions if s not in kept]:
            if self._total <= self._limit or len(self._sessions) == 1:
                return
            self.evict(session_id)


class TemplateCache:
    """All template versions by name; parsed when first used."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[str, TemplateRow]] = {}
        self._parsed: OrderedDict[tuple[str, str, str], Template] = OrderedDict()

    def add(self, row: TemplateRow) -> None:
        """Make a stored version known. Rows come in the order of their creation."""
        self._rows.setdefault((row.namespace, row.name), {})[row.version] = row

    def find(self, namespace: str, name: str, version: str | None = None) -> TemplateRow | None:
        """One version, or the latest created."""
        versions = self._rows.get((namespace, name))
        if not versions:
            return None
        if version is None:
            return next(reversed(versions.values()))
        return versions.get(version)

    def latest(self, namespace: str) -> list[TemplateRow]:
        """The latest created version of every template, by name."""
        found = [
            next(reversed(versions.values()))
            for (space, _), versions in self._rows.items()
            if space == namespace
        ]
        return sorted(found, key=lambda row: row.name)

    def parsed(self, namespace: str, name: str, version: str) -> Template:
        """The graph of a stored version. Raises Corrupted when the store has no such version."""
        key = (namespace, name, version)
        template = self._parsed.get(key)
        if template is None:
            template = self._parsed[key] = self._parse(*key)
            if len(self._parsed) > PARSED_KEPT:
                self._parsed.popitem(last=False)
        return template

    def _parse(self, namespace: str, name: str, version: str) -> Template:
        row = self.find(namespace, name, version)
        if row is None:
            raise Corrupted(f"the store has no template {name} {version}, but sessions of it")
        return read_template(bytes(row.source), name=name)
