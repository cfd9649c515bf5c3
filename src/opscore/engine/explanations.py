"""What sessions and tasks wait for: gathers the facts that `core.why` reasons over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from opscore.core.agent import Availability
from opscore.core.errors import NotFound
from opscore.core.limits import Shut
from opscore.core.state import SessionState
from opscore.core.template import Target
from opscore.core.types import Micros, SessionStatus, TaskStatus, session_id_of
from opscore.core.why import NAMED, Facts, Group, Reason, Taker, queued, why
from opscore.core.why_words import words
from opscore.engine.cache import TemplateCache
from opscore.engine.gates import Gates
from opscore.engine.projection import ready_row
from opscore.engine.views import Views
from opscore.store.store import Store


@dataclass(frozen=True, slots=True)
class Explained:
    """One reason, and the same in words."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class WhyRecord:
    """What a session waits for; with a task id: what that task waits for. Empty: it has ended."""

    session_id: str
    status: SessionStatus
    at: Micros
    reasons: tuple[Explained, ...]
    task_id: str | None = None
    task_status: TaskStatus | None = None


class Explanations:
    """Answers why. `takers` gives, for a namespace and a target, who could take its tasks."""

    def __init__(
        self,
        store: Store,
        views: Views,
        templates: TemplateCache,
        takers: Callable[[str, Target], Sequence[Taker]],
        gates: Gates,
    ) -> None:
        self._store = store
        self._views = views
        self._templates = templates
        self._takers = takers
        self._gates = gates

    async def session(self, session_id: str, namespace: str) -> WhyRecord:
        """Raises NotFound."""
        state = await self._views.state(session_id, namespace)
        reasons = await self._reasons(state, None)
        return WhyRecord(session_id, state.status, self._store.now(), reasons)

    async def task(self, task_id: str, namespace: str) -> WhyRecord:
        """Raises NotFound."""
        session_id = session_id_of(task_id)
        header = None if session_id is None else await self._store.session(session_id)
        if header is None or header.namespace != namespace:
            raise NotFound(f"there is no task {task_id}")
        state = await self._views.state(header.session_id, namespace)
        task = state.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}")
        reasons = await self._reasons(state, task_id)
        now = self._store.now()
        return WhyRecord(state.session_id, state.status, now, reasons, task_id, task.status)

    def limits(self, namespace: str) -> list[Shut]:
        """Every key in use, as the last batch has decided it."""
        return self._gates.report(namespace, self._store.now())

    async def _reasons(self, state: SessionState, task_id: str | None) -> tuple[Explained, ...]:
        template = self._templates.parsed(state.namespace, state.workflow, state.version)
        facts = await self._facts(state, queued(state, task_id))
        found = why(state, template, facts, task_id)
        return tuple(Explained(reason, words(reason)) for reason in found)

    async def _facts(self, state: SessionState, groups: Sequence[Group]) -> Facts:
        takers = {g.target: self._takers(state.namespace, g.target)[:NAMED] for g in groups}
        busy = {
            taker.agent_id
            for found in takers.values()
            for taker in found
            if taker.availability is Availability.BUSY
        }
        working = await self._working(busy)
        ahead: dict[str, int] = {}
        for group in groups:
            first = group.tasks[0]
            ahead[first.task_id] = await self._store.ahead(ready_row(state, first))
        named = {
            target: [replace(t, busy_with=tuple(working[t.agent_id])) for t in found]
            for target, found in takers.items()
        }
        shut = self._shut([state.session_id, *(group.tasks[0].task_id for group in groups)])
        return Facts(named, ahead, shut, self._capable(state.namespace, named))

    def _capable(
        self, namespace: str, takers: Mapping[Target, Sequence[Taker]]
    ) -> dict[Target, int]:
        """Where tasks choose, and nobody is to their liking: among how many."""
        vain = [target for target, found in takers.items() if target.match and not found]
        return {t: len(self._takers(namespace, Target(t.capability))) for t in vain}

    def _shut(self, waiting: Sequence[str]) -> dict[str, Shut]:
        """The limits without room for these: the session itself, and the first of each group."""
        now = self._store.now()
        found = [(each, self._gates.shut(each, now)) for each in waiting]
        return {each: shut for each, shut in found if shut is not None}

    async def _working(self, agents: set[str]) -> defaultdict[str, list[str]]:
        """The tasks that each of these agents works on."""
        tasks: defaultdict[str, list[str]] = defaultdict(list)
        for lease in await self._store.in_flight(agents) if agents else ():
            if len(tasks[lease.agent_id]) < NAMED:
                tasks[lease.agent_id].append(lease.task_id)
        return tasks
