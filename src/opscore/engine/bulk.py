"""The same by filter: many tasks or sessions at once, by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from opscore.core import commands as cmd
from opscore.core.errors import Invalid, Refusal
from opscore.core.types import DEFAULT_NAMESPACE, SECOND, SYSTEM, Actor, Micros
from opscore.engine.audit import Note, ordered
from opscore.engine.requests import OnSession
from opscore.engine.steering import Steering
from opscore.store.store import Filters

AT_ONCE = 1_000
"""Tasks or sessions of one call."""


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which dead letters; None is any. With `status`, tasks in that state instead."""

    status: str | None = None
    agent: str | None = None
    capability: str | None = None
    session: str | None = None
    workflow: str | None = None
    error_class: str | None = None


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions that have not ended; None is any, and one must be given."""

    workflow: str | None = None
    status: str | None = None
    agent: str | None = None
    label: str | None = None
    since: Micros | None = None
    until: Micros | None = None


@dataclass(frozen=True, slots=True)
class BulkRecord:
    """What a change by filter found (`ids`), and whom of it refused to change, with the reason.

    `more`: there were more than one call takes.
    """

    dry_run: bool
    ids: Sequence[str]
    refused: Sequence[tuple[str, str]]
    more: bool


@dataclass(frozen=True, slots=True)
class _Order:
    """Who asked for a change by filter, and whether it is to be made."""

    actor: Actor
    action: str
    namespace: str
    dry_run: bool

    def note(self, ids: Sequence[str]) -> Note | None:
        """What is recorded of one of its commands, which changes these."""
        if len(ids) == 1:
            return ordered(self.actor, self.action, self.namespace, ids[0])
        return ordered(self.actor, self.action, self.namespace, None, tasks=tuple(ids))


class Bulk(Steering):
    """The part of `Orchestration` that changes what a filter finds."""

    async def retry_tasks(
        self,
        which: TaskFilter,
        *,
        retry_count: int | None = None,
        dry_run: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> BulkRecord:
        """Retry dead letters: the failed steps of their sessions run again. Raises Invalid."""
        if retry_count is not None and retry_count < 1:
            raise Invalid(f"retry_count is 1 or more, not {retry_count}")
        groups, more = await self._tasks(which, namespace)
        commands = [
            (ids, session_id, cmd.RetryTask(ids[0], str(actor), retry_count, ids[1:]))
            for session_id, ids in groups.items()
        ]
        told = _Order(actor, "task.retried", namespace, dry_run)
        return await self._change(commands, told, more=more)

    async def fallback_tasks(
        self,
        which: TaskFilter,
        *,
        dry_run: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> BulkRecord:
        """Give tasks up in favour of their next fallbacks: dead letters, or those of a status."""
        groups, more = await self._tasks(which, namespace)
        by = str(actor)
        commands: list[tuple[tuple[str, ...], str, cmd.SessionCommand]] = []
        for session_id, ids in groups.items():
            if which.status is None:
                commands.append((ids, session_id, cmd.FallbackTask(ids[0], by, ids[1:])))
            else:
                commands += [((t,), session_id, cmd.FallbackTask(t, by)) for t in ids]
        told = _Order(actor, "task.given_up", namespace, dry_run)
        return await self._change(commands, told, more=more)

    async def cancel_sessions(
        self,
        which: SessionFilter,
        reason: str = "",
        *,
        dry_run: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> BulkRecord:
        """Cancel the sessions found that have not ended. Raises Invalid without any filter."""
        if which == SessionFilter():
            raise Invalid("which sessions? Give at least one filter")
        ids, more = await self._open_sessions(which, namespace)
        grace = round(self._t.settings.cancel_grace_seconds * SECOND)
        command = cmd.Cancel(reason, str(actor), grace)
        told = _Order(actor, "session.cancelled", namespace, dry_run)
        return await self._change([((s,), s, command) for s in ids], told, more=more)

    async def _tasks(
        self, which: TaskFilter, namespace: str
    ) -> tuple[dict[str, tuple[str, ...]], bool]:
        """What a filter finds, by session, and whether there is more."""
        page = await self.list_tasks(
            status=which.status,
            agent=which.agent,
            capability=which.capability,
            session=which.session,
            workflow=which.workflow,
            error_class=which.error_class,
            dead=which.status is None,
            limit=AT_ONCE,
            namespace=namespace,
        )
        groups: dict[str, tuple[str, ...]] = {}
        for task in page.items:
            groups[task.session_id] = (*groups.get(task.session_id, ()), task.task_id)
        return groups, page.next_cursor is not None

    async def _open_sessions(self, which: SessionFilter, namespace: str) -> tuple[list[str], bool]:
        wanted = [which.status] if which.status else ["waiting", "processing", "paused"]
        ids: list[str] = []
        more = False
        for status in wanted:
            filters: Filters = {
                "namespace": namespace,
                "workflow": which.workflow,
                "status": status,
                "agent_id": which.agent,
                "label": which.label,
                "since": which.since,
                "until": which.until,
            }
            page = await self._t.views.sessions(filters, None, AT_ONCE)
            ids += [one.session_id for one in page.items]
            more = more or page.next_cursor is not None
        return ids[:AT_ONCE], more or len(ids) > AT_ONCE

    async def _change(
        self,
        commands: Sequence[tuple[tuple[str, ...], str, cmd.SessionCommand]],
        order: _Order,
        *,
        more: bool,
    ) -> BulkRecord:
        ids = [one for named, _, _ in commands for one in named]
        if order.dry_run:
            return BulkRecord(True, ids, (), more)
        futures = [
            self._t.writer.submit(
                OnSession(session_id, command, order.namespace), order.note(named)
            )
            for named, session_id, command in commands
        ]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        refused: list[tuple[str, str]] = []
        for (named, _, _), outcome in zip(commands, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                refused += [(one, outcome.detail) for one in named]
            elif isinstance(outcome, BaseException):
                raise outcome
        return BulkRecord(False, ids, refused, more)
