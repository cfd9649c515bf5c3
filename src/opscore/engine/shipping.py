"""Log records that agents send: whose they are, and of which session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from opscore.core.logs import LogRecord
from opscore.core.types import session_id_of
from opscore.engine.registry import Registry


@dataclass(frozen=True, slots=True)
class Shipping:
    """Completes what is known of a record and passes it on to `put`."""

    put: Callable[[LogRecord], bool]
    registry: Registry
    has_room: Callable[[LogRecord], bool]

    def ship(self, record: LogRecord) -> bool:
        """Keep an agent's record; False when there is no room for it.

        An agent may be named by its id or its name; one that is not registered keeps the word it
        was called by. A task's id tells its session.
        """
        if not self.has_room(record):
            return False
        agent_id, name = self._agent(record.namespace, record.agent_id or record.agent)
        session = record.session_id
        if session is None and record.task_id is not None:
            session = session_id_of(record.task_id)
        return self.put(replace(record, agent_id=agent_id, agent=name, session_id=session))

    def _agent(self, namespace: str, word: str | None) -> tuple[str | None, str | None]:
        if word is None:
            return None, None
        found = self.registry.find(namespace, word) or self.registry.named(namespace, word)
        return (None, word) if found is None else (found.agent_id, found.agent_name)
