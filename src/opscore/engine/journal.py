"""Events on disk: encoding, decoding, lifting old versions, folding a journal."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import Any, TypeVar

import msgspec

from opscore.core import agent_events as agent_ev
from opscore.core import events as ev
from opscore.core.errors import Corrupted
from opscore.core.evolve import evolve
from opscore.core.state import SessionState
from opscore.core.types import Json
from opscore.engine.records import EventRecord
from opscore.store.rows import StoredEvent

E = TypeVar("E")
K = TypeVar("K", bound=ev.SessionEvent | agent_ev.AgentEvent)
_encode = msgspec.json.Encoder().encode

EVENT_TYPES: dict[str, type[ev.SessionEvent]] = {
    t.TYPE: t for t in typing.get_args(ev.SessionEvent)
}

AGENT_EVENT_TYPES: dict[str, type[agent_ev.AgentEvent]] = {
    t.TYPE: t for t in typing.get_args(agent_ev.AgentEvent)
}

UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""(type, old version) → lifts the fields of that version by one. None was needed so far."""


def raw(document: Json) -> Json:
    """The form in which JSON documents must enter events: plain bytes would become base64."""
    return document if isinstance(document, msgspec.Raw) else msgspec.Raw(document)


def encode(event: ev.SessionEvent | agent_ev.AgentEvent) -> Json:
    """An event's fields as JSON. JSON fields must be `msgspec.Raw`; they are spliced in."""
    return _encode(event)


def decode(type_name: str, version: int, data: Json) -> ev.SessionEvent:
    """Read an event back. Raises Corrupted for a type or version that this program cannot know."""
    return _decode(EVENT_TYPES.get(type_name), type_name, version, data)


def decode_agent(type_name: str, version: int, data: Json) -> agent_ev.AgentEvent:
    """Read an agent's event back. Raises Corrupted as `decode` does."""
    return _decode(AGENT_EVENT_TYPES.get(type_name), type_name, version, data)


def _decode(kind: type[K] | None, type_name: str, version: int, data: Json) -> K:
    if kind is None or version > kind.VERSION:
        raise Corrupted(f"the journal has an event {type_name} v{version} unknown to this program")
    if version < kind.VERSION:
        data = _lift(type_name, version, kind.VERSION, data)
    return _reader(kind)(data)


def _lift(type_name: str, version: int, wanted: int, data: Json) -> Json:
    fields: dict[str, Any] = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    for old in range(version, wanted):
        fields = UPCASTERS[type_name, old](fields)
    return _encode(fields)


@cache
def _reader(kind: type[E]) -> Callable[[Json], E]:
    """A decoder for one event class: its JSON fields stay encoded."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(typing.cast(Any, kind))
    shape = msgspec.defstruct(
        kind.__name__,
        [
            (f.name, _raw(hints[f.name]))
            if f.default is dataclasses.MISSING
            else (f.name, _raw(hints[f.name]), f.default)
            for f in fields
        ],
    )
    decoder = msgspec.json.Decoder(shape)
    names = [f.name for f in fields]
    optional = [f.name for f in fields if hints[f.name] == _OPTIONAL]

    def read(data: Json) -> E:
        found = decoder.decode(data)
        event = kind(*[getattr(found, name) for name in names])
        for name in optional:
            # An absent document and JSON's null look alike on disk, and mean the same.
            if getattr(event, name) == _NULL:
                setattr(event, name, None)
        return event

    return read


_OPTIONAL = bytes | None
_NULL = msgspec.Raw(b"null")


def _raw(hint: Any) -> Any:
    """The type hint with every JSON document left encoded."""
    if hint is bytes or hint == _OPTIONAL:
        # Not `Raw | None`: msgspec takes that for null alone.
        return msgspec.Raw
    if hint == tuple[bytes, ...]:
        return tuple[msgspec.Raw, ...]
    return hint


def fold(state: SessionState, stored: Iterable[StoredEvent]) -> SessionState:
    """Fold stored events into `state`, which is returned. Raises Corrupted on a gap."""
    for row in stored:
        if row.seq != state.seq + 1:
            raise Corrupted(f"the journal of {row.owner} jumps from {state.seq} to {row.seq}")
        evolve(state, decode(row.type, row.version, row.data), row.at)
    return state


_WORD = re.compile(r"_([a-z])")


@lru_cache(maxsize=1024)
def _camel(name: str) -> str:
    return _WORD.sub(lambda m: m.group(1).upper(), name)


def public(row: StoredEvent, *, of_agent: bool = False) -> EventRecord:
    """An event as people read it: camelCase names."""
    fields = msgspec.json.decode(row.data, type=dict[str, msgspec.Raw])
    return EventRecord(
        position=row.position,
        session_id=None if of_agent else row.owner,
        agent_id=row.owner if of_agent else None,
        seq=row.seq,
        at=row.at,
        type=row.type,
        version=row.version,
        data=_encode({_camel(k): v for k, v in fields.items()}),
    )
