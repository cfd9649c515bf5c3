"""Attributes of OTLP as plain values: bounded, without secrets."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from typing import Any

import msgspec
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from opscore.core.received import Value
from opscore.telemetry.logs import SECRET_NAMES, struck

KEYS = 64
"""Attributes of one thing."""
KEY_LENGTH = 128
TEXT = 4_096
"""Characters of one value."""
ALL_TEXT = 16_384
"""Characters of all values of one thing."""
DEPTH = 8
DROPPED = "opscore.attributes.dropped"


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    """Attributes by name; how many found no room is one more."""
    found: dict[str, Value] = {}
    room, dropped = ALL_TEXT, 0
    for pair in pairs:
        value = value_of(pair.value)
        size = len(value) if isinstance(value, str) else 8
        if len(found) >= KEYS or size > room:
            dropped += 1
            continue
        key = pair.key[:KEY_LENGTH]
        found[key] = "***" if _is_secret(key) else value
        room -= size
    if dropped:
        found[DROPPED] = dropped
    return found


def _is_secret(key: str) -> bool:
    """Also `http.request.header.authorization`."""
    return key.rpartition(".")[2].lower().replace("-", "_") in SECRET_NAMES


def value_of(value: AnyValue) -> Value:
    """One value; lists and maps as JSON."""
    match value.WhichOneof("value"):
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value" if math.isfinite(value.double_value):
            return value.double_value
        case _:
            return text_of(value)


def text_of(value: AnyValue) -> str:
    """A value as text, cut to what is useful."""
    found = _plain(value, DEPTH)
    text = found if isinstance(found, str) else msgspec.json.encode(struck(found)).decode()
    return text if len(text) <= TEXT else text[:TEXT] + "…"


def _plain(value: AnyValue, depth: int) -> Any:
    kind = value.WhichOneof("value")
    match kind:
        case "array_value" | "kvlist_value" if depth == 0:
            return "…"
        case "array_value":
            return [_plain(one, depth - 1) for one in value.array_value.values]
        case "kvlist_value":
            return {one.key: _plain(one.value, depth - 1) for one in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "double_value" if not math.isfinite(value.double_value):
            return str(value.double_value)
        case None:
            return ""
        case _:
            return getattr(value, kind)
