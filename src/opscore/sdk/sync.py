"""The client for plain code: the asynchronous one, run by a loop in a background thread.

Each method is the asynchronous method passed through `plain`, which keeps its parameters and its
result typed; nothing is implemented twice, and a test holds both faces together.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from opscore.sdk.approvals import Approvals
from opscore.sdk.audit import Audit
from opscore.sdk.client import Client
from opscore.sdk.keys import Keys
from opscore.sdk.log_routes import LogRoutes
from opscore.sdk.routes import Agents, Limits, Sessions, Workflows
from opscore.sdk.run import Run
from opscore.sdk.schedules import Schedules
from opscore.sdk.task_routes import Tasks

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")


class Portal:
    """A loop in a daemon thread, started by the first call."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and wait; an interrupt cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """The items one after the other; leaving early closes their source."""
        try:
            while True:
                try:
                    item = self.call(_next(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self.call(items.aclose())

    def close(self) -> None:
        """End the loop and its thread."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="opscore-client", daemon=True
            )
            self._thread.start()
        return self._loop


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)


class Face(Generic[A]):
    """An asynchronous object and the portal through which it is called."""

    def __init__(self, inner: A, portal: Portal) -> None:
        self.inner = inner
        self.portal = portal


def plain(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Face[A], P], T]:
    """The method as a plain one of the object's face."""

    @functools.wraps(method)
    def call(face: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return face.portal.call(method(face.inner, *args, **kwargs))

    return call


def iterated(
    method: Callable[Concatenate[A, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[Face[A], P], Iterator[T]]:
    """`plain` for what gives one thing after the other."""

    @functools.wraps(method)
    def call(face: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return face.portal.iterate(method(face.inner, *args, **kwargs))

    return call


class SyncRun(Face[Run]):
    """`Run` for plain code."""

    @property
    def id(self) -> str:
        """The session's id."""
        return self.inner.id

    @property
    def callback_secret(self) -> str | None:
        """What signs the callback, known to the run whose start asked for one."""
        return self.inner.callback_secret

    def __repr__(self) -> str:
        return f"SyncRun({self.id!r})"

    status = plain(Run.status)
    why = plain(Run.why)
    trace = plain(Run.trace)
    events = iterated(Run.events)
    result = plain(Run.result)
    signal = plain(Run.signal)
    cancel = plain(Run.cancel)


class SyncAgents(Face[Agents]):
    """`/agent`."""

    list = plain(Agents.list)
    get = plain(Agents.get)
    register = plain(Agents.register)
    drain = plain(Agents.drain)
    activate = plain(Agents.activate)
    deregister = plain(Agents.deregister)
    refresh = plain(Agents.refresh)
    state = plain(Agents.state)
    history = plain(Agents.history)


class SyncWorkflows(Face[Workflows]):
    """`/workflow`."""

    apply = plain(Workflows.apply)
    validate = plain(Workflows.validate)
    get = plain(Workflows.get)
    list = plain(Workflows.list)


class SyncSessions(Face[Sessions]):
    """`/session`."""

    start = plain(Sessions.start)
    start_many = plain(Sessions.start_many)
    list = plain(Sessions.list)
    get = plain(Sessions.get)
    history = plain(Sessions.history)
    why = plain(Sessions.why)
    trace = plain(Sessions.trace)
    slowest = plain(Sessions.slowest)
    usage = plain(Sessions.usage)
    cancel = plain(Sessions.cancel)
    cancel_many = plain(Sessions.cancel_many)
    pause = plain(Sessions.pause)
    resume = plain(Sessions.resume)
    retry = plain(Sessions.retry)
    patch = plain(Sessions.patch)
    delete = plain(Sessions.delete)


class SyncTasks(Face[Tasks]):
    """`/task`."""

    enqueue = plain(Tasks.enqueue)
    queues = plain(Tasks.queues)
    list = plain(Tasks.list)
    get = plain(Tasks.get)
    why = plain(Tasks.why)
    retry = plain(Tasks.retry)
    retry_many = plain(Tasks.retry_many)
    fallback = plain(Tasks.fallback)
    fallback_many = plain(Tasks.fallback_many)
    cancel = plain(Tasks.cancel)
    patch = plain(Tasks.patch)
    settle = plain(Tasks.settle)
    claim = plain(Tasks.claim)


class SyncApprovals(Face[Approvals]):
    """`/approval`."""

    list = plain(Approvals.list)
    get = plain(Approvals.get)
    approve = plain(Approvals.approve)
    reject = plain(Approvals.reject)


class SyncSchedules(Face[Schedules]):
    """`/schedule`."""

    list = plain(Schedules.list)
    get = plain(Schedules.get)
    pause = plain(Schedules.pause)
    resume = plain(Schedules.resume)
    trigger = plain(Schedules.trigger)


class SyncLimits(Face[Limits]):
    """`/limit`."""

    list = plain(Limits.list)


class SyncAudit(Face[Audit]):
    """See `Audit`."""

    list = plain(Audit.list)


class SyncLogs(Face[LogRoutes]):
    """`/log`."""

    search = plain(LogRoutes.search)
    follow = iterated(LogRoutes.follow)


class SyncKeys(Face[Keys]):
    """`/key`."""

    create = plain(Keys.create)
    list = plain(Keys.list)
    get = plain(Keys.get)
    rotate = plain(Keys.rotate)
    revoke = plain(Keys.revoke)


def started(
    method: Callable[Concatenate[Client, P], Coroutine[Any, Any, Run]],
) -> Callable[Concatenate[Face[Client], P], SyncRun]:
    """`plain` for what gives a `Run`."""

    @functools.wraps(method)
    def call(face: Face[Client], /, *args: P.args, **kwargs: P.kwargs) -> SyncRun:
        return SyncRun(face.portal.call(method(face.inner, *args, **kwargs)), face.portal)

    return call


class SyncClient(Face[Client]):
    """`Client` for plain code; made by `Client.sync(…)`, closed by `with` or `close`."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, Portal())
        self.agents = SyncAgents(client.agents, self.portal)
        self.workflows = SyncWorkflows(client.workflows, self.portal)
        self.sessions = SyncSessions(client.sessions, self.portal)
        self.tasks = SyncTasks(client.tasks, self.portal)
        self.approvals = SyncApprovals(client.approvals, self.portal)
        self.schedules = SyncSchedules(client.schedules, self.portal)
        self.limits = SyncLimits(client.limits, self.portal)
        self.keys = SyncKeys(client.keys, self.portal)
        self.audit = SyncAudit(client.audit, self.portal)
        self.logs = SyncLogs(client.logs, self.portal)

    @property
    def url(self) -> str:
        """The server's address."""
        return self.inner.url

    def run(self, session_id: str) -> SyncRun:
        """Follow a session that exists."""
        return SyncRun(self.inner.run(session_id), self.portal)

    start = started(Client.start)
    events = iterated(Client.events)
    health = plain(Client.health)
    ready = plain(Client.ready)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and end the thread."""
        self.portal.call(self.inner.close())
        self.portal.close()
