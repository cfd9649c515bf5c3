"""`GET /queue`: what waits for whom."""

from __future__ import annotations

from tests.api.conftest import Site


async def test_queues_tell_what_waits_and_what_runs(site: Site) -> None:
    for _ in range(3):
        await site.call("POST", "/task", {"capability": "a"})
    await site.call("POST", "/task", {"capability": "b", "delaySeconds": 60})
    await site.call("POST", "/task", {"agent": "somebody"})
    agent = {"agentName": "one", "capabilities": ["a"]}
    agent_id = (await site.call("POST", "/agent", agent)).good["agentId"]
    await site.call("POST", f"/agent/{agent_id}/claim", {"instanceId": "i", "max": 1})
    addressed, a, b = (await site.call("GET", "/queue")).good["queues"]
    assert (a["capability"], a["available"], a["running"]) == ("a", 2, 1)
    assert a["oldestSeconds"] >= 0
    assert (b["capability"], b["scheduled"], b["available"], b["oldestSeconds"]) == (
        "b",
        1,
        0,
        None,
    )
    assert (addressed["capability"], addressed["available"]) == (None, 1)


async def test_queues_come_in_pages(site: Site) -> None:
    for name in ("b", "a", "c"):
        await site.call("POST", "/task", {"capability": name})
    await site.call("POST", "/task", {"agent": "somebody"})
    seen: list[str | None] = []
    cursor = ""
    while cursor is not None:
        page = (await site.call("GET", f"/queue?limit=1{cursor and '&cursor=' + cursor}")).good
        seen += [one["capability"] for one in page["queues"]]
        cursor = page["nextCursor"]
    assert seen == [None, "a", "b", "c"]
