"""Processes of a measurement: they answer questions, one JSON line each, until their input ends.

A child lives no longer than the parent's end of the pipe, so that nothing is left behind by a
measurement that fails, is interrupted, or is killed.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from opscore.core.errors import OpsCoreError

STOP_SECONDS = 20.0
LINE_LIMIT = 16 * 1024 * 1024

Answers = Mapping[str, Callable[..., Awaitable[Any]]]


class ChildGone(OpsCoreError):
    """A process of the measurement ended before it had answered; its last words are on stderr."""


class Child:
    """The parent's side of one process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def ask(self, verb: str, **given: Any) -> Any:
        """One question and its answer. Raises `ChildGone`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode([verb, given]) + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise ChildGone(f"the process {self._name} ended before it answered {verb!r}")
        return msgspec.json.decode(line)

    async def cpu(self) -> float:
        """Seconds of processor time that the process has used so far."""
        return await self.ask("cpu")


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncGenerator[Child]:
    """Run `python -m module` for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=LINE_LIMIT,
        # Ctrl-C reaches the parent only, which then ends its children in order.
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    try:
        yield Child(module, process)
    finally:
        await end(process)


async def total_cpu(children: Iterable[Child]) -> float:
    """Seconds of processor time that all of them have used so far."""
    return sum([await each.cpu() for each in children])


async def end(process: asyncio.subprocess.Process) -> None:
    """Close its input, wait, and if that does not help, kill."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        sys.stderr.write(
            f"a process of the measurement did not stop and is killed: {process.pid}\n"
        )
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def answer(answers: Answers) -> None:
    """The child's side: answer until the input ends, which also breaks an answer off.

    `cpu` is answered for all.
    """
    questions: asyncio.Queue[bytes] = asyncio.Queue()
    ended = asyncio.Event()
    _read(questions, ended)
    async with asyncio.TaskGroup() as group:
        answering = group.create_task(_answer_all(questions, answers))
        ending = group.create_task(ended.wait())
        await asyncio.wait({answering, ending}, return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()
        ending.cancel()


async def _answer_all(questions: asyncio.Queue[bytes], answers: Answers) -> None:
    while True:
        verb, given = msgspec.json.decode(await questions.get(), type=tuple[str, dict[str, Any]])
        found = time.process_time() if verb == "cpu" else await answers[verb](**given)
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()


def _read(questions: asyncio.Queue[bytes], ended: asyncio.Event) -> None:
    """Pass on the lines of the input as they come; a thread reads, so nothing blocks."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        # Not `sys.stdin`: its lock, held while reading, would get in the way of a crash's exit.
        rest = b""
        while piece := os.read(0, LINE_LIMIT):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                loop.call_soon_threadsafe(questions.put_nowait, line)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, name="opscore-bench-input", daemon=True).start()
