"""How a route is declared: path, permission, what goes in, what comes out.

A route without a permission cannot be declared. The declaration is also what `openapi.py` reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from opscore.api.access import PERMISSIONS, Permission
from opscore.api.answer import Answer, Send
from opscore.api.body import JSON_TYPES, BodyReader
from opscore.api.call import Call

BASE = "/v1/opscore"
I = TypeVar("I")  # noqa: E741 - the input of a route


class Reply(Protocol):
    """A response that can write itself: `Answer`, or a live stream."""

    async def send(self, send: Send) -> None:
        """Write the response."""
        ...


Endpoint: TypeAlias = Callable[..., Awaitable[Reply]]
Refuse: TypeAlias = Callable[[Exception, str, Mapping[bytes, bytes]], Answer]
"""How an exception is answered; it is given the trace id and the request's headers."""
Answers: TypeAlias = Mapping[int, type | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    permission: str
    endpoint: Endpoint
    summary: str
    answers: Answers
    body: type | None = None
    query: type | None = None
    optional: bool = False
    media_types: Sequence[str] = JSON_TYPES
    prefers_wait: bool = False
    changes: bool = True
    """Whether it may change something, and so takes an `Idempotency-Key`; a GET never does."""
    if_match: bool = False
    """Whether it takes the `ETag` of what it edits."""
    lenient: bool = False
    """Whether a query, though it takes none, is passed over: others' programs call it as they do."""
    refuse: Refuse | None = None
    """Where a protocol of others says how a refusal looks; None: as everywhere."""
    reader: BodyReader[Any] | None = field(default=None, repr=False)

    @property
    def asks_store(self) -> bool:
        """Whether it is about more than this process, which must then know what others did."""
        return self.permission != "public" or self.method != "GET"


class Routes:
    """Collects the operations of one noun."""

    def __init__(self, noun: str, base: str = BASE) -> None:
        self.noun = noun
        self._base = base
        self.operations: list[Operation] = []

    def plain(
        self,
        method: str,
        path: str,
        permission: Permission,
        answers: Answers,
        *,
        if_match: bool = False,
        lenient: bool = False,
    ) -> Callable[[Callable[[Call], Awaitable[Reply]]], None]:
        """Declare a route without body and query."""
        return lambda endpoint: self._add(
            method, path, permission, endpoint, answers, if_match=if_match, lenient=lenient
        )

    def query(
        self, path: str, permission: Permission, query: type[I], answers: Answers
    ) -> Callable[[Callable[[Call, I], Awaitable[Reply]]], None]:
        """Declare a GET with a query string."""
        return lambda endpoint: self._add("GET", path, permission, endpoint, answers, query=query)

    def body(
        self,
        method: str,
        path: str,
        permission: Permission,
        body: type[I],
        answers: Answers,
        *,
        optional: bool = False,
        media_types: Sequence[str] = JSON_TYPES,
        prefers_wait: bool = False,
        changes: bool = True,
        if_match: bool = False,
        lenient: bool = False,
        refuse: Refuse | None = None,
    ) -> Callable[[Callable[[Call, I], Awaitable[Reply]]], None]:
        """Declare a route with a body; a body of type `bytes` is passed on as it came."""
        return lambda endpoint: self._add(
            method,
            path,
            permission,
            endpoint,
            answers,
            body=body,
            optional=optional,
            media_types=media_types,
            prefers_wait=prefers_wait,
            changes=changes,
            if_match=if_match,
            lenient=lenient,
            refuse=refuse,
        )

    def _add(
        self,
        method: str,
        path: str,
        permission: str,
        endpoint: Endpoint,
        answers: Answers,
        *,
        body: type | None = None,
        **options: Any,
    ) -> None:
        if permission not in PERMISSIONS:
            raise ValueError(f"{method} {path} declares no known permission: {permission!r}")
        reader: BodyReader[Any] | None = (
            BodyReader(body, optional=options.get("optional", False))
            if body is not None and body is not bytes
            else None
        )
        self.operations.append(
            Operation(
                method=method,
                path=self._base + path,
                permission=permission,
                endpoint=endpoint,
                summary=_summary(endpoint),
                answers=answers,
                body=body,
                reader=reader,
                **options,
            )
        )


def _summary(endpoint: Endpoint) -> str:
    if not endpoint.__doc__:
        raise ValueError(f"{endpoint} has no docstring to show in the documentation")
    return endpoint.__doc__.strip().splitlines()[0]
