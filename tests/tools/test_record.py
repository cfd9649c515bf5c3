"""Journals are recorded from the running product, and the same code records the same bytes."""

from __future__ import annotations

import json

from tools import record


def test_recording_again_gives_the_same_bytes() -> None:
    assert record.journals() == record.journals()


def test_the_stories_show_what_their_names_say() -> None:
    told = {
        name: [json.loads(line) for line in text.splitlines()]
        for name, text in record.journals().items()
    }
    lives, retries, calls = told.values()
    states = [line["data"]["state"] for line in lives if "state" in line["data"]]
    assert states == ["unknown", "initializing", "idle", "draining", "idle", "offline"]
    kinds = [line["type"] for line in retries]
    assert kinds.count("task.claimed") == 4
    assert kinds.index("task.retried") < kinds.index("task.failed") < len(kinds) - 1
    assert kinds[-1] == "session.completed"
    assert [line["type"] for line in calls][:: len(calls) - 1] == ["http.request", "http.response"]
    assert calls[-1]["data"] == {"status": 200}
