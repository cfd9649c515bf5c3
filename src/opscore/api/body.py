"""Reads request bodies: bounded in size, time and nesting, strict in type."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect as shapes

from opscore.api.answer import Direct, Receive
from opscore.api.problems import TooSlow, UnsupportedMedia
from opscore.api.settings import ServerSettings
from opscore.channels.documents import check_depth, malformed, refused_value
from opscore.core.errors import Invalid, OpsCoreError, TooLarge
from opscore.wire.base import Input

T = TypeVar("T")

JSON_TYPES = ("application/json",)
TEMPLATE_TYPES = (
    "application/json",
    "application/yaml",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
)

# So much of a body that is too large is still read and dropped, so that the client, which is busy
# sending, gets to see the refusal instead of a broken connection.
DISCARD_LIMIT = 8 * 1024 * 1024


class ClientGone(OpsCoreError):
    """The client closed the connection before its request was complete: nobody to answer."""


class BodyReader(Generic[T]):
    """Decodes one body type. `optional`: an empty body is an empty object."""

    def __init__(self, body_type: type[T], *, optional: bool = False) -> None:
        self._decoder = msgspec.json.Decoder(body_type)
        self._optional = optional

    def decode(self, body: bytes, depth_limit: int) -> T:
        """The value of a body. Raises `Invalid` with pointers."""
        if not body and self._optional:
            body = b"{}"
        check_depth(body, depth_limit)
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise refused_value(error) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise malformed(error, body) from error


async def read_body(
    direct: Direct | None,
    receive: Receive,
    headers: Mapping[bytes, bytes],
    settings: ServerSettings,
    media_types: Sequence[str] = JSON_TYPES,
) -> bytes:
    """The whole body. Raises `TooLarge`, `TooSlow`, `UnsupportedMedia`, `ClientGone`."""
    body = None if direct is None else direct.body()
    if body is None or len(body) > settings.body_limit:
        length = headers.get(b"content-length", b"")
        announced = int(length[:20]) if length.isdigit() else 0
        body = await _receive_body(receive, settings, max(announced, len(body or b"")))
    if body:
        _check_media(headers.get(b"content-type", b"").decode("latin-1"), media_types)
    return body


async def _receive_body(receive: Receive, settings: ServerSettings, announced: int) -> bytes:
    try:
        async with asyncio.timeout(settings.body_seconds):
            return await _collect(receive, settings.body_limit, announced)
    except TimeoutError:
        limit = settings.body_seconds
        raise TooSlow(f"The body was not complete after {limit:g} seconds.") from None


async def _collect(receive: Receive, limit: int, announced: int) -> bytes:
    if announced > limit:
        await _refuse_size(receive, limit, announced)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message["body"]
        if len(body) > limit:
            await _refuse_size(receive, limit, 0)
        return body
    chunks = bytearray()
    while True:
        if message["type"] != "http.request":
            raise ClientGone
        chunks += message["body"]
        if len(chunks) > limit:
            more = DISCARD_LIMIT if message.get("more_body", False) else 0
            await _refuse_size(receive, limit, more)
        if not message.get("more_body", False):
            return bytes(chunks)
        message = await receive()


async def _refuse_size(receive: Receive, limit: int, expected: int) -> None:
    if 0 < expected <= DISCARD_LIMIT:
        dropped, more = 0, True
        while more and dropped <= DISCARD_LIMIT:
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            dropped += len(message.get("body", b""))
    raise TooLarge(f"The body is larger than {limit} bytes.", code="body_too_large")


def _check_media(media_type: str, accepted: Sequence[str]) -> None:
    if media_type in accepted:
        return
    essence, _, parameters = media_type.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if essence.strip().lower() not in accepted or charset not in {"", "utf-8"}:
        raise UnsupportedMedia(f"Content-Type must be {' or '.join(accepted)} (UTF-8).")


class NoQuery(Input):
    """The query of a route that takes none."""


def query_of(query_string: bytes, query_type: type[T]) -> T:
    """The typed query string. Unknown or repeated parameters are refused."""
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=50,
            errors="strict",
        )
    except ValueError as error:
        raise Invalid(f"The query string cannot be read: {error}.") from error
    values: dict[str, Any] = dict(pairs)
    if len(values) != len(pairs):
        raise Invalid("A query parameter is given twice.")
    return convert_query(_gathered(values, query_type), query_type)


def _gathered(values: dict[str, Any], query_type: type) -> dict[str, Any]:
    """`ctx.file=main.py` becomes an entry of the field `ctx`, where that is a mapping."""
    for field in _mappings(query_type):
        start = f"{field}."
        entries = {name: text for name, text in values.items() if name.startswith(start)}
        for name in entries:
            del values[name]
        if entries:
            values[field] = {name.removeprefix(start): text for name, text in entries.items()}
    return values


@cache
def _mappings(query_type: type) -> list[str]:
    fields = cast("shapes.StructType", shapes.type_info(query_type)).fields
    return [one.encode_name for one in fields if isinstance(one.type, shapes.DictType)]


def convert_query(values: Mapping[str, Any], query_type: type[T]) -> T:
    """Check decoded query parameters against their type."""
    try:
        return msgspec.convert(values, query_type, strict=False)
    except msgspec.ValidationError as error:
        raise refused_value(error) from error
