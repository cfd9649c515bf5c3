"""Requests that are carried out once, however often they come: `Idempotency-Key`.

What a request's commands gave is written in the very commit that made the change, and its answer in
a commit after that. So when the process dies between change and answer, the same request finds what
its commands gave: it runs again, but each command that was carried out only gives its result.
"""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from opscore.core.errors import Conflict, Impossible
from opscore.core.types import SECOND, Micros
from opscore.engine.unit import Means, Unit
from opscore.store.rows import RequestName, RequestRow, Wants
from opscore.store.store import Store

if typing.TYPE_CHECKING:
    from opscore.engine.writer import Command, Writer

T = TypeVar("T")

KEPT: Micros = 24 * 3600 * SECOND
"""How long the answer to a request is kept."""
FORGET_SECONDS = 600.0
UNDER_WAY: Micros = 10 * SECOND
"""How long another server may take from a request's change to its answer; then it has died."""

_encode = msgspec.json.Encoder().encode
_Results = dict[str, msgspec.Raw]
_decode = msgspec.json.Decoder(_Results).decode


class Once:
    """One request under way. `answer`: what its sender was answered before; None, not yet.

    `overtaken` says whether another server has begun the same one meanwhile.
    """

    def __init__(
        self,
        name: RequestName,
        digest: bytes,
        stored: RequestRow | None,
        overtaken: Callable[[], bool],
    ) -> None:
        self.name = name
        self.digest = digest
        self.answer = None if stored is None else stored.answer
        self._known = _decode(stored.results) if stored and stored.results else _Results()
        self._results = dict(self._known)
        self._counts: dict[str, int] = {}
        self._over = False
        self.overtaken = overtaken

    def end(self) -> None:
        """What the request set going goes on without it."""
        self._over = True

    def submit(
        self, command: Command[T], submit: Callable[[Command[T]], asyncio.Future[T]]
    ) -> asyncio.Future[T]:
        """Submit a command, or give what it gave when it was carried out before."""
        if self._over:
            return submit(command)
        place = self._place(command)
        if place not in self._known:
            return submit(_Recorded(command, self, place))
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        kind = _result_type(type(command))
        future.set_result(cast(T, msgspec.json.decode(self._known[place], type=kind)))
        return future

    def _place(self, command: Command[Any]) -> str:
        """Which of the request's commands this is: the same when the request runs again."""
        subject = f"{type(command).__name__} {getattr(command, 'session_id', '')}"
        number = self._counts[subject] = self._counts.get(subject, 0) + 1
        return f"{subject} {number}"

    def record(self, unit: Unit, place: str, result: object) -> None:
        """Write down, in the commit of the command, what it gave."""
        self._results[place] = msgspec.Raw(_encode(result))
        put(unit, self, _encode(self._results), None)


def put(unit: Unit, once: Once, results: bytes | None, answer: bytes | None) -> None:
    """The row of a request, as it is after this commit."""
    row = RequestRow(*once.name, once.digest, unit.now, results, answer)
    unit.changes.requests[once.name] = row


CURRENT: ContextVar[Once | None] = ContextVar("opscore_once", default=None)
"""The request on whose behalf commands are submitted, if it may be carried out once only."""


@cache
def _result_type(command: type[Command[Any]]) -> Any:
    return typing.get_type_hints(command.apply)["return"]


class _Recorded:
    """A command whose result is written in its own commit."""

    def __init__(self, command: Command[Any], once: Once, place: str) -> None:
        self._command = command
        self._once = once
        self._place = place
        self.weight = command.weight

    @property
    def changed(self) -> bool:
        """Whether the command changed anything, where it can tell."""
        return getattr(self._command, "changed", True)

    def want(self, wants: Wants, means: Means) -> None:
        """What the command wants."""
        self._command.want(wants, means)

    def apply(self, unit: Unit) -> Any:
        """What the command gives; what it raises, and then nothing is written."""
        if self._once.overtaken():
            raise _running()
        result = self._command.apply(unit)
        self._once.record(unit, self._place, result)
        return result


class _Answered:
    """The answer of a request that was carried out; it replaces what its commands gave."""

    weight = 1

    def __init__(self, once: Once, answer: bytes) -> None:
        self._once = once
        self._answer = answer

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing."""

    def apply(self, unit: Unit) -> None:
        """Cannot be refused."""
        if not self._once.overtaken():
            put(unit, self._once, None, self._answer)


class _Forget:
    """Answers that were kept long enough."""

    weight = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing."""

    def apply(self, unit: Unit) -> None:
        """Cannot be refused."""
        unit.changes.requests_before = unit.now - KEPT


class Repeats:
    """Which requests are under way, and what was answered to those of the last 24 hours."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer
        self._running: dict[RequestName, bytes] = {}
        self._overtaken: set[RequestName] = set()

    async def begin(
        self, namespace: str, owner: str, route: str, key: str, *, digest: bytes
    ) -> Once:
        """Take up a request; the caller ends it with `end`.

        `key` counts for that owner and route only; `digest` tells its content from another's.

        Raises Conflict while it is being carried out, and Impossible when the key was used for a
        request of other content.
        """
        name = RequestName(namespace, owner, route, key)
        if name in self._running:
            _check(self._running[name], digest)
            raise _running()
        self._running[name] = digest
        try:
            stored = await self._store.request(name)
            if stored is not None and stored.created_at + KEPT <= self._store.now():
                stored = None
            if stored is not None:
                _check(stored.digest, digest)
                self._check_over(stored)
        except BaseException:
            self._forget(name)
            raise
        return Once(name, digest, stored, lambda: name in self._overtaken)

    def _check_over(self, stored: RequestRow) -> None:
        """Raises Conflict while another server may be carrying out the rest of a request."""
        age = self._store.now() - stored.created_at
        if self._store.shared is not None and stored.answer is None and age < UNDER_WAY:
            raise _running()

    def followed(self, names: Iterable[RequestName]) -> None:
        """Another server has committed something for these requests."""
        self._overtaken.update(name for name in names if name in self._running)

    def _forget(self, name: RequestName) -> None:
        del self._running[name]
        self._overtaken.discard(name)

    async def keep(self, once: Once, answer: bytes) -> None:
        """Keep the answer, durably: the request is carried out. Raises Unavailable."""
        once.end()
        await self._writer.submit(_Answered(once, answer))

    def end(self, once: Once) -> None:
        """The request is not under way any more."""
        once.end()
        self._forget(once.name)

    async def forget_old(self) -> None:
        """Drop what was kept long enough."""
        await self._writer.submit(_Forget())


def _running() -> Conflict:
    return Conflict(
        "the same request is being carried out now; ask again for its answer",
        code="idempotency_running",
        retry_after=1,
    )


def _check(known: bytes, digest: bytes) -> None:
    if known != digest:
        raise Impossible(
            "this Idempotency-Key was used for another request; every request needs its own",
            code="idempotency_key_reused",
        )
