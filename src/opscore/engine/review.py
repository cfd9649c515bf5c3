"""A template held against the agents that are registered: who could do it, and with what input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec

from opscore.core.agent import Agent
from opscore.core.errors import Fault
from opscore.core.lint import Findings
from opscore.core.match_rules import choice_of
from opscore.core.reading import suggest
from opscore.core.template import Expression, Interpolated, Step, Target, Template, Value
from opscore.core.trees import is_list, is_map, pointer
from opscore.core.why_words import nobody
from opscore.engine.choosers import agent_view
from opscore.engine.registry import Registry
from opscore.json_schema import check_schema, validate_partly

Path = tuple[str | int, ...]


def review(template: Template, registry: Registry, namespace: str) -> Findings:
    """What a template asks of agents that they cannot do.

    That nobody has a capability is a warning, because agents come and go. An input that the
    published schema of every agent with the capability refuses is a mistake; one that only some
    refuse is a warning.
    """
    found = Findings()
    agents = registry.agents(namespace)
    for where, step, target, match in _targets(template):
        missing = _nobody(target, agents)
        if missing:
            key = "capability" if target.capability is not None else "agent"
            found.warnings.append(replace(missing, pointer=where + pointer(key)))
        elif match is not None and not match.dynamic:
            found.warnings += _nobody_fits(target, match, agents, where)
        _check_input(step, target, agents, found)
    return found


def _targets(template: Template) -> Iterator[tuple[str, Step, Target, Value | None]]:
    for step in template.steps.values():
        where = pointer("steps", step.name)
        if isinstance(step.work, Target):
            yield where, step, step.work, step.match
        for at, member in enumerate(step.fallback):
            if member.target is not None:
                yield f"{where}/fallback/{at}", step, member.target, member.match


def _nobody(target: Target, agents: Sequence[Agent]) -> Fault | None:
    names = {agent.agent_name for agent in agents}
    capabilities = {each for agent in agents for each in agent.capabilities}
    if target.capability is not None and target.capability not in capabilities:
        hint = suggest(target.capability, capabilities) or "its tasks wait until one registers"
        return Fault("", f"no registered agent has the capability '{target.capability}'", hint)
    if target.agent is not None and target.agent not in names:
        hint = suggest(target.agent, names) or "its tasks wait until it registers"
        return Fault("", f"no agent named '{target.agent}' is registered", hint)
    return None


def _nobody_fits(
    target: Target, match: Value, agents: Sequence[Agent], where: str
) -> Iterator[Fault]:
    """Some have the capability, and none what else is asked, as far as that is written."""
    text = msgspec.json.encode(match.tree).decode()
    capable = [agent for agent in agents if target.capability in agent.capabilities]
    if not any(choice_of(text).fits(agent_view(agent)) for agent in capable):
        told = nobody(replace(target, match=text), (), len(capable))
        yield Fault(f"{where}/match", told, "its tasks wait until one registers")


def _check_input(step: Step, target: Target, agents: Sequence[Agent], found: Findings) -> None:
    if target.capability is None or isinstance(step.with_.tree, Expression):
        return
    schemas = {
        agent.agent_name: agent.schemas[target.capability]
        for agent in agents
        if target.capability in agent.capabilities and target.capability in agent.schemas
    }
    refusals = {name: _refused(schema, step) for name, schema in schemas.items()}
    certain = bool(refusals) and all(refusals.values())
    for name, faults in refusals.items():
        into = found.faults if certain else found.warnings
        for fault in faults:
            message = f"agent '{name}' refuses this input of '{target.capability}': {fault.message}"
            if all(each.message != message for each in into):
                into.append(replace(fault, message=message))


def _refused(schema: object, step: Step) -> list[Fault]:
    """What a published schema says against the parts of `with` that are known already."""
    if not is_map(schema) or check_schema(schema):
        return []
    open_paths: dict[Path, bool] = {}
    instance = _instance(step.with_.tree, (), open_paths)
    faults = validate_partly(msgspec.json.encode(schema), msgspec.json.encode(instance), open_paths)
    base = pointer("steps", step.name, "with")
    return [replace(fault, pointer=base + fault.pointer) for fault in faults]


def _instance(tree: object, path: Path, open_paths: dict[Path, bool]) -> object:
    """The tree with a stand-in for each expression; `open_paths`: where, and whether it is text."""
    if isinstance(tree, Expression | Interpolated):
        is_text = isinstance(tree, Interpolated)
        open_paths[path] = is_text
        return "" if is_text else None
    if is_map(tree):
        return {name: _instance(each, (*path, name), open_paths) for name, each in tree.items()}
    if is_list(tree):
        return [_instance(each, (*path, at), open_paths) for at, each in enumerate(tree)]
    return tree
