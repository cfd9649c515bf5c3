"""The modifiers that govern how work flows: `concurrency`, `rate`, `match`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from opscore.core.expressions import ExpressionFailed, Expressions, ExpressionScope, Scope
from opscore.core.limits import LONGEST_KEY, ON_FULL, QUEUE, Terms
from opscore.core.reading import Reader
from opscore.core.template import Concurrency, Rate, Value
from opscore.core.trees import kind_of

MOST = 1_000_000


def read_concurrency(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Concurrency | None:
    """`concurrency: {key, limit, onFull}`."""
    if "concurrency" not in node:
        return None
    where = f"{where}/concurrency"
    found = reader.mapping(node["concurrency"], where, "concurrency")
    if found is None:
        return None
    reader.known_keys(found, where, ("key", "limit", "onFull"))
    key, limit = _read_key_and_limit(reader, found, where, scope)
    on_full = found.get("onFull", QUEUE)
    if on_full not in ON_FULL:
        reader.fault(f"{where}/onFull", f"onFull is one of: {', '.join(ON_FULL)}")
    return None if key is None or limit is None else Concurrency(key, limit, str(on_full))


def read_rate(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Rate | None:
    """`rate: {key, limit, per}`."""
    if "rate" not in node:
        return None
    where = f"{where}/rate"
    found = reader.mapping(node["rate"], where, "rate")
    if found is None:
        return None
    reader.known_keys(found, where, ("key", "limit", "per"))
    key, limit = _read_key_and_limit(reader, found, where, scope)
    per = None
    if "per" in found:
        per = reader.duration(found["per"], f"{where}/per", "per")
    else:
        reader.fault(where, "the rate does not say in which time", "add 'per: 1m'")
    return None if key is None or limit is None or per is None else Rate(key, limit, per)


def _read_key_and_limit(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> tuple[Value | None, int | None]:
    key = limit = None
    if "key" in node:
        key = _read_key(reader, node["key"], f"{where}/key", scope)
    else:
        reader.fault(
            where, "the limit has no key", "add 'key: NAME'; what has one key shares one limit"
        )
    if "limit" in node:
        limit = reader.integer(node["limit"], f"{where}/limit", "limit", 1, MOST)
    else:
        reader.fault(where, "the limit does not say how many", "add 'limit: 5'")
    return key, limit


def _read_key(reader: Reader, node: object, where: str, scope: ExpressionScope) -> Value | None:
    if not isinstance(node, str):
        reader.fault(where, f"a key must be text or one expression, not {kind_of(node)}")
        return None
    value = reader.value(node, where, scope)
    if not value.dynamic and not 0 < len(node) <= LONGEST_KEY:
        reader.fault(where, f"a key has 1 to {LONGEST_KEY} characters")
    return value


def terms_of(
    concurrency: Concurrency | None, rate: Rate | None, expressions: Expressions, scope: Scope
) -> Terms | None:
    """The limits of a task, or of a session. Raises ExpressionFailed for a key that is no text."""
    if concurrency is None and rate is None:
        return None
    return Terms(
        None if concurrency is None else _key(concurrency.key, expressions, scope),
        0 if concurrency is None else concurrency.limit,
        QUEUE if concurrency is None else concurrency.on_full,
        None if rate is None else _key(rate.key, expressions, scope),
        0 if rate is None else rate.limit,
        0 if rate is None else rate.per,
    )


def _key(value: Value, expressions: Expressions, scope: Scope) -> str:
    key = json.loads(bytes(expressions.render(value, scope)))
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or "\0" in key:
        raise ExpressionFailed(
            f"the key of a limit is text of 1 to {LONGEST_KEY} characters without NUL, "
            f"not {key!r:.80}"
        )
    return key
