"""The application: every declared route behind authentication, refusals and bounded bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from litestar import HttpMethod, Litestar, Request, Response, WebSocket
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from opscore.api import documentation, event_socket
from opscore.api.access import Access, KeyHolders, Principal, ThisMachine
from opscore.api.answer import TRACE_HEADER, Answer, Traced, direct_of
from opscore.api.body import ClientGone, NoQuery, query_of, read_body
from opscore.api.call import Call
from opscore.api.context import Context
from opscore.api.idempotency import HEADER, once
from opscore.api.limits import Shares
from opscore.api.nouns import NOUNS
from opscore.api.paths import Paths
from opscore.api.problems import (
    MEDIA_TYPE,
    MethodNotAllowed,
    UnknownPath,
    UpgradeRequired,
    answer_of,
    log,
    logged_problem,
)
from opscore.api.route import BASE, Operation, Reply
from opscore.api.sample import SAMPLE
from opscore.api.upgrade import refuse_upgrade
from opscore.channels.agentkit import AgentKit
from opscore.channels.agentkit_sync import AgentKitSync
from opscore.channels.called import PushChannels
from opscore.channels.instance import Terms
from opscore.channels.stream import StreamChannel
from opscore.core.errors import Invalid, Refusal, Unavailable
from opscore.core.types import SECOND
from opscore.engine.clock import every
from opscore.outgoing.addresses import Rules
from opscore.outgoing.request import Outgoing
from opscore.telemetry.measures import OTHER, REQUESTS

if TYPE_CHECKING:
    from opscore.api.settings import ServerSettings
    from opscore.engine.engine import Engine

Asgi: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
CHANNEL_PATH = f"{BASE}/agent/{{agentId}}/channel"
EVENTS_PATH = f"{BASE}/event/ws"
SWEEP_SECONDS = 5.0
REVOKED_SECONDS = 0.5
CHANNEL_PERMISSION = "agent:work"


class Dispatcher:
    """Answers the requests of one path: method → operation → permission → body → endpoint."""

    def __init__(self, context: Context, operations: Sequence[Operation]) -> None:
        self._context = context
        self._operations = {operation.method: operation for operation in operations}
        self._path = operations[0].path
        if "GET" in self._operations:
            self._operations.setdefault("HEAD", self._operations["GET"])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application of the path."""
        now = self._context.clock.now
        began = now()
        status = await self._respond(scope, receive, send)
        if status is not None:
            method = scope["method"] if scope["method"] in self._operations else OTHER
            labels = (method, self._path, str(status))
            times = self._context.engine.measures.distribution(REQUESTS, labels)
            times.add((now() - began) / SECOND)

    async def _respond(self, scope: Any, receive: Any, send: Any) -> int | None:
        """The status of a whole answer; None for a live stream and for a client that left."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace_id = self._context.trace_id_of(headers)
        out = Traced(send, trace_id)
        try:
            reply = await self._reply(scope, receive, headers, trace_id)
            if not isinstance(reply, Answer):
                await reply.send(out)
                return None
            if not reply.send_by(direct_of(scope), trace_id):
                await reply.send(out)
            return reply.status
        except ClientGone:
            return None
        except Exception as error:  # the last line: a crash is logged and answered
            if out.started:
                log.error("answer broke off", path=scope["path"], exc_info=error)
                raise
            answer = self._refusal(scope["method"], error, trace_id, headers)
            await answer.send(out)
            return answer.status

    def _refusal(
        self, method: str, error: Exception, trace_id: str, headers: Mapping[bytes, bytes]
    ) -> Answer:
        operation = self._operations.get(method)
        if operation is None or operation.refuse is None:
            return answer_of(error, trace_id)
        return operation.refuse(error, trace_id, headers)

    async def _reply(
        self, scope: Any, receive: Any, headers: dict[bytes, bytes], trace_id: str
    ) -> Reply:
        operation = self._operations.get(scope["method"])
        if operation is None:
            raise _method_refusal(scope["method"], list(self._operations))
        context = self._context
        if operation.asks_store and context.engine.others is not None:
            await context.engine.catch_up()
        principal = context.access.allow(scope, operation.permission)
        call = Call(context, scope, receive, principal, headers, trace_id)
        if scope["query_string"] and operation.query is None and not operation.lenient:
            query_of(scope["query_string"], NoQuery)
        if operation.method == "GET":
            return await self._read(operation, call)
        return await self._change(operation, call)

    async def _read(self, operation: Operation, call: Call) -> Reply:
        if operation.query is None:
            return await operation.endpoint(call)
        return await operation.endpoint(call, query_of(call.scope["query_string"], operation.query))

    async def _change(self, operation: Operation, call: Call) -> Reply:
        body = b"" if operation.body is None else await self._body(operation, call)
        key = call.header(HEADER) if operation.changes else None
        if key is None:
            return await self._carry_out(operation, call, body)
        return await once(
            call, operation, key, body, lambda: self._carry_out(operation, call, body)
        )

    async def _body(self, operation: Operation, call: Call) -> bytes:
        return await read_body(
            direct_of(call.scope),
            call.receive,
            call.headers,
            self._context.settings,
            operation.media_types,
        )

    async def _carry_out(self, operation: Operation, call: Call, body: bytes) -> Reply:
        if operation.body is None:
            return await operation.endpoint(call)
        if operation.reader is None:
            return await operation.endpoint(call, body)
        depth = self._context.settings.depth_limit
        return await operation.endpoint(call, operation.reader.decode(body, depth))


class Application:
    """The ASGI application over an open engine, and what a graceful stop needs of it.

    Raises `SettingsRefused` when the settings would leave the door open.
    """

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        settings.check()
        who = ThisMachine() if settings.development else KeyHolders(engine.keys)
        shares = Shares(engine.store.now, settings.key_requests, settings.key_connections)
        self.context = Context(engine, settings, Access(who, engine.bindings, shares))
        self.channel = StreamChannel(
            self._terms(engine), self._authorise, self._refuse, shares.connection
        )
        self.agentkit = _agentkit(settings)
        self.push = PushChannels(engine, self.agentkit)
        events = event_socket.EventSocket(self.context)
        dispatchers = {
            path: (operations, Dispatcher(self.context, operations))
            for path, operations in by_path().items()
        }
        self._paths: dict[str, Paths[Asgi]] = {
            "http": Paths((path, pair[1]) for path, pair in dispatchers.items()),
            "websocket": Paths([(CHANNEL_PATH, self._connect), (EVENTS_PATH, events)]),
        }
        routes = [_mount(path, *pair) for path, pair in dispatchers.items()]
        sockets = [
            _mount_socket(CHANNEL_PATH, CHANNEL_PERMISSION, self._connect),
            _mount_socket(EVENTS_PATH, event_socket.PERMISSION, events),
        ]
        self.asgi = Litestar(
            [*routes, *sockets],
            openapi_config=None,
            logging_config=None,
            debug=False,
            lifespan=[self._lifespan],
            exception_handlers={HTTPException: _routing_refusal(self.context)},
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application: straight to what answers a known path, else by Litestar."""
        paths = self._paths.get(scope["type"])
        found = None if paths is None else paths.find(scope["path"])
        if found is None:
            await self.asgi(scope, receive, send)
            return
        target, scope["path_params"] = found
        if scope["type"] == "websocket" and self.context.engine.others is not None:
            with suppress(Unavailable):  # who connects now is told so by what it asks for next
                await self.context.engine.catch_up()
        await target(scope, receive, send)

    def _terms(self, engine: Engine) -> Terms:
        context = self.context
        return Terms(
            lifecycle=engine.lifecycle,
            orchestration=engine.orchestration,
            now=context.clock.now,
            describe=lambda error: logged_problem(error, context.new_trace_id()),
            keep=engine.shipping.ship,
            lease_seconds=engine.settings.lease_seconds,
            silence_seconds=engine.settings.offline_after_seconds,
            payload_limit=engine.settings.payload_limit,
            depth_limit=context.settings.depth_limit,
        )

    async def stop(self) -> None:
        """End waiting requests and live streams, and tell the agents."""
        self.context.stop()
        seconds = self.context.settings.stop_seconds / 2
        async with asyncio.TaskGroup() as group:
            group.create_task(self.channel.stop(seconds))
            group.create_task(self.push.close(seconds))
        if self.agentkit is not None:
            await self.agentkit.outgoing.close()

    def _authorise(self, scope: Mapping[str, Any]) -> Principal:
        return self.context.access.allow(scope, CHANNEL_PERMISSION)

    async def end_revoked(self) -> None:
        """End everything that was opened with a key that does not count any more."""
        lives = self.context.engine.keys.ring.lives
        self.context.end_without(lives)
        self.channel.drop_without(lives)

    async def _refuse(self, scope: Mapping[str, Any], send: Any, refusal: Refusal) -> None:
        await refuse_upgrade(scope, send, refusal, self.context.trace_id_of(dict(scope["headers"])))

    async def _connect(self, scope: Any, receive: Any, send: Any) -> None:
        await self.channel(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _app: Litestar) -> AsyncGenerator[None, None]:
        self.push.open()
        if self.agentkit is not None:
            self.context.agentkit = sync = AgentKitSync(self.context.engine, self.agentkit)
            sync.open()
        if self.context.settings.development:
            await self.context.engine.orchestration.create_workflow(SAMPLE)
        async with asyncio.TaskGroup() as group:
            clock = self.context.clock
            watching = [
                group.create_task(every(clock, SWEEP_SECONDS, self.channel.sweep)),
                group.create_task(every(clock, REVOKED_SECONDS, self.end_revoked)),
            ]
            try:
                yield
            finally:
                for task in watching:
                    task.cancel()


def _agentkit(settings: ServerSettings) -> AgentKit | None:
    """The operator named its address, so no rule about addresses applies to it."""
    if settings.agentkit_url is None:
        return None
    return AgentKit(settings.agentkit_url, Outgoing(Rules(trusted=True)))


def create_app(engine: Engine, settings: ServerSettings) -> Litestar:
    """The ASGI application over an open engine. Raises `SettingsRefused`."""
    return Application(engine, settings).asgi


def by_path() -> dict[str, list[Operation]]:
    """All declared operations, grouped by path."""
    paths: dict[str, list[Operation]] = {}
    for noun in (*NOUNS, documentation.routes):
        for operation in noun.operations:
            paths.setdefault(operation.path, []).append(operation)
    return paths


def _mount(path: str, operations: Sequence[Operation], dispatcher: Asgi) -> HTTPRouteHandler:
    """A Litestar route that our dispatcher answers.

    The dispatcher stands as the route's middleware, in front of Litestar's own request and
    response objects: so a request costs 10 µs of framework instead of 45.
    """

    async def unreached() -> None:
        raise AssertionError("the dispatcher answers every request of its path")

    methods = {operation.method for operation in operations} | {"OPTIONS"}
    if "GET" in methods:
        methods.add("HEAD")
    return HTTPRouteHandler(
        _template(path),
        http_method=[HttpMethod(method) for method in sorted(methods)],
        middleware=[_in_front(dispatcher)],
        opt={"permissions": {one.method: one.permission for one in operations}},
        status_code=204,
    )(unreached)


def _mount_socket(path: str, permission: str, application: Asgi) -> WebsocketRouteHandler:
    async def unreached(socket: WebSocket[Any, Any, Any]) -> None:
        raise AssertionError(f"{path} answers every connection itself, not {socket}")

    return WebsocketRouteHandler(
        _template(path),
        middleware=[_in_front(application)],
        opt={"permissions": {"WEBSOCKET": permission}},
    )(unreached)


def _template(path: str) -> str:
    return path.replace("}", ":str}")


def _in_front(application: Asgi) -> Callable[..., Asgi]:
    def replace(app: Asgi) -> Asgi:
        assert app is not application
        return application

    return replace


def _routing_refusal(
    context: Context,
) -> Callable[[Request[Any, Any, Any], HTTPException], Response[bytes]]:
    """What Litestar itself refuses: paths it does not know, and malformed `Host` headers."""

    def refuse(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        refusal: Exception = error
        if isinstance(error, NotFoundException):
            refusal = UnknownPath(f"There is nothing at {request.scope['path'][:200]}.")
        elif isinstance(error, MethodNotAllowedException):
            allowed = (error.headers or {}).get("allow", "").split(", ")
            refusal = _method_refusal(request.scope["method"], allowed)
        elif error.status_code == 400:
            refusal = Invalid("The Host header is malformed.")
        trace_id = context.trace_id_of(dict(request.scope["headers"]))
        answer = answer_of(refusal, trace_id)
        headers = (*answer.headers, (TRACE_HEADER, trace_id.encode()))
        return Response(
            answer.body,
            status_code=answer.status,
            media_type=MEDIA_TYPE.decode(),
            headers={name.decode(): value.decode() for name, value in headers},
        )

    return refuse


def _method_refusal(method: str, allowed: Sequence[str]) -> Refusal:
    if "websocket" in allowed:
        return UpgradeRequired("Open a WebSocket here.")
    possible = sorted(set(allowed) - {"OPTIONS"})
    return MethodNotAllowed(f"{method} is not possible here.", possible)
