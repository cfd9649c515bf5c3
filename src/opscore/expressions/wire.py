"""Just enough of protobuf's wire format to read and change a checked expression.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

Fields: TypeAlias = Mapping[int, list[int | bytes]]
"""The fields of one message by number: varints as they are, everything else as bytes."""


def message(fields: Fields, tag: int) -> bytes:
    """The bytes of a field, empty when it is absent."""
    return as_bytes(fields[tag][-1]) if tag in fields else b""


def text(fields: Fields, tag: int) -> str:
    """A text field."""
    return message(fields, tag).decode()


def integer(fields: Fields, tag: int) -> int:
    """A number field, 0 when it is absent."""
    value = fields[tag][-1] if tag in fields else 0
    assert isinstance(value, int), "a number field of CheckedExpr holds a number"
    return value


def as_bytes(value: int | bytes) -> bytes:
    """The value of a field that is not a number."""
    assert isinstance(value, bytes), "a message field of CheckedExpr holds bytes"
    return value


def fields_of(data: bytes) -> Fields:
    """The fields of one protobuf message by number."""
    found: dict[int, list[int | bytes]] = {}
    for tag, value in _wire(data):
        found.setdefault(tag, []).append(value)
    return found


def _wire(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        head, at = _varint(data, at)
        kind = head & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield head >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        else:
            size = 8 if kind == 1 else 4
        yield head >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def encoded(fields: Fields) -> bytes:
    """The message of these fields. Only for messages without fixed-width fields."""
    return b"".join(
        _entry(tag, value) for tag, values in sorted(fields.items()) for value in values
    )


def _entry(tag: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _as_varint(tag << 3) + _as_varint(value)
    return _as_varint(tag << 3 | 2) + _as_varint(len(value)) + value


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
