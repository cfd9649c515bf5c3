"""The line of servers: one commits at a time, and all hear of it, whatever is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import pytest

from opscore.core.errors import StoreRefused, Unavailable
from opscore.store.postgres import PostgresStore
from opscore.store.postgres_migrate import SCHEMA_VERSION
from opscore.store.rows import Changes, EventRow, Locked, ReadyRow, Wants
from opscore.store.shared import Shared, Told
from tests import stores

pytestmark = pytest.mark.postgres


def event(session: str, seq: int) -> EventRow:
    return EventRow(session, seq, 1, "session.noted", 1, b"{}")


def changes(*events: EventRow, told: bytes = b"") -> Changes:
    return Changes(events=list(events), told=told)


async def commit(store: PostgresStore, given: Changes) -> int:
    return await store.transact(Wants(), lambda _: 0, lambda _: given)


def line(store: PostgresStore) -> Shared:
    assert store.shared is not None
    return store.shared


async def queue(store: PostgresStore, place: int, count: int = 10) -> list[int]:
    """The places that a claim finds, after one more was given."""
    row = ReadyRow("default", "q", place, f"tsk_{place}", "ses_a", None)
    await commit(store, Changes(ready={row.task_id: row}))
    return await claimed(store, count)


async def claimed(store: PostgresStore, count: int = 10) -> list[int]:
    found: list[int] = []

    def decide(locked: Locked) -> Changes:
        found.extend(row.place for row in locked.candidates["default", "q"])
        return Changes()

    await store.transact(Wants(claims={("default", "q"): count}), lambda _: None, decide)
    return found


async def until(true: Callable[[], object]) -> None:
    """What it waits for will come; the test's own timeout bounds it."""
    while not true():  # noqa: ASYNC110 - it is another process that brings it about
        await asyncio.sleep(0.01)


@asynccontextmanager
async def servers(count: int, url: str | None = None) -> AsyncGenerator[list[PostgresStore]]:
    url = url or stores.fresh()
    async with AsyncExitStack() as stack:
        opened = [PostgresStore(url, lambda: 1) for _ in range(count)]
        for store in opened:
            await store.open()
            stack.push_async_callback(store.close)
        yield opened


async def test_each_hears_what_the_others_committed_once_and_in_order() -> None:
    async with servers(2) as (a, b):
        assert list(await line(a).begin_turn()) == []
        assert await commit(a, changes(event("ses_a", 1), told=b"one")) == 1
        assert await commit(a, changes(event("ses_a", 2), event("ses_b", 1), told=b"two")) == 2
        assert list(await line(a).told()) == []
        await line(a).end_turn()
        expected = [Told(1, 1, 1, a.shared.server, b"one"), Told(2, 2, 3, a.shared.server, b"two")]  # pyright: ignore[reportOptionalMemberAccess]
        assert list(await line(b).begin_turn()) == expected
        assert list(await line(b).begin_turn()) == []
        assert await commit(b, changes(event("ses_b", 2))) == 4
        await line(b).end_turn()
        assert [told.number for told in await line(a).told()] == [3]
        assert list(await line(a).told()) == []


async def test_who_has_missed_a_commit_cannot_write() -> None:
    async with servers(2) as (a, b):
        await commit(a, changes(event("ses_a", 1)))
        with pytest.raises(Unavailable, match="another server has committed"):
            await commit(b, changes(event("ses_a", 1)))
        assert len(await line(b).told()) == 1
        assert await commit(b, changes(event("ses_a", 2))) == 2


async def test_who_has_missed_commits_that_are_forgotten_cannot_write_or_go_on() -> None:
    url = stores.fresh()
    async with servers(2, url) as (a, b):
        for seq in range(1, 4):
            await commit(a, changes(event("ses_a", seq)))
        stores.fetch(url, "delete from commits where number < 3")
        with pytest.raises(Unavailable, match="another server has committed"):
            await commit(b, changes(event("ses_b", 1)))
        with pytest.raises(Unavailable, match="restart"):
            await line(b).begin_turn()


async def test_a_turn_is_waited_for_and_over_when_somebody_waits() -> None:
    async with servers(2) as (a, b):
        await line(a).begin_turn()
        waiting = asyncio.get_running_loop().create_task(line(b).begin_turn())
        await until(lambda: line(a).turn_over)
        assert not waiting.done()
        await commit(a, changes(event("ses_a", 1)))
        await line(a).end_turn()
        assert [told.number for told in await waiting] == [1]
        await until(lambda: not line(b).turn_over)


async def test_a_server_that_stands_still_loses_its_turn() -> None:
    async with servers(2) as (zombie, other):
        await line(zombie).begin_turn()
        assert list(await line(other).begin_turn()) == []  # after two seconds
        await commit(other, changes(event("ses_a", 1)))
        with pytest.raises(Unavailable):
            await commit(zombie, changes(event("ses_a", 1)))
        await line(other).end_turn()
        assert [told.number for told in await line(zombie).begin_turn()] == [1]
        assert await commit(zombie, changes(event("ses_a", 2))) == 2


async def test_others_are_woken_by_a_commit() -> None:
    async with servers(2) as (a, b):
        woken: list[bool] = []
        line(b).listen(lambda: woken.append(True))
        line(a).listen(lambda: woken.append(False))
        await commit(a, changes(event("ses_a", 1)))
        await until(lambda: True in woken)
        assert len(await line(b).told()) == 1


async def test_one_leads_and_another_when_it_has_gone() -> None:
    async with servers(2) as (a, b):
        assert (line(a).leads, line(b).leads) == (True, False)
        await a.close()
        await until(lambda: line(b).leads)


async def test_servers_hear_what_the_others_said_of_themselves() -> None:
    async with servers(2) as (a, b):
        assert await line(a).announce(b"a") == []
        assert [(o.server, o.data) for o in await line(b).announce(b"b")] == [
            (line(a).server, b"a")
        ]
        assert [o.data for o in await line(a).announce(b"a")] == [b"b"]
        await a.close()
        assert await line(b).announce(b"b") == [], "who has closed the store is not there"


async def test_claims_find_what_others_gave_a_lower_place() -> None:
    async with servers(2) as (a, b):
        assert await queue(a, 20) == [20]
        assert await queue(a, 10) == [10, 20]
        await line(b).told()
        assert await queue(b, 5) == [5, 10, 20]
        await line(a).told()
        assert await claimed(a) == [5, 10, 20]


# -- a connection that is lost during a commit ----------------------------------------------


class Between:
    """What lies between a server and its database; `cut` lets no answer through any more."""

    def __init__(self, url: str) -> None:
        self._target = url
        self._cut = False
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def url(self) -> AsyncGenerator[str]:
        async with asyncio.TaskGroup() as group:
            self._group = group
            server = await asyncio.start_server(self._connected, "127.0.0.1")
            port = server.sockets[0].getsockname()[1]
            parts = urlsplit(self._target)
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            query |= {"host": "127.0.0.1", "port": str(port), "sslmode": "disable"}
            yield urlunsplit(parts._replace(query=urlencode(query)))
            self.break_off()
            server.close()

    async def _connected(self, down: asyncio.StreamReader, up: asyncio.StreamWriter) -> None:
        parts = urlsplit(self._target)
        folder = parse_qs(parts.query).get("host", [""])[0]
        if folder.startswith("/"):
            reader, writer = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        else:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 5432)
        self._writers += [up, writer]
        self._group.create_task(self._pass_on(down, writer, to_server=True))
        self._group.create_task(self._pass_on(reader, up, to_server=False))

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if to_server or not self._cut:
                    writer.write(data)
        except OSError:
            return
        finally:
            writer.close()

    def cut(self) -> None:
        self._cut = True

    def break_off(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._cut = False


async def test_a_commit_that_got_through_though_nobody_heard_is_told_like_any_other() -> None:
    url = stores.fresh()
    between = Between(url)
    async with between.url() as through, servers(1, through) as (store,):
        await line(store).begin_turn()
        await commit(store, changes(event("ses_a", 1)))
        between.cut()
        lost = asyncio.get_running_loop().create_task(
            commit(store, changes(event("ses_a", 2), told=b"was it?"))
        )
        await until(lambda: len(stores.fetch(url, "select 1 from events")) == 2)
        between.break_off()
        with pytest.raises(Unavailable, match="not known"):
            await lost
        told = await line(store).begin_turn()
        assert [(t.number, t.data) for t in told] == [(2, b"was it?")]
        assert await commit(store, changes(event("ses_a", 3))) == 3


async def test_a_commit_that_did_not_get_through_is_not_told() -> None:
    url = stores.fresh()
    async with servers(1, url) as (store,):
        await line(store).begin_turn()
        with stores.locked(url, "events"):
            lost = asyncio.get_running_loop().create_task(commit(store, changes(event("ses_a", 1))))
            held = "select pid from pg_locks where not granted and relation = 'events'::regclass"
            await until(lambda: stores.fetch(url, held))
            stores.fetch(url, f"select pg_terminate_backend(pid) from ({held}) waiting")
            with pytest.raises(Unavailable, match="not known"):
                await lost
        assert list(await line(store).begin_turn()) == []
        assert await commit(store, changes(event("ses_a", 1))) == 1


async def test_commits_decided_after_a_lost_one_fail_too() -> None:
    url = stores.fresh()
    async with servers(1, url) as (store,):
        with stores.locked(url, "events"):
            loop = asyncio.get_running_loop()
            lost = [loop.create_task(commit(store, changes(event("ses_a", seq)))) for seq in (1, 2)]
            held = "select pid from pg_locks where not granted and relation = 'events'::regclass"
            await until(lambda: stores.fetch(url, held))
            stores.fetch(url, f"select pg_terminate_backend(pid) from ({held}) waiting")
            for answer in await asyncio.gather(*lost, return_exceptions=True):
                assert isinstance(answer, Unavailable)
        assert await store.journal("ses_a", 0, 10) == []


# -- what is refused on opening ---------------------------------------------------------------


async def test_a_database_of_another_program_is_left_alone() -> None:
    url = stores.fresh(empty=True)
    stores.fetch(url, "create table theirs (id int)")
    with pytest.raises(StoreRefused, match="tables of another program"):
        await PostgresStore(url).open()
    assert len(stores.fetch(url, "select 1 from pg_tables where schemaname = 'public'")) == 1


async def test_a_database_that_a_newer_program_wrote_is_refused_unless_it_may_be_used() -> None:
    url = stores.fresh()
    newer = f"update opscore_meta set value = '{SCHEMA_VERSION + 1}' where key = "
    stores.fetch(url, newer + "'schema_version'")
    async with servers(1, url):
        pass
    stores.fetch(url, newer + "'min_version'")
    with pytest.raises(StoreRefused, match="newer Ops-Core"):
        await PostgresStore(url).open()


async def test_two_servers_may_open_an_empty_database_at_once() -> None:
    url = stores.fresh(empty=True)
    both = [PostgresStore(url) for _ in range(2)]
    await asyncio.gather(*[store.open() for store in both])
    for store in both:
        assert (await store.counts())["sessions"] == 0
        await store.close()


async def test_what_cannot_be_reached_is_refused_without_the_password() -> None:
    with pytest.raises(StoreRefused, match="is PostgreSQL running there") as refused:
        await PostgresStore("postgresql://ada:secret@127.0.0.1:1/ops").open()
    assert "secret" not in str(refused.value)
    with pytest.raises(StoreRefused, match="createdb"):
        await PostgresStore(stores.in_database(stores.server(), "nowhere")).open()


async def test_the_clock_is_the_databases() -> None:
    url = stores.fresh()
    store = PostgresStore(url)
    await store.open()
    times = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
    before = int(stores.fetch(url, times)[0][0])
    now = store.now()
    after = int(stores.fetch(url, times)[0][0])
    await store.close()
    assert before - 1_000_000 <= now <= after + 1_000_000
