"""Sessions and tasks under way: the verbs by which people steer them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from opscore.core import commands as cmd
from opscore.core.errors import Invalid, NotFound
from opscore.core.types import DEFAULT_NAMESPACE, SECOND, SYSTEM, Actor, session_id_of
from opscore.engine.audit import Note, ordered
from opscore.engine.records import Paged, SessionRecord, TaskRecord
from opscore.engine.requests import DeleteSession, OnSession
from opscore.engine.revisions import ANY, Expected, Seen, expected_task
from opscore.engine.starts import check_priority
from opscore.engine.tools import Tools
from opscore.store.store import Filters


class Steering:
    """The part of `Orchestration` that concerns what already exists."""

    def __init__(self, tools: Tools) -> None:
        self._t = tools

    async def _on(
        self,
        session_id: str,
        command: cmd.SessionCommand,
        namespace: str,
        note: Note | None,
        expected: Expected = ANY,
    ) -> None:
        await self._t.writer.submit(OnSession(session_id, command, namespace, expected), note)

    # -- sessions ---------------------------------------------------------------------------

    async def patch_session(
        self,
        session_id: str,
        *,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, object] | None = None,
        seen: Seen = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> SessionRecord:
        """Change what is given. A new priority moves the session's waiting tasks at once.

        `seen`: only while it is one of these revisions. Raises NotFound, Outdated, Conflict
        (priority of an ended session), Invalid.
        """
        check_priority(priority)
        given = None if metadata is None else msgspec.Raw(msgspec.json.encode(metadata))
        command = cmd.UpdateSession(priority, labels, given, str(actor))
        changes = {"priority": priority, "labels": labels, "metadata": metadata}
        fields = [name for name, value in changes.items() if value is not None]
        note = ordered(actor, "session.changed", namespace, session_id, fields=fields)
        await self._on(session_id, command, namespace, note, Expected(seen))
        return await self._t.views.session(session_id, namespace)

    async def cancel(
        self,
        session_id: str,
        reason: str = "",
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> None:
        """Nothing new starts; running attempts are told, and fenced after the grace.

        Raises NotFound, Conflict when it has ended.
        """
        grace = round(self._t.settings.cancel_grace_seconds * SECOND)
        note = ordered(actor, "session.cancelled", namespace, session_id, reason=reason)
        await self._on(session_id, cmd.Cancel(reason, str(actor), grace), namespace, note)

    async def pause(
        self,
        session_id: str,
        reason: str = "",
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> None:
        """Running attempts may settle, nothing new starts. Raises NotFound, Conflict."""
        note = ordered(actor, "session.paused", namespace, session_id, reason=reason)
        await self._on(session_id, cmd.Pause(reason, str(actor)), namespace, note)

    async def resume(
        self,
        session_id: str,
        reason: str = "",
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> None:
        """Go on after a pause. Raises NotFound, Conflict."""
        note = ordered(actor, "session.resumed", namespace, session_id, reason=reason)
        await self._on(session_id, cmd.Resume(reason, str(actor)), namespace, note)

    async def retry(
        self,
        session_id: str,
        reason: str = "",
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> None:
        """Run the failed steps of a session in error again. Raises NotFound, Conflict."""
        note = ordered(actor, "session.retried", namespace, session_id, reason=reason)
        await self._on(session_id, cmd.RetrySession(reason, str(actor)), namespace, note)

    async def delete_session(
        self,
        session_id: str,
        *,
        seen: Seen = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> None:
        """Delete an ended session with its journal. Raises NotFound, Outdated, Conflict."""
        note = ordered(actor, "session.deleted", namespace, session_id)
        await self._t.writer.submit(DeleteSession(session_id, namespace, Expected(seen)), note)
        self._t.views.forget(session_id)

    # -- tasks ------------------------------------------------------------------------------

    async def get_task(self, task_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> TaskRecord:
        """A task with every attempt. Raises NotFound."""
        return await self._t.views.task(task_id, namespace)

    async def list_tasks(
        self,
        *,
        status: str | None = None,
        agent: str | None = None,
        capability: str | None = None,
        session: str | None = None,
        workflow: str | None = None,
        error_class: str | None = None,
        dead: bool = False,
        cursor: str | None = None,
        limit: int = 50,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Paged[TaskRecord]:
        """Tasks, newest first; `dead`: those given up for good, which a retry would run again."""
        filters: Filters = {
            "namespace": namespace,
            "status": status,
            "dead_in": namespace if dead else None,
            "workflow": workflow,
            "error_class": error_class,
            "agent_id": agent,
            "capability": capability,
            "session_id": session,
        }
        return await self._t.views.tasks(filters, cursor, limit)

    async def patch_task(
        self,
        task_id: str,
        *,
        priority: int,
        seen: Seen = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> TaskRecord:
        """Move a waiting task in its queue. Raises NotFound, Outdated, Conflict, Invalid."""
        check_priority(priority)
        command = cmd.ReprioritiseTask(task_id, priority)
        note = ordered(actor, "task.changed", namespace, task_id, priority=priority)
        await self._on_task(task_id, command, namespace, note, expected_task(seen, task_id))
        return await self.get_task(task_id, namespace=namespace)

    async def cancel_task(
        self,
        task_id: str,
        reason: str = "",
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> None:
        """End a task, and with it its step. Raises NotFound, Conflict."""
        note = ordered(actor, "task.cancelled", namespace, task_id, reason=reason)
        await self._on_task(task_id, cmd.CancelTask(task_id, reason), namespace, note)

    async def retry_task(
        self,
        task_id: str,
        retry_count: int | None = None,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> None:
        """Try a waiting task now; for a failed one, run its session's failed steps again.

        `retry_count` bounds the attempts from now on, in place of the template's policy. Raises
        NotFound, Conflict, Invalid.
        """
        if retry_count is not None and retry_count < 1:
            raise Invalid(f"retry_count is 1 or more, not {retry_count}")
        command = cmd.RetryTask(task_id, str(actor), retry_count)
        note = ordered(actor, "task.retried", namespace, task_id, attempts=retry_count)
        await self._on_task(task_id, command, namespace, note)

    async def fallback_task(
        self, task_id: str, *, namespace: str = DEFAULT_NAMESPACE, actor: Actor = SYSTEM
    ) -> None:
        """Give a task up in favour of its next fallback. Raises NotFound, Conflict."""
        note = ordered(actor, "task.given_up", namespace, task_id)
        await self._on_task(task_id, cmd.FallbackTask(task_id, str(actor)), namespace, note)

    async def _on_task(
        self,
        task_id: str,
        command: cmd.SessionCommand,
        namespace: str,
        note: Note | None,
        expected: Expected = ANY,
    ) -> None:
        session_id = session_id_of(task_id)
        if session_id is None:
            raise NotFound(f"there is no task {task_id}")
        try:
            await self._on(session_id, command, namespace, note, expected)
        except NotFound:
            raise NotFound(f"there is no task {task_id}") from None
