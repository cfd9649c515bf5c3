"""Each tidy rule finds what it is there to find, and leaves alone what is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tidy import rules
from tests.tidy.source import Source

LONG_METHOD = "class A:\n    async def f(self):\n" + "        a = 1\n" * 50
LONG_FUNCTION = "def f():\n" + "    a = 1\n" * 50
DOCUMENTED_FUNCTION = 'def f():\n    """\n' + "    why\n" * 50 + '    """\n    return 1\n'
ENGINE = "src/opscore/engine/x.py"
CORE = "src/opscore/core/x.py"

BAD: list[tuple[rules.Rule, str, str]] = [
    (rules.short_files, ENGINE, "a = 1\n" * 401),
    (rules.short_functions, ENGINE, LONG_FUNCTION),
    (rules.short_functions, ENGINE, LONG_METHOD),
    (rules.telling_names, "src/opscore/engine/task_manager.py", ""),
    (rules.telling_names, "src/opscore/utils/text.py", ""),
    (rules.telling_names, ENGINE, "class TaskHandler: ..."),
    (rules.telling_names, ENGINE, "class HTTPService: ..."),
    (rules.telling_names, ENGINE, "class _Processor: ..."),
    (rules.time_and_chance_enter_once, ENGINE, "import time\ntime.monotonic()"),
    (rules.time_and_chance_enter_once, ENGINE, "import time as t\nclock = t.time_ns"),
    (rules.time_and_chance_enter_once, ENGINE, "from time import sleep as wait\nwait(1)"),
    (rules.time_and_chance_enter_once, ENGINE, "import datetime as d\nd.datetime.now(d.UTC)"),
    (rules.time_and_chance_enter_once, ENGINE, "from datetime import datetime\ndatetime.now()"),
    (rules.time_and_chance_enter_once, ENGINE, "def f():\n    import random\n    random.random()"),
    (rules.time_and_chance_enter_once, ENGINE, "import random\nr = random.Random()"),
    (rules.time_and_chance_enter_once, ENGINE, "import secrets\nsecrets.token_hex(8)"),
    (rules.time_and_chance_enter_once, ENGINE, "import uuid\nuuid.uuid4()"),
    (rules.time_and_chance_enter_once, ENGINE, "import asyncio\nasyncio.sleep(1)"),
    (rules.time_and_chance_enter_once, ENGINE, "import asyncio\nasyncio.get_running_loop().time()"),
    (rules.time_and_chance_enter_once, ENGINE, "def f(self): return self._loop.time()"),
    (rules.tasks_have_a_group, ENGINE, "import asyncio\nt = asyncio.create_task(f())"),
    (rules.tasks_have_a_group, ENGINE, "from asyncio import ensure_future\nensure_future(f())"),
    (rules.tasks_have_a_group, ENGINE, "def f(loop): loop.create_task(g())"),
    (rules.errors_are_not_swallowed, ENGINE, "try:\n    f()\nexcept:\n    g()"),
    (rules.errors_are_not_swallowed, ENGINE, "try:\n    f()\nexcept Exception:\n    pass"),
    (
        rules.errors_are_not_swallowed,
        ENGINE,
        "try:\n    f()\nexcept (OSError, BaseException):\n    ...",
    ),
    (rules.errors_are_not_swallowed, ENGINE, "import contextlib\ncontextlib.suppress(Exception)"),
    (rules.nothing_is_unfinished, ENGINE, "a = 1  # TODO: more"),
    (rules.nothing_is_unfinished, ENGINE, "raise NotImplementedError"),
    (rules.nothing_is_unfinished, ENGINE, "def f():\n    raise NotImplementedError('later')"),
    (rules.sql_stays_in_the_store, ENGINE, "q = 'select a, b from tasks'"),
    (rules.sql_stays_in_the_store, ENGINE, "q = f'''insert or ignore\n into {t} tasks'''"),
    (rules.sql_stays_in_the_store, "src/opscore/storey.py", "q = 'DELETE FROM leases'"),
    (rules.sql_stays_in_the_store, ENGINE, "q = 'pragma synchronous = full'"),
    (rules.the_core_is_pure, CORE, "import time"),
    (rules.the_core_is_pure, CORE, "from os import path"),
    (rules.the_core_is_pure, CORE, "import concurrent.futures"),
    (rules.the_core_is_pure, CORE, "def f():\n    import msgspec"),
    (rules.the_core_is_pure, CORE, "from opscore.store import store"),
    (rules.the_core_is_pure, CORE, "from opscore import wire"),
]

GOOD: list[tuple[rules.Rule, str, str]] = [
    (rules.nothing_is_unfinished, ENGINE, "try:\n    f()\nexcept NotImplementedError:\n    g()"),
    (rules.short_files, ENGINE, "a = 1\n" * 400),
    (rules.short_functions, ENGINE, DOCUMENTED_FUNCTION),
    (rules.telling_names, "src/opscore/engine/writer.py", "class Dispatcher: ..."),
    (rules.time_and_chance_enter_once, "src/opscore/engine/clock.py", "import time\ntime.time()"),
    (rules.time_and_chance_enter_once, "src/opscore/sdk/agent.py", "import time\ntime.monotonic()"),
    (
        rules.time_and_chance_enter_once,
        ENGINE,
        "import random\ndef f(r: random.Random): r.random()",
    ),
    (rules.time_and_chance_enter_once, ENGINE, "import random\nr = random.Random(7)"),
    (rules.time_and_chance_enter_once, ENGINE, "import asyncio\nasyncio.sleep(0)"),
    (rules.time_and_chance_enter_once, ENGINE, "async def f(clock): await clock.sleep(1)"),
    (rules.tasks_have_a_group, ENGINE, "def f(group): group.create_task(g())"),
    (rules.errors_are_not_swallowed, ENGINE, "try:\n    f()\nexcept Exception:\n    log()"),
    (rules.errors_are_not_swallowed, ENGINE, "try:\n    f()\nexcept KeyError:\n    pass"),
    (rules.sql_stays_in_the_store, ENGINE, "def f():\n    '''Select a task from the queue.'''"),
    (rules.sql_stays_in_the_store, "src/opscore/store/sql.py", "q = 'select a from b'"),
    (rules.the_core_is_pure, CORE, "import dataclasses\nfrom opscore.core import types"),
    (rules.the_core_is_pure, ENGINE, "import time, msgspec"),
]


def name_of(value: object) -> str | None:
    return value.__name__ if isinstance(value, Callable) else None


@pytest.mark.parametrize(("rule", "path", "text"), BAD, ids=name_of)
def test_finds(rule: rules.Rule, path: str, text: str) -> None:
    assert list(rule(Source.of(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), GOOD, ids=name_of)
def test_leaves_alone(rule: rules.Rule, path: str, text: str) -> None:
    assert list(rule(Source.of(path, text))) == []


def test_every_rule_is_tried_both_ways() -> None:
    applied = {*rules.FOR_ALL, *rules.FOR_SOURCE}
    assert {rule for rule, _, _ in BAD} == applied
    assert {rule for rule, _, _ in GOOD} == applied
