"""The model: what docs/language.md says comes of a play."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.model.session import Session
from tests.model.waits import receive
from tests.model.world import Answer, Key, Play, Seen, World

MAIN = "main"


def foretell(play: Play, answer: Callable[[Key], Answer]) -> Seen:
    """Play it out to its end."""
    world = World(play, answer)
    session = Session(world, play.templates[0], MAIN, play.input)
    world.soon(session.start)
    for name, number, payload, after in play.signals:
        world.at(after, _telling(world, session, name, number, payload))
    world.at(play.cancel_after, _cancelling(world, session))
    world.run()
    return world.seen


def _telling(
    world: World, session: Session, name: str, number: str, payload: Any
) -> Callable[[], None]:
    def tell() -> None:
        code = receive(session, name, number, payload)
        if code:
            world.seen.refused.append((world.now, code))

    return tell


def _cancelling(world: World, session: Session) -> Callable[[], None]:
    def cancel() -> None:
        if not session.cancel():
            world.seen.refused.append((world.now, "conflict"))

    return cancel
