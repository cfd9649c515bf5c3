"""Nothing accepted is lost: the server is killed with -9 at ten random moments of a real job."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from opscore.demo.fleet import Fleet
from opscore.sdk.follow import ENDINGS
from opscore.wire.session import EventView

KILLS = 10
FILES = 400
TEMPLATE = Path(__file__).parents[2] / "src/opscore/demo/code-health.yaml"


def plant(root: Path) -> list[str]:
    """A tree of small modules; every fortieth does not parse."""
    names: list[str] = []
    for number in range(FILES):
        name = f"package_{number % 7}/module_{number:03}.py"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        body = "def broken(:\n" if number % 40 == 7 else f"def f_{number}(x):\n    return x or 1\n"
        path.write_text(body * (1 + number % 5), encoding="utf-8")
        names.append(name)
    return sorted(names)


async def progress(fleet: Fleet, session_id: str) -> tuple[int, str]:
    """How many files are recorded, and the session's status."""
    session = await fleet.asked(lambda: fleet.client.sessions.get(session_id))
    step = session.steps.get("measure")
    return (step.completed if step is not None else 0), session.status


async def journal(fleet: Fleet, session_id: str) -> list[EventView]:
    """The whole history of a session."""
    events: list[EventView] = []
    cursor: str | None = None
    while True:
        page = await fleet.client.sessions.history(session_id, cursor=cursor, limit=1000)
        events += page.events
        cursor = page.next_cursor
        if cursor is None:
            return events


async def followed(fleet: Fleet, session_id: str) -> list[EventView]:
    """What one follower of the feed is told of the session, over every restart."""
    told: list[EventView] = []
    async with aclosing(fleet.client.events(session=session_id, after=0)) as events:
        async for event in events:
            told.append(event)
            if event.type in ENDINGS:
                break
    return told


async def restart(fleet: Fleet) -> None:
    """Kill the server with -9 and start it again on the same file."""
    assert fleet.server is not None
    fleet.server.kill()
    fleet.start_server()
    await fleet.ready()


async def begin(fleet: Fleet, tree: Path, report: Path) -> str:
    """Apply the template and start the job."""
    fleet.start_server()
    await fleet.ready()
    fleet.start_agents()
    await fleet.connected()
    await fleet.client.workflows.apply(TEMPLATE.read_text(encoding="utf-8"))
    run = await fleet.client.start("code-health", {"path": str(tree), "report": str(report)})
    return run.id


async def run_with_kills(fleet: Fleet, session_id: str, chance: random.Random) -> int:
    """Kill at random points of the job's progress, and a random moment after each."""
    killed = 0
    for moment in sorted(chance.sample(range(FILES - 20), KILLS)):
        deadline = time.monotonic() + 60
        while (state := await progress(fleet, session_id))[0] < moment:
            assert state[1] in {"waiting", "processing"}, state
            assert time.monotonic() < deadline, f"the job stands still at {state}"
        await asyncio.sleep(chance.random() * 0.05)
        await restart(fleet)
        killed += 1
    return killed


async def result(fleet: Fleet, session_id: str) -> Any:
    """The session once it has ended."""
    deadline = time.monotonic() + 90
    while (state := await progress(fleet, session_id))[1] not in {"completed", "error"}:
        assert time.monotonic() < deadline, f"the job stands still at {state}"
    return await fleet.client.sessions.get(session_id)


def completions(events: list[EventView]) -> Counter[int]:
    """How often the journal records an output for each item of the measuring step."""
    index_of: dict[str, int] = {}
    counted: Counter[int] = Counter()
    for event in events:
        facts: dict[str, Any] = msgspec.json.decode(event.data)
        if event.type == "task.created" and facts["step"] == "measure":
            index_of[facts["taskId"]] = facts["index"]
        elif event.type in {"task.completed", "fallback.valued"} and facts["taskId"] in index_of:
            counted[index_of[facts["taskId"]]] += 1
    return counted


def reported(report: Path) -> list[str]:
    """The files of the report's last table, in its order."""
    table = report.read_text(encoding="utf-8").partition("## Every file")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    return [row.split("|")[1].strip().replace("\\", "") for row in rows]


async def test_ten_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    names = plant(tmp_path / "tree")
    (tmp_path / "run").mkdir()
    fleet = Fleet(tmp_path / "run")
    report = tmp_path / "report.md"
    try:
        async with fleet.client:
            session_id = await begin(fleet, tmp_path / "tree", report)
            async with asyncio.TaskGroup() as group:
                following = group.create_task(followed(fleet, session_id))
                killed = await run_with_kills(fleet, session_id, random.Random(seed))
                session = await result(fleet, session_id)
            events = await journal(fleet, session_id)
    finally:
        fleet.processes.stop()
    assert killed == KILLS
    assert session.status == "completed", session.error
    assert completions(events) == Counter(range(FILES))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert following.result() == events
    assert reported(report) == names
