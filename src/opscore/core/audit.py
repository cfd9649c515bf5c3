"""The audit: who changed what by order, in chains of hashes that no change leaves whole. Pure.

Each writer (a server's process) has a chain of its own: the hash of a record covers its content and
the hash of the record before it. Chains vouch for each other: the first record of a chain, and now
and then a later one, holds the heads of those that nobody has vouched for yet. A checkpoint holds
such heads outside of the database. The strings that are hashed have the form of netstrings
(cr.yp.to/proto/netstrings.txt), so that no two records read alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Literal, NamedTuple, cast

from opscore.core.record import record
from opscore.core.types import Micros

GENESIS = bytes(32)
"""What stands for the hash before the first."""
SIGNED = "audit.signed"
"""The action of a record that only vouches for other chains."""


class AuditEntry(NamedTuple):
    """What a commit asks to be recorded. `details` is a JSON object; `heads` as `vouching` writes it."""

    at: Micros
    namespace: str
    actor: str
    key_id: str | None
    action: str
    subject: str | None
    details: str
    heads: str | None = None


class AuditRecord(NamedTuple):
    """A record as it stands in the database. `position` orders all chains as they were written."""

    position: int
    writer: str
    seq: int
    at: Micros
    namespace: str
    actor: str
    key_id: str | None
    action: str
    subject: str | None
    details: str
    heads: str | None
    hash: bytes


class Head(NamedTuple):
    """The last record of a chain."""

    writer: str
    seq: int
    hash: str
    action: str = ""


class Ends(NamedTuple):
    """The chains that no other vouches for as they are now, and how many records there are."""

    heads: tuple[Head, ...]
    records: int


def digest(previous: bytes, writer: str, seq: int, entry: Sequence[object]) -> bytes:
    """The hash of a record: of the one before it, and of all that it says."""
    values = (writer, seq, *entry)
    told = "".join("-," if v is None else f"{len(t := str(v))}:{t}," for v in values)
    return sha256(previous + told.encode("utf-8", "surrogatepass")).digest()


def chained(
    writer: str, seq: int, previous: bytes, position: int, entries: Iterable[AuditEntry]
) -> Iterator[AuditRecord]:
    """The records that follow record `seq` of a chain, whose hash is `previous`."""
    for entry in entries:
        seq, position = seq + 1, position + 1
        previous = digest(previous, writer, seq, entry)
        yield AuditRecord(position, writer, seq, *entry, previous)


def vouching(heads: Iterable[Head], *, final: bool) -> str:
    """How a record holds the heads of other chains. `final`: they will never grow again."""
    told = {"final": final, "heads": [list(head[:3]) for head in heads]}
    return json.dumps(told, separators=(",", ":"))


class Vouched(NamedTuple):
    """That a chain had this record. `final`: as its last one. `by` says who says so."""

    writer: str
    seq: int
    hash: str
    final: bool
    by: str


def vouched_by(one: AuditRecord) -> list[Vouched]:
    """What a record holds of other chains; nothing when it does not read as one that does."""
    try:
        told = json.loads(one.heads or "{}")
        by = f"record {one.seq} of {one.writer}"
        return [
            Vouched(str(writer), int(seq), str(held), bool(told["final"]), by)
            for writer, seq, held in told.get("heads", ())
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def open_ends(heads: Iterable[Head], vouched: Iterable[Vouched]) -> Ends:
    """Of all chains' heads, those that are not vouched for."""
    known = {(one.writer, one.seq) for one in vouched}
    all_heads = list(heads)
    unvouched = tuple(head for head in all_heads if head[:2] not in known)
    return Ends(unvouched, sum(head.seq for head in all_heads))


# -- checkpoints ------------------------------------------------------------------------------


@record
class Checkpoint:
    """What was known of the chains at a time. `closed`: the server stopped then, in order."""

    at: str
    heads: tuple[Head, ...]
    records: int
    closed: bool = False


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """A checkpoint as a JSON document."""
    heads = [{"writer": h.writer, "seq": h.seq, "hash": h.hash} for h in checkpoint.heads]
    told = {
        "opscoreAudit": 1,
        "at": checkpoint.at,
        "records": checkpoint.records,
        "closed": checkpoint.closed,
        "heads": heads,
    }
    return json.dumps(told, indent=2) + "\n"


def read_checkpoint(text: str | bytes) -> Checkpoint:
    """The reverse. Raises ValueError for what is no checkpoint."""
    try:
        told: dict[str, Any] = json.loads(text)
        if told["opscoreAudit"] != 1:
            raise ValueError("it was written by a newer Ops-Core")
        heads = tuple(Head(str(h["writer"]), int(h["seq"]), str(h["hash"])) for h in told["heads"])
        return Checkpoint(str(told["at"]), heads, int(told["records"]), bool(told["closed"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no checkpoint of an audit") from error


# -- verifying --------------------------------------------------------------------------------

Kind = Literal["changed", "missing", "inserted", "unreadable"]


@record
class Finding:
    """What is wrong with the records, and where: at `seq` of the chain of `writer`."""

    kind: Kind
    writer: str
    seq: int
    message: str


@record
class Verdict:
    """What a verification found."""

    records: int
    chains: int
    findings: tuple[Finding, ...]


class _Chain:
    """One chain, walked from its first record to its last."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.seq = 0
        self._hash = GENESIS
        self._position = 0
        self._vouched: dict[int, list[Vouched]] = {}
        self._last: int | None = None

    def vouch(self, said: Vouched) -> None:
        """Somebody holds that the chain has this record."""
        self._vouched.setdefault(said.seq, []).append(said)
        if said.final:
            self._last = said.seq

    def step(self, one: AuditRecord) -> Iterator[Finding]:
        """Look at the next record that is there."""
        if one.seq != self.seq + 1:
            yield self._gap(one.seq)
        elif not _follows(self._hash, one):
            yield self._found("changed", one.seq, "is not the one that was written there")
        elif one.position <= self._position:
            yield self._found("changed", one.seq, "stands elsewhere than it was written")
        for said in self._vouched.pop(one.seq, ()):
            if said.hash != _hex(one.hash):
                yield self._found("changed", one.seq, f"is not the one that {said.by} vouches for")
        self.seq, self._position = one.seq, one.position
        self._hash = one.hash

    def _gap(self, seq: int) -> Finding:
        first, last = self.seq + 1, seq - 1
        if last < first:
            return self._found("changed", seq, "has a number that cannot be")
        which = "is" if first == last else f"to {last} are"
        return self._found("missing", first, f"{which} missing")

    def end(self) -> Iterator[Finding]:
        """What should have followed the last record that is there, or should not have."""
        for seq in sorted(self._vouched):
            if seq > self.seq:
                by = self._vouched[seq][0].by
                text = f"and all that follow are missing: {by} vouches for {seq}"
                yield self._found("missing", self.seq + 1, text)
                return
        if self._last is not None and self.seq > self._last:
            text = f"was added: the chain ended with record {self._last}"
            yield self._found("inserted", self._last + 1, text)

    def _found(self, kind: Kind, seq: int, text: str) -> Finding:
        return Finding(kind, self.writer, seq, f"record {seq} of {self.writer} {text}")


def _follows(previous: bytes, one: AuditRecord) -> bool:
    return digest(previous, one.writer, one.seq, one[3:11]) == one.hash


def _hex(held: object) -> str:
    return held.hex() if isinstance(held, bytes) else ""


def verify(
    records: Iterable[AuditRecord],
    vouched: Iterable[Vouched],
    checkpoint: Checkpoint | None = None,
) -> Verdict:
    """Walk through all records, ordered by writer and number.

    `vouched`: what all of them hold of other chains (`vouched_by`), so that one walk is enough.
    """
    said = list(vouched)
    outside = list(_of_checkpoint(checkpoint))
    chains = {one.writer: _Chain(one.writer) for one in (*said, *outside)}
    for one in (*said, *outside):
        chains[one.writer].vouch(one)
    findings: list[Finding] = []
    count = 0
    for one in records:
        chain = chains.setdefault(one.writer, _Chain(one.writer))
        findings += chain.step(one)
        count += 1
    for chain in chains.values():
        findings += chain.end()
    if not findings:
        findings += _strangers(chains, said, outside)
    if not findings and checkpoint is not None and count < checkpoint.records:
        text = f"there are {count} records; {outside[0].by} counts {checkpoint.records}"
        findings.append(Finding("missing", outside[0].writer, 1, text))
    return Verdict(count, sum(1 for chain in chains.values() if chain.seq), tuple(findings))


def _of_checkpoint(checkpoint: Checkpoint | None) -> Iterator[Vouched]:
    if checkpoint is not None:
        by = f"the checkpoint of {checkpoint.at}"
        for head in checkpoint.heads:
            yield Vouched(head.writer, head.seq, head.hash, checkpoint.closed, by)


def _strangers(
    chains: Iterable[str], said: Sequence[Vouched], outside: Sequence[Vouched]
) -> Iterator[Finding]:
    """Chains too many: where each began when those before had ended, all but the last are vouched for."""
    if not all(one.final for one in said):
        return
    ends = set(chains) - {one.writer for one in said}
    if len(ends) > 1:
        for writer in sorted(ends - {one.writer for one in outside}):
            text = f"the chain {writer} was added: no other vouches for it"
            yield Finding("inserted", writer, 1, text)


def as_heads(rows: Iterable[Sequence[object]]) -> list[Head]:
    """Heads from rows of writer, number, hash and action."""
    return [Head(str(w), cast("int", s), _hex(h), str(a)) for w, s, h, a in rows]
