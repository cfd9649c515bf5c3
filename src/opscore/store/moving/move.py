"""From one place to another: read, written, read back and compared."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from opscore.core.errors import StoreRefused
from opscore.store.moving.archive import read_archive, write_archive
from opscore.store.moving.postgres import read_postgres, write_postgres
from opscore.store.moving.sqlite import read_sqlite, write_sqlite
from opscore.store.moving.tables import Content, Reading, Sum, Writing, content_of, tables
from opscore.store.opening import on_postgres


async def copy(source: str, target: str) -> dict[str, Content]:
    """Move a whole installation from one database to another, which must be empty.

    Answers with what each table of the target has. Raises StoreRefused when one of them is in use or
    cannot be had, or when the target reads back otherwise; then the target is as it was.
    """
    async with _reading(source, still=True) as old, _writing(target) as new:
        return await _moved(old, new, target)


async def backup(source: str, file: Path) -> dict[str, Content]:
    """Write everything that a store has at this moment into a new file, also while servers use it.

    Raises StoreRefused; then there is no file.
    """
    async with _reading(source, still=False) as old, write_archive(file) as new:
        return await _moved(old, new, str(file))


async def restore(file: Path, target: str) -> dict[str, Content]:
    """Make a store of a backup, in a database that is empty.

    Raises StoreRefused for a file that is damaged or no backup, and like `copy`; then the target is
    as it was.
    """
    async with read_archive(file) as old, _writing(target) as new:
        return await _moved(old, new, target)


async def _moved(old: Reading, new: Writing, where: str) -> dict[str, Content]:
    read = {table.name: Sum() for table in tables()}
    for table in tables():
        async for rows in old.rows(table):
            read[table.name].add(rows)
            await new.add(table, rows)
    content = {name: found.content() for name, found in read.items()}
    await new.end(old.position, content)
    await _compare(new, content, old.position, where)
    await new.done()
    return content


async def _compare(new: Reading, expected: dict[str, Content], position: int, where: str) -> None:
    for table in tables():
        there = await content_of(new, table)
        if there != expected[table.name]:
            raise StoreRefused(
                f"the table {table.name} of {where} is not what was read: {there.rows} rows, "
                f"checksum {there.checksum[:12]}…, instead of {expected[table.name].rows}, "
                f"{expected[table.name].checksum[:12]}…; nothing was kept"
            )
    if new.position != position:
        raise StoreRefused(f"{where} ends at {new.position} instead of {position}")


def _reading(url: str, *, still: bool) -> AbstractAsyncContextManager[Reading]:
    return read_postgres(url, still=still) if on_postgres(url) else read_sqlite(url, still=still)


@asynccontextmanager
async def _writing(url: str) -> AsyncGenerator[Writing]:
    opened = write_postgres(url) if on_postgres(url) else write_sqlite(url)
    async with opened as new:
        yield new
