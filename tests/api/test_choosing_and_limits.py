"""What a user sees of `match` and of the limits of a template, over HTTP."""

from __future__ import annotations

from typing import Any

from opscore.api.settings import ServerSettings
from tests.api.conftest import serving

TEMPLATE = {
    "name": "train",
    "version": "1",
    "concurrency": {"key": "trainings", "limit": 1},
    "steps": {"a": {"capability": "train", "match": {"labels": {"gpu": "a100"}}}},
}


async def test_who_is_chosen_and_who_waits_for_whom() -> None:
    async with serving(ServerSettings(development=True)) as site:
        assert (await site.call("POST", "/workflow", TEMPLATE)).status == 201

        async def started() -> str:
            return (await site.call("POST", "/session", {"workflow": "train"})).good["sessionId"]

        async def why(session: str) -> Any:
            (reason,) = (await site.call("GET", f"/session/{session}/why")).good["reasons"]
            return reason

        async def agent(name: str, gpu: str) -> str:
            said = {"agentName": name, "capabilities": ["train"], "labels": {"gpu": gpu}}
            return (await site.call("POST", "/agent", said)).good["agentId"]

        async def claimed(agent_id: str) -> list[Any]:
            claim = {"instanceId": agent_id, "waitSeconds": 0}
            return (await site.call("POST", f"/agent/{agent_id}/claim", claim)).good["tasks"]

        first, second = await started(), await started()
        small = await agent("small", "t4")
        reason = await why(first)
        assert reason["message"] == "1 agent provides train, none has labels {gpu: a100}"
        assert (reason["kind"], reason["capable"]) == ("no_agent", 1)
        assert reason["match"] == {"labels": {"gpu": "a100"}}
        reason = await why(second)
        assert (reason["kind"], reason["key"], reason["sessions"]) == (
            "limit",
            "trainings",
            [first],
        )
        assert (reason["inUse"], reason["limit"], reason["position"]) == (1, 1, 1)
        shown = (await site.call("GET", f"/session/{second}")).good
        assert (shown["status"], shown["waitingFor"]) == ("waiting", "limit")
        (limit,) = (await site.call("GET", "/limit")).good["limits"]
        wanted = {"kind": "sessions", "key": "trainings", "limit": 1, "inUse": 1, "waiting": 1}
        assert limit == {**wanted, "sessions": [first]}
        assert await claimed(small) == []
        big = await agent("big", "a100")
        (task,) = await claimed(big)
        assert task["sessionId"] == first


async def test_a_plan_tells_both() -> None:
    async with serving(ServerSettings(development=True)) as site:
        plan = (await site.call("POST", "/workflow/plan", {"template": TEMPLATE})).good
        assert plan["limits"] == [
            "at most 1 sessions at once under the key trainings; one more waits"
        ]
        assert plan["steps"][0]["target"] == "train, labels {gpu: a100}"
