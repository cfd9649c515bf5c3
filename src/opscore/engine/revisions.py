"""Which state of a thing somebody saw, so that an edit can be refused when it has changed since."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opscore.core.agent import Agent
from opscore.core.errors import Outdated
from opscore.core.state import SessionState, TaskState
from opscore.engine.records import TaskRecord

Seen = frozenset[str] | None
"""The revisions that an edit was made for; None: whichever is there."""


def agent_revision(agent: Agent) -> str:
    """Changes with every fact that is recorded of the agent; presence alone is none."""
    return str(agent.seq)


def session_revision(state: SessionState) -> str:
    """Changes with every event of the session."""
    return str(state.seq)


def task_revision(task: TaskState | TaskRecord) -> str:
    """Changes with what is shown of a task, but for the progress of its attempt."""
    return f"{task.status.value}-{task.attempt}-{task.failures}-{task.priority}"


def check_seen(seen: Seen, revision: str) -> None:
    """Raises Outdated when the edit was made for another revision."""
    if seen is not None and revision not in seen:
        raise Outdated("it has changed since it was read; read it again, then decide again")


@dataclass(frozen=True, slots=True)
class Expected:
    """An edit of a session, or of something in it, that counts for some revisions only."""

    seen: Seen
    revision: Callable[[SessionState], str] = session_revision

    def check(self, state: SessionState) -> None:
        """Raises Outdated."""
        check_seen(self.seen, self.revision(state))


ANY = Expected(None)


def expected_task(seen: Seen, task_id: str) -> Expected:
    """For an edit of a task; one that is not there is refused by the edit itself."""

    def revision(state: SessionState) -> str:
        task = state.tasks.get(task_id)
        return "" if task is None else task_revision(task)

    return Expected(seen, revision)
