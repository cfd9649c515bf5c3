"""Every exception from the tidy rules, with its reason. There is no other place for one."""

from __future__ import annotations

CLOCK_AND_CHANCE = {
    "src/opscore/engine/clock.py": "it is the one reader of time",
    "src/opscore/engine/engine.py": "the composition root makes the random.Random that all others are given",
    "src/opscore/engine/rooms.py": "the composition root gives keys the text that nobody can guess",
    "src/opscore/bench/": "it measures time, and gives the engine its chance as the composition root does",
    "src/opscore/api/tracing.py": "it names requests with random ids before the engine is asked",
    "src/opscore/store/clocks.py": "it measures how far the database's clock is from this machine's",
    "src/opscore/sdk/": "it runs in the agent's process; its time and ids decide nothing in the server",
    "src/opscore/cli/": "it waits for and shows time to a person, outside the engine",
    "src/opscore/demo/": "it waits for and shows time to a person, outside the engine",
}
"""Files and folders that may read the clock, sleep or draw random numbers."""

TASKS = {
    "src/opscore/engine/engine.py": "the one root task, which holds the task group of all others",
    "src/opscore/store/postgres_tasks.py": "what keeps a store's connections, from its opening to its closing",
}
"""Files that may start a task outside a group."""

SQL = {
    "src/opscore/store/": "the only place that knows SQL",
}
"""Files and folders that may hold SQL."""

QUOTING = {
    "tests/tidy/": "the rules and their tests quote what they forbid",
}
"""Files and folders that may name what is forbidden."""


def excepted(path: str, exceptions: dict[str, str]) -> bool:
    """Whether a path is one of the exceptions or lies in an excepted folder."""
    return any(
        path == each or (each.endswith("/") and path.startswith(each)) for each in exceptions
    )
