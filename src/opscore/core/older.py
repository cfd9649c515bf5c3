"""The older definition format, read as a template of today.

`{id, name, version, tasks: [{taskId, name, agentCapability, parameters, nextTaskId}]}` is a
sequence by `nextTaskId`; `parameters` are literal data. A task without `agentCapability` goes to
the agent that the session is bound to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from opscore.core.errors import Fault
from opscore.core.interpolation import escape
from opscore.core.reading import suggest
from opscore.core.steps import CEL_WORDS
from opscore.core.trees import is_list, is_map, kind_of, pointer

OLDER_KEYS = ("id", "name", "version", "description", "tasks")
TASK_KEYS = ("taskId", "name", "description", "agentCapability", "parameters", "nextTaskId")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")
_PLACES = {"with": "parameters", "capability": "agentCapability", "needs": "nextTaskId"}


@dataclass(frozen=True, slots=True)
class Converted:
    """A tree of today's format. `bound` steps go to the session's agent.

    `older` says whether the tree was converted; then `task_of` gives the position of each step in
    the older list of tasks.
    """

    tree: Mapping[str, object]
    bound: frozenset[str] = frozenset()
    task_of: Mapping[str, int] = field(default_factory=dict[str, int])
    faults: tuple[Fault, ...] = ()
    older: bool = False

    def original(self, where: str) -> str:
        """The pointer into the document as it was written."""
        if not self.older:
            return where
        parts = where.split("/")
        if where == "/name":
            return "/id"
        if len(parts) < 3 or parts[1] != "steps" or parts[2] not in self.task_of:
            return "/tasks" if where == "/steps" else where
        rest = [_PLACES.get(parts[3], parts[3]), *parts[4:]] if len(parts) > 3 else []
        rest = rest[:1] if rest[:1] == ["nextTaskId"] else rest
        return "/".join(["", "tasks", str(self.task_of[parts[2]]), *rest])


def is_older(tree: Mapping[str, object]) -> bool:
    """Whether the tree is of the older format."""
    return "tasks" in tree and "steps" not in tree


def convert(tree: Mapping[str, object]) -> Converted:
    """Today's tree of an older definition, with the mistakes that only its own words can tell."""
    faults = [
        Fault(pointer(key), f"unknown key '{key}'", suggest(key, OLDER_KEYS))
        for key in tree
        if key not in OLDER_KEYS and not key.startswith("x-")
    ]
    tasks = _tasks(tree, faults)
    names = _step_names(tasks, faults)
    steps: dict[str, object] = {}
    for at, task in tasks.items():
        steps[names[at]] = _step(task)
    _chain(tasks, names, steps, faults)
    bound = frozenset(names[at] for at, task in tasks.items() if _unassigned(task))
    today = {
        "name": tree.get("id", tree.get("name")),
        "version": tree.get("version", "1"),
        "description": tree.get("description", tree.get("name", "")),
        "steps": steps,
    }
    task_of = {name: at for at, name in names.items()}
    return Converted(today, bound, task_of, tuple(faults), older=True)


def _unassigned(task: Mapping[str, object]) -> bool:
    return task.get("agentCapability") is None


def _tasks(tree: Mapping[str, object], faults: list[Fault]) -> dict[int, dict[str, object]]:
    tasks = tree["tasks"]
    if not is_list(tasks):
        faults.append(Fault("/tasks", f"tasks must be a list, not {kind_of(tasks)}"))
        return {}
    found: dict[int, dict[str, object]] = {}
    for at, task in enumerate(tasks):
        if not is_map(task):
            faults.append(Fault(pointer("tasks", at), f"a task is a mapping, not {kind_of(task)}"))
            continue
        found[at] = task
        faults += [
            Fault(pointer("tasks", at, key), f"unknown key '{key}'", suggest(key, TASK_KEYS))
            for key in task
            if key not in TASK_KEYS and not key.startswith("x-")
        ]
    return found


def _step_names(tasks: Mapping[int, Mapping[str, object]], faults: list[Fault]) -> dict[int, str]:
    names: dict[int, str] = {}
    ids: dict[str, int] = {}
    for at, task in tasks.items():
        written = task.get("taskId")
        if not isinstance(written, str) or not written:
            faults.append(Fault(pointer("tasks", at), "the task has no taskId (text)"))
            written = f"task_{at}"
        elif written in ids:
            message = f"taskId '{written}' is taken by task {ids[written]}"
            faults.append(Fault(pointer("tasks", at, "taskId"), message))
        ids.setdefault(written, at)
        names[at] = _free_name(written, set(names.values()))
    return names


def _free_name(written: str, taken: set[str]) -> str:
    plain = _NOT_IN_NAMES.sub("_", written)[:100]
    name = plain if plain[:1].islower() else f"t_{plain}"
    name = f"{name}_step" if name in CEL_WORDS else name
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _step(task: Mapping[str, object]) -> dict[str, object]:
    step: dict[str, object] = {}
    if not _unassigned(task):
        step["capability"] = task["agentCapability"]
    if task.get("parameters") is not None:
        step["with"] = _literal(task["parameters"])
    name = task.get("description", task.get("name"))
    if name is not None:
        step["description"] = name
    return step


def _literal(node: object) -> object:
    if is_list(node):
        return [_literal(each) for each in node]
    if is_map(node):
        return {key: _literal(each) for key, each in node.items()}
    return escape(node) if isinstance(node, str) else node


def _chain(
    tasks: dict[int, dict[str, object]],
    names: Mapping[int, str],
    steps: Mapping[str, object],
    faults: list[Fault],
) -> None:
    by_id = {str(task.get("taskId")): at for at, task in reversed(tasks.items())}
    for at, task in tasks.items():
        wanted = task.get("nextTaskId")
        if wanted is None or wanted == "":
            continue
        if not isinstance(wanted, str) or wanted not in by_id:
            hint = suggest(str(wanted), by_id)
            message = f"there is no task '{wanted}'"
            faults.append(Fault(pointer("tasks", at, "nextTaskId"), message, hint))
            continue
        step = steps[names[by_id[wanted]]]
        if is_map(step):
            needs = step.setdefault("needs", [])
            if is_list(needs):
                needs.append(names[at])
