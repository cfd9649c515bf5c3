"""Completion callbacks: signed, tried again, given up where people see it, and never lost."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from aiohttp import web

from opscore.core.errors import Invalid
from opscore.engine.records import PartState
from opscore.engine.tools import StartRequest
from opscore.outgoing.addresses import LOOPBACK, Rules
from opscore.store.rows import CallbackRow
from tests.channels.agents import Heard, Said, done, endpoint, hang
from tests.engine.whole import Whole, whole

RULES = Rules(LOOPBACK)
VALUE = {"a": {"value": 7}}


async def row(w: Whole, session_id: str) -> CallbackRow:
    found = await w.engine.callbacks.of(session_id)
    assert found is not None
    return found


async def becomes(w: Whole, session_id: str, status: str) -> CallbackRow:
    while (found := await row(w, session_id)).status != status:
        await w.pass_by(1)
    return found


async def test_the_end_is_told_once_signed() -> None:
    async with whole(outgoing=RULES) as w, endpoint(done()) as there:
        await w.apply(VALUE, output="${{ steps.a.output }}")
        session = await w.ops.start("t", callback=there.url, labels={"order": "7"})
        assert (await becomes(w, session, "delivered")).tries == 1
        (heard,) = there.heard
        assert heard.body["type"] == "session.completed"
        assert heard.body["data"]["sessionId"] == session
        assert (heard.body["data"]["output"], heard.body["data"]["labels"]) == (7, {"order": "7"})
        told = [heard.headers[f"webhook-{name}"] for name in ("id", "timestamp")]
        key = base64.b64decode(w.engine.callbacks.secret(session).removeprefix("whsec_"))
        signed = ".".join(told).encode() + b"." + heard.raw
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert heard.headers["webhook-signature"] == f"v1,{mac}"


async def test_failed_and_cancelled_sessions_are_told_too() -> None:
    async with whole(outgoing=RULES) as w, endpoint(done()) as there:
        await w.apply({"a": {"value": "${{ input.n / 0 }}"}})
        failed = await w.ops.start("t", input=b'{"n": 1}', callback=there.url)
        await becomes(w, failed, "delivered")
        await w.apply({"a": {"capability": "work"}}, "waits")
        cancelled = await w.ops.start("waits", callback=there.url)
        await w.calm()
        assert len(there.heard) == 1, "nothing is told before the end"
        await w.ops.cancel(cancelled, "enough")
        await becomes(w, cancelled, "delivered")
        assert [h.body["type"] for h in there.heard] == ["session.failed", "session.cancelled"]
        assert there.heard[0].body["data"]["error"]["class"] == "expression"


async def test_what_is_refused_is_tried_again_under_the_same_id() -> None:
    answers = iter([503, 200])

    def answer(_: Heard) -> Said:
        return web.Response(status=next(answers))

    async with whole(outgoing=RULES) as w, endpoint(answer) as there:
        await w.apply(VALUE)
        session = await w.ops.start("t", callback=there.url)
        await there.got(1)
        await w.calm()
        waiting = await row(w, session)
        assert (waiting.status, waiting.tries, waiting.error) == ("pending", 1, "answered 503")
        assert waiting.due is not None
        assert waiting.due > w.clock.now()
        assert (await becomes(w, session, "delivered")).tries == 2
        assert len({h.headers["webhook-id"] for h in there.heard}) == 1


async def test_a_receiver_that_is_down_is_named_with_how_many_wait() -> None:
    answers = [500]

    def answer(_: Heard) -> Said:
        return web.Response(status=answers[0])

    async with whole(outgoing=RULES) as w, endpoint(answer) as there:
        assert w.engine.callbacks.state == PartState(None, 0)
        await w.apply(VALUE)
        sessions = [await w.ops.start("t", callback=there.url) for _ in range(3)]
        await there.got(3)
        while w.engine.callbacks.state.problem is None or (await row(w, sessions[2])).tries == 0:
            await w.calm()
        told = w.engine.callbacks.state
        assert told == PartState("1 receivers gave no good answer; they are tried again", 3)
        assert w.engine.ready() == []
        answers[0] = 200
        for session in sessions:
            await becomes(w, session, "delivered")
        assert w.engine.callbacks.state == PartState(None, 0)


async def test_it_is_given_up_visibly() -> None:
    def answer(_: Heard) -> Said:
        return web.Response(status=500)

    async with whole(outgoing=RULES) as w, endpoint(answer) as there:
        await w.apply(VALUE)
        session = await w.ops.start("t", callback=there.url)
        for tries in range(1, 11):
            await there.got(tries)
            await w.calm()
            await w.pass_by(1900, 950)
        given_up = await row(w, session)
        assert (given_up.status, given_up.tries) == ("given_up", 10)
        assert given_up.error == "answered 500"
        assert len(there.heard) == 10


async def test_410_means_never_again() -> None:
    def answer(_: Heard) -> Said:
        return web.Response(status=410)

    async with whole(outgoing=RULES) as w, endpoint(answer) as there:
        await w.apply(VALUE)
        session = await w.ops.start("t", callback=there.url)
        assert (await becomes(w, session, "given_up")).tries == 1


async def test_a_crash_loses_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    async with endpoint(hang) as there:
        async with whole(url, outgoing=RULES) as w:
            await w.apply(VALUE)
            ended = await w.ops.start("t", callback=there.url)
            await there.got(1)
            await w.apply({"a": {"capability": "work"}}, "waits")
            open_one = await w.ops.start("waits", callback=there.url)
        there.says = done()
        async with whole(url, outgoing=RULES) as w:
            await becomes(w, ended, "delivered")
            await w.ops.cancel(open_one, "enough")
            await becomes(w, open_one, "delivered")


async def test_a_slow_receiver_holds_up_its_own_messages_only() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with (
        whole(outgoing=RULES) as w,
        endpoint(hang) as slow,
        endpoint(done()) as quick,
    ):
        w.engine.outgoing._resolve = resolve  # pyright: ignore[reportPrivateUsage]
        await w.apply(VALUE)
        there = slow.url.replace("127.0.0.1", "slow.example")
        for _ in range(20):
            await w.ops.start("t", callback=there)
        session = await w.ops.start("t", callback=quick.url)
        await becomes(w, session, "delivered")
        await slow.got(8)
        assert len(slow.heard) == 8


@pytest.mark.parametrize("url", ["", "nowhere", "ftp://a.example/", "http://10.0.0.1/"])
async def test_what_cannot_be_called_is_refused_at_the_start(url: str) -> None:
    async with whole(outgoing=RULES) as w:
        await w.apply(VALUE)
        with pytest.raises(Invalid) as caught:
            await w.ops.start_many([StartRequest("t"), StartRequest("t", callback=url)])
        assert caught.value.faults[0].pointer == "/callback/url"
        assert (await w.ops.list_sessions()).items == []
