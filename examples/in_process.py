"""Ops-Core in your own process: no server, one file, every verb.

Run it with `python examples/in_process.py`, or with a database to keep:
`python examples/in_process.py sqlite:///ops.db`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import structlog

import opscore
from opscore.channels.local import LocalRetry
from opscore.engine.lifecycle import AgentDetails
from opscore.engine.records import EventRecord
from opscore.engine.tools import TaskRequest
from opscore.inprocess import Operations

TEMPLATE = """
name: digest
version: "1"
input:
  type: object
  required: [texts]
steps:
  summarize:
    foreach: "${{ input.texts }}"
    maxParallel: 4
    capability: summarize
    with: "${{ item }}"
    retry: {maxAttempts: 3, initialDelay: 10ms, jitter: 0}
    fallback: [{value: "${{ 'could not read: ' + item }}"}]
  headline:
    needs: [summarize]
    value: "${{ string(size(steps.summarize.output)) + ' texts' }}"
output: {headline: "${{ steps.headline.output }}", lines: "${{ steps.summarize.output }}"}
"""

TEXTS = ["Agents come and go.", "busy", "", "What was accepted is never lost."]


class Summarizer:
    """An agent is a few functions. This one is asked to come back once."""

    def __init__(self) -> None:
        self.asked = 0

    async def summarize(self, text: str) -> str:
        if text == "busy" and self.asked == 0:
            self.asked += 1
            raise LocalRetry("rate limited", after=0.01)
        if not text:
            raise ValueError("nothing to read")
        return text.split(maxsplit=1)[0].lower()


async def run_a_workflow(ops: Operations, say: Any) -> str:
    """Apply a template, start a session for an agent, change it, wait for it."""
    template = await ops.orchestration.create_workflow(TEMPLATE)
    agent = await ops.agent("summarizer", {"summarize": Summarizer().summarize})
    say(f"template {template.name} {template.version}; agent {agent.agent_id}")

    given = json.dumps({"texts": TEXTS}).encode()
    session_id = await ops.lifecycle.start_session(agent.agent_id, template.name, input=given)
    await ops.lifecycle.update_session(agent.agent_id, session_id, {"labels": {"team": "red"}})
    session = await ops.orchestration.wait(session_id, timeout=30)
    assert session.output is not None
    say(f"{session.status}: {bytes(session.output).decode()}")
    for task in reversed((await ops.orchestration.list_tasks(session=session_id)).items):
        say(f"  item {task.index}: {task.status} after {task.attempt} attempt(s)")
    await agent.leave()
    return session_id


async def report_states(ops: Operations, say: Any) -> None:
    """An agent elsewhere says what it does; whatever word it uses is recorded."""
    details = AgentDetails(agent_name="reporter", capabilities=("report",))
    reporter = await ops.lifecycle.register_agent(details)
    await ops.lifecycle.set_state(reporter.agent_id, "ACTIVE", {"reading": "chapter 3"})
    state = await ops.lifecycle.get_state(reporter.agent_id)
    say(f"{reporter.agent_name} is {state.state}: {dict(state.details or {})}")


async def steer_tasks(ops: Operations, say: Any) -> None:
    """Single tasks: enqueued, for one agent, for later; retried and given up by hand."""
    agent = await ops.agent("counter", {"count": len})
    now = await ops.orchestration.enqueue_task(TaskRequest(capability="count", input=b'"four"'))
    one = TaskRequest(capability="count", input=b"[1, 2]")
    named = await ops.orchestration.dispatch_task(agent.agent_id, one)
    later = await ops.orchestration.schedule_task(one, 3600)
    trace = await ops.debugging.start_trace(later[0])
    await ops.orchestration.retry_task(later[0], retry_count=2)
    for task_id, session_id in (now, named, later):
        await ops.orchestration.wait(session_id, timeout=30)
        task = await ops.orchestration.get_task(task_id)
        assert task.output is not None
        say(f"task {task.status}: {bytes(task.output).decode()}")
    ended = await ops.debugging.end_trace(later[0])
    say(f"trace of {len(ended.spans)} spans, {len(trace)} digits")
    await agent.leave()


async def give_up_by_hand(ops: Operations, say: Any) -> None:
    """Nobody takes this task, so a person sends it down its chain of fallbacks."""
    step = {"capability": "nobody", "fallback": [{"value": "a person decided"}]}
    tree = {"name": "alone", "version": "1", "steps": {"only": step}}
    await ops.orchestration.create_workflow({**tree, "output": "${{ steps.only.output }}"})
    session_id = await ops.orchestration.start("alone")
    (task,) = (await ops.orchestration.list_tasks(session=session_id)).items
    await ops.orchestration.fallback_task(task.task_id)
    session = await ops.orchestration.wait(session_id, timeout=30)
    assert session.output is not None
    say(f"{session.status}: {bytes(session.output).decode()}")


async def main(url: str = "sqlite:///:memory:", say: Any = print) -> list[str]:
    """Do all of it; the types of the events that the hook heard."""
    heard: list[str] = []

    def note(event: EventRecord) -> None:
        heard.append(event.type)

    async with opscore.open(url) as ops:
        ops.hooks.on("*", note)
        follower = ops.feed.subscribe()
        session_id = await run_a_workflow(ops, say)
        await report_states(ops, say)
        await steer_tasks(ops, say)
        await give_up_by_hand(ops, say)
        await ops.debugging.log_operation("example_done", {"session_id": session_id})
        follower.close()
        say(f"{len([event async for event in follower])} events of sessions, live")
        history = await ops.orchestration.history(session_id)
        say(f"the journal of {session_id} has {len(history.items)} of them")
    return heard


if __name__ == "__main__":
    # Failing functions are logged with their traces; here they fail on purpose.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(main(*sys.argv[1:2]))
