"""OpenAPI 3.1 from the declared routes; the schemas are generated from the wire structs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import msgspec

from opscore import __version__
from opscore.api import openapi_shared as shared
from opscore.api.examples import TEMPLATE, example_of
from opscore.api.route import Operation
from opscore.telemetry.otlp.encoding import PROTOBUF
from opscore.wire.base import Problem

PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"


class _Document:
    """What all operations are described with."""

    def __init__(self, pairs: Sequence[tuple[str, Operation]]) -> None:
        self.pairs = pairs
        types = list(dict.fromkeys([Problem, *(t for _, op in pairs for t in _types(op))]))
        schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
        self.components: dict[str, Any] = proper(components)
        self.schemas: dict[type, Any] = dict(zip(types, proper(list(schemas)), strict=True))

    def schema(self, kind: type) -> Any:
        """The schema of a body or an answer; a template is any object until it is read."""
        return self.schemas.get(kind, {"type": "object"})


def document(operations: Iterable[tuple[str, Operation]]) -> dict[str, Any]:
    """The whole document. Takes pairs of (noun, operation)."""
    made = _Document(list(operations))
    paths: dict[str, dict[str, Any]] = {}
    for noun, operation in made.pairs:
        described = _operation(noun, operation, made)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ops-Core", "version": __version__, "description": shared.ABOUT},
        "paths": paths,
        "components": {
            "schemas": made.components,
            "responses": shared.refusals(),
            "parameters": shared.PARAMETERS,
            "headers": shared.HEADERS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def proper(schema: Any) -> Any:
    """The schema as JSON Schema 2020-12 has it: a tuple's items are `prefixItems`."""
    if isinstance(schema, list | tuple):
        return [proper(one) for one in schema]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(schema, Mapping):
        return schema
    mapping = cast("Mapping[str, Any]", schema)
    found = {name: proper(one) for name, one in mapping.items()}
    if isinstance(found.get("items"), list):
        found["prefixItems"] = found.pop("items")  # their number is bounded by `maxItems`
    return found


def _types(operation: Operation) -> list[type]:
    named = [operation.body, operation.query, *operation.answers.values()]
    return [one for one in named if one is not None and issubclass(one, msgspec.Struct)]


def name_of(operation: Operation) -> str:
    """The operation's id: its function's name; those made in a loop go by their path."""
    name = operation.endpoint.__name__
    if name != "control":
        return name
    return operation.path.rsplit("/", 1)[-1] + "_session"


def _operation(noun: str, operation: Operation, made: _Document) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": name_of(operation),
        "summary": operation.summary,
        "tags": [noun],
        "security": [] if operation.permission == "public" else [{"key": []}],
        "x-permission": operation.permission,
        "parameters": _parameters(operation, made),
        "responses": _responses(noun, operation, made),
    }
    if operation.body is not None:
        described["requestBody"] = _request_body(operation, operation.body, made)
    return described


def _parameters(operation: Operation, made: _Document) -> list[dict[str, Any]]:
    found = [shared.path_parameter(name) for name in PARAMETER.findall(operation.path)]
    if operation.query is not None:
        properties = made.components[operation.query.__name__]["properties"]
        found += [
            {"name": name, "in": "query", "schema": one}
            for name, one in properties.items()
            if one.get("type") != "object"  # its entries have names of their own: `ctx.file`
        ]
    return found + [{"$ref": f"#/components/parameters/{name}"} for name in _headers(operation)]


def _headers(operation: Operation) -> Iterable[str]:
    """The names, among the shared parameters, of the headers that an operation takes."""
    if operation.permission != "public":
        yield "Namespace"
    if operation.method != "GET" and operation.changes:
        yield "IdempotencyKey"
    if operation.if_match:
        yield "IfMatch"
    if operation.prefers_wait:
        yield "Prefer"
    if str in operation.answers.values():
        yield "LastEventId"


_FIGURES = ("text/plain", "application/openmetrics-text")
"""The two forms of `/metrics`; whoever asks for none gets the first."""


def _request_body(operation: Operation, body: type, made: _Document) -> dict[str, Any]:
    if PROTOBUF in operation.media_types:
        return {"required": True, "content": shared.OTLP}
    example = TEMPLATE if body is bytes else example_of(body)
    # What is only examined may be anything: the answer says what is wrong with it.
    schema: dict[str, Any] = made.schema(body) if operation.changes or body is not bytes else {}
    content = {
        media_type: {"schema": schema, "example": example} for media_type in operation.media_types
    }
    return {"required": not operation.optional, "content": content}


def _responses(noun: str, operation: Operation, made: _Document) -> dict[str, Any]:
    found = {
        str(status): _response(noun, operation, status, answer, made)
        for status, answer in operation.answers.items()
    }
    for status in shared.refused_with(operation):
        if operation.refuse is not None:
            found[str(status)] = shared.OTLP_REFUSED
            continue
        found.setdefault(str(status), {"$ref": f"#/components/responses/Refused{status}"})
    return dict(sorted(found.items()))


def _response(
    noun: str, operation: Operation, status: int, answer: type | None, made: _Document
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "headers": shared.headers_of(operation, answer),
    }
    if answer is str:
        described["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif answer is bytes:
        described["content"] = {one: {"schema": {"type": "string"}} for one in _FIGURES}
    elif answer is not None:
        content = {"schema": made.schema(answer)}
        if issubclass(answer, msgspec.Struct):
            content["example"] = example_of(answer)
        media_type = (
            "application/schema+json" if "/schema/" in operation.path else "application/json"
        )
        described["content"] = {media_type: content}
    elif status == 200:
        described["content"] = {"text/html": {"schema": {"type": "string"}}}
    links = dict(_links(noun, operation, answer, made))
    return described | ({"links": links} if links else {})


def _links(
    noun: str, operation: Operation, answer: Any, made: _Document
) -> Iterable[tuple[str, dict[str, Any]]]:
    """From what an answer names to the operations that take it."""
    if operation.method == "GET" or answer is None or not issubclass(answer, msgspec.Struct):
        return
    fields = {field.encode_name for field in msgspec.structs.fields(answer)}
    for other_noun, other in made.pairs:
        wanted = PARAMETER.findall(other.path)
        named = [
            one for one in wanted if one in fields and (one[-2:] == "Id" or other_noun == noun)
        ]
        if wanted and named == wanted:
            parameters = {f"path.{one}": f"$response.body#/{one}" for one in wanted}
            yield name_of(other), {"operationId": name_of(other), "parameters": parameters}
