"""What a feed says besides events; `type` tells them apart from the types of events."""

from __future__ import annotations

from opscore.wire.base import Output


class Followed(Output, tag="following", tag_field="type"):
    """The first message of `WS /event/ws`: what comes is newer than `position`."""

    position: int


class FeedEnded(Output, tag="ended", tag_field="type"):
    """The last message where only what has happened was asked for: all up to `position` is told."""

    position: int


class FeedDropped(Output, tag="dropped", tag_field="type"):
    """The last message to a follower that is let go; it may come again after its last event."""

    reason: str
