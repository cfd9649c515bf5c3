"""JSON Schema (2020-12): checks of schemas and of instances. Nothing is ever fetched."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import islice
from typing import TypeAlias

import jsonschema_rs
import msgspec

from opscore.core.errors import Fault
from opscore.core.reading import suggest
from opscore.core.trees import under
from opscore.core.types import Json

MAX_FAULTS = 20
"""Faults told of one instance."""

MAX_BACKTRACKS = 100_000
"""Steps of one regular expression: a pattern that explodes is a fault, not a hang."""

Schema: TypeAlias = Mapping[str, object]
_HINT = "patterns must be regular expressions; '$ref' may only point into this schema"
_META = "https://json-schema.org/draft/2020-12/schema"


def check_schema(schema: Schema) -> list[Fault]:
    """What is wrong with a schema itself, pointers into the schema."""
    document = dict(schema)
    if document.get("$schema", _META) not in (_META, _META + "#"):
        message = f"'{document['$schema']}' is not supported"
        return [Fault("/$schema", message, f"leave it out, or write '{_META}'")]
    faults = [_of_the_type(each) for each in _faults(_meta(), document)]
    if faults:
        return faults
    try:
        _compile(document)
    except jsonschema_rs.ValidationError as error:
        where = under("", error.instance_path)
        return [Fault(where, f"not a usable schema: {error.message[:300]}", _HINT)]
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return [Fault("", f"not a usable schema: {_first_line(error)}", _HINT)]
    return []


_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def _of_the_type(fault: Fault) -> Fault:
    """The commonest slip of all, in words that help."""
    if not fault.pointer.endswith("/type") or "anyOf" not in fault.message:
        return fault
    word = fault.message.partition(" is not valid")[0]
    hint = suggest(word.strip('"'), _TYPES) or f"types are: {', '.join(_TYPES)}"
    return Fault(fault.pointer, f"{word} is no type of JSON Schema", hint)


def validate(schema: Json, instance: Json) -> list[Fault]:
    """What is wrong with an instance, pointers into the instance. Both are encoded JSON.

    The schema must have passed `check_schema`; its compiled form is kept.
    """
    validator = _validator(bytes(schema))
    decoded = msgspec.json.decode(instance)
    return [] if validator.is_valid(decoded) else _faults(validator, decoded)


def validate_partly(
    schema: Json, instance: Json, open_paths: Mapping[tuple[str | int, ...], bool]
) -> list[Fault]:
    """What is wrong with an instance of which some values are not known yet.

    At `open_paths` stand stand-ins; True says that the true value is text as well. Only what holds
    whatever the true values are is told.
    """
    validator = _validator(bytes(schema))
    decoded = msgspec.json.decode(instance)
    certain = (
        error
        for error in islice(validator.iter_errors(decoded), MAX_FAULTS)
        if _is_certain(error, open_paths)
    )
    return [_partly_fault(error, open_paths) for error in certain]


def _partly_fault(
    error: jsonschema_rs.ValidationError, open_paths: Mapping[tuple[str | int, ...], bool]
) -> Fault:
    fault = _fault(error)
    if tuple(error.instance_path) not in open_paths:
        return fault
    told = fault.message.removeprefix('""')
    return Fault(fault.pointer, f"text with expressions inside{told}")


_OF_THE_KEYS = frozenset({"required", "additionalProperties", "type", "dependentRequired"})
"""What these say of a value does not depend on what stands below it."""


def _is_certain(
    error: jsonschema_rs.ValidationError, open_paths: Mapping[tuple[str | int, ...], bool]
) -> bool:
    at = tuple(error.instance_path)
    keyword = str(error.schema_path[-1])
    if at in open_paths:
        return open_paths[at] and keyword == "type"
    above_open = any(path[: len(at)] == at for path in open_paths)
    return not above_open or keyword in _OF_THE_KEYS


@lru_cache(maxsize=512)
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    return _compile(msgspec.json.decode(schema))


def _compile(schema: dict[str, object]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        schema,
        offline=True,
        pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=MAX_BACKTRACKS),
    )


@cache
def _meta() -> jsonschema_rs.Draft202012Validator:
    return _compile({"$ref": _META})


def _faults(validator: jsonschema_rs.Draft202012Validator, instance: object) -> list[Fault]:
    return [_fault(error) for error in islice(validator.iter_errors(instance), MAX_FAULTS)]


def _fault(error: jsonschema_rs.ValidationError) -> Fault:
    return Fault(under("", error.instance_path), error.message[:500])


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
