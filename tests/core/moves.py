"""What can happen to a session: strategies for templates, inputs, and commands fit and unfit."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from opscore.core import commands as cmd
from opscore.core.state import SessionState
from opscore.core.task import Failed
from opscore.core.types import SECOND, ErrorInfo, TaskStatus
from opscore.engine.journal import raw
from tests.core.scene import RELEASED, completed

NAMES = ("a", "b", "c", "d")

targets = st.lists(
    st.sampled_from([{"capability": "other"}, {"agent": "named"}, {"workflow": "w"}]), max_size=2
)
values = st.sampled_from([{"value": {"instead": "${{ error.class }}"}}, {"value": None}])


@st.composite
def fallbacks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Targets, and perhaps a value at the end."""
    return [*draw(targets), *draw(st.lists(values, max_size=1))]


timeouts = st.fixed_dictionaries(
    {}, optional={"attempt": st.just("5s"), "queue": st.just("20s"), "total": st.just("8s")}
)
retries = st.fixed_dictionaries(
    {"maxAttempts": st.integers(1, 3)},
    optional={
        "backoff": st.sampled_from(["constant", "linear", "exponential"]),
        "per": st.just({"boom": {"maxAttempts": 2, "initialDelay": "2s"}, "fatal": 2}),
    },
)


WAITS: list[dict[str, Any]] = [
    {"wait": "5s"},
    {"wait": {"until": "${{ input.missing }}"}},
    {"signal": "go"},
    {"signal": "go", "timeout": "20s"},
    {"signal": "go", "timeout": "9s", "fallback": [{"agent": "named"}, {"value": "none came"}]},
    {"wait": "${{ input.n }}", "fallback": [{"workflow": "w"}]},
    {"approval": {"title": "ok?", "timeout": "5s"}, "fallback": [{"capability": "other"}]},
    {"approval": {"title": "ok?", "quorum": 2}},
    {
        "approval": {
            "title": "${{ string(input.n) }}?",
            "timeout": "9s",
            "onTimeout": "escalate",
            "escalate": {"approvers": ["eve"], "timeout": "9s", "onTimeout": "approve"},
        }
    },
]


@st.composite
def steps(draw: st.DrawFn) -> dict[str, Any]:
    """Up to four steps; each may need those before it."""
    made: dict[str, Any] = {}
    for name in NAMES[: draw(st.integers(1, 4))]:
        step: dict[str, Any] = {}
        needs = [n for n in made if draw(st.booleans())]
        if needs:
            step["needs"] = needs
            if draw(st.integers(0, 2)) == 0:
                step["when"] = draw(st.sampled_from(["failed", "always", "completed"]))
        if draw(st.integers(0, 3)) == 0:
            step["continueOnError"] = True
        if draw(st.integers(0, 4)) == 0:
            step["if"] = draw(st.sampled_from(["true", "false", "input.n > 2", "input.missing"]))
        word = draw(st.sampled_from(["task"] * 5 + ["value", "value", "waits"]))
        if word == "waits":
            step |= draw(st.sampled_from(WAITS))
        elif word == "value":
            step["value"] = draw(
                st.sampled_from(["x", None, "${{ input.n }}", "${{ input.missing }}"])
            )
        else:
            step |= _task(draw, needs)
            if draw(st.integers(0, 3)) == 0:
                del step["capability"]
                if step.pop("timeout", None):
                    step["timeout"] = "8s"
                step["workflow"] = draw(st.sampled_from(["w", {"name": "w", "version": "2"}]))
        made[name] = step
    return made


def _task(draw: st.DrawFn, needs: list[str]) -> dict[str, Any]:
    step: dict[str, Any] = {"capability": "work", "retry": draw(retries)}
    if chain := draw(fallbacks()):
        step["fallback"] = chain
    if bounds := draw(timeouts):
        step["timeout"] = bounds
    if draw(st.integers(0, 2)) == 0:
        step["compensate"] = {"capability": "undo", "retry": draw(st.integers(1, 2))}
    if draw(st.integers(0, 4)) == 0:
        step["output"] = {"required": ["n"]}
    if draw(st.integers(0, 3)) == 0:
        step["priority"] = draw(st.integers(0, 100))
    if needs and draw(st.booleans()):
        step["with"] = {"x": f"${{{{ steps.{needs[0]}.output }}}}"}
    if draw(st.booleans()):
        step["foreach"] = draw(
            st.sampled_from(["${{ input.items }}", [], [1, 2], "${{ input.n }}", "${{ input }}"])
        )
        if draw(st.booleans()):
            step["maxParallel"] = draw(st.integers(1, 2))
        if draw(st.booleans()):
            step["failures"] = "collect"
    elif draw(st.integers(0, 3)) == 0:
        until = draw(st.sampled_from(["previous.n > 3", "false", "index == 1", "previous == 1"]))
        step["repeat"] = {"until": until, "max": draw(st.integers(1, 3))}
    return step


inputs = st.fixed_dictionaries(
    {"n": st.integers(0, 4), "items": st.lists(st.sampled_from([0, "x", None]), max_size=4)}
)
COMMANDS = (
    *("claim", "claim", "claim", "complete", "complete", "complete", "fail", "fatal", "release"),
    *("stale", "due", "time", "deadline", "queue", "cancel", "pause", "resume", "resume"),
    *("child", "child", "child_failed", "child_due"),
    *("retry", "priority", "advance", "retry_task", "fallback", "cancel_task", "reprioritise"),
    *("timer", "timer", "signal", "approve", "reject"),
)
moves = st.lists(st.tuples(st.sampled_from(COMMANDS), st.integers(0, 7)), max_size=25)


def command_of(state: SessionState, word: str, n: int) -> cmd.SessionCommand:
    """The n-th possible command of a kind, fit or unfit for the state."""
    tasks = list(state.tasks.values())
    task = tasks[n % len(tasks)] if tasks else None
    wanted = {
        "claim": (TaskStatus.AVAILABLE,),
        "complete": (TaskStatus.RUNNING,),
        "fail": (TaskStatus.RUNNING,),
        "fatal": (TaskStatus.RUNNING,),
        "release": (TaskStatus.RUNNING,),
        "due": (TaskStatus.SCHEDULED,),
    }.get(word)
    if wanted:
        fitting = [t for t in tasks if t.status in wanted]
        task = fitting[n % len(fitting)] if fitting else task
    task_id, attempt = (task.task_id, task.attempt) if task else ("tsk_none-1", 1)
    return (
        _of_child(state, word, n)
        or _of_attempt(word, n, task_id, attempt)
        or _of_task(word, n, task_id)
        or _of_wait(state, word, n)
        or _of_session(word, n)
    )


def _of_child(state: SessionState, word: str, n: int) -> cmd.SessionCommand | None:
    children = list(state.children)
    child_id = children[n % len(children)] if children else "ses_none_1"
    match word:
        case "child":
            return cmd.ChildOver(child_id, completed({"n": n}).output, None, 0.5)
        case "child_failed":
            return cmd.ChildOver(child_id, None, ErrorInfo("boom", "the child broke"), 0.5)
        case "child_due":
            return cmd.ChildDue(child_id)
        case _:
            return None


def _of_attempt(word: str, n: int, task_id: str, attempt: int) -> cmd.SessionCommand | None:
    match word:
        case "claim":
            return cmd.Claim(task_id, "agt_1", f"i{n}")
        case "complete":
            return cmd.Settle(task_id, attempt, completed({"n": n}), 0.5)
        case "fail":
            after = SECOND if n % 3 == 0 else None
            return cmd.Settle(task_id, attempt, Failed(ErrorInfo("boom", "", after)), 0.9)
        case "fatal":
            return cmd.Settle(task_id, attempt, Failed(ErrorInfo("fatal", "no")), 0.0)
        case "release":
            return cmd.Settle(task_id, attempt, RELEASED, 0.0)
        case "stale":
            return cmd.Settle(task_id, attempt + n - 3, completed(), 0.0)
        case _:
            return None


def _of_task(word: str, n: int, task_id: str) -> cmd.SessionCommand | None:
    match word:
        case "due":
            return cmd.TaskDue(task_id)
        case "queue":
            return cmd.QueueTimeout(task_id, "nobody is there")
        case "retry_task":
            return cmd.RetryTask(task_id, "operator:o", None if n % 2 else n + 1)
        case "fallback":
            return cmd.FallbackTask(task_id, "operator:o")
        case "cancel_task":
            return cmd.CancelTask(task_id, "no more")
        case "reprioritise":
            return cmd.ReprioritiseTask(task_id, n * 10)
        case _:
            return None


def _of_wait(state: SessionState, word: str, n: int) -> cmd.SessionCommand | None:
    waits = [*state.waits(), *state.bounded()] or ["a"]
    step = waits[n % len(waits)]
    asked = state.steps[step].approval if step in state.steps else None
    seen = asked.content_hash if asked is not None and n != 7 else "another"
    match word:
        case "timer":
            return cmd.TimerDue(step)
        case "signal":
            return cmd.Signal("go" if n else "stop", f"s{n}", raw(b"%d" % n), "operator:o")
        case "approve":
            details = raw(b"%d" % n) if n % 3 == 0 else None
            return cmd.Approve(step, ("ada", "eve")[n % 2], "", seen, details)
        case "reject":
            return cmd.Reject(step, "eve", "no", seen)
        case _:
            return None


def _of_session(word: str, n: int) -> cmd.SessionCommand:
    match word:
        case "deadline":
            return cmd.DeadlinePassed()
        case "cancel":
            return cmd.Cancel("enough", "operator:o", 10 * SECOND)
        case "pause":
            return cmd.Pause("", "operator:o")
        case "resume":
            return cmd.Resume("", "operator:o")
        case "retry":
            return cmd.RetrySession("", "operator:o")
        case "priority":
            return cmd.UpdateSession(n * 10, None, None, "operator:o")
        case _:
            return cmd.Advance()
