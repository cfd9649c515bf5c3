"""JSON Schema of templates' inputs."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.json_schema import MAX_FAULTS, check_schema, validate


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {"$schema": "https://json-schema.org/draft/2020-12/schema"},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"pattern": "^(?!x)a+$"},
    ],
)
def test_schemas(schema: dict[str, Any]) -> None:
    assert check_schema(schema) == []


@pytest.mark.parametrize(
    ("schema", "pointer", "words"),
    [
        ({"type": "objct"}, "/type", '"objct" is no type of JSON Schema'),
        ({"properties": {"a": {"minimum": "1"}}}, "/properties/a/minimum", "number"),
        ({"required": "a"}, "/required", "array"),
        ({"pattern": "("}, "/pattern", "regex"),
        ({"$ref": "https://example.com/schema.json"}, "", "example.com"),
        ({"$ref": "#/$defs/nowhere"}, "", "nowhere"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "not supported"),
        ({"$schema": 5}, "/$schema", "not supported"),
    ],
)
def test_mistakes_in_schemas(schema: dict[str, Any], pointer: str, words: str) -> None:
    fault = check_schema(schema)[0]
    assert fault.pointer == pointer
    assert words in fault.message
    assert "\n" not in fault.message


SCHEMA = b'{"type":"object","required":["a"],"properties":{"a":{"items":{"type":"integer"}}}}'


def test_validate() -> None:
    assert validate(SCHEMA, b'{"a":[1,2]}') == []
    (fault,) = validate(SCHEMA, b'{"a":[1,"x"]}')
    assert fault.pointer == "/a/1"
    assert "integer" in fault.message
    (fault,) = validate(SCHEMA, b"{}")
    assert (fault.pointer, '"a"' in fault.message) == ("", True)


def test_faults_are_bounded() -> None:
    found = validate(SCHEMA, b'{"a":[' + b",".join([b'"x"'] * 1000) + b"]}")
    assert len(found) == MAX_FAULTS
    (fault,) = validate(b'{"maxLength":1}', b'"' + b"x" * 100_000 + b'"')
    assert len(fault.message) <= 500


def test_a_pattern_that_explodes_is_a_fault() -> None:
    assert validate(b'{"pattern":"^(a|a)*(?=b)c$"}', b'"' + b"a" * 50 + b'"')
