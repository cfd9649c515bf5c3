"""The document of the API: complete, true to the types, and with an example of everything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from opscore.api import schemas
from opscore.api.documentation import described
from opscore.api.examples import BODIES, TEMPLATE, example_of
from opscore.api.nouns import NOUNS
from opscore.api.openapi import proper
from opscore.api.openapi_shared import REFUSALS
from opscore.core.errors import Refusal
from opscore.templates import read_template
from tests.api.conftest import Site

DOCUMENT = described()
DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES = sorted(
    {
        kind
        for noun in NOUNS
        for operation in noun.operations
        for kind in (operation.body, *operation.answers.values())
        if kind is not None and issubclass(kind, msgspec.Struct)
    },
    key=lambda kind: kind.__name__,
)


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_body_and_answer_has_an_example_that_is_one(kind: type) -> None:
    example = json.dumps(example_of(kind))
    msgspec.json.decode(example, type=kind)
    schema = {"$schema": DIALECT, **proper(msgspec.json.schema(kind))}
    jsonschema_rs.validator_for(schema).validate(json.loads(example))


def test_no_example_is_left_over_and_the_template_is_one() -> None:
    assert set(BODIES) <= set(TYPES)
    assert read_template(json.dumps(dict(TEMPLATE)), name="example.json").name == TEMPLATE["name"]


def test_every_operation_says_how_it_is_refused() -> None:
    for name, operation in operations():
        statuses = {int(status) for status in operation["responses"]}
        assert {500, 503} <= statuses, name
        if operation["security"]:
            assert {400, 401, 403} <= statuses, name
        if "{" in name:
            assert 404 in statuses, name
        if "requestBody" in operation:
            assert {400, 413, 415} <= statuses, name


def test_every_refusal_of_the_code_is_in_the_table() -> None:
    elsewhere = {405, 426, 431}  # what no declared operation answers

    def statuses(kind: type[Refusal]) -> Iterator[int]:
        yield kind.status
        for each in kind.__subclasses__():
            yield from statuses(each)

    assert {one for one in statuses(Refusal) if one not in elsewhere} <= set(REFUSALS)


def test_every_reference_leads_somewhere() -> None:
    for group, name in re.findall(r'"#/components/(\w+)/(\w+)"', json.dumps(DOCUMENT)):
        assert name in DOCUMENT["components"][group], name


def test_every_link_leads_to_an_operation() -> None:
    known = {operation["operationId"]: operation for _, operation in operations()}
    linked = [
        link
        for _, operation in operations()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert len(linked) > 20
    for link in linked:
        taken = {f"path.{one.get('name')}" for one in known[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= taken


def test_every_schema_is_one() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid({"$schema": DIALECT, **schema}), name
    for name in schemas.SCHEMAS:
        assert jsonschema_rs.meta.is_valid(schemas.published(name)), name


async def test_published_schemas_fit_what_is_answered(site: Site) -> None:
    agent = await site.agent("described")
    report = {"agentId": agent, "state": "idle", "timestamp": None, "details": None}
    await site.call("POST", f"/agent/{agent}/state", report)
    made = (await site.call("POST", "/task", {"capability": "described"})).good
    history = await site.call("GET", f"/session/{made['sessionId']}/history")
    found = {
        "agent": (await site.call("GET", f"/agent/{agent}")).good,
        "state-record": (await site.call("GET", f"/agent/{agent}/state")).good,
        "state-report": report,
        "workflow-trigger": {"workflowDefinitionId": "x", "initialPayload": None, "agentId": "a"},
        "session": (await site.call("GET", f"/session/{made['sessionId']}")).good,
        "task": (await site.call("GET", f"/task/{made['taskId']}")).good,
        "event": history.good["events"][0],
        "problem": (await site.call("GET", "/agent/none")).body,
    }
    assert set(found) <= set(schemas.SCHEMAS)
    for name, one in found.items():
        schema = (await site.call("GET", f"/schema/{name}.json")).good
        jsonschema_rs.validator_for(schema).validate(one)
