"""OpenAPI 3.1 from the declared routes; the schemas are generated from the wire structs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from opscore import __version__
from opscore.api.route import Operation
from opscore.wire.base import Problem

_PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}}


def document(operations: Iterable[tuple[str, Operation]]) -> dict[str, Any]:
    """The whole document. Takes pairs of (noun, operation)."""
    pairs = list(operations)
    schemas, components = _components([one for _, one in pairs])
    paths: dict[str, dict[str, Any]] = {}
    for noun, operation in pairs:
        described = _operation(noun, operation, schemas, components)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ops-Core", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types(operation: Operation) -> list[type]:
    named = [operation.body, operation.query, *operation.answers.values()]
    return [one for one in named if one is not None and issubclass(one, msgspec.Struct)]


def _components(operations: list[Operation]) -> tuple[dict[type, Any], dict[str, Any]]:
    types = list(dict.fromkeys([Problem, *(one for op in operations for one in _types(op))]))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    return dict(zip(types, schemas, strict=True)), components


def _operation(
    noun: str, operation: Operation, schemas: dict[type, Any], components: dict[str, Any]
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.endpoint.__name__
        if operation.endpoint.__name__ != "control"
        else operation.path.rsplit("/", 1)[-1] + "_session",
        "summary": operation.summary,
        "tags": [noun],
        "security": [] if operation.permission == "public" else [{"key": []}],
        "x-permission": operation.permission,
        "parameters": _parameters(operation, components),
        "responses": {
            str(status): _response(status, answer, schemas)
            for status, answer in operation.answers.items()
        },
    }
    described["responses"]["default"] = {"description": "A problem", "content": _PROBLEM}
    if operation.body is not None:
        described["requestBody"] = _request_body(operation, schemas)
    return described


def _parameters(operation: Operation, components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(operation.path)
    ]
    if operation.query is not None:
        properties = components[operation.query.__name__]["properties"]
        found += [{"name": name, "in": "query", "schema": one} for name, one in properties.items()]
    if operation.prefers_wait:
        text = "`wait=N`: answer with the outcome if it is there within N seconds"
        found.append(_header("Prefer", text))
    if operation.path.endswith("/stream"):
        found.append(_header("Last-Event-ID", "Continue after this event"))
    return found


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _request_body(operation: Operation, schemas: dict[type, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {} if operation.body is None else schemas.get(operation.body, {})
    content = {media_type: {"schema": schema} for media_type in operation.media_types}
    return {"required": not operation.optional, "content": content}


def _response(status: int, answer: type | None, schemas: dict[type, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if answer is str:
        described["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif answer is not None:
        described["content"] = {"application/json": {"schema": schemas.get(answer, {})}}
    return described
