"""Room under limits: who holds a slot, who waits for one, and when a rate opens again.

Kept in memory as the batches decide it, and rebuilt from rows (leases, waiting tasks, rates) when a
store is opened and after a commit that failed. Tasks with limits wait here instead of in the ready
queues; the match that ends a batch is offered as many of them as there is room for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TypeVar

from opscore.core.limits import QUEUE, REJECT, Shut, Terms, opens_at, passed
from opscore.core.state import SessionState, TaskState
from opscore.core.types import Micros
from opscore.engine.gate_lines import Line
from opscore.engine.gated import SESSIONS, read_terms, terms_text
from opscore.store.gate_rows import AdmittedRow, GateRows, RateRow
from opscore.store.rows import Changes, ReadyRow

Key = tuple[str, str, str]
"""(`concurrency`, `sessions` or `rate`, namespace, key)."""

LineName = tuple[str, str, Terms]
"""(namespace, queue, terms): tasks with one name are equal but for their order."""

RATES_KEPT = 10_000

K = TypeVar("K")


class Gates:
    """All limits of a store. `stale`: memory may not be what the rows are; they are read again."""

    def __init__(self) -> None:
        self.stale = False
        self._empty()

    def _empty(self) -> None:
        self._lines: dict[LineName, Line] = {}
        self._line_of: dict[str, LineName] = {}
        self._open: dict[tuple[str, str], dict[LineName, None]] = {}
        self._shut: dict[Key, dict[LineName, None]] = {}
        self._holders: dict[Key, dict[str, int]] = {}
        self._held: dict[str, Key] = {}
        self._tats: dict[Key, Micros] = {}
        self._opening: list[tuple[Micros, Key]] = []
        self._bounds: dict[Key, tuple[int, Micros]] = {}
        self._waiting: Counter[Key] = Counter()
        self._leaving: dict[str, None] = {}
        self.eager: dict[LineName, None] = {}

    def spoil(self) -> None:
        """A batch failed: what it did to memory never happened, also if it emptied it."""
        self.stale = True

    def load(self, rows: GateRows) -> None:
        """What the store has."""
        self._empty()
        self.stale = False
        # Ids are given in the order of time: who is first has, as a rule, begun first.
        for lease in sorted(rows.leases, key=lambda lease: lease.task_id):
            if lease.terms is not None:
                self.hold(lease.namespace, read_terms(lease.terms), lease.task_id, lease.attempt)
        for row in sorted(rows.admitted):
            self.hold(row.namespace, read_terms(row.terms), row.session_id, 0)
        for rate in rows.rates:
            self.use(rate)
        for gated in rows.waiting:
            self.wait(ReadyRow(*gated[:6]), read_terms(gated.terms))

    def use(self, rate: RateRow) -> None:
        """A rate is used up that far."""
        key = ("rate", rate.namespace, rate.key)
        self._tats[key], self._bounds[key] = rate.tat, (rate.starts, rate.per)

    def unuse(self, namespace: str, key: str) -> None:
        """A rate is as if it had never been used."""
        self._tats.pop(("rate", namespace, key), None)
        self._bounds.pop(("rate", namespace, key), None)

    # -- what decisions bring ---------------------------------------------------------------

    def wait(self, row: ReadyRow, terms: Terms) -> None:
        """A task may be claimed as soon as there is room."""
        name = (row.namespace, row.queue, terms)
        self._line_of[row.task_id] = name
        self._lines.setdefault(name, Line()).add(row)
        keys = list(keys_of(row.namespace, terms))
        if not any(name in self._shut.get(key, ()) for key in keys):
            self._open.setdefault((row.namespace, row.queue), {})[name] = None
        for key in keys:
            self._waiting[key] += 1
            self._bounds[key] = _bound(key, terms)
        if terms.on_full != QUEUE:
            self.eager[name] = None

    def leave(self, task_id: str) -> None:
        """It waits no more: it was claimed, or will not be."""
        name = self._line_of.pop(task_id, None)
        if name is None:
            return
        line, keys = self._lines[name], list(keys_of(name[0], name[2]))
        del line.rows[task_id]
        if not line.rows:
            del self._lines[name]
            self.eager.pop(name, None)
            _discard(self._open, name[:2], name)
            for key in keys:
                _discard(self._shut, key, name)
        for key in keys:
            self._waiting[key] -= 1
            self._forget(key)

    def take(self, task: TaskState, namespace: str, now: Micros, to: Changes) -> None:
        """The task's attempt begins."""
        terms = task.terms
        assert terms is not None
        self._take(namespace, terms, task.task_id, task.attempt, now, to)

    def take_in(self, state: SessionState, now: Micros, to: Changes) -> None:
        """The session begins."""
        terms = state.terms
        assert terms is not None
        self._take(state.namespace, terms, state.session_id, 0, now, to)
        to.limits.admit(AdmittedRow(state.session_id, state.namespace, terms_text(terms)))

    def _take(
        self, namespace: str, terms: Terms, holder: str, attempt: int, now: Micros, to: Changes
    ) -> None:
        if terms.concurrency is not None:
            self.hold(namespace, terms, holder, attempt)
        if terms.rate is not None:
            key = ("rate", namespace, terms.rate)
            tat = self._tats[key] = passed(self._tats.get(key, 0), now, terms.starts, terms.per)
            self._bounds[key] = _bound(key, terms)
            to.limits.rates[key[1:]] = RateRow(namespace, terms.rate, tat, terms.starts, terms.per)
            self._prune(now, to)

    def hold(self, namespace: str, terms: Terms, holder: str, attempt: int) -> None:
        """An attempt or a session counts under the concurrency of its terms, if they have one."""
        if terms.concurrency is None:
            return
        key = (kind_of(terms), namespace, terms.concurrency)
        self._holders.setdefault(key, {})[holder] = attempt
        self._held[holder] = key
        self._bounds[key] = _bound(key, terms)

    def release(self, holder: str) -> None:
        """An attempt, or a session, is over."""
        key = self._held.pop(holder, None)
        self._leaving.pop(holder, None)
        if key is not None:
            del self._holders[key][holder]
            self._reopen(key)
            self._forget(key)

    def _reopen(self, key: Key) -> None:
        for name in self._shut.pop(key, ()):
            self._open.setdefault(name[:2], {})[name] = None

    def _forget(self, key: Key) -> None:
        """Nothing is kept of a key that nobody holds or waits for."""
        if key in self._holders and not self._holders[key]:
            del self._holders[key]
        if not self._waiting[key]:
            del self._waiting[key]
            if key[0] != "rate" and key not in self._holders:
                self._bounds.pop(key, None)

    def _prune(self, now: Micros, to: Changes) -> None:
        """Rates that are as if they had never been used need no row."""
        if len(self._tats) <= RATES_KEPT:
            return
        for key in [key for key, tat in self._tats.items() if tat <= now]:
            self.unuse(*key[1:])
            to.limits.rates.pop(key[1:], None)
            to.limits.rates_gone[key[1:]] = None

    # -- who is let through -----------------------------------------------------------------

    def offers(self, free: Callable[[tuple[str, str]], int], now: Micros) -> list[ReadyRow]:
        """The tasks for which there is room, as many as `free` slots a queue has, by their order.

        All of them together fit under their limits.
        """
        while self._opening and self._opening[0][0] <= now:
            self._reopen(heappop(self._opening)[1])
        heads: list[tuple[int, str, LineName]] = []
        waiting: dict[LineName, Iterator[ReadyRow]] = {}
        slots = {queue: free(queue) for queue in self._open}
        for queue in [queue for queue, count in slots.items() if count > 0]:
            for name in self._open[queue]:
                waiting[name] = self._lines[name].waiting()
                _push(heads, waiting[name], name)
        return list(self._let_through(heads, waiting, slots, now))

    def _let_through(
        self,
        heads: list[tuple[int, str, LineName]],
        waiting: dict[LineName, Iterator[ReadyRow]],
        slots: dict[tuple[str, str], int],
        now: Micros,
    ) -> Iterator[ReadyRow]:
        heapify(heads)
        used: Counter[Key] = Counter()
        tats: dict[Key, Micros] = {}
        while heads:
            _, task_id, name = heappop(heads)
            if slots[name[:2]] <= 0:
                continue
            namespace, _, terms = name
            shut = self._shut_key(namespace, terms, now, used, tats)
            if shut is not None:
                if not used[shut[0]] and shut[0] not in tats:
                    self._close(name, *shut)
                continue
            for key in keys_of(namespace, terms):
                used[key] += 1
                if key[0] == "rate":
                    tat = tats.get(key, self._tats.get(key, 0))
                    tats[key] = passed(tat, now, terms.starts, terms.per)
            slots[name[:2]] -= 1
            yield self._lines[name].rows[task_id]
            _push(heads, waiting[name], name)

    def _shut_key(
        self,
        namespace: str,
        terms: Terms,
        now: Micros,
        used: Counter[Key],
        tats: dict[Key, Micros],
    ) -> tuple[Key, Micros | None] | None:
        """The first limit without room, and from when on it has some, if that is known."""
        if terms.concurrency is not None:
            key = (kind_of(terms), namespace, terms.concurrency)
            if len(self._holders.get(key, ())) + used[key] >= terms.limit:
                return key, None
        if terms.rate is not None:
            key = ("rate", namespace, terms.rate)
            tat = tats.get(key, self._tats.get(key, 0))
            opens = opens_at(tat, terms.starts, terms.per)
            if opens > now:
                return key, opens
        return None

    def _close(self, name: LineName, key: Key, until: Micros | None) -> None:
        _discard(self._open, name[:2], name)
        self._shut.setdefault(key, {})[name] = None
        if until is not None:
            heappush(self._opening, (until, key))

    def first(self, slots: Callable[[tuple[str, str]], int]) -> Iterator[ReadyRow]:
        """Those who may be let through, if there is room: of each line as many as there are slots."""
        for queue, names in self._open.items():
            most = slots(queue)
            for name in names if most > 0 else ():
                yield from islice(self._lines[name].waiting(), most)

    def may_offer(self, any_free: Callable[[tuple[str, str]], bool]) -> bool:
        """Whether another batch may let somebody through, or has to make room."""
        if any(queue[1] == SESSIONS or any_free(queue) for queue in self._open):
            return True
        return any(self.oldest(name) is not None for name in self.eager)

    @property
    def waits(self) -> bool:
        """Whether any task waits here, or memory is to be read again."""
        return bool(self._lines) or self.stale

    @property
    def next_at(self) -> Micros | None:
        """When a rate opens next for somebody who waits."""
        while self._opening and self._opening[0][1] not in self._shut:
            heappop(self._opening)
        return self._opening[0][0] if self._opening else None

    def oldest(self, name: LineName) -> str | None:
        """Who has held a slot longest under the concurrency of a line that has no room left.

        Of sessions: whom that need be told, when not enough are making room already.
        """
        namespace, _, terms = name
        if terms.concurrency is None:
            return None
        holders = self._holders.get((kind_of(terms), namespace, terms.concurrency), {})
        if len(holders) < terms.limit:
            return None
        if terms.on_full == REJECT or not self._leaving:
            return next(iter(holders))
        left = [holder for holder in holders if holder not in self._leaving]
        enough = len(holders) - len(left) >= len(self._lines[name].rows)
        return None if enough or not left else left[0]

    def tell(self, holder: str) -> None:
        """A session was told to make room, which takes it a while."""
        self._leaving[holder] = None

    def place(self, waiting: str) -> int | None:
        """Where somebody stands in its line; None: it does not wait."""
        name = self._line_of.get(waiting)
        return None if name is None else self._lines[name].rows[waiting].place

    def line(self, name: LineName) -> list[ReadyRow]:
        """Who waits in a line."""
        return list(self._lines[name].waiting()) if name in self._lines else []

    @property
    def queues(self) -> Iterable[tuple[str, str]]:
        """The queues of which somebody may be let through."""
        return self._open

    # -- what people ask --------------------------------------------------------------------

    def shut(self, task_id: str, now: Micros) -> Shut | None:
        """Which limit keeps a task waiting; None: it does not wait for one."""
        name = self._line_of.get(task_id)
        if name is None:
            return None
        namespace, _, terms = name
        found = self._shut_key(namespace, terms, now, Counter(), {})
        if found is None:
            return None
        key, until = found
        holders = self._holders.get(key, {})
        line = self._lines[name]
        ahead = sum(1 for row in line.rows.values() if row.place < line.rows[task_id].place)
        limit, per = (terms.limit, 0) if until is None else (terms.starts, terms.per)
        return Shut(key[0], key[2], limit, per, len(holders), tuple(holders.items()), until, ahead)

    def report(self, namespace: str, now: Micros) -> list[Shut]:
        """Every key in use: `ahead` counts all that wait under it."""
        keys = sorted(key for key in self._bounds if key[1] == namespace)
        return [self._told(key, now, self._waiting.get(key, 0)) for key in keys]

    def _told(self, key: Key, now: Micros, waiting: int) -> Shut:
        limit, per = self._bounds[key]
        holders = tuple(self._holders.get(key, {}).items())
        if key[0] != "rate":
            return Shut(key[0], key[2], limit, 0, len(holders), holders, None, waiting)
        opens = opens_at(self._tats.get(key, 0), limit, per)
        until = opens if opens > now else None
        return Shut(key[0], key[2], limit, per, 0, (), until, waiting)


def _bound(key: Key, terms: Terms) -> tuple[int, Micros]:
    """How many, and in which time."""
    return (terms.starts, terms.per) if key[0] == "rate" else (terms.limit, 0)


def kind_of(terms: Terms) -> str:
    """What the concurrency of terms counts: attempts in flight, or sessions."""
    return "sessions" if terms.sessions else "concurrency"


def keys_of(namespace: str, terms: Terms) -> Iterable[Key]:
    """The keys that terms name."""
    if terms.concurrency is not None:
        yield kind_of(terms), namespace, terms.concurrency
    if terms.rate is not None:
        yield "rate", namespace, terms.rate


def _discard(of: dict[K, dict[LineName, None]], key: K, name: LineName) -> None:
    found = of.get(key)
    if found is not None:
        found.pop(name, None)
        if not found:
            del of[key]


def _push(
    heads: list[tuple[int, str, LineName]], waiting: Iterator[ReadyRow], name: LineName
) -> None:
    row = next(waiting, None)
    if row is not None:
        heappush(heads, (row.place, row.task_id, name))
