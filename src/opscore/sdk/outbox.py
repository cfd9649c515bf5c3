"""What waits to be sent: settlements, which are never lost, and notes, which may be."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable

from opscore.wire.stream import Log, Progress
from opscore.wire.task import Settlement

logger = logging.getLogger("opscore.agent")

MAX_BATCH = 500
MAX_BATCH_BYTES = 8 * 1024 * 1024
MAX_NOTES = 1000


class Outbox:
    """Filled by attempts on the loop's thread, emptied by the transport.

    The writer wakes one turn of the loop after the first entry, so everything that became ready
    in one turn travels in one message.
    """

    def __init__(self) -> None:
        self._settlements: deque[Settlement] = deque()
        self._notes: deque[Progress | Log] = deque(maxlen=MAX_NOTES)
        self._dropped = 0
        self._filled = asyncio.Event()

    def settle(self, settlement: Settlement) -> None:
        """Report this as soon as there is a connection."""
        self._settlements.append(settlement)
        self._filled.set()

    def note(self, note: Progress | Log) -> None:
        """Send this if a connection comes soon; the oldest notes give way."""
        if len(self._notes) == MAX_NOTES:
            self._dropped += 1
        self._notes.append(note)
        self._filled.set()

    def wake(self) -> None:
        """Let the writer look, although nothing was added."""
        self._filled.set()

    def restart(self, unacknowledged: Iterable[Settlement]) -> None:
        """A new connection: everything without a verdict is to be sent again."""
        self._settlements = deque(unacknowledged)
        self._filled.set()

    async def filled(self) -> None:
        """Wait until there may be something to send."""
        await self._filled.wait()
        self._filled.clear()

    def take_settlements(self) -> list[Settlement]:
        """The next batch, bounded in number and bytes; empty when there is none."""
        batch: list[Settlement] = []
        size = 0
        waiting = self._settlements
        while waiting and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            settlement = waiting.popleft()
            size += len(settlement.output)
            batch.append(settlement)
        return batch

    def take_notes(self) -> list[Progress | Log]:
        """All notes that are left."""
        if self._dropped:
            logger.warning("%d progress and log messages were dropped", self._dropped)
            self._dropped = 0
        notes = list(self._notes)
        self._notes.clear()
        return notes
