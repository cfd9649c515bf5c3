"""How log records are found: the index's terms for a record, and the expression for a search.

Everything that can be searched for is a term of one full-text index, so that any filters together
are one walk over their common postings, newest first, and nothing is sorted. A column of its own
holds the keys (namespace, agent, level, …) as hashes: no text that an agent sends can look like
one of them there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

import msgspec

from opscore.core.logs import LEVELS, LogRecord, LogSearch, context_values

_context = msgspec.json.Encoder(enc_hook=str).encode


@lru_cache(maxsize=65_536)
def term(kind: str, value: str) -> str:
    """The term for a value: 64 bits of its hash, behind a letter for its kind."""
    return kind + blake2b(value.encode(errors="replace"), digest_size=8).hexdigest()


def keys_of(record: LogRecord) -> str:
    """The terms under which a record is found, but for its words."""
    return " ".join(_keys(record))


def _keys(record: LogRecord) -> Iterator[str]:
    yield term("n", record.namespace)
    weight = LEVELS[record.level]
    yield from (f"l{each}" for each in LEVELS.values() if each <= weight)
    for kind, value in (
        ("a", record.agent_id),
        ("a", record.agent),
        ("s", record.session_id),
        ("t", record.task_id),
        ("r", record.trace_id),
        ("e", record.error_type),
    ):
        if value is not None:
            yield term(kind, value)
    for key, value in context_values(record.context):
        yield term("c", f"{key}={value}")


def text_of(record: LogRecord) -> str:
    """What is searched for words."""
    parts = [record.operation, record.message, record.error_type or "", record.error_code or ""]
    if record.context:
        parts.append(_context(record.context).decode())
    return " ".join(parts)


def expression(search: LogSearch) -> str:
    """A search in the index's language (https://sqlite.org/fts5.html, section 3).

    Terms of keys are letters and digits of our own; words are quoted, so none is an operator.
    """
    spaces = " OR ".join(term("n", each) for each in search.namespaces)
    parts = [f"keys : ({spaces})", *(f"keys : {each}" for each in _wanted(search))]
    for word in search.words:
        star = "*" if word.endswith("*") else ""
        parts.append(f'text : "{word.rstrip("*")}" {star}')
    return " AND ".join(parts)


def _wanted(search: LogSearch) -> Iterator[str]:
    if search.level is not None:
        yield f"l{LEVELS[search.level]}"
    for kind, value in (
        ("a", search.agent),
        ("s", search.session_id),
        ("t", search.task_id),
        ("r", search.trace_id),
        ("e", search.error_type),
    ):
        if value is not None:
            yield term(kind, value)
    for key, value in search.context:
        yield term("c", f"{key}={value}")
