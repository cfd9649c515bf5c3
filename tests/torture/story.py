"""Hand-made histories for the checker's own tests: a clean one, to be told a little differently."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.torture.evidence import Database, Event, Evidence, Record

S = 1_000_000
LEASE = 15 * S
T1, T2 = "tsk_a-1", "tsk_a-2"
DATA: dict[str, dict[str, Any]] = {
    "session.started": {
        "namespace": "default",
        "workflow": "w",
        "template_version": "1",
        "input": {},
        "context": {"mark": "m1"},
        "parent": None,
        "cause": None,
        "actor": "operator:ada",
    },
    "task.created": {
        "step": "work",
        "index": None,
        "member": 0,
        "due": None,
        "terms": None,
        "match": None,
    },
    "task.claimed": {"attempt": 1, "instance_id": "i1", "deadline": None, "heartbeat": None},
    "task.completed": {"attempt": 1, "output": 1, "ends_step": True},
    "task.retried": {"attempt": 1, "error_class": "error", "due": 0},
    "task.failed": {"attempt": 1, "error_class": "error"},
    "task.released": {"attempt": 1},
    "task.cancelled": {"attempt": 0},
    "session.completed": {"output": None},
}


class Story:
    """Tells events one after another, and knows what everybody wrote down of them."""

    def __init__(self) -> None:
        self.clients: list[Record] = [
            {"did": "lease", "micros": LEASE},
            {"did": "life", "offset": 0, "after": 0},
        ]
        self.agents: list[Record] = []
        self.database = Database(templates={("default", "w", "1"): {"steps": {"work": {}}}})
        self._sent = 0

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.clients, self.agents, self.database)

    def event(self, type_: str, at: float, session: str = "ses_a", **data: Any) -> None:
        events = self.database.events
        seq = 1 + sum(1 for each in events if each.session == session)
        known = {"task_id": T1} if type_.startswith("task.") else {}
        whole = {**known, **DATA.get(type_, {}), **data}
        events.append(Event(len(events) + 1, session, seq, round(at * S), type_, whole))
        if type_ == "session.started":
            self.row(session, "waiting")

    def row(self, session: str, status: str) -> None:
        self.database.sessions[session] = {
            "session_id": session,
            "namespace": "default",
            "workflow": "w",
            "version": "1",
            "status": status,
        }

    def task_row(self, task: str, status: str, attempt: int, failures: int) -> None:
        self.database.tasks[task] = {
            "task_id": task,
            "session_id": "ses_a",
            "status": status,
            "attempt": attempt,
            "failures": failures,
        }

    def request(self, verb: str, body: dict[str, Any], status: int = 202, **more: Any) -> None:
        self._sent += 1
        who = {"who": "c1", "n": self._sent}
        self.clients.append({"did": "sent", **who, "verb": verb, **more})
        self.clients.append({"did": "answered", **who, "status": status, "body": body})

    def agent(self, did: str, attempt: int = 1, task: str = T1, **more: Any) -> None:
        told = {"instance": "i1", "task": task, "attempt": attempt, **more}
        self.agents.append({"did": did, **told})

    def calm(self) -> None:
        self.clients.append({"did": "calm", "after": len(self.database.events)})

    def served(self, status: str, step: str, output: Any = None) -> None:
        shown = {"sessionId": "ses_a", "status": status, "output": output}
        self.clients.append(
            {"did": "served", "session": {**shown, "steps": {"work": {"status": step}}}}
        )

    def audit(self, *actions: str, writer: str = "w1", heads: str | None = None) -> None:
        for action in actions:
            mine = [row for row in self.database.audit if row["writer"] == writer]
            before = mine[-1]["hash"] if mine else bytes(32)
            row = {
                "writer": writer,
                "seq": len(mine) + 1,
                "at": 5,
                "namespace": "default",
                "actor": "operator:ada",
                "key_id": None,
                "action": action,
                "subject": None,
                "details": "{}",
                "heads": heads,
            }
            text = "".join("-," if v is None else f"{len(str(v))}:{v}," for v in row.values())
            self.database.audit.append(
                {**row, "hash": hashlib.sha256(before + text.encode()).digest()}
            )


def clean() -> Story:
    """One task: lost once, then completed, with everything written down as it should be."""
    story = Story()
    story.request("session.start", {"sessionId": "ses_a"}, key="k1", mark="m1")
    story.request("session.start", {"sessionId": "ses_a"}, key="k1", mark="m1")
    story.agents.append({"did": "connected", "instance": "i1", "slots": 1})
    story.event("session.started", 1)
    story.event("task.created", 1)
    story.event("task.claimed", 2)
    story.agent("began")
    story.agent("beat", at=3 * S)
    story.agent("effect", key=T1)
    story.event("task.retried", 18, error_class="agent_lost", due=19 * S)
    story.agent("verdict", outcome="completed", verdict="stale_attempt")
    story.event("task.available", 19)
    story.event("task.claimed", 20, attempt=2)
    story.agent("began", 2)
    story.agent("effect", 2, key=T1)
    story.event("task.completed", 21, attempt=2)
    story.agent("verdict", 2, outcome="completed", verdict="recorded")
    story.event("session.completed", 21)
    story.row("ses_a", "completed")
    story.task_row(T1, "completed", 2, 1)
    story.audit("session.started", "session.cancelled")
    story.audit("session.started", writer="w2", heads=_heads(story))
    story.calm()
    story.served("completed", "completed")
    return story


def _heads(story: Story) -> str:
    last = story.database.audit[-1]
    return f'{{"final":true,"heads":[["w1",2,"{last["hash"].hex()}"]]}}'
