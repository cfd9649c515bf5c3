"""Messages on the wire: protobuf or JSON, plain or gzipped, bounded before they are read."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from opscore.core.errors import Invalid, TooLarge

M = TypeVar("M", bound=Message)
PROTOBUF, JSON = "application/x-protobuf", "application/json"
MEDIA_TYPES = (PROTOBUF, JSON)
UNPACKED_LIMIT = 8 * 1024 * 1024
"""Bytes of a gzipped body once it is unpacked."""
_GZIP = 16 + zlib.MAX_WBITS
_IDS = ("traceId", "spanId", "parentSpanId")


def unpacked(body: bytes, limit: int = UNPACKED_LIMIT) -> bytes:
    """A gzipped body. Raises Invalid, and TooLarge before more than `limit` bytes are made."""
    unpacking = zlib.decompressobj(_GZIP)
    try:
        found = unpacking.decompress(body, limit + 1)
    except zlib.error as error:
        raise Invalid(f"the body is not gzip: {error}") from error
    if len(found) > limit:
        raise TooLarge(f"The body is larger than {limit} bytes unpacked.", code="body_too_large")
    if not unpacking.eof:
        raise Invalid("the gzipped body is not complete")
    return found


def parsed(body: bytes, kind: type[M], media_type: str) -> M:
    """A message of this kind. Raises Invalid."""
    try:
        if media_type == JSON:
            return json_format.ParseDict(_document(body), kind(), ignore_unknown_fields=True)
        return kind.FromString(body)
    except (DecodeError, json_format.ParseError, RecursionError) as error:
        raise Invalid(f"the body is not an {kind.DESCRIPTOR.name}: {error}") from error


def written(message: Message, media_type: str) -> bytes:
    """A message as bytes."""
    if media_type == JSON:
        return msgspec.json.encode(json_format.MessageToDict(message))
    return message.SerializeToString()


def _document(body: bytes) -> dict[str, Any]:
    """The JSON of a request. Ids are hex there, where protobuf's own JSON has base64."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Invalid("the body is not a JSON object")
    for one in _with_ids(cast("dict[str, Any]", document)):
        for name in _IDS:
            if name in one:
                one[name] = _base64(one[name], name)
    return cast("dict[str, Any]", document)


def _with_ids(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in (*_in(document, "resourceSpans"), *_in(document, "resourceLogs")):
        for scope in (*_in(resource, "scopeSpans"), *_in(resource, "scopeLogs")):
            for one in (*_in(scope, "spans"), *_in(scope, "logRecords")):
                yield one
                yield from _in(one, "links")


def _in(document: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The objects of a list; what is of another form is complained of when it is parsed."""
    found = document.get(name)
    for one in cast("list[Any]", found) if isinstance(found, list) else ():
        if isinstance(one, dict):
            yield cast("dict[str, Any]", one)


def _base64(value: object, name: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(str(value))).decode()
    except (ValueError, binascii.Error) as error:
        raise Invalid(f"{name} is not hexadecimal: {str(value)[:64]!r}") from error
