"""What every measurement needs: a database of its own, tuned like a server, and figures."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from opscore import __version__
from opscore.api.tuning import tune_interpreter
from opscore.engine.clock import SystemClock
from opscore.store.rows import Changes
from opscore.store.sqlite import SqliteStore
from opscore.telemetry.logs import configure

COMMANDS_PER_COMMIT = 500


@asynccontextmanager
async def database() -> AsyncGenerator[Path]:
    """A directory for a database, removed afterwards; the process is set up like a server's."""
    tune_interpreter()
    configure("warning")
    folder = Path(tempfile.mkdtemp(prefix="opscore-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class RecordingStore(SqliteStore):
    """The store, keeping what it committed, so that the same rows can be written bare."""

    def __init__(self, path: Path, keep: int) -> None:
        super().__init__(f"sqlite:///{path}", SystemClock().now)
        self.kept: list[Changes] = []
        self.commits = 0
        self._keep = keep

    async def write_bare(self, group: Sequence[Changes]) -> None:
        """The rows of several commits in one, with nothing decided."""
        await self._on_writer(lambda: self._commit_all(group))

    def _commit_all(self, group: Sequence[Changes]) -> None:
        with self._w:
            for changes in group:
                self._write(changes)
                self._position += len(changes.events) + len(changes.agent_events)

    async def _commit(self, changes: Changes) -> None:
        await super()._commit(changes)
        self.commits += 1
        if self._keep > 0:
            self.kept.append(changes)
            self._keep -= commands_in(changes)


def commands_in(changes: Changes) -> int:
    """How many commands a commit held: sessions begun, claims, ends of attempts."""
    begun = sum(1 for event in changes.events if event.type == "session.started")
    return begun + len(changes.leases) + len(changes.unleased)


async def raw_limit(kept: Sequence[Changes], path: Path) -> float:
    """Commands per second when the same rows are written bare, 500 commands per commit."""
    store = RecordingStore(path, 0)
    await store.open()
    groups = _grouped(kept)
    began = time.perf_counter()
    for group in groups:
        await store.write_bare(group)
    seconds = time.perf_counter() - began
    await store.close()
    return sum(commands_in(c) for c in kept) / seconds


def _grouped(kept: Sequence[Changes]) -> list[list[Changes]]:
    groups: list[list[Changes]] = [[]]
    room = COMMANDS_PER_COMMIT
    for changes in kept:
        if room <= 0:
            groups.append([])
            room = COMMANDS_PER_COMMIT
        groups[-1].append(changes)
        room -= commands_in(changes)
    return groups


def figures(name: str, unit: str, value: float, **more: Any) -> dict[str, Any]:
    """One result in the contract's form; `more` adds p50Ms, p99Ms, rawLimit, settings, figures."""
    raw: float | None = more.pop("rawLimit", None)
    return {
        "bench": name,
        "store": "sqlite",
        "unit": unit,
        "value": round(value, 3),
        "p50Ms": more.pop("p50Ms", None),
        "p99Ms": more.pop("p99Ms", None),
        "rawLimit": None if raw is None else round(raw, 1),
        "ratio": None if not raw else round(value / raw, 4),
        **more,
        "version": __version__,
    }


def figure(name: str, unit: str, value: float) -> dict[str, Any]:
    """One of several figures of a result."""
    return {"name": name, "unit": unit, "value": round(value, 3)}


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]
