"""A million log records: how fast they are kept, and how soon each filter finds a page of them.

Records look like a fleet's: 100 agents, sessions of 50 records, one error in a hundred, and in the
context the name of a file. Every filter is asked for a common value and for a rare one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from opscore.bench.burst import burst
from opscore.bench.common import database, figure, figures, percentile
from opscore.core.logs import LogRecord, LogSearch
from opscore.core.types import SECOND, Micros
from opscore.store.log_file import LogFile

BATCH = 1_000
BURST = 20_000
"""Different records of the burst; they come again and again."""
PAGE = 50
START: Micros = 1_700_000_000 * SECOND
STEP: Micros = 10_000
"""Between two records."""
WORDS = (
    *("reading", "file", "model", "answered", "connection", "refused", "retry", "tokens"),
    *("summary", "cannot", "parse", "open", "slow", "cache", "tool", "called"),
)
ALL = LogSearch(("default",))


def records(count: int) -> Iterator[LogRecord]:
    """So many records, always the same."""
    chance = random.Random(1)
    for n in range(count):
        bad = n % 100 == 0
        session = f"ses_{n // 50:026d}"
        yield LogRecord(
            at=START + n * STEP,
            level="error" if bad else "info",
            operation="model.called",
            namespace="default",
            message=f"{' '.join(chance.choices(WORDS, k=8))} number{n}",
            agent_id=f"agt_{n % 100:026d}",
            agent=f"agent-{n % 100}",
            session_id=session,
            task_id=f"{session}-{n % 5}",
            attempt=1,
            trace_id=f"{n // 50:032x}",
            error_type=("timeout" if n % 1_000 else "rare") if bad else None,
            context={"file": f"src/file{n % 20_000}.py", "line": n % 400},
        )


def searches(count: int) -> dict[str, LogSearch]:
    """Every documented filter, alone and together."""
    middle, end = count // 2, START + count * STEP
    session = f"ses_{middle // 50:026d}"
    return {
        "none": ALL,
        "agent": replace(ALL, agent="agent-7"),
        "session": replace(ALL, session_id=session),
        "task": replace(ALL, task_id=f"{session}-3"),
        "trace": replace(ALL, trace_id=f"{middle // 50:032x}"),
        "level": replace(ALL, level="error"),
        "errorType": replace(ALL, error_type="timeout"),
        "errorType, rare": replace(ALL, error_type="rare"),
        "since": replace(ALL, since=end - 60 * SECOND),
        "since and until": replace(ALL, since=START, until=START + count * STEP // 100),
        "q, common": replace(ALL, words=("refused",)),
        "q, three words": replace(ALL, words=("refused", "slow", "cache")),
        "q, rare": replace(ALL, words=(f"number{middle}",)),
        "q, beginning": replace(ALL, words=(f"number{str(middle)[:3]}*",)),
        "q, nothing": replace(ALL, words=("neverthere",)),
        "ctx": replace(ALL, context=(("file", "src/file77.py"),)),
        "another namespace": LogSearch(("nobody",)),
        "all together": replace(
            ALL,
            agent="agent-0",
            level="error",
            error_type="timeout",
            words=("refused",),
            since=START,
            until=end,
        ),
    }


def _kept(file: LogFile, count: int) -> float:
    """Seconds in which the records were kept; making them up is not counted."""
    spent, batch = 0.0, list[LogRecord]()
    for record in records(count):
        batch.append(record)
        if len(batch) == BATCH:
            began = time.perf_counter()
            file.append(batch)
            spent += time.perf_counter() - began
            batch.clear()
    return spent


def _asked(file: LogFile, search: LogSearch, rounds: int) -> list[float]:
    """Milliseconds for a page, newest first and oldest first in turn."""
    times: list[float] = []
    for number in range(rounds):
        began = time.perf_counter()
        file.search(search, PAGE + 1, newest_first=number % 2 == 0)
        times.append((time.perf_counter() - began) * 1_000)
    return sorted(times)


async def main(quick: bool) -> dict[str, Any]:
    """Measure; `quick` shows only that it works."""
    count, rounds = (20_000, 4) if quick else (1_000_000, 50)
    async with database() as folder:
        file = LogFile(f"sqlite:///{folder / 'bench.db'}", "bench")
        file.open(START)
        seconds = _kept(file, count)
        asked = {name: _asked(file, one, rounds) for name, one in searches(count).items()}
        found = file.count(ALL)
        size = file.location.path.stat().st_size if file.location.path else 0
        file.close_writer()
        file.close_reader()
    slowest = max(percentile(times, 0.99) for times in asked.values())
    every = sorted(time for times in asked.values() for time in times)
    return figures(
        "logs",
        "ms for a page (slowest filter, p99)",
        slowest,
        p50Ms=round(percentile(every, 0.50), 3),
        p99Ms=round(percentile(every, 0.99), 3),
        settings={"records": count, "page": PAGE, "rounds": rounds, "fsync": "normal"},
        figures=[
            figure("records", "records", count),
            figure("records found", "records", found),
            figure("kept", "records/s", count / seconds),
            figure("size", "bytes/record", size / count),
            *(figure(name, "ms (p99)", percentile(times, 0.99)) for name, times in asked.items()),
            *await burst(quick, list(records(BURST))),
        ],
    )
