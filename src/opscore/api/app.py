"""The application: every declared route behind authentication, refusals and bounded bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from litestar import HttpMethod, Litestar, Request, Response, WebSocket
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler

from opscore.api import agent, documentation, session, system, task, workflow
from opscore.api.access import Access
from opscore.api.answer import Answer, direct_of
from opscore.api.body import ClientGone, query_of, read_body
from opscore.api.call import Call
from opscore.api.context import Context
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
from opscore.api.route import BASE, Operation, Reply, Routes
from opscore.channels.instance import Terms
from opscore.channels.stream import StreamChannel
from opscore.core.errors import Invalid, Refusal
from opscore.engine.clock import every

if TYPE_CHECKING:
    from opscore.api.settings import ServerSettings
    from opscore.engine.engine import Engine

NOUNS: Sequence[Routes] = (
    agent.routes,
    workflow.routes,
    session.routes,
    task.routes,
    system.routes,
    documentation.routes,
)
Asgi: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
CHANNEL_PATH = f"{BASE}/agent/{{agentId}}/channel"
SWEEP_SECONDS = 5.0
CHANNEL_PERMISSION = "agent:work"


class Dispatcher:
    """Answers the requests of one path: method → operation → permission → body → endpoint."""

    def __init__(self, context: Context, operations: Sequence[Operation]) -> None:
        self._context = context
        self._operations = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            self._operations.setdefault("HEAD", self._operations["GET"])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application of the path."""
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            reply = await self._reply(scope, receive)
            if type(reply) is not Answer or not reply.send_by(direct_of(scope)):
                await reply.send(watched)
        except ClientGone:
            return
        except Exception as error:  # the last line: a crash is logged and answered
            if started:
                log.error("answer broke off", path=scope["path"], exc_info=error)
                raise
            await answer_of(error, self._context.new_trace_id).send(send)

    async def _reply(self, scope: Any, receive: Any) -> Reply:
        operation = self._operations.get(scope["method"])
        if operation is None:
            raise _method_refusal(scope["method"], list(self._operations))
        context = self._context
        call = Call(context, scope, receive, context.access.allow(scope, operation.permission))
        if operation.body is not None:
            return await self._with_body(operation, call)
        if operation.query is not None:
            return await operation.endpoint(call, query_of(scope["query_string"], operation.query))
        return await operation.endpoint(call)

    async def _with_body(self, operation: Operation, call: Call) -> Reply:
        settings = self._context.settings
        body = await read_body(
            direct_of(call.scope),
            call.receive,
            call.scope["headers"],
            settings,
            operation.media_types,
        )
        if operation.reader is None:
            return await operation.endpoint(call, body)
        return await operation.endpoint(call, operation.reader.decode(body, settings.depth_limit))


class Application:
    """The ASGI application over an open engine, and what a graceful stop needs of it.

    Raises `SettingsRefused` when the settings would leave the door open.
    """

    def __init__(self, engine: Engine, settings: ServerSettings) -> None:
        settings.check()
        self.context = Context(engine, settings, Access(settings))
        self.channel = StreamChannel(self._terms(engine), self._authorise)
        dispatchers = {
            path: (operations, Dispatcher(self.context, operations))
            for path, operations in by_path().items()
        }
        self._paths: dict[str, Paths[Asgi]] = {
            "http": Paths((path, pair[1]) for path, pair in dispatchers.items()),
            "websocket": Paths([(CHANNEL_PATH, self._connect)]),
        }
        routes = [_mount(path, *pair) for path, pair in dispatchers.items()]
        self.asgi = Litestar(
            [*routes, _mount_channel(self._connect)],
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
        await target(scope, receive, send)

    def _terms(self, engine: Engine) -> Terms:
        context = self.context
        return Terms(
            lifecycle=engine.lifecycle,
            orchestration=engine.orchestration,
            now=context.clock.now,
            describe=lambda error: logged_problem(error, context.new_trace_id),
            lease_seconds=engine.settings.lease_seconds,
            silence_seconds=engine.settings.offline_after_seconds,
            payload_limit=engine.settings.payload_limit,
            depth_limit=context.settings.depth_limit,
        )

    async def stop(self) -> None:
        """End waiting requests and live streams, and tell the agents."""
        self.context.stop()
        await self.channel.stop(self.context.settings.stop_seconds / 2)

    def _authorise(self, scope: Mapping[str, Any]) -> str:
        return self.context.access.allow(scope, CHANNEL_PERMISSION).namespace

    async def _connect(self, scope: Any, receive: Any, send: Any) -> None:
        await self.channel(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _app: Litestar) -> AsyncGenerator[None, None]:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(
                every(self.context.clock, SWEEP_SECONDS, self.channel.sweep)
            )
            try:
                yield
            finally:
                watching.cancel()


def create_app(engine: Engine, settings: ServerSettings) -> Litestar:
    """The ASGI application over an open engine. Raises `SettingsRefused`."""
    return Application(engine, settings).asgi


def by_path() -> dict[str, list[Operation]]:
    """All declared operations, grouped by path."""
    paths: dict[str, list[Operation]] = {}
    for noun in NOUNS:
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


def _mount_channel(channel: Asgi) -> WebsocketRouteHandler:
    async def unreached(socket: WebSocket[Any, Any, Any]) -> None:
        raise AssertionError(f"the channel answers every connection of its path, not {socket}")

    return WebsocketRouteHandler(
        _template(CHANNEL_PATH),
        middleware=[_in_front(channel)],
        opt={"permissions": {"WEBSOCKET": CHANNEL_PERMISSION}},
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
        answer = answer_of(refusal, context.new_trace_id)
        return Response(
            answer.body,
            status_code=answer.status,
            media_type=MEDIA_TYPE.decode(),
            headers={name.decode(): value.decode() for name, value in answer.headers},
        )

    return refuse


def _method_refusal(method: str, allowed: Sequence[str]) -> Refusal:
    if "websocket" in allowed:
        return UpgradeRequired("Open a WebSocket here.")
    possible = sorted(set(allowed) - {"OPTIONS"})
    return MethodNotAllowed(f"{method} is not possible here.", possible)
