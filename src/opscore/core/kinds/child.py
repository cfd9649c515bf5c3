"""A child session: a workflow run as a session of its own, whose output is the step's."""

from __future__ import annotations

from collections.abc import Mapping

from opscore.core import events as ev
from opscore.core.expressions import ExpressionFailed, ExpressionScope
from opscore.core.kinds.kind import Kind, Worst
from opscore.core.progress import Draft, bound, expand
from opscore.core.reading import Reader
from opscore.core.template import Child, Step
from opscore.core.trees import is_map
from opscore.core.types import MAX_DEPTH, ErrorInfo, Json, Micros, child_id_of


def read_child(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Child:
    """`workflow: NAME`, or `workflow: {name, version}`."""
    found, where = node["workflow"], f"{where}/workflow"
    if not is_map(found):
        return Child(reader.name(found, where, "workflow") or "")
    reader.known_keys(found, where, ("name", "version"))
    if "name" not in found:
        reader.fault(where, "workflow does not say which", "add 'name: NAME'")
        return Child("")
    version = None
    if "version" in found:
        version = reader.name(found["version"], f"{where}/version", "version")
    return Child(reader.name(found["name"], f"{where}/name", "workflow") or "", version)


def _start(draft: Draft, step: Step) -> None:
    if step.timeout.total is not None:
        bound(draft, step)
    if step.foreach is not None:
        expand(draft, step)
    else:
        create_child(draft, step, None, None, 0)


def _start_item(draft: Draft, step: Step, item: Json, index: int) -> None:
    create_child(draft, step, item, index, 0)


def create_child(
    draft: Draft,
    step: Step,
    item: Json | None,
    index: int | None,
    member: int,
    error: ErrorInfo | None = None,
) -> None:
    """Begin the child session of a step, of one of its items, or of a member of its fallbacks.

    Raises ExpressionFailed when the input cannot be rendered or is too large, or the nesting is
    too deep.
    """
    child, with_ = step.work, step.with_
    scope = draft.scope(step, item, index)
    if member:
        chosen = step.fallback[member - 1]
        child, with_ = chosen.child, chosen.with_ or with_
        scope.error = error
    assert isinstance(child, Child)
    state = draft.state
    if state.depth >= MAX_DEPTH:
        message = f"child sessions are nested more than {MAX_DEPTH} deep"
        raise ExpressionFailed(f"step {step.name}: {message}", "fatal")
    rendered = draft.expressions.render(with_, scope)
    if len(rendered) > draft.payload_limit:
        raise ExpressionFailed(
            f"the input of step {step.name} has {len(rendered)} bytes; "
            f"the limit is {draft.payload_limit}",
            "payload_too_large",
        )
    version = child.version or state.versions[child.workflow]
    add_child(draft, step.name, index, member, child.workflow, version, rendered)


def add_child(
    draft: Draft,
    step: str,
    index: int | None,
    member: int,
    workflow: str,
    version: str,
    rendered: Json,
    failures: int = 0,
    due: Micros | None = None,
) -> None:
    """Begin a child session now, or when it is due."""
    child_id = child_id_of(draft.state.session_id, len(draft.state.children) + 1)
    draft.emit(
        ev.ChildCreated(child_id, step, index, member, workflow, version, rendered, failures, due)
    )


def _worst(step: Step) -> Worst:
    assert isinstance(step.work, Child)
    return Worst(None, None, (f"what workflow {step.work.workflow} does",))


CHILD = Kind(
    name="child",
    keys=("workflow",),
    modifiers=frozenset(
        {"with", "foreach", "maxParallel", "failures", "repeat"}
        | {"retry", "timeout", "fallback", "priority", "output"}
    ),
    why_not="the steps of the workflow have it, each of its own",
    read=read_child,
    start=_start,
    start_item=_start_item,
    bounded_by="total",
    worst=_worst,
)
