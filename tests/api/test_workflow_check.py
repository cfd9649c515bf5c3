"""What `POST /workflow/validate` and `/workflow/plan` answer."""

from __future__ import annotations

from tests.api.conftest import Site

HEADERS = {"content-type": "application/yaml"}
TEMPLATE = b"""name: checked
version: "1"
steps:
  a: {capability: nobody-has-it, with: {n: "${{ input.n }}"}}
  b: {needs: a, capability: measured, with: {size: big}}
"""
SCHEMA = {"type": "object", "properties": {"size": {"type": "integer"}}}


async def test_validation_knows_the_registered_agents(site: Site) -> None:
    agent = {"agentName": "m", "capabilities": ["measured"], "schemas": {"measured": SCHEMA}}
    (await site.call("POST", "/agent", agent)).good  # noqa: B018 - it must have worked
    found = await site.call("POST", "/workflow/validate", data=TEMPLATE, headers=HEADERS)
    assert found.good["valid"] is False
    [fault], [warning] = found.body["errors"], found.body["warnings"]
    assert (fault["line"], fault["column"], fault["pointer"]) == (5, 52, "/steps/b/with/size")
    assert '"big" is not of type "integer"' in fault["message"]
    assert (warning["line"], warning["column"]) == (4, 19)
    assert "no registered agent has the capability 'nobody-has-it'" in warning["message"]


async def test_a_plan_of_text_with_an_input(site: Site) -> None:
    text = TEMPLATE.decode().replace("with: {n:", "foreach: '${{ input.all }}', with: {n:")
    body = {"template": text, "input": {"all": [1, 2, 3]}}
    plan = (await site.call("POST", "/workflow/plan", body)).good
    assert (plan["workflow"], plan["waves"], plan["longestPath"]) == (
        "checked",
        [["a"], ["b"]],
        ["a"],
    )
    first = plan["steps"][0]
    assert (first["items"], first["attempts"], first["if"], first["runs"]) == (3, 9, None, True)
    assert first["unbounded"] == ["no timeout attempt", "no timeout queue"]
