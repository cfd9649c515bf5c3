"""Templates and sessions: the verbs by which work is started and watched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from opscore.core.durations import rfc3339
from opscore.core.errors import Invalid, NotFound
from opscore.core.events import SessionStarted
from opscore.core.template import Template
from opscore.core.types import (
    DEFAULT_NAMESPACE,
    SESSION_ENDED,
    SYSTEM,
    Actor,
    Json,
    Micros,
    SessionStatus,
    task_id_of,
)
from opscore.engine.attempts import Attempts
from opscore.engine.audit import Note, always, ordered
from opscore.engine.bulk import Bulk
from opscore.engine.news import News
from opscore.engine.records import (
    EventRecord,
    Paged,
    SessionRecord,
    SessionSummary,
    TaskRecord,
    TemplateRecord,
)
from opscore.engine.requests import AddTemplate, StartSessions
from opscore.engine.scheduling import Scheduling
from opscore.engine.starts import (
    EMPTY,
    RESERVED,
    TASK_WORKFLOW,
    check_input,
    check_priority,
    due_time,
    env_of,
    start_event,
    task_tree,
    versions_of,
)
from opscore.engine.tools import StartRequest, TaskRequest, Tools
from opscore.engine.unit import Unit
from opscore.engine.waiting import Waiting
from opscore.store.rows import ScheduleRow, TemplateRow
from opscore.store.store import Filters
from opscore.templates import read_template


class Orchestration(Bulk, Attempts, Waiting, Scheduling):
    """Every verb takes the namespace; those that change something take the actor."""

    def __init__(self, tools: Tools) -> None:
        Bulk.__init__(self, tools)
        Attempts.__init__(self, tools)
        Waiting.__init__(self, tools)
        Scheduling.__init__(self, tools, self._scheduled)
        self._ended: dict[str, list[asyncio.Event]] = {}

    # -- templates --------------------------------------------------------------------------

    async def create_workflow(
        self,
        source: str | bytes | Mapping[str, Any],
        *,
        name_hint: str = "template",
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> TemplateRecord:
        """Store a template version. The same content again is a no-op (`created` is False).

        Raises Invalid with every mistake, Conflict when the version exists with other content.
        """
        template = await asyncio.to_thread(read_template, source, name=name_hint)
        if template.name.startswith(RESERVED):
            raise Invalid(f"names that begin with {RESERVED!r} are Ops-Core's own")
        subject = f"{template.name}@{template.version}"
        note = always(actor, "workflow.created", namespace, subject, digest=template.digest)
        return await self._add(template, namespace, note)

    async def _add(
        self, template: Template, namespace: str, note: Note | None = None
    ) -> TemplateRecord:
        if template.schedule is not None:
            check_input(template, EMPTY, EMPTY, self._t.settings.payload_limit)
        row = TemplateRow(
            namespace,
            template.name,
            template.version,
            template.description,
            template.digest,
            bytes(template.source),
            self._t.now(),
        )
        stored, created = await self._t.writer.submit(
            AddTemplate(row, self._schedule_of(template, namespace, row.created_at)), note
        )
        return _template_record(stored, created=created)

    async def get_workflow(
        self, name: str, version: str | None = None, *, namespace: str = DEFAULT_NAMESPACE
    ) -> TemplateRecord:
        """One version, or the latest created. Raises NotFound."""
        return _template_record(self._find(namespace, name, version))

    def _find(self, namespace: str, name: str, version: str | None) -> TemplateRow:
        row = self._t.templates.find(namespace, name, version)
        if row is None:
            which = name if version is None else f"{name} version {version}"
            raise NotFound(f"there is no workflow {which}; apply its template first")
        return row

    async def list_workflows(
        self,
        *,
        cursor: str | None = None,
        limit: int = 50,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Paged[TemplateRecord]:
        """The latest version of each, by name."""
        rows = [
            row
            for row in self._t.templates.latest(namespace)
            if not row.name.startswith(RESERVED) and (cursor is None or row.name > cursor)
        ]
        following = rows[limit - 1].name if len(rows) > limit else None
        return Paged([_template_record(row) for row in rows[:limit]], following)

    # -- starting ---------------------------------------------------------------------------

    async def start(
        self,
        workflow: str,
        *,
        version: str | None = None,
        input: Json = EMPTY,
        context: Json = EMPTY,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        agent_id: str | None = None,
        trace_id: str | None = None,
        traceparent: str | None = None,
        callback: str | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> str:
        """Start a session; its id, once it is durable. `trace_id`: the caller's W3C trace.

        `traceparent`: the caller's span in it, which is above the session's. `callback`: the URL that is told of its end. Raises NotFound (workflow, agent), Invalid (input), TooLarge, Impossible.
        """
        request = StartRequest(
            *(workflow, version, input, context, priority, labels or {}, agent_id, trace_id),
            *(callback, traceparent),
        )
        return (await self.start_many([request], namespace=namespace, actor=actor))[0]

    async def start_many(
        self,
        starts: Sequence[StartRequest],
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> list[str]:
        """Start sessions, all or none; their ids in order."""
        pairs = [
            (self._t.ids.new("ses_"), self._event(request, namespace, actor)) for request in starts
        ]
        called = zip(pairs, starts, strict=True)
        callbacks = {pair[0]: one.callback for pair, one in called if one.callback is not None}
        note = _started(actor, namespace, [session_id for session_id, _ in pairs], starts)
        return await self._t.writer.submit(StartSessions(pairs, callbacks), note)

    def _event(self, request: StartRequest, namespace: str, actor: Actor) -> SessionStarted:
        t = self._t
        check_priority(request.priority)
        if request.callback is not None:
            t.check_callback(request.callback)
        row = self._find(namespace, request.workflow, request.version)
        template = t.templates.parsed(namespace, row.name, row.version)
        check_input(template, request.input, request.context, t.settings.payload_limit)
        agent = None if request.agent_id is None else t.find_agent(namespace, request.agent_id)
        on_error, versions = versions_of(template, t.templates, namespace)
        return start_event(
            template,
            namespace=namespace,
            now=t.now(),
            input=request.input,
            context=request.context,
            priority=request.priority,
            labels=request.labels,
            agent=agent,
            trace_id=request.trace_id or t.ids.hex(128),
            traceparent=request.traceparent,
            actor=str(actor),
            on_error_version=on_error,
            env=env_of(template, t.settings.template_env),
            versions=versions,
        )

    def _scheduled(self, row: ScheduleRow, at: Micros) -> SessionStarted:
        """The first event of a session that a schedule starts."""
        context = msgspec.json.encode({"scheduledAt": rfc3339(at)})
        request = StartRequest(row.workflow, row.version, EMPTY, context)
        return self._event(request, row.namespace, Actor("system", "schedule"))

    async def enqueue_task(
        self,
        request: TaskRequest,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> tuple[str, str]:
        """Enqueue one task, now or later; (task id, session id). It is a one-step session."""
        if (request.capability is None) == (request.agent is None):
            raise Invalid("a task needs exactly one of capability and agent")
        check_priority(request.priority)
        due = due_time(request.delay_seconds, request.due_at, self._t.now())
        template = await self._task_template(request, namespace)
        check_input(template, request.input, request.context, self._t.settings.payload_limit)
        session_id = self._t.ids.new("ses_")
        event = start_event(
            template,
            namespace=namespace,
            now=self._t.now(),
            input=request.input,
            context=request.context,
            priority=request.priority,
            labels=request.labels,
            due=due,
            trace_id=request.trace_id or self._t.ids.hex(128),
            traceparent=request.traceparent,
            actor=str(actor),
        )
        called = request.capability or request.agent
        note = ordered(actor, "session.started", namespace, session_id, task=called)
        (session_id,) = await self._t.writer.submit(StartSessions([(session_id, event)]), note)
        return task_id_of(session_id, 1), session_id

    async def dispatch_task(
        self,
        agent_id: str,
        request: TaskRequest,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> tuple[str, str]:
        """Enqueue one task for one agent, whatever capability it names. Raises NotFound."""
        agent = self._t.find_agent(namespace, agent_id)
        named = replace(request, capability=None, agent=agent.agent_name)
        return await self.enqueue_task(named, namespace=namespace, actor=actor)

    async def schedule_task(
        self,
        request: TaskRequest,
        delay: float,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        actor: Actor = SYSTEM,
    ) -> tuple[str, str]:
        """Enqueue one task that may be claimed `delay` seconds from now."""
        later = replace(request, delay_seconds=delay)
        return await self.enqueue_task(later, namespace=namespace, actor=actor)

    async def _task_template(self, request: TaskRequest, namespace: str) -> Template:
        tree = task_tree(request.capability, request.agent, request.retry, request.timeout)
        version = str(tree["version"])
        if self._t.templates.find(namespace, TASK_WORKFLOW, version) is None:
            await self._add(read_template(tree, name="task"), namespace)
        return self._t.templates.parsed(namespace, TASK_WORKFLOW, version)

    # -- sessions ---------------------------------------------------------------------------

    async def wait(
        self, session_id: str, timeout: float, *, namespace: str = DEFAULT_NAMESPACE
    ) -> SessionRecord:
        """The session when it has ended, or as it stands after `timeout` seconds."""
        ended = asyncio.Event()
        waiting = self._ended.setdefault(session_id, [])
        waiting.append(ended)
        try:
            row = await self._t.views.header(session_id, namespace)
            if SessionStatus(row.status) not in SESSION_ENDED:
                await self._t.clock.wait(ended, timeout)
        finally:
            waiting.remove(ended)
            if not waiting:
                self._ended.pop(session_id, None)
        return await self.get_session(session_id, namespace=namespace)

    async def get_session(
        self, session_id: str, *, namespace: str = DEFAULT_NAMESPACE
    ) -> SessionRecord:
        """A session in full. Raises NotFound."""
        return await self._t.views.session(session_id, namespace)

    async def list_sessions(
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        agent: str | None = None,
        label: str | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
        cursor: str | None = None,
        limit: int = 50,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Paged[SessionSummary]:
        """Sessions, newest first; `label` is `key=value`."""
        filters: Filters = {
            "namespace": namespace,
            "workflow": workflow,
            "status": status,
            "agent_id": agent,
            "label": label,
            "since": since,
            "until": until,
        }
        return await self._t.views.sessions(filters, cursor, limit)

    async def history(
        self,
        session_id: str,
        *,
        cursor: str | None = None,
        limit: int = 500,
        namespace: str = DEFAULT_NAMESPACE,
    ) -> Paged[EventRecord]:
        """A session's events in order; the cursor is a sequence number."""
        if cursor is not None and not cursor.isdigit():
            raise Invalid(f"the cursor {cursor!r} is not one that this list gave")
        return await self._t.views.history(session_id, namespace, int(cursor or 0), limit)

    async def get_task(self, task_id: str, *, namespace: str = DEFAULT_NAMESPACE) -> TaskRecord:
        """A task with every attempt, and how far the running one is. Raises NotFound."""
        record = await super().get_task(task_id, namespace=namespace)
        fraction, message = self.progress_of(task_id)
        return replace(record, progress=fraction, progress_message=message)

    def committed(self, unit: Unit) -> None:
        """Wake whoever waits for a session that has ended, and forget progress that is over."""
        self.forget_progress(unit.freed)
        if self._ended:
            self._wake(unit.ended())

    def followed(self, news: News) -> None:
        """The same, of another server's commit."""
        self.forget_progress(news.freed)
        self._wake(news.ended)

    def _wake(self, sessions: Iterable[str]) -> None:
        for session_id in sessions:
            for ended in self._ended.get(session_id, ()):
                ended.set()


def _template_record(row: TemplateRow, *, created: bool = False) -> TemplateRecord:
    return TemplateRecord(
        row.name, row.version, row.description, row.digest, row.source, row.created_at, created
    )


def _started(
    actor: Actor, namespace: str, ids: Sequence[str], starts: Sequence[StartRequest]
) -> Note | None:
    """One record for one request, however many sessions it starts."""
    action = "session.started"
    if len(ids) == 1:
        return ordered(actor, action, namespace, ids[0], workflow=starts[0].workflow)
    names = tuple(sorted({one.workflow for one in starts}))
    return ordered(actor, action, namespace, None, workflows=names, sessions=tuple(ids))
