"""What is known of values before anything runs: kinds of JSON, and the fields that they have.

A `Known` is a JSON Schema boiled down to what an expression can get wrong. Whatever cannot be told
for certain is unknown, and an unknown value is never a mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from opscore.core.trees import is_list, is_map

KIND_WORDS: Mapping[str, str] = {
    "array": "a list",
    "object": "a mapping",
    "string": "text",
    "number": "a number",
    "integer": "a number",
    "boolean": "true or false",
    "null": "null",
}
_UNCLEAR = ("$ref", "anyOf", "oneOf", "allOf", "if", "not", "$dynamicRef", "patternProperties")


@dataclass(frozen=True, slots=True)
class Known:
    """A value of which something is known.

    `kind` is JSON Schema's word for its type. `fields` are those it is known to have; with `closed`
    it has no others.
    """

    kind: str | None = None
    fields: Mapping[str, Known] = field(default_factory=dict[str, "Known"])
    closed: bool = False


UNKNOWN = Known()


def of_schema(schema: object, depth: int = 0) -> Known:
    """What a JSON Schema tells of the values that fit it."""
    if not is_map(schema) or depth > 16 or any(word in schema for word in _UNCLEAR):
        return UNKNOWN
    kind = schema.get("type")
    properties = schema.get("properties")
    fields = (
        {name: of_schema(each, depth + 1) for name, each in properties.items()}
        if is_map(properties)
        else {}
    )
    required = schema.get("required")
    if fields and is_list(required):
        fields = {**{each: UNKNOWN for each in required if isinstance(each, str)}, **fields}
    closed = schema.get("additionalProperties") is False
    return Known(kind if isinstance(kind, str) and kind in KIND_WORDS else None, fields, closed)


def of_scalar_or_list(value: object) -> Known:
    """What is known of a written value that is no mapping."""
    match value:
        case None:
            return Known("null")
        case bool():
            return Known("boolean")
        case int() | float():
            return Known("number")
        case str():
            return Known("string")
        case list():
            return Known("array")
        case _:
            return UNKNOWN


@dataclass(frozen=True, slots=True)
class Missing:
    """A path leads to nothing: `at` of its parts are there. `certain`: it can never be there."""

    at: int
    known: Known
    certain: bool


def walk(known: Known, path: tuple[str, ...]) -> Known | Missing:
    """What is known of the value at a path of field names below a value."""
    for at, name in enumerate(path):
        if known.kind not in (None, "object"):
            return Missing(at, known, certain=True)
        if name not in known.fields:
            if known.fields or known.closed:
                return Missing(at, known, certain=known.closed)
            return UNKNOWN
        known = known.fields[name]
    return known
