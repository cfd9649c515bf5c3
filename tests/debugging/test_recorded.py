"""Traces of every kept journal: whatever happened, the spans fit into each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from opscore.core import events as ev
from opscore.debugging.session_spans import SessionSpans
from opscore.debugging.spans import LEAVES
from opscore.debugging.trace import Trace, trace_of
from opscore.engine.journal import decode
from tests.regression.journals import ENDING, FOLDER, read

KEPT = sorted(FOLDER.glob(f"*{ENDING}"))
ENDED = (ev.SessionCompleted, ev.SessionFailed, ev.SessionCancelled)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_every_kept_journal_is_drawn(path: Path) -> None:
    drawn = 0
    for recording in read(path):
        journal = [
            (decode(kind, version, data.encode()), one.at)
            for one in recording.decisions
            for kind, version, data in one.events
        ]
        session, now = recording.session_id, journal[-1][1]
        trace = trace_of(session, {session: journal}, now, lambda _: None)
        fits(trace, ended=isinstance(journal[-1][0], ENDED))
        claims = sum(isinstance(event, ev.TaskClaimed) for event, _ in journal)
        assert sum(span.kind == "work" for span in trace.spans) == claims
        for cut in range(1, len(journal)):
            SessionSpans(session, journal[:cut], lambda _: None)
        drawn += 1
    assert drawn


def fits(trace: Trace, *, ended: bool) -> None:
    by_id = {span.span_id: span for span in trace.spans}
    assert len(by_id) == len(trace.spans), "an id twice"
    assert sum(trace.path.by_kind.values()) + trace.path.rest == trace.path.total
    for span in trace.spans:
        if ended:
            assert span.ended_at is not None, f"{span.name} was left open"
        if span is not trace.root:
            above = by_id[span.parent_id or ""]
            assert above.kind not in LEAVES
            assert above.began <= span.began
            assert span.critical <= above.critical
