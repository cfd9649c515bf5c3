"""What other servers of a shared store do: this server's memory follows their commits.

Whenever this server decides, it has followed every commit before; see `Turns`. In between it follows
as soon as it hears of a commit, so that tasks are claimed, cancels delivered and keys refused here
within moments of a commit elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from opscore.core.errors import OpsCoreError, Unavailable
from opscore.core.types import Micros
from opscore.engine.clock import Clock
from opscore.engine.news import News, read_news
from opscore.engine.presence import Instance
from opscore.store.shared import Shared, Told

ANNOUNCE_SECONDS = 2.0
PAUSE_SECONDS = 1.0
"""After a failure, before the next attempt."""

log = structlog.get_logger("opscore.others")


class Here(msgspec.Struct, array_like=True, frozen=True):
    """One instance, as its server tells the others of it."""

    agent_id: str
    instance_id: str
    max_in_flight: int
    in_flight: int
    last_seen: Micros
    connected_at: Micros | None


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """What a server says of itself."""

    host: str
    process: int
    instances: list[Here]


@dataclass(frozen=True, slots=True)
class OtherServer:
    """Another server of the same store, and when it was last heard of."""

    server: str
    host: str
    process: int
    at: Micros
    instances: int


class Others:
    """The other servers of a store. `follower` is called for each of their commits, in order."""

    def __init__(
        self,
        shared: Shared,
        clock: Clock,
        follower: Callable[[News, Told], None],
        here: Callable[[], Iterable[Instance]],
        elsewhere: Callable[[Iterable[Instance]], None],
    ) -> None:
        self._shared = shared
        self._clock = clock
        self._follower = follower
        self._here = here
        self._elsewhere = elsewhere
        self._number = 0
        self._heard = asyncio.Event()
        self._heard.set()
        self._asking: asyncio.Future[None] | None = None
        self.servers: list[OtherServer] = []
        """Those that were heard of lately."""
        self.problem: str | None = None
        """Why this server cannot follow now."""

    def follow(self, told: Sequence[Told]) -> None:
        """Take over what others committed; what was taken over before is passed over."""
        for commit in told:
            if commit.number > self._number:
                self._number = commit.number
                if commit.data:
                    self._follower(read_news(commit.data), commit)

    # -- between turns ----------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Know whatever was committed before this call. Raises Unavailable.

        All who ask while one look is under way share the next one.
        """
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_future()
            self._heard.set()
        await asyncio.shield(self._asking)

    async def run(self) -> None:
        """Follow for ever."""
        self._shared.listen(self._heard.set)
        while True:
            await self._heard.wait()
            self._heard.clear()
            asking, self._asking = self._asking, None
            try:
                self.follow(await self._shared.told())
                self.problem = None
                _answer(asking, None)
            except Unavailable as error:
                log.warning("not_following", error=error.detail)
                self.problem = error.detail
                _answer(asking, error)
                await self._clock.sleep(PAUSE_SECONDS)
                self._heard.set()
            finally:
                _answer(asking, Unavailable("the server is stopping", retry_after=1))

    # -- who is there -----------------------------------------------------------------------

    async def announce(self) -> None:
        """Tell the others of this server and its agents' instances, and hear of theirs."""
        hello = Hello(socket.gethostname(), os.getpid(), [_here(i) for i in self._here()])
        try:
            announced = await self._shared.announce(msgspec.msgpack.encode(hello))
        except OpsCoreError as error:
            log.warning("not_announced", error=str(error))
            return
        self.servers, elsewhere = [], list[Instance]()
        for other in announced:
            said = msgspec.msgpack.decode(other.data, type=Hello)
            known = (other.server, said.host, said.process, other.at, len(said.instances))
            self.servers.append(OtherServer(*known))
            elsewhere += [_there(each) for each in said.instances]
        self._elsewhere(elsewhere)


def _answer(asking: asyncio.Future[None] | None, error: Unavailable | None) -> None:
    """Tell those who asked, unless they were told."""
    if asking is None or asking.done():
        return
    if error is None:
        asking.set_result(None)
    else:
        asking.set_exception(error)
        asking.exception()  # whoever asked may be gone, and then nobody looks at it


def _here(instance: Instance) -> Here:
    return Here(
        instance.agent_id,
        instance.instance_id,
        instance.max_in_flight,
        instance.in_flight,
        instance.last_seen,
        instance.connected_at,
    )


def _there(here: Here) -> Instance:
    return Instance(
        here.agent_id,
        here.instance_id,
        here.max_in_flight,
        here.last_seen,
        connected_at=here.connected_at,
        held=here.in_flight,
    )


class Turns:
    """This server's place in the line of a shared store; without one it is always its turn.

    `follow` takes over what others committed since the last turn.
    """

    def __init__(self, shared: Shared | None) -> None:
        self._shared = shared
        self.follow: Callable[[Sequence[Told]], None] = lambda _: None
        self.held = False

    async def begin(self) -> None:
        """Wait until nobody else may commit, and know all that is committed. Raises Unavailable."""
        if self._shared is not None:
            told = await self._shared.begin_turn()
            self.held = True
            self.follow(told)

    @property
    def over(self) -> bool:
        """Whether others should have it, as soon as no commit is under way."""
        return self.held and self._shared is not None and self._shared.turn_over

    async def end(self) -> None:
        """Let others have it."""
        if self._shared is not None and self.held:
            self.held = False
            await self._shared.end_turn()
