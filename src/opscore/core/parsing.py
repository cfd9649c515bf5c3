"""From a plain tree to a template, or to every mistake in it at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from opscore.core.errors import Fault
from opscore.core.expressions import ExpressionScope
from opscore.core.flow import read_concurrency, read_rate
from opscore.core.graph import ancestors_of, dependents_of, find_cycles, topological_order
from opscore.core.lint import ShapeOf, lint, no_shape
from opscore.core.modifiers import NOTHING
from opscore.core.older import Converted, convert, is_older
from opscore.core.policies import make_retry, read_retry, read_timeout, read_total
from opscore.core.reading import (
    TEMPLATE_NAME,
    CheckExpression,
    CheckSchema,
    Reader,
    suggest,
)
from opscore.core.schedule import CalendarOf, read_schedule
from opscore.core.steps import (
    SESSION_NAMES,
    STEP_KEYS,
    Defaults,
    Surroundings,
    read_priority,
    read_step,
    read_step_name,
)
from opscore.core.template import Child, OnError, Step, Template, Timeouts
from opscore.core.trees import is_map, kind_of, pointer, tree_faults
from opscore.core.types import Json

START_NAMES = frozenset({"input", "session"})
"""What is known before the first step."""

Needs = Mapping[str, tuple[str, ...]]
TEMPLATE_KEYS = (
    *("name", "version", "description", "input", "defaults", "steps"),
    *("output", "onError", "priority", "timeout", "concurrency", "rate", "labels", "schedule"),
    "env",
)
DEFAULT_KEYS = ("retry", "timeout", "priority", "labels")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MAX_STEPS = 1000
MAX_NEEDS = 20_000
"""Edges of one graph: bounds the work of ordering it."""


def parse(
    tree: object,
    *,
    check_expression: CheckExpression,
    check_schema: CheckSchema,
    encode: Callable[[object], Json],
    source: Json,
    digest: str,
    calendar_of: CalendarOf,
    shape_of: ShapeOf = no_shape,
) -> Template | list[Fault]:
    """Read a template from a plain tree (dict, list, str, int, float, bool, None).

    `check_expression` says what is wrong with an expression in a scope, `check_schema` what is
    wrong with a JSON Schema, `calendar_of` gives that of a cron expression; `encode` gives the JSON of a plain tree; `source` and `digest` are
    kept in the template as they are. The older format (a list of `tasks`) is read as well.
    `shape_of` tells what an expression is; what it cannot tell is not looked at. Returns all
    mistakes, in document order, instead of raising.
    """
    unsound = tree_faults(tree)
    if unsound:
        return unsound
    if not is_map(tree):
        return [Fault("", f"a template is a mapping, not {kind_of(tree)}", "begin with 'name:'")]
    older = convert(tree) if is_older(tree) else Converted(tree)
    reader = Reader(check_expression, check_schema, encode, list(older.faults))
    template = _read_template(reader, older, source, digest, calendar_of)
    found = lint(template, older.tree.get("input"), reader.seen, shape_of)
    faults = [*reader.faults, *found.faults]
    if faults:
        return [replace(each, pointer=older.original(each.pointer)) for each in faults]
    warnings = [replace(each, pointer=older.original(each.pointer)) for each in found.warnings]
    return replace(template, warnings=tuple(warnings))


def _read_template(
    reader: Reader,
    older: Converted,
    source: Json,
    digest: str,
    calendar_of: CalendarOf,
) -> Template:
    node = older.tree
    reader.known_keys(node, "", TEMPLATE_KEYS)
    name, version = _read_name(reader, node), _read_version(reader, node)
    schema = _read_schema(reader, node)
    defaults = _read_defaults(reader, node)
    nodes = _step_nodes(reader, node)
    needs, unclear = _read_all_needs(reader, nodes)
    order = _read_order(reader, needs)
    ancestors = ancestors_of(needs, order)
    env = _read_env(reader, node)
    around = Surroundings(defaults, needs, ancestors, older.bound, unclear, frozenset(env))
    steps = {each: read_step(reader, each, nodes[each], around) for each in nodes}
    start = ExpressionScope(START_NAMES, env=around.env)
    every = ExpressionScope(SESSION_NAMES, frozenset(needs), frozenset(needs), around.env)
    description = node.get("description", "")
    return Template(
        name=name,
        version=version,
        description=reader.text(description, "/description", "description") or "",
        input_schema=schema,
        steps=steps,
        order=order,
        dependents=dependents_of(needs),
        output=reader.value(node["output"], "/output", every) if "output" in node else None,
        on_error=_read_on_error(reader, node, every),
        priority=read_priority(reader, node, ""),
        timeout=read_total(reader, node["timeout"], "/timeout")
        if "timeout" in node
        else Timeouts(),
        labels=reader.labels(node["labels"], "/labels") if "labels" in node else {},
        source=source,
        digest=digest,
        schedule=read_schedule(reader, node, calendar_of),
        concurrency=read_concurrency(reader, node, "", start),
        rate=read_rate(reader, node, "", start),
        env=env,
        children=_children(steps.values()),
        roots=tuple(each for each in order if not needs[each]),
    )


def _read_name(reader: Reader, node: Mapping[str, object]) -> str:
    if "name" not in node:
        reader.fault("", "the template has no name", "add 'name: my-workflow'")
        return ""
    name = reader.text(node["name"], "/name", "name")
    if name is not None and not TEMPLATE_NAME.fullmatch(name):
        hint = "letters, digits, '_', '.' and '-'; begin with a letter or digit; at most 128"
        reader.fault("/name", f"'{name[:60]}' is not a template name", hint)
    return name or ""


def _read_version(reader: Reader, node: Mapping[str, object]) -> str:
    version = node.get("version")
    if "version" not in node:
        reader.fault("", "the template has no version", "add 'version: \"1\"'")
    elif isinstance(version, int | float) and not isinstance(version, bool):
        hint = f'write it in quotes: "{version}"; a bare 1.10 would become 1.1'
        reader.fault("/version", "version must be text, not a number", hint)
    else:
        return reader.name(version, "/version", "version") or ""
    return ""


def _read_schema(reader: Reader, node: Mapping[str, object]) -> Json | None:
    if "input" not in node:
        return None
    return reader.schema(node["input"], "/input", "input (a JSON Schema)")


def _read_defaults(reader: Reader, node: Mapping[str, object]) -> Defaults:
    found = reader.mapping(node["defaults"], "/defaults", "defaults") if "defaults" in node else {}
    if not found:
        return Defaults()
    not_here = {key for key in STEP_KEYS if key not in DEFAULT_KEYS}
    for key in not_here & found.keys():
        hint = f"defaults may hold: {', '.join(DEFAULT_KEYS)}"
        reader.fault("/defaults" + pointer(key), f"'{key}' cannot be a default", hint)
    reader.known_keys(found, "/defaults", (*DEFAULT_KEYS, *not_here))
    defaults = Defaults()
    if "retry" in found:
        keys = read_retry(reader, found["retry"], "/defaults/retry")
        make_retry(reader, {}, keys, "/defaults/retry")
        defaults = replace(defaults, retry=keys)
    if "timeout" in found:
        keys = read_timeout(reader, found["timeout"], "/defaults/timeout")
        defaults = replace(defaults, timeout=keys)
    if "labels" in found:
        labels = reader.labels(found["labels"], "/defaults/labels")
        defaults = replace(defaults, labels=labels)
    return replace(defaults, priority=read_priority(reader, found, "/defaults"))


def _step_nodes(reader: Reader, node: Mapping[str, object]) -> dict[str, dict[str, object]]:
    steps = node.get("steps")
    if not is_map(steps) or not steps:
        where = "/steps" if "steps" in node else ""
        hint = "add 'steps:' with one name per step below it"
        reader.fault(where, "the template has no mapping of steps", hint)
        return {}
    if len(steps) > MAX_STEPS:
        reader.fault("/steps", f"more than {MAX_STEPS} steps", "split the workflow")
        return {}
    nodes: dict[str, dict[str, object]] = {}
    for name, each in steps.items():
        if name.startswith("x-"):
            continue
        read_step_name(reader, name, pointer("steps", name))
        step = reader.mapping(each, pointer("steps", name), f"step '{name[:60]}'")
        # What is no mapping is one fault: an empty value stands in for it.
        nodes[name] = step if step is not None else {"value": None}
    return nodes


def _read_all_needs(
    reader: Reader, nodes: Mapping[str, Mapping[str, object]]
) -> tuple[Needs, frozenset[str]]:
    """The needs of each step, and the names of the steps whose needs hold a mistake."""
    needs: dict[str, tuple[str, ...]] = {}
    unclear: set[str] = set()
    for name in nodes:
        before = len(reader.faults)
        needs[name] = _read_needs(reader, name, nodes)
        if len(reader.faults) > before:
            unclear.add(name)
    return needs, frozenset(unclear)


def _read_needs(
    reader: Reader, name: str, nodes: Mapping[str, Mapping[str, object]]
) -> tuple[str, ...]:
    if "needs" not in nodes[name]:
        return ()
    where = pointer("steps", name, "needs")
    known: list[str] = []
    for wanted, place in reader.strings(nodes[name]["needs"], where, "the name of a step"):
        if wanted in known:
            reader.fault(place, f"'{wanted}' stands twice in 'needs'")
        elif wanted in nodes:
            known.append(wanted)
        else:
            hint = suggest(wanted, nodes) or f"steps: {', '.join(list(nodes)[:20])}"
            reader.fault(place, f"there is no step '{wanted}'", hint)
    return tuple(known)


def _read_order(reader: Reader, needs: Needs) -> tuple[str, ...]:
    if sum(map(len, needs.values())) > MAX_NEEDS:
        reader.fault("/steps", f"more than {MAX_NEEDS} 'needs' in all")
        return ()
    for cycle in find_cycles(needs):
        told = f"'{cycle[0]}' needs " + ", which needs ".join(f"'{each}'" for each in cycle[1:])
        where = pointer("steps", cycle[0], "needs")
        reader.fault(where, f"the steps wait for each other: {told}", "remove one of these 'needs'")
    return topological_order(needs)


def _children(steps: Iterable[Step]) -> tuple[Child, ...]:
    """The workflows that steps and their fallbacks run."""
    found: list[Child] = []
    for step in steps:
        named = [step.work, *(member.child for member in step.fallback)]
        found += [each for each in named if isinstance(each, Child) and each not in found]
    return tuple(found)


def _read_env(reader: Reader, node: Mapping[str, object]) -> tuple[str, ...]:
    """`env`: names of environment variables; the server's operator lists those that may be read."""
    if "env" not in node:
        return ()
    names: list[str] = []
    for name, place in reader.strings(node["env"], "/env", "the name of a variable"):
        if not ENV_NAME.fullmatch(name):
            hint = "letters, digits and _, for example REGION"
            reader.fault(place, f"'{name[:60]}' is not the name of a variable", hint)
        elif name not in names:
            names.append(name)
    return tuple(names)


def _read_on_error(
    reader: Reader, node: Mapping[str, object], every: ExpressionScope
) -> OnError | None:
    if "onError" not in node:
        return None
    found = reader.mapping(node["onError"], "/onError", "onError")
    if found is None:
        return None
    reader.known_keys(found, "/onError", ("workflow", "version", "with"))
    scope = replace(every, names=every.names | {"error"})
    workflow = ""
    if "workflow" in found:
        workflow = reader.name(found["workflow"], "/onError/workflow", "workflow") or ""
    else:
        reader.fault("/onError", "onError does not name a workflow", "add 'workflow: NAME'")
    version = None
    if "version" in found:
        version = reader.name(found["version"], "/onError/version", "version")
    with_ = NOTHING
    if "with" in found:
        with_ = reader.arguments(found["with"], "/onError/with", scope)
    return OnError(workflow, version, with_)
