"""`GET /metrics`, read back with the format's own parsers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as families

from opscore import __version__
from opscore.telemetry import measures as m
from tests.api.conftest import ONE_STEP, Site

open_families: Callable[[str], Iterable[Metric]] = vars(parser)["text_string_to_metric_families"]
OPEN = "application/openmetrics-text; version=1.0.0"


async def read(site: Site, key: str | None = None, accept: str | None = None) -> str:
    headers = {"accept": accept} if accept else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    reply = await site.call("GET", "/metrics", root=True, headers=headers)
    assert reply.status == 200, reply.raw
    return reply.raw.decode()


def samples(found: Iterable[Metric], name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in found
        for sample in family.samples
        if sample.name == name
    }


async def one_task(site: Site, capability: str, **headers: Any) -> None:
    """A session whose only task is claimed and completed over HTTP."""
    agent = {"agentName": f"agent-of-{capability}", "capabilities": [capability]}
    agent_id = (await site.call("POST", "/agent", agent, **headers)).good["agentId"]
    await site.call("POST", "/task", {"capability": capability}, **headers)
    claim = {"instanceId": "i", "max": 1}
    [task] = (await site.call("POST", f"/agent/{agent_id}/claim", claim, **headers)).good["tasks"]
    done = {"attempt": task["attempt"], "output": 1}
    await site.call("POST", f"/task/{task['taskId']}/complete", done, **headers)


async def test_every_metric_is_there_in_both_formats(site: Site) -> None:
    await one_task(site, "measured")
    wanted = {metric.name for metric in m.METRICS}
    plain = list(families(await read(site)))
    assert {family.name for family in plain} == wanted
    text = await read(site, accept=OPEN)
    assert text.endswith("# EOF\n")
    assert {family.name for family in open_families(text)} == wanted


async def test_figures_are_those_of_what_happened(site: Site) -> None:
    def waits(text: str) -> float:
        name = "opscore_queue_wait_seconds_count"
        found = samples(families(text), name)
        return found.get((("capability", "counted"), ("namespace", "default")), 0)

    before = await read(site)
    for _ in range(3):
        await one_task(site, "counted")
    after = await read(site)
    assert waits(after) - waits(before) == 3
    ended = samples(families(after), "opscore_attempt_seconds_count")
    labels = (("capability", "counted"), ("namespace", "default"), ("outcome", "completed"))
    assert ended[labels] == 3


async def test_requests_are_timed_by_route_and_never_by_id(site: Site) -> None:
    name = "opscore_http_request_seconds_count"
    await site.call("GET", "/session/ses_nothing")
    await site.call("PUT", "/session/ses_nothing")
    found = samples(families(await read(site)), name)
    route = ("route", "/v1/opscore/session/{sessionId}")
    assert found[(("method", "GET"), route, ("status", "404"))] >= 1
    assert found[(("method", m.OTHER), route, ("status", "405"))] >= 1
    assert "ses_" not in await read(site)


async def test_examples_carry_the_trace(site: Site) -> None:
    started = (await site.call("POST", "/task", {"capability": "traced"})).good
    session = (await site.call("GET", f"/session/{started['sessionId']}")).good
    agent = {"agentName": "traced", "capabilities": ["traced"]}
    agent_id = (await site.call("POST", "/agent", agent)).good["agentId"]
    await site.call("POST", f"/agent/{agent_id}/claim", {"instanceId": "i", "max": 1})
    examples = [
        sample.exemplar.labels["trace_id"]
        for family in open_families(await read(site, accept=OPEN))
        for sample in family.samples
        if sample.exemplar and sample.labels.get("capability") == "traced"
    ]
    assert examples == [session["traceId"]]


async def test_a_namespace_sees_its_own_work_only(site: Site) -> None:
    made = await site.engine.keys.create("theirs", ["admin"], namespace="theirs")
    headers = {"headers": {"Authorization": f"Bearer {made.token}"}}
    await site.call("POST", "/workflow", {**ONE_STEP, "name": "secret-workflow"}, **headers)
    await site.call("POST", "/session", {"workflow": "secret-workflow"}, **headers)
    await one_task(site, "secret-capability", **headers)
    await one_task(site, "open-capability")
    theirs, ours = await read(site, made.token), await read(site)
    assert "secret-capability" in theirs
    assert "secret-workflow" in theirs
    assert "secret" not in ours
    assert "open-capability" in ours
    assert "open-capability" not in theirs
    assert 'namespace="default"' not in theirs


async def test_a_stranger_sees_nothing(site: Site) -> None:
    headers = {"Authorization": "Bearer nobody"}
    reply = await site.call("GET", "/metrics", root=True, headers=headers)
    assert reply.status == 401
    assert b"opscore_agents" not in reply.raw


async def test_the_document_names_both_formats(site: Site) -> None:
    document = (await site.call("GET", "/openapi.json", root=True)).good
    documented = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    for accept in (None, OPEN):
        headers = {"accept": accept} if accept else {}
        reply = await site.call("GET", "/metrics", root=True, headers=headers)
        assert reply.headers["content-type"].partition(";")[0] in documented


async def test_the_build_is_named(site: Site) -> None:
    found = samples(families(await read(site)), "opscore_build_info")
    [labels] = found
    assert dict(labels)["version"] == __version__
