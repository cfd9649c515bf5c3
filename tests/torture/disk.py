"""A disk that is too small, and one that fails: what is written to it is refused for a while."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from tests.torture.partition import Forbidden

if TYPE_CHECKING:
    from tests.torture.field import Field

SIZE = "24m"
FULL_WITHIN = 60.0
WELL_WITHIN = 30.0
BLOCK = b"\0" * 65_536


@contextmanager
def small_disk(directory: Path) -> Generator[Path]:
    """A file system in memory of a few megabytes. Raises Forbidden without the right to mount one."""
    mounted = directory / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(mounted)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Forbidden("there is no program mount: no disk can be made small") from None
    if ran.returncode:
        raise Forbidden(f"no small disk can be mounted: {ran.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], capture_output=True, check=False)


async def fill_up(field: Field, cycles: int) -> str:
    """By turns: the disk is full, and writing to it is an error."""
    ballast = field.database.with_name("ballast")
    for number in range(cycles):
        await asyncio.sleep(1 + field.chance.random())
        if number % 2 == 0:
            _fill(ballast)
        else:
            _let_fail(field)
        await _refused(field)
        await _still_read(field)
        if number % 2 == 0:
            ballast.unlink()
        else:
            _let_work(field)
        await _well_again(field)
    field.loading = False
    _examine(field)
    return "the disk was full, or writing to it failed: 503 while it lasted, reads went on"


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as out:
        for block in (BLOCK, BLOCK[:512]):
            try:
                while out.write(block):
                    pass
            except OSError:
                continue


def _let_fail(field: Field) -> None:
    """No file of the server may grow: every write beyond is an error of the operating system."""
    assert field.server is not None
    resource.prlimit(field.server.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))


def _let_work(field: Field) -> None:
    assert field.server is not None
    whole = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(field.server.pid, resource.RLIMIT_FSIZE, whole)


async def _start(field: Field) -> int:
    mark = f"full-{time.monotonic_ns()}"
    body = {"workflow": "chain", "input": {"go": True}, "context": {"mark": mark}}
    status, document = await field.post("session.start", "/session", body, key=mark, mark=mark)
    if status < 300 and status:
        field.known.append(document["sessionId"])
    return status


async def _refused(field: Field) -> None:
    """A log that has grown may have room for a while; then writes are refused with 503."""
    over = time.monotonic() + FULL_WITHIN
    while (status := await _start(field)) != 503:
        assert status < 300, f"the disk fails, and the answer is {status}"
        assert time.monotonic() < over, f"the disk fails for {FULL_WITHIN:g} s, nobody notices"


async def _still_read(field: Field) -> None:
    for path in (f"/v1/opscore/session/{field.known[0]}", "/v1/opscore/agent", "/health"):
        assert await field.get(path) is not None, f"{path} cannot be read while the disk fails"


async def _well_again(field: Field) -> None:
    over = time.monotonic() + WELL_WITHIN
    while (status := await _start(field)) >= 300 or status == 0:
        assert status in {0, 503}, f"the disk is well again, and the answer is {status}"
        assert time.monotonic() < over, f"the disk is well for {WELL_WITHIN:g} s, writes fail"
        await asyncio.sleep(0.05)


def _examine(field: Field) -> None:
    connection = apsw.Connection(str(field.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        said = connection.pragma("integrity_check")
        assert said == "ok", f"the database is damaged: {said}"
    finally:
        connection.close()
