"""Reading the audit, and what leaves the database of it: a checkpoint a minute.

Whoever can change the database may not be able to change what lies elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from opscore.core.access import EVERY_NAMESPACE
from opscore.core.audit import (
    SIGNED,
    AuditEntry,
    AuditRecord,
    Checkpoint,
    Head,
    checkpoint_text,
    read_checkpoint,
    vouching,
)
from opscore.core.durations import rfc3339
from opscore.core.errors import Invalid, OpsCoreError
from opscore.core.types import SYSTEM, Micros
from opscore.engine.records import Paged
from opscore.engine.unit import Means, Unit
from opscore.engine.writer import Writer
from opscore.outgoing.request import Outgoing
from opscore.store.rows import Wants
from opscore.store.store import Store

CHECKPOINT_SECONDS = 60.0
SEND_SECONDS = 10.0

log = structlog.get_logger("opscore.audit")


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """How the checkpoints stand: when the last one was written, and what is wrong, if anything."""

    at: Micros | None
    problem: str | None


@dataclass(slots=True)
class Vouch:
    """Hold the heads of other writers' chains in a record of this one's."""

    heads: tuple[Head, ...]
    weight: int = 1

    def want(self, wants: Wants, means: Means) -> None:
        """Nothing."""

    def apply(self, unit: Unit) -> None:
        """Cannot be refused."""
        said = (unit.now, EVERY_NAMESPACE, str(SYSTEM), None, SIGNED, None, "{}")
        unit.changes.audit.append(AuditEntry(*said, vouching(self.heads, final=False)))


class AuditTrail:
    """All records, and their checkpoints at `target`: a file, an http(s) URL, or nowhere (None).

    Nothing that goes wrong with a checkpoint stops the engine; `state` tells of it.
    """

    def __init__(
        self, store: Store, writer: Writer, outgoing: Outgoing, target: str | None
    ) -> None:
        self._store = store
        self._writer = writer
        self._outgoing = outgoing
        self._target = target
        self._last: Checkpoint | None = None
        self._state = CheckpointState(None, "none was written yet")

    @property
    def state(self) -> CheckpointState | None:
        """How the checkpoints stand; None when none are asked for."""
        return None if self._target is None else self._state

    async def records(
        self,
        *,
        namespace: str = EVERY_NAMESPACE,
        actor: str | None = None,
        key: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        since: Micros | None = None,
        until: Micros | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Paged[AuditRecord]:
        """Records, newest first. `namespace`: that one's only. Raises Invalid for the cursor."""
        if cursor is not None and not (cursor.isdecimal() and len(cursor) < 19):
            raise Invalid(f"the cursor {cursor!r} is not one that this list gave")
        filters = {
            "namespace": None if namespace == EVERY_NAMESPACE else namespace,
            "actor": actor,
            "key_id": key,
            "action": action,
            "subject": subject,
            "since": since,
            "until": until,
        }
        before = None if cursor is None else int(cursor)
        rows = await self._store.audit(filters, before, limit + 1)
        return Paged(rows[:limit], str(rows[limit - 1].position) if len(rows) > limit else None)

    # -- once a minute ----------------------------------------------------------------------

    async def tend(self, *, closing: bool = False) -> None:
        """Vouch for what other writers recorded, and write a checkpoint. `closing`: the last one."""
        try:
            if not closing:
                await self._vouch()
            if self._target is not None:
                await self._checkpoint(self._target, closing=closing)
        except OSError as error:
            self._fail(f"the file cannot be written: {error.strerror or error}")
        except OpsCoreError as error:
            self._fail(str(error))

    async def _vouch(self) -> None:
        """Records that only vouch need no vouching: two idle servers would never be done."""
        own = self._store.audit_writer
        ends = await self._store.audit_ends()
        others = tuple(h for h in ends.heads if h.writer != own and h.action != SIGNED)
        if own is not None and others:
            await self._writer.submit(Vouch(others))

    async def _checkpoint(self, target: str, *, closing: bool) -> None:
        ends = await self._store.audit_ends()
        at = self._store.now()
        checkpoint = Checkpoint(rfc3339(at), ends.heads, ends.records, closing)
        if problem := await self._contradiction(target):
            self._fail(problem)
            return
        text = checkpoint_text(checkpoint)
        if is_url(target):
            await self._send(target, text)
        else:
            await asyncio.to_thread(_replace, Path(target), text)
        self._last = checkpoint
        if self._state.problem is not None and self._state.at is not None:
            log.info("audit_checkpoint_written_again")
        self._state = CheckpointState(at, None)

    async def _contradiction(self, target: str) -> str | None:
        """Whether the records are not those of the checkpoint before, which then stays as it is."""
        before = self._last
        if not is_url(target):
            text = await asyncio.to_thread(_read, Path(target))
            try:
                before = None if text is None else read_checkpoint(text)
            except ValueError as error:
                return f"what lies at the place of the checkpoint is kept: {error}"
        for head in () if before is None else before.heads:
            if await self._store.audit_hash(head.writer, head.seq) != head.hash:
                return (
                    f"record {head.seq} of {head.writer} is not what the last checkpoint says; "
                    "that one is kept: run `opscore audit verify` with it"
                )
        return None

    async def _send(self, url: str, text: str) -> None:
        headers = {"content-type": "application/json"}
        answer = await self._outgoing.post(url, text.encode(), headers, seconds=SEND_SECONDS)
        if answer.status >= 300:
            raise CheckpointRefused(f"the address of the checkpoints answered {answer.status}")

    def _fail(self, problem: str) -> None:
        if self._state.problem != problem:
            log.error("audit_checkpoint_failed", error=problem)
        self._state = CheckpointState(self._state.at, problem)


class CheckpointRefused(OpsCoreError):
    """The address took no checkpoint."""


def is_url(target: str) -> bool:
    """Whether checkpoints are sent, rather than written to a file."""
    return "://" in target


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, and durable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
