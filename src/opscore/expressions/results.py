"""What an expression gave, as JSON."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import msgspec

from opscore.core.expressions import ExpressionFailed
from opscore.core.trees import is_list, is_map
from opscore.core.types import Json

Raw = msgspec.Raw
NULL = Raw(b"null")
_encode = msgspec.json.encode
_AS_IT_IS = frozenset({str, int, bool, type(None)})


def encode(value: object) -> bytes:
    """Encode a plain CEL value.

    Times are RFC 3339 UTC, durations `1.5s`, bytes base64; keys become text. Raises
    `ExpressionFailed` for what JSON cannot say (NaN, infinity, a type).
    """
    return _encode(value if type(value) in _AS_IT_IS else _plain(value))


def text_of(value: Json) -> str:
    """A JSON value inside an interpolated string: text as it is, all else in JSON form."""
    encoded = bytes(value)
    return msgspec.json.decode(encoded, type=str) if encoded[:1] == b'"' else encoded.decode()


def _plain(value: object) -> Any:
    if type(value) in _AS_IT_IS:
        return value
    if is_list(value):
        return [_plain(each) for each in value]
    if is_map(value):
        return {_key(key): _plain(each) for key, each in value.items()}
    match value:
        case float() if math.isfinite(value):
            return value
        case bytes() | bytearray() | datetime():
            return value
        case timedelta():
            return _duration(value)
        case float():
            raise ExpressionFailed(f"the result holds {value}, which JSON cannot say")
        case _:
            raise ExpressionFailed(f"the result holds {value!s:.40}, which JSON cannot say")


def _key(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _duration(value: timedelta) -> str:
    micros = value // timedelta(microseconds=1)
    sign, (seconds, rest) = "-" if micros < 0 else "", divmod(abs(micros), 1_000_000)
    fraction = f".{rest:06}".rstrip("0") if rest else ""
    return f"{sign}{seconds}{fraction}s"
