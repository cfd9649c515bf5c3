"""The forms shared by every message: camelCase names, strict input, RFC 9457 problems."""

from __future__ import annotations

from typing import Annotated

import msgspec

NO_NUL = r"^[^\u0000]*$"
"""PostgreSQL's text holds every character but that one."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=NO_NUL)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=NO_NUL)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Priority = Annotated[int, msgspec.Meta(ge=0, le=100)]
Labels = dict[str, str]

# An embedded document is `Raw`, never `Raw | None`: msgspec cannot decode into that union.
EMPTY_OBJECT = msgspec.Raw(b"{}")
NULL = msgspec.Raw(b"null")


def empty_object() -> msgspec.Raw:
    """The default of a field that holds an object; a function, so that schemas can be made."""
    return EMPTY_OBJECT


def null() -> msgspec.Raw:
    """The default of a field that holds any document."""
    return NULL


class Input(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """A body that we read: unknown fields are refused."""


class Output(msgspec.Struct, rename="camel", kw_only=True):
    """A body that we write: fields may be added, the existing ones stay."""


class PointedError(Output, omit_defaults=True):
    """One mistake in a request body, located by a JSON pointer (and line for templates)."""

    pointer: str
    message: str
    hint: str = ""
    line: int | None = None
    column: int | None = None


class Problem(Output, kw_only=True):
    """An error as RFC 9457 describes it; `code` is stable, `detail` is always a string."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[PointedError] = []
    trace_id: str | None = None


class Page(Output):
    """What every list adds to its items."""

    next_cursor: str | None = None
