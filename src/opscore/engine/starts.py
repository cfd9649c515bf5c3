"""How a session's first event comes about, and the built-in template of a single task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from opscore.core.agent import Agent
from opscore.core.errors import Fault, Impossible, Invalid, TooLarge
from opscore.core.events import SessionStarted
from opscore.core.template import Template
from opscore.core.types import DEFAULT_PRIORITY, SECOND, Json, Micros
from opscore.engine.cache import TemplateCache
from opscore.engine.journal import raw
from opscore.json_schema import validate

RESERVED = "opscore."
TASK_WORKFLOW = "opscore.task"
TASK_STEP = "task"
EMPTY: Json = b"{}"


def start_event(
    template: Template,
    *,
    namespace: str,
    now: Micros,
    input: Json,
    trace_id: str,
    actor: str,
    context: Json = EMPTY,
    priority: int | None = None,
    labels: Mapping[str, str] | None = None,
    agent: Agent | None = None,
    due: Micros | None = None,
    on_error_version: str | None = None,
    env: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
    parent: str | None = None,
    depth: int = 0,
    cause: str | None = None,
    traceparent: str | None = None,
) -> SessionStarted:
    """The event with which a session of `template` begins; what is not given comes from it."""
    total = template.timeout.total
    chosen = priority if priority is not None else template.priority
    return SessionStarted(
        namespace=namespace,
        workflow=template.name,
        template_version=template.version,
        input=raw(input),
        context=raw(context),
        priority=DEFAULT_PRIORITY if chosen is None else chosen,
        labels={**template.labels, **(labels or {})},
        trace_id=trace_id,
        actor=actor,
        agent_id=agent.agent_id if agent is not None else None,
        agent_name=agent.agent_name if agent is not None else None,
        agent_capabilities=agent.capabilities if agent is not None else (),
        deadline=None if total is None else now + total,
        due=due,
        on_error_version=on_error_version,
        env=env,
        versions=versions,
        parent=parent,
        depth=depth,
        cause=cause,
        traceparent=traceparent,
    )


def versions_of(
    template: Template, templates: TemplateCache, namespace: str
) -> tuple[str | None, Mapping[str, str] | None]:
    """The exact versions of what a session will run: fixed when it starts.

    That of its `onError` workflow, and those of the workflows that it names without a version.
    Raises Impossible when one of them does not exist.
    """
    on_error = None
    if template.on_error is not None:
        named = template.on_error
        on_error = _exact(templates, namespace, named.workflow, named.version)
        if on_error is None:
            raise _missing("onError of ", template, named.workflow, named.version)
    versions: dict[str, str] = {}
    for child in template.children:
        found = _exact(templates, namespace, child.workflow, child.version)
        if found is None:
            raise _missing("a step of ", template, child.workflow, child.version)
        if child.version is None:
            versions[child.workflow] = found
    return on_error, versions or None


def _exact(templates: TemplateCache, namespace: str, name: str, version: str | None) -> str | None:
    row = templates.find(namespace, name, version)
    return None if row is None else row.version


def _missing(where: str, template: Template, name: str, version: str | None) -> Impossible:
    which = name if version is None else f"{name} version {version}"
    return Impossible(
        f"{where}workflow {template.name} names workflow {which}, which does not exist; "
        "apply its template first"
    )


def env_of(template: Template, allowed: Mapping[str, str | None]) -> Mapping[str, str] | None:
    """What a session of the template reads of the server's environment. Raises Impossible."""
    found: dict[str, str] = {}
    for name in template.env:
        value = allowed.get(name)
        if value is None:
            why = (
                "is not set in the server's environment"
                if name in allowed
                else "is not among those that the server's operator lists in OPSCORE_TEMPLATE_ENV"
            )
            raise Impossible(f"workflow {template.name} reads env.{name}, which {why}")
        found[name] = value
    return found or None


def check_priority(priority: int | None) -> None:
    """Raises Invalid for what is no priority."""
    if priority is not None and not 0 <= priority <= 100:
        raise Invalid(f"a priority is 0 to 100, not {priority}")


def due_time(delay_seconds: float | None, due_at: Micros | None, now: Micros) -> Micros | None:
    """When a task may be claimed first; None: at once. Raises Invalid for what is no such time."""
    if delay_seconds is not None:
        if not 0 <= delay_seconds <= LONGEST_DELAY_SECONDS:
            raise Invalid(f"a delay is 0 to {LONGEST_DELAY_SECONDS} seconds, not {delay_seconds}")
        return now + round(delay_seconds * SECOND)
    if due_at is not None and not 0 <= due_at <= now + LONGEST_DELAY_SECONDS * SECOND:
        raise Invalid(f"{due_at} is no time (microseconds since 1970) in the next hundred years")
    return due_at


LONGEST_DELAY_SECONDS = 100 * 366 * 86_400


def check_input(template: Template, given: Json, context: Json, limit: int) -> None:
    """Raises TooLarge, or Invalid with what the template's input schema says against `given`."""
    for name, document in (("input", given), ("context", context)):
        if len(document) > limit:
            raise TooLarge(
                f"the {name} has {len(document)} bytes; the limit is {limit}",
                code="payload_too_large",
            )
    if template.input_schema is not None:
        faults = [
            Fault(f"/input{fault.pointer}", fault.message, fault.hint)
            for fault in validate(template.input_schema, given)
        ]
        if faults:
            first = faults[0]
            raise Invalid(
                f"the input does not fit workflow {template.name} {template.version}: "
                f"{first.pointer}: {first.message}",
                faults=faults,
            )


def task_tree(
    capability: str | None, agent: str | None, retry: object, timeout: object
) -> dict[str, object]:
    """The built-in one-step template that runs a standalone task.

    Its version is the digest of what it says, so that equal demands share one template.
    """
    step: dict[str, object] = {"with": "${{ input }}"}
    named = {"capability": capability, "agent": agent, "retry": retry, "timeout": timeout}
    step.update((k, v) for k, v in named.items() if v is not None and v != {})
    version = hashlib.sha256(msgspec.json.encode(step, order="sorted")).hexdigest()[:12]
    return {
        "name": TASK_WORKFLOW,
        "version": f"v{version}",
        "steps": {TASK_STEP: step},
        "output": f"${{{{ steps.{TASK_STEP}.output }}}}",
    }
