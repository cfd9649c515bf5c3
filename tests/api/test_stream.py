"""The stream channel over a real WebSocket, as an instance sees it."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from opscore.api.settings import ServerSettings
from opscore.channels.documents import check_depth
from opscore.core.errors import Invalid
from tests.api.conftest import KEY, Site, serving


class Instance:
    """An instance's end of the channel."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def hear(self, kind: str) -> dict[str, Any]:
        message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
        heard = json.loads(message.data)
        assert heard["type"] == kind, heard
        return heard

    async def closed(self) -> int:
        message = await self.socket.receive()
        assert message.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}, message
        assert self.socket.close_code is not None
        return self.socket.close_code

    async def hello(self, instance_id: str = "i-1", **fields: Any) -> dict[str, Any]:
        await self.say(type="hello", instanceId=instance_id, **fields)
        return await self.hear("welcome")

    async def take(self, count: int) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = []
        while len(tasks) < count:
            tasks += (await self.hear("tasks"))["tasks"]
        return tasks


def completed(task: dict[str, Any], output: Any = None) -> dict[str, Any]:
    settled = {"taskId": task["taskId"], "attempt": task["attempt"], "outcome": "completed"}
    return {**settled, "output": output}


async def start(site: Site, capability: str, count: int = 1) -> list[str]:
    ids: list[str] = []
    for number in range(count):
        body = {"capability": capability, "input": {"n": number}}
        ids.append((await site.call("POST", "/task", body)).body["taskId"])
    return ids


async def test_hello_is_answered_with_what_the_instance_must_know(site: Site) -> None:
    agent_id = await site.agent("hello", "hello")
    async with site.stream(agent_id) as socket:
        welcome = await Instance(socket).hello(holding=[["tsk_gone-1", 3]])
    assert welcome["agentId"] == agent_id
    assert welcome["leaseSeconds"] == 15
    assert welcome["heartbeatSeconds"] == 5
    assert welcome["payloadLimit"] == 262144
    assert welcome["stale"] == [["tsk_gone-1", 3]]


async def test_tasks_come_and_their_settlements_are_recorded(site: Site) -> None:
    agent_id = await site.agent("worker", "work")
    ids = await start(site, "work", 3)
    async with site.stream(agent_id) as socket:
        instance = Instance(socket)
        await instance.hello(maxInFlight=3)
        tasks = await instance.take(3)
        assert {one["taskId"] for one in tasks} == set(ids)
        first = tasks[0]
        assert set(first) >= {"attempt", "sessionId", "step", "capability", "input", "context"}
        assert first["idempotencyKey"] == first["taskId"]
        assert first["leaseUntil"].endswith("Z")
        assert first["traceparent"].startswith("00-")
        settlements = [completed(one, {"n": 1}) for one in tasks]
        await instance.say(type="settle", ref=7, settlements=settlements)
        verdicts = await instance.hear("verdicts")
        assert verdicts["ref"] == 7
        assert [one["verdict"] for one in verdicts["verdicts"]] == ["recorded"] * 3
    for task_id in ids:
        assert (await site.call("GET", f"/task/{task_id}")).good["output"] == {"n": 1}


async def test_a_repeated_settlement_and_a_wrong_one_get_their_verdicts(site: Site) -> None:
    agent_id = await site.agent("repeater", "repeat")
    await start(site, "repeat")
    async with site.stream(agent_id) as socket:
        instance = Instance(socket)
        await instance.hello()
        (task,) = await instance.take(1)
        settlements = [
            completed(task),
            completed(task),
            completed({**task, "attempt": 9}),
            completed({"taskId": "tsk_none-1", "attempt": 1}),
        ]
        await instance.say(type="settle", settlements=settlements)
        verdicts = await instance.hear("verdicts")
    words = [one["verdict"] for one in verdicts["verdicts"]]
    assert words == ["recorded", "recorded", "stale_attempt", "unknown_task"]


async def test_a_payload_that_cannot_be_kept_is_invalid_and_the_others_count(site: Site) -> None:
    agent_id = await site.agent("partly", "part")
    await start(site, "part", 2)
    async with site.stream(agent_id) as socket:
        instance = Instance(socket)
        await instance.hello(maxInFlight=2)
        one, two = await instance.take(2)
        text = json.dumps(
            {"type": "settle", "settlements": [completed(one, "HUGE"), completed(two, 1)]}
        )
        await socket.send_str(text.replace('"HUGE"', "1e999"))
        verdicts = await instance.hear("verdicts")
    assert [each["verdict"] for each in verdicts["verdicts"]] == ["invalid", "recorded"]


async def test_several_settle_messages_are_in_flight_at_once(site: Site) -> None:
    agent_id = await site.agent("busy", "busy")
    await start(site, "busy", 20)
    async with site.stream(agent_id) as socket:
        instance = Instance(socket)
        await instance.hello(maxInFlight=20)
        tasks = await instance.take(20)
        for ref, task in enumerate(tasks):
            await instance.say(type="settle", ref=ref, settlements=[completed(task)])
        verdicts = [await instance.hear("verdicts") for _ in tasks]
    by_ref = {one["ref"]: one["verdicts"] for one in verdicts}
    for ref, task in enumerate(tasks):
        assert [one["taskId"] for one in by_ref[ref]] == [task["taskId"]]


async def test_a_heartbeat_is_answered_only_with_what_is_stale(site: Site) -> None:
    agent_id = await site.agent("beating", "beat")
    await start(site, "beat")
    async with site.stream(agent_id) as socket:
        instance = Instance(socket)
        await instance.hello()
        (task,) = await instance.take(1)
        mine = [task["taskId"], task["attempt"]]
        await instance.say(type="heartbeat", attempts=[mine])
        await instance.say(type="heartbeat", attempts=[mine, ["tsk_gone-1", 1]])
        assert (await instance.hear("stale"))["attempts"] == [["tsk_gone-1", 1]]


async def test_no_slots_no_tasks_until_ready(site: Site) -> None:
    agent_id = await site.agent("late", "late")
    async with site.stream(agent_id) as socket:
        instance = Instance(socket)
        await instance.hello()
        await instance.say(type="ready", maxInFlight=0)
        await instance.say(type="heartbeat", attempts=[["tsk_gone-1", 1]])
        await instance.hear("stale")  # so the server has read `ready`
        (task_id,) = await start(site, "late")
        assert (await site.call("GET", f"/task/{task_id}")).good["status"] == "available"
        await instance.say(type="ready", maxInFlight=1)
        assert (await instance.take(1))[0]["taskId"] == task_id


async def test_a_cancelled_task_is_told(site: Site) -> None:
    agent_id = await site.agent("stopped", "stop")
    (task_id,) = await start(site, "stop")
    async with site.stream(agent_id) as socket:
        instance = Instance(socket)
        await instance.hello()
        (task,) = await instance.take(1)
        reply = await site.call("POST", f"/session/{task['sessionId']}/cancel", {"reason": "no"})
        assert reply.status == 202
        cancel = await instance.hear("cancel")
    assert cancel["attempts"] == [[task_id, 1]]
    assert cancel["graceSeconds"] == 10


async def test_progress_is_shown_and_logs_are_taken(site: Site) -> None:
    agent_id = await site.agent("telling", "tell")
    (task_id,) = await start(site, "tell")
    async with site.stream(agent_id) as socket:
        instance = Instance(socket)
        await instance.hello()
        (task,) = await instance.take(1)
        names = {"taskId": task_id, "attempt": 1}
        await instance.say(type="log", **names, level="nonsense", message="x", fields={"a": 1})
        await instance.say(type="progress", **names, fraction=0.5, message="half")
        await instance.say(type="progress", **{**names, "attempt": 5}, fraction=0.1)
        assert (await instance.hear("stale"))["attempts"] == [[task_id, 5]]
        told = {"operation": "stdout", "fields": {"file": "main.py"}, "traceId": "0" * 32}
        await instance.say(type="log", message="outside of any task", **told)
        await instance.say(type="heartbeat", attempts=[[task_id, 9]])
        await instance.hear("stale")
    (said,) = (await site.call("GET", f"/log?task={task_id}&agent=telling")).good["records"]
    assert (said["level"], said["message"], said["context"]) == ("info", "x", {"a": 1})
    assert (said["agentId"], said["attempt"]) == (agent_id, 1)
    assert said["sessionId"] == task["sessionId"]
    (other,) = (await site.call("GET", "/log?q=outside&ctx.file=main.py")).good["records"]
    assert (other["agent"], other["operation"]) == ("telling", "stdout")
    assert "taskId" not in other
    shown = (await site.call("GET", f"/task/{task['taskId']}")).good
    assert (shown["progress"], shown["progressMessage"]) == (0.5, "half")


async def test_an_unknown_agent_is_turned_away(site: Site) -> None:
    async with site.stream("nobody-at-all") as socket:
        instance = Instance(socket)
        await instance.say(type="hello", instanceId="i-1")
        problem = await instance.hear("problem")
        assert problem["problem"]["status"] == 404
        assert await instance.closed() == 4404


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"type": "hello"}',
        '{"type": "dance"}',
        '{"type": "ready", "maxInFlight": 1}',
        '{"type": "hello", "instanceId": "i", "holding": [["x"]]}',
        "[" * 200,
    ],
)
async def test_a_wrong_first_message_is_a_problem_and_closes(site: Site, text: str) -> None:
    agent_id = await site.agent("wrong", "wrong")
    async with site.stream(agent_id) as socket:
        await socket.send_str(text)
        instance = Instance(socket)
        assert (await instance.hear("problem"))["problem"]["status"] == 400
        assert await instance.closed() == 4400


async def test_a_malformed_message_closes_but_loses_no_settlement(site: Site) -> None:
    agent_id = await site.agent("torn", "tear")
    (task_id,) = await start(site, "tear")
    async with site.stream(agent_id) as socket:
        instance = Instance(socket)
        await instance.hello()
        (task,) = await instance.take(1)
        await instance.say(type="settle", ref=1, settlements=[completed(task, "kept")])
        await socket.send_str('{"type": "settle", "settlements": [{"taskId": 5}]}')
        heard = [json.loads((await socket.receive()).data) for _ in range(2)]
        assert {one["type"] for one in heard} == {"verdicts", "problem"}
        assert await instance.closed() == 1007
    assert (await site.call("GET", f"/task/{task_id}")).good["output"] == "kept"


async def test_a_connection_replaced_by_a_newer_one_is_closed(site: Site) -> None:
    agent_id = await site.agent("twice", "twice")
    async with site.stream(agent_id) as older, site.stream(agent_id) as newer:
        await Instance(older).hello("same")
        await Instance(newer).hello("same")
        assert await Instance(older).closed() == 4409


async def test_a_silent_peer_is_dropped() -> None:
    settings = ServerSettings(api_key=KEY, stop_seconds=2)
    async with serving(settings, headers={"Authorization": f"Bearer {KEY}"}) as other:
        agent_id = await other.agent("silent")
        channel = other.application.channel
        async with other.stream(agent_id) as socket:
            instance = Instance(socket)
            await instance.hello()
            await channel.sweep()
            (connected,) = channel.streams
            connected.heard_at -= 46_000_000
            await channel.sweep()
            await instance.closed()
            assert not channel.streams


async def test_stopping_tells_the_instances() -> None:
    settings = ServerSettings(api_key=KEY, stop_seconds=2)
    async with serving(settings, headers={"Authorization": f"Bearer {KEY}"}) as other:
        agent_id = await other.agent("stopping", "stopping")
        async with other.stream(agent_id) as socket:
            await Instance(socket).hello()
            other.server.cancel()
            assert await Instance(socket).closed() == 1012


def test_depth_is_bounded_whatever_stands_in_strings() -> None:
    check_depth(b"[" * 128 + b"]" * 128, 128)
    check_depth(b'"' + b"[" * 1000 + b'"', 128)
    check_depth(rb'{"a": "\"[[[["}' + b"[]" * 500, 4)
    for deep in (b"[" * 129 + b"]" * 129, b"[" * 129, b'{"a":' * 129, b'"]]]"' + b"[" * 129):
        with pytest.raises(Invalid, match="nested"):
            check_depth(deep, 128)
