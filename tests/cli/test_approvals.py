"""What people send from the command line: signals, and answers to approvals."""

from __future__ import annotations

from opscore.cli import exits
from opscore.wire.approval import ApprovalPage
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer


def test_a_signal_is_sent(server: FakeServer, opscore: Command) -> None:
    server.on(
        "POST /session/ses_1/signal/paid", {"sessionId": "ses_1", "signalId": "x"}, status=202
    )
    ran = opscore("session", "signal", "ses_1", "paid", "amount=3", "--id", "x")
    assert (ran.code, ran.err) == (exits.OK, "ses_1 has the signal paid (x)\n")
    assert server.last.json == {"payload": {"amount": 3}, "signalId": "x"}
    opscore("session", "signal", "ses_1", "paid", "--payload", "[1]")
    assert server.last.json == {"payload": [1]}
    opscore("session", "signal", "ses_1", "paid")
    assert server.last.json == {}
    assert opscore("session", "signal", "ses_1", "paid", "a=1", "--payload", "1").code == 2


def test_what_is_asked_is_listed_and_shown(server: FakeServer, opscore: Command) -> None:
    server.on("GET /approval", ApprovalPage(approvals=[samples.approval()]))
    server.on("GET /approval/apr_1-a", samples.approval())
    listed = opscore("approval", "ls").out
    assert "Ship?" in listed and "ada, bob" in listed
    assert server.last.query["status"] == "pending"
    opscore("approval", "ls", "--status", "all")
    assert "status" not in server.last.query
    shown = opscore("approval", "show", "apr_1-a").out
    assert "0" * 64 in shown and '"n": 1' in shown


def test_an_approval_names_the_hash_that_was_seen(server: FakeServer, opscore: Command) -> None:
    server.on("GET /approval/apr_1-a", samples.approval())
    server.on("POST /approval/apr_1-a/approve", samples.approval())
    ran = opscore("approval", "approve", "apr_1-a", "--hash", "00000000", "--by", "ada")
    assert ran.err == "apr_1-a is approved by ada; 1 more needed\n"
    assert server.last.json == {"contentHash": "0" * 64, "by": "ada"}
    edit = ("approval", "approve", "apr_1-a", "--hash", "0" * 64, "--details", "{}")
    opscore(*edit, "--comment", "less")
    assert server.last.json == {"contentHash": "0" * 64, "comment": "less", "details": {}}
    before = len(server.seen)
    stale = opscore("approval", "approve", "apr_1-a", "--hash", "11111111")
    assert stale.code == exits.ERROR and "not what you saw" in stale.err
    assert len(server.seen) == before + 1, "nothing was approved"
    assert opscore("approval", "approve", "apr_1-a", "--hash", "0").code == exits.USAGE


def test_a_rejection(server: FakeServer, opscore: Command) -> None:
    server.on("POST /approval/apr_1-a/reject", samples.approval(status="rejected"))
    ran = opscore("approval", "reject", "apr_1-a", "--comment", "no")
    assert (ran.err, server.last.json) == ("apr_1-a is rejected\n", {"comment": "no"})
