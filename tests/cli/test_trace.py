"""`opscore trace`."""

from __future__ import annotations

from typing import Any

import pytest

from opscore.cli import exits
from opscore.cli.times import duration
from opscore.cli.waterfall import ROWS_SHOWN, rows, waterfall
from opscore.wire.task import AttemptView, Usage
from opscore.wire.trace import (
    QuantilesView,
    SlowestView,
    SlowView,
    SpentBy,
    SpentView,
    UsageReport,
)
from tests.cli import samples
from tests.cli.conftest import Command
from tests.cli.fake import FakeServer

NARROW = 98


def test_the_waterfall_in_plain_text(server: FakeServer, opscore: Command) -> None:
    server.on("GET /session/ses_1/trace", samples.trace())
    ran = opscore("trace", "ses_1")
    assert ran.code == exits.OK
    head, legend, _, session, step, first, second, _, *end = ran.out.splitlines()
    assert head == "w 1: processing, 10.00 s  ses_1"
    assert legend.startswith("* critical path")
    assert session.startswith("* invoke_workflow w")
    assert session.endswith("10.00 s, goes on")
    assert step.startswith("*   step a")
    assert first.startswith("*     by x #1")
    assert first.endswith("timeout: queue 2.00 s, work 3.00 s")
    assert second.endswith("delay 1.00 s, work 4.00 s, goes on")
    assert end == [
        "critical path  work 7.00 s, queue 2.00 s, delay 1.00 s",
        "bottleneck     work in step a (sum): 7.00 s, 70%",
        "usage          $0.5000, 10 tokens in, 2 out, 1 attempt (small)",
        "wasted         $0.2500, 10 tokens in, 2 out, 1 attempt (small)",
    ]
    assert opscore("trace", "ses_1", "--json").json["spans"][2]["kind"] == "queue"


def test_bars_stand_where_the_time_was() -> None:
    lines = waterfall(samples.as_json(samples.trace()), NARROW, ascii_only=True)
    bars = ["".join(text for text, _ in line[2:-1]) for line in lines[3:7]]
    assert bars == [
        "====================",
        "====================",
        "....######          ",
        "          --########",
    ]


def test_long_lists_keep_what_matters() -> None:
    root = samples.as_json(samples.span("w", "workflow", 0, 50))
    spans = [root]
    for at in range(40):
        more: dict[str, Any] = {"parent_id": "w", "critical": at == 7}
        more["status"] = "error" if at == 9 else "ok"
        attributes = {"opscore.task.id": f"t{at}", "opscore.item": at}
        one = samples.span(f"s{at}", "work", 0, at + 1, attributes=attributes, **more)
        spans.append(samples.as_json(one))
    names = [row.name for row in rows(spans)]
    assert len(names) == 1 + ROWS_SHOWN + 1
    assert "[7] s7 #None" in names
    assert "[9] s9 #None" in names
    assert "[39] s39 #None" in names
    assert names[-1].strip() == "(28 more; -o json has all)"


def test_a_terminal_gets_colours(
    server: FakeServer, opscore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET /session/ses_1/trace", samples.trace(truncated=True))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("opscore.cli.waterfall.sys.stdout.isatty", lambda: True)
    out = opscore("trace", "ses_1").out
    assert "\x1b[36m" in out
    assert "more events than a trace shows" in out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.0001, "<1 ms"),
        (0.25, "250 ms"),
        (9.5, "9.50 s"),
        (75, "1 min 15 s"),
        (7380, "2 h 03 min"),
    ],
)
def test_lengths_of_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def slow(seconds: float, **changes: Any) -> SlowView:
    took = QuantilesView(
        count=3, p50_seconds=1, p95_seconds=seconds, p99_seconds=seconds, max_seconds=seconds
    )
    return SlowView(target="sum", queue=None, work=took, **changes)


def test_the_slowest_are_named(server: FakeServer, opscore: Command) -> None:
    steps, capabilities = [slow(90, workflow="w", step="a")], [slow(2)]
    found = SlowestView(since=samples.AT, steps=steps, targets=capabilities)
    server.on("GET /trace/slowest", found)
    ran = opscore("trace", "--slowest", "--since", "2h")
    assert [line.split() for line in ran.lines if line] == [
        [
            "WORKFLOW",
            "STEP",
            "FOR",
            "ATTEMPTS",
            "WORK",
            "P50",
            "P95",
            "P99",
            "QUEUE",
            "P50",
            "P95",
            "P99",
        ],
        [
            "w",
            "a",
            "sum",
            "3",
            "1.00",
            "s",
            "1",
            "min",
            "30",
            "s",
            "1",
            "min",
            "30",
            "s",
            "-",
            "-",
            "-",
        ],
        ["CAPABILITY", "ATTEMPTS", "WORK", "P50", "P95", "P99", "QUEUE", "P50", "P95", "P99"],
        ["sum", "3", "1.00", "s", "2.00", "s", "2.00", "s", "-", "-", "-"],
    ]
    assert server.last.query == {"since": "2h", "limit": "10"}
    assert opscore("trace", "--slowest", "--json").json["steps"][0]["step"] == "a"
    server.on("GET /trace/slowest", SlowestView(since=samples.AT, steps=[], targets=[]))
    assert opscore("trace", "--slowest").out.strip() == f"nothing has run since {samples.AT}"


@pytest.mark.parametrize("words", [[], ["ses_1", "--slowest"], ["ses_1", "--since", "1h"]])
def test_one_session_or_the_slowest(opscore: Command, words: list[str]) -> None:
    assert opscore("trace", *words).code == exits.USAGE


def test_sessions_and_tasks_show_what_they_cost(server: FakeServer, opscore: Command) -> None:
    spent = SpentView(total=samples.usage(0.5), wasted=samples.usage(0.25))
    server.on("GET /session/ses_1", samples.session(usage=spent))
    shown = opscore("session", "show", "ses_1").out
    assert "$0.5000, 10 tokens in, 2 out, 1 attempt (small)" in shown
    assert "wasted" in shown
    attempt = AttemptView(
        attempt=1,
        agent_id="a",
        instance_id="i",
        started_at=samples.AT,
        usage=Usage(cost_usd=0.125),
    )
    server.on("GET /task/tsk_1", samples.task(attempt_history=[attempt]))
    assert "$0.1250" in opscore("task", "show", "tsk_1").out


def test_spending_is_summed_up(server: FakeServer, opscore: Command) -> None:
    group = SpentBy(name="one", total=samples.usage(0.5), wasted=samples.usage(0.25))
    server.on("GET /usage", UsageReport(since=samples.AT, by="agent", groups=[group]))
    ran = opscore("usage", "--by", "agent", "--since", "7d")
    assert [line.split() for line in ran.lines] == [
        ["AGENT", "COST", "WASTED", "TOKENS", "IN", "OUT", "ATTEMPTS", "MODELS"],
        ["one", "$0.5000", "$0.2500", "10", "2", "1", "small"],
    ]
    assert server.last.query == {"by": "agent", "since": "7d"}
    server.on("GET /usage", UsageReport(since=samples.AT, by="agent", groups=[]))
    assert opscore("usage").out.startswith("no attempt since")
    assert opscore("usage", "--by", "mood").code == exits.USAGE
