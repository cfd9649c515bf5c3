"""`GET /task/{id}`: what each attempt was asked and what it answered, without secrets, bounded."""

from __future__ import annotations

from typing import Any

from opscore.api.exchanges import SHOWN
from tests.api.conftest import Site


async def _enqueued(site: Site, task_input: Any, **more: Any) -> tuple[str, str]:
    """An agent and a task for it, not claimed yet."""
    agent = {"agentName": "asked", "capabilities": ["answer"], "maxInFlight": 4}
    agent_id = (await site.call("POST", "/agent", agent)).good["agentId"]
    body = {"capability": "answer", "input": task_input, **more}
    return agent_id, (await site.call("POST", "/task", body)).good["taskId"]


async def _attempts(site: Site, task_id: str) -> list[dict[str, Any]]:
    return (await site.call("GET", f"/task/{task_id}")).good["attemptHistory"]


async def test_input_reply_error_and_duration_of_every_attempt(site: Site) -> None:
    agent_id, task_id = await _enqueued(
        site, {"q": "why?"}, retry={"maxAttempts": 2, "initialDelay": "1ms"}
    )
    await site.claim(agent_id, max=1)
    (running,) = await _attempts(site, task_id)
    assert running["input"] == {"text": '{"q":"why?"}', "bytes": 13, "cut": False}
    assert (running["seconds"], running["reply"], running["httpStatus"]) == (None, None, None)
    error = {"class": "rate_limited", "message": "later"}
    await site.call("POST", f"/task/{task_id}/fail", {"attempt": 1, "error": error})
    await site.claim(agent_id, max=1, waitSeconds=30)
    await site.call("POST", f"/task/{task_id}/complete", {"attempt": 2, "output": {"a": 42}})
    first, second = await _attempts(site, task_id)
    assert (first["outcome"], first["error"]["message"]) == ("failed", "later")
    assert (first["input"], first["reply"]) == (running["input"], None)
    assert second["reply"] == {"text": '{"a":42}', "bytes": 9, "cut": False}
    assert first["seconds"] >= 0 <= second["seconds"]


async def test_secrets_are_struck_out_and_long_documents_cut(site: Site) -> None:
    asked = {"deep": [{"Password": "hunter2"}], "api_key": "sk-1"}
    agent_id, task_id = await _enqueued(site, asked)
    await site.claim(agent_id, max=1)
    output = {"token": "t0ps3cret", "text": "ü" * 2 * SHOWN}
    await site.call("POST", f"/task/{task_id}/complete", {"attempt": 1, "output": output})
    (attempt,) = await _attempts(site, task_id)
    assert attempt["input"]["text"] == '{"deep":[{"Password":"***"}],"api_key":"***"}'
    assert "t0ps3cret" not in attempt["reply"]["text"]
    assert (len(attempt["reply"]["text"]), attempt["reply"]["cut"]) == (SHOWN, True)
    assert attempt["reply"]["bytes"] > 4 * SHOWN


async def test_a_long_error_is_cut(site: Site) -> None:
    agent_id, task_id = await _enqueued(site, {}, retry=1)
    await site.claim(agent_id, max=1)
    error = {"class": "fatal", "message": "x" * 3 * SHOWN}
    await site.call("POST", f"/task/{task_id}/fail", {"attempt": 1, "error": error})
    (attempt,) = await _attempts(site, task_id)
    assert attempt["error"]["message"] == "x" * SHOWN + "…"
