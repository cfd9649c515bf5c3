"""The `http` channel: agents that we call."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from opscore.channels import push
from opscore.channels.http import secret_of
from opscore.core.agent import Availability
from opscore.core.template import Target
from opscore.core.types import SECOND, ErrorInfo, SessionStatus, TaskStatus
from opscore.engine.records import SettlementReport
from opscore.outgoing.addresses import Rules
from tests.channels.agents import Heard, Push, Said, done, endpoint, hang, pushing
from tests.engine.whole import until

WORK = {"a": {"capability": "work", "with": {"n": "${{ input.n }}"}}}
ONCE = {"a": {"capability": "work", "retry": 1}}


async def run(p: Push, steps: dict[str, Any] = ONCE) -> Any:
    await p.whole.apply(steps)
    return await p.whole.ended(await p.whole.ops.start("t", input=b'{"n": 7}'))


async def error(p: Push) -> ErrorInfo:
    """What the only attempt of a step without retries ended with."""
    ended = await run(p)
    assert ended.status is SessionStatus.ERROR
    failed = ended.steps["a"].error
    assert failed is not None
    return failed


async def test_a_task_is_posted_and_its_answer_recorded() -> None:
    async with pushing() as p, endpoint(done({"sum": 7})) as there:
        agent = await p.agent(there.url)
        ended = await run(
            p, {"a": WORK["a"]} | {"b": {"value": "${{ steps.a.output.sum }}"} | {"needs": "a"}}
        )
        assert ended.status is SessionStatus.COMPLETED
        (heard,) = there.heard
        body = heard.body
        assert body["input"] == {"n": 7}
        assert (body["attempt"], body["step"], body["capability"]) == (1, "a", "work")
        assert body["sessionId"] == ended.session_id
        assert heard.headers["idempotency-key"] == body["taskId"] == body["idempotencyKey"]
        assert heard.headers["traceparent"].startswith(f"00-{ended.trace_id}-")
        task = await p.whole.ops.get_task(body["taskId"])
        assert task.output == b'{"sum": 7}'
        assert task.agent_id == agent.agent_id


async def test_the_status_that_an_agent_answered_with_is_kept_with_the_attempt() -> None:
    answers = iter([says(503, {"detail": "full"}), plain(200, text="fine"), done({"sum": 7})])

    def in_turn(heard: Heard) -> Said:
        return next(answers)(heard)

    async with pushing() as p, endpoint(in_turn) as there:
        await p.agent(there.url)
        retry = {"maxAttempts": 3, "initialDelay": "1s"}
        await p.whole.apply({"a": {"capability": "work", "retry": retry}})
        session_id = await p.whole.ops.start("t", input=b"{}")
        while (ended := await p.whole.ops.get_session(session_id)).finished_at is None:
            await p.whole.pass_by(1)
        task = await p.whole.ops.get_task(ended.steps["a"].tasks[0])
        told = [(one.error and one.error.http_status, one.reply) for one in task.attempts]
        assert told == [(503, None), (200, None), (None, b'{"sum": 7}')]
        trace = await p.whole.engine.debugging.trace(session_id)
        work = [span for span in trace.trace.spans if span.kind == "work"]
        assert [span.attributes.get("http.response.status_code") for span in work] == [
            *(503, 200, None)
        ]


async def test_the_signature_is_that_of_standard_webhooks() -> None:
    async with pushing() as p, endpoint(done()) as there:
        agent = await p.agent(there.url)
        await run(p)
        (heard,) = there.heard
        secret = secret_of(p.whole.engine.signing, agent)
        key = base64.b64decode(secret.removeprefix("whsec_"))
        told = [heard.headers[f"webhook-{name}"] for name in ("id", "timestamp")]
        signed = ".".join(told).encode() + b"." + heard.raw
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert heard.headers["webhook-signature"] == f"v1,{mac}"
        assert told == [f"{heard.body['taskId']}-1", str(p.whole.clock.now() // SECOND)]


async def test_secrets_differ_and_outlive_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"
    async with pushing(url) as p:
        one, other = await p.agent("http://a.example/", "one"), await p.agent("http://b.example/")
        secrets = [secret_of(p.whole.engine.signing, each) for each in (one, other)]
        assert secrets[0] != secrets[1]
    async with pushing(url) as p:
        again = await p.whole.engine.lifecycle.get_agent(one.agent_id)
        assert secret_of(p.whole.engine.signing, again) == secrets[0]


def plain(status: int, **more: Any) -> Any:
    def answer(_: Heard) -> Said:
        return web.Response(status=status, **more)

    return answer


def says(status: int, body: Any, **headers: str) -> Any:
    def answer(_: Heard) -> Said:
        return web.json_response(body, status=status, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("answer", "error_class", "message"),
    [
        (plain(400), "invalid_input", "400"),
        (says(422, {"detail": "n must be even"}), "invalid_input", "n must be even"),
        (plain(401), "fatal", "401"),
        (plain(404), "fatal", "404"),
        (plain(408), "timeout", "408"),
        (plain(429), "rate_limited", "429"),
        (says(500, {"detail": "it broke"}), "agent_error", "it broke"),
        (plain(502, text="<html>"), "agent_error", "502"),
        (plain(503), "unavailable", "503"),
        (plain(504), "timeout", "504"),
        (plain(307, headers={"location": "http://127.0.0.1/"}), "invalid_reply", "redirects"),
        (plain(200, text="<html>", content_type="text/html"), "invalid_reply", "text/html"),
        (plain(200, body=b"{", content_type="application/json"), "invalid_reply", "not JSON"),
        (plain(200, content_type="application/json"), "invalid_reply", "not JSON"),
        (plain(200, body=b'"\xff"', content_type="application/json"), "invalid_reply", "JSON"),
        (
            plain(200, body=b"[" * 500 + b"]" * 500, content_type="application/json"),
            "invalid_reply",
            "nested",
        ),
        (
            plain(
                200, body=b"1", content_type="application/json", headers={"content-encoding": "br"}
            ),
            "invalid_reply",
            "not with JSON",
        ),
        (done("x" * 300_000), "invalid_output", "the limit is 262144"),
        (done("x" * 2_000_000), "invalid_output", "more than"),
        (
            says(500, {"error": {"class": "quota", "message": "spent"}}),
            "quota",
            "spent",
        ),
        (says(500, {"error": {"class": 7}}), "agent_error", "500"),
    ],
)
async def test_what_goes_wrong_has_a_class(answer: Any, error_class: str, message: str) -> None:
    async with pushing() as p, endpoint(answer) as there:
        await p.agent(there.url)
        failed = await error(p)
        assert failed.error_class == error_class
        assert message in failed.message


async def test_nobody_listens() -> None:
    async with endpoint(done()) as there:
        url = there.url
    async with pushing() as p:
        await p.agent(url)
        assert (await error(p)).error_class == "unreachable"


async def test_an_address_that_is_not_called() -> None:
    async with pushing(rules=Rules()) as p, endpoint(done()) as there:
        await p.agent(there.url)
        failed = await error(p)
        assert failed.error_class == "fatal"
        assert "OPSCORE_OUTGOING_ALLOW" in failed.message
        assert not there.heard


async def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "CALL_SECONDS", 0.05)
    async with pushing() as p, endpoint(hang) as there:
        await p.agent(there.url)
        assert (await error(p)).error_class == "timeout"


async def test_the_timeout_of_the_step_ends_the_call() -> None:
    left = asyncio.Event()

    async def slow(_: Heard) -> web.StreamResponse:
        try:
            return await hang(_)
        finally:
            left.set()

    async with pushing() as p, endpoint(slow) as there:
        await p.agent(there.url)
        await p.whole.apply({"a": {"capability": "work", "retry": 1, "timeout": "5s"}})
        session = await p.whole.ops.start("t")
        await there.got(1)
        await p.whole.pass_by(6)
        ended = await p.whole.ended(session)
        assert ended.steps["a"].error is not None
        assert ended.steps["a"].error.error_class == "timeout"
        await left.wait()


async def test_retry_after_is_obeyed() -> None:
    answers = iter([says(429, {}, **{"retry-after": "40"}), done()])

    def answer(heard: Heard) -> Said:
        return next(answers)(heard)

    async with pushing() as p, endpoint(answer) as there:
        agent = await p.agent(there.url)
        await p.whole.apply(
            {"a": {"capability": "work", "retry": {"maxAttempts": 2, "initialDelay": "1s"}}}
        )
        session = await p.whole.ops.start("t")
        await there.got(1)
        await until(lambda: p.slots(agent) == 0)
        await p.whole.pass_by(39)
        assert len(there.heard) == 1
        await p.whole.pass_by(3)
        assert (await p.whole.ended(session)).status is SessionStatus.COMPLETED
        assert there.heard[1].body["attempt"] == 2
        assert (
            there.heard[1].headers["idempotency-key"] == there.heard[0].headers["idempotency-key"]
        )
        assert there.heard[1].headers["webhook-id"] != there.heard[0].headers["webhook-id"]


async def test_an_accepted_attempt_is_completed_later() -> None:
    async with pushing() as p, endpoint(plain(202)) as there:
        agent = await p.agent(there.url)
        await p.whole.apply(ONCE)
        session = await p.whole.ops.start("t")
        body = (await there.got(1))[0].body
        # Nobody heartbeats, and the lease lasts all the same.
        await p.whole.pass_by(120, 10)
        report = SettlementReport(body["taskId"], body["attempt"], "completed", b'"late"')
        assert (await p.whole.ops.settle([report]))[0].verdict == "recorded"
        assert (await p.whole.ended(session)).status is SessionStatus.COMPLETED
        await until(lambda: p.slots(agent) == 1)
        assert len(there.heard) == 1


async def test_an_accepted_attempt_is_given_up_in_the_end() -> None:
    async with pushing() as p, endpoint(plain(202)) as there:
        await p.agent(there.url)
        await p.whole.apply(ONCE)
        session = await p.whole.ops.start("t")
        await there.got(1)
        await p.whole.calm()
        await p.whole.pass_by(3700, 100)
        await p.whole.pass_by(3)
        ended = await p.whole.ended(session)
        assert ended.steps["a"].error is not None
        assert ended.steps["a"].error.error_class == "agent_lost"


async def test_a_short_lease_of_the_step_is_renewed_too() -> None:
    async with pushing() as p, endpoint(hang) as there:
        await p.agent(there.url)
        step = {"capability": "work", "retry": 1, "timeout": {"heartbeat": "1s"}}
        await p.whole.apply({"a": step})
        await p.whole.ops.start("t")
        body = (await there.got(1))[0].body
        await p.whole.pass_by(40)
        assert (await p.whole.ops.get_task(body["taskId"])).status is TaskStatus.RUNNING


async def test_a_progress_report_shortens_no_lease() -> None:
    async with pushing() as p, endpoint(plain(202)) as there:
        await p.agent(there.url)
        await p.whole.apply(ONCE)
        await p.whole.ops.start("t")
        body = (await there.got(1))[0].body
        await p.whole.calm()
        await p.whole.ops.progress(body["taskId"], 1, 0.5, "half")
        await p.whole.pass_by(100, 10)
        assert (await p.whole.ops.get_task(body["taskId"])).status is TaskStatus.RUNNING


async def test_a_restart_keeps_what_was_accepted_and_calls_again_what_was_cut(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/ops.db"

    def first(heard: Heard) -> Said:
        return web.Response(status=202) if heard.body["input"] == {"n": 1} else hang(heard)

    async with endpoint(first) as there:
        async with pushing(url) as p:
            agent = await p.agent(there.url, max_in_flight=2)
            await p.whole.apply(WORK)
            accepted = await p.whole.ops.start("t", input=b'{"n": 1}')
            await there.got(1)
            await p.whole.calm()
            cut = await p.whole.ops.start("t", input=b'{"n": 2}')
            await there.got(2)
        # It accepts twice, but the first attempt of the first task is still the one that counts.
        there.says = done("again")
        async with pushing(url) as p:
            assert (await p.whole.ended(cut)).status is SessionStatus.COMPLETED
            last = there.heard[-1].body
            assert (last["input"], last["attempt"]) == ({"n": 2}, 2)
            task = await p.whole.ops.get_task(last["taskId"])
            assert task.failures == 0
            await p.whole.pass_by(60, 5)
            held = there.heard[0].body
            report = SettlementReport(held["taskId"], 1, "completed")
            assert (await p.whole.ops.settle([report]))[0].verdict == "recorded"
            assert (await p.whole.ended(accepted)).status is SessionStatus.COMPLETED
            assert len(there.heard) == 3
            await until(lambda: p.slots(agent) == 2)


async def test_a_slow_agent_slows_nobody() -> None:
    async with pushing() as p, endpoint(hang) as slow, endpoint(done()) as quick:
        await p.agent(slow.url, "slow", capabilities=("slow",), max_in_flight=3)
        await p.agent(quick.url, "quick", capabilities=("quick",), max_in_flight=3)
        await p.whole.apply({"a": {"capability": "slow"}}, "s")
        await p.whole.apply({"a": {"capability": "quick"}}, "q")
        for _ in range(20):
            await p.whole.ops.start("s")
        await slow.got(3)
        for _ in range(20):
            ended = await p.whole.ended(await p.whole.ops.start("q"))
            assert ended.status is SessionStatus.COMPLETED
        assert len(slow.heard) == 3


async def test_the_circuit_opens_half_opens_and_closes() -> None:
    broken = True

    def answer(heard: Heard) -> Said:
        return web.Response(status=500) if broken else web.json_response(1)

    async with pushing() as p, endpoint(answer) as there:
        agent = await p.agent(there.url, max_in_flight=2)
        await p.whole.apply(ONCE)
        for _ in range(5):
            await p.whole.ended(await p.whole.ops.start("t"))
        await until(lambda: p.slots(agent) == 0)
        waiting = [await p.whole.ops.start("t") for _ in range(3)]
        await p.whole.calm()
        assert len(there.heard) == 5
        (taker,) = p.whole.engine.lifecycle.takers("default", Target("work"))
        assert taker.availability is Availability.UNREACHABLE
        await p.whole.pass_by(6)
        await there.got(6)
        await until(lambda: p.slots(agent) == 0)
        await p.whole.pass_by(8)
        # The trial failed: the second pause is twice as long.
        assert len(there.heard) == 6
        broken = False
        await p.whole.pass_by(3)
        for session in waiting[1:]:
            assert (await p.whole.ended(session)).status is SessionStatus.COMPLETED
        await until(lambda: p.slots(agent) == 2)


async def test_what_fails_is_tried_again_and_then_falls_back() -> None:
    async with pushing() as p, endpoint(plain(500)) as there, endpoint(done("other")) as other:
        await p.agent(there.url, "broken")
        await p.agent(other.url, "careful", capabilities=())
        retry = {"maxAttempts": 2, "initialDelay": "10ms"}
        step = {"capability": "work", "retry": retry, "fallback": [{"agent": "careful"}]}
        await p.whole.apply({"a": step}, output="${{ steps.a.output }}")
        session = await p.whole.ops.start("t")
        while len(there.heard) < 2:
            await p.whole.pass_by(1)
        ended = await p.whole.ended(session)
        assert bytes(ended.output or b"") == b'"other"'
        assert len(there.heard) == 2


async def test_cancelling_hangs_up() -> None:
    async with pushing() as p, endpoint(hang) as there:
        agent = await p.agent(there.url)
        await p.whole.apply(ONCE)
        session = await p.whole.ops.start("t")
        await there.got(1)
        await p.whole.ops.cancel(session, "enough")
        assert (await p.whole.ended(session)).status is SessionStatus.CANCELLED
        await until(lambda: p.slots(agent) == 1)


@pytest.mark.parametrize("word", ["error", "initializing", "sulking", "offline"])
async def test_an_agent_that_says_so_is_not_called(word: str) -> None:
    async with pushing() as p, endpoint(done()) as there:
        agent = await p.agent(there.url)
        await p.seated(agent)
        await p.whole.engine.lifecycle.set_state(agent.agent_id, word)
        assert p.slots(agent) == 0
        await p.whole.apply(ONCE)
        session = await p.whole.ops.start("t")
        await p.whole.calm()
        assert not there.heard
        await p.whole.engine.lifecycle.set_state(agent.agent_id, "idle")
        assert (await p.whole.ended(session)).status is SessionStatus.COMPLETED


async def test_active_with_nothing_of_ours_takes_a_slot_for_a_while() -> None:
    async with pushing() as p, endpoint(done()) as there:
        agent = await p.agent(there.url, max_in_flight=2)
        await p.seated(agent)
        p.whole.clock.move(1)
        await p.whole.engine.lifecycle.set_state(agent.agent_id, "active")
        assert p.slots(agent) == 1
        await p.whole.pass_by(302, 50)
        assert p.slots(agent) == 2


async def test_drained_changed_and_gone() -> None:
    lifecycle: Any
    async with pushing() as p, endpoint(done()) as there, endpoint(done()) as moved:
        lifecycle = p.whole.engine.lifecycle
        agent = await p.agent(there.url)
        await p.seated(agent)
        await lifecycle.drain(agent.agent_id)
        assert p.slots(agent) == 0
        await lifecycle.activate(agent.agent_id)
        assert p.slots(agent) == 1
        await lifecycle.patch_agent(agent.agent_id, {"contact_endpoint": moved.url})
        await run(p)
        assert (len(there.heard), len(moved.heard)) == (0, 1)
        await lifecycle.deregister(agent.agent_id)
        assert p.slots(agent) is None
        assert (await lifecycle.list_agents()).items == []


async def test_it_comes_and_goes_without_a_word_in_its_journal() -> None:
    async with pushing() as p, endpoint(done()) as there:
        agent = await p.agent(there.url)
        await p.seated(agent)
        state = await p.whole.engine.lifecycle.get_state(agent.agent_id)
        assert (state.state.value, state.seq) == ("unknown", 1)


async def test_what_is_called_when_the_server_stops_is_given_back() -> None:
    async with pushing() as p, endpoint(hang) as there:
        await p.agent(there.url)
        await p.whole.apply(ONCE)
        await p.whole.ops.start("t")
        body = (await there.got(1))[0].body
        await p.channels.close(0)
        await until(lambda: not p.channels._calling())  # pyright: ignore[reportPrivateUsage]
        task = await p.whole.ops.get_task(body["taskId"])
        assert (task.status, task.failures) == (TaskStatus.AVAILABLE, 0)


async def test_an_agent_that_we_call_is_chosen_by_its_labels() -> None:
    step = {"capability": "work", "match": {"labels": {"gpu": "a100"}}}
    async with pushing() as p, endpoint(done({})) as plain, endpoint(done({})) as strong:
        for name, there, gpu in (("plain", plain, "no"), ("strong", strong, "a100")):
            await p.seated(await p.agent(there.url, name, labels={"gpu": gpu}))
        ended = await run(p, {"a": step})
        assert ended.status is SessionStatus.COMPLETED
        assert (len(plain.heard), len(strong.heard)) == (0, 1)
