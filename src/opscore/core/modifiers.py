"""The readers of what modifies a step: when it runs, loops, fallbacks."""

from __future__ import annotations

from collections.abc import Mapping

from opscore.core.expressions import ExpressionScope
from opscore.core.kinds.child import create_child, read_child
from opscore.core.kinds.task import create_task, read_target
from opscore.core.match_rules import read_match
from opscore.core.policies import RetryKeys, TimeoutKeys, make_retry, read_retry, read_timeout
from opscore.core.reading import Reader
from opscore.core.template import Compensation, Expression, FallbackMember, Repeat, Timeouts, Value
from opscore.core.trees import is_list, is_map, kind_of, pointer
from opscore.core.types import MAX_ITEMS, Json, When

MEMBERS = ("capability", "agent", "workflow", "value")
"""What a member of a fallback chain can be."""

MAX_FALLBACKS = 20
MAX_ITERATIONS = 1000
COMPENSATION_ATTEMPTS = 10
NOTHING = Value({}, dynamic=False)


def read_when(reader: Reader, node: Mapping[str, object], where: str) -> When:
    """`when`: after which ends of its needs the step runs."""
    if "when" not in node:
        return When.COMPLETED
    where, given = f"{where}/when", node["when"]
    if given not in [each.value for each in When]:
        shown = given if isinstance(given, str) else kind_of(given)
        hint = f"one of: {', '.join(When)}; a condition on values goes into 'if'"
        reader.fault(where, f"'when: {shown}' is not known", hint)
        return When.COMPLETED
    when = When(str(given))
    if when is not When.COMPLETED and not node.get("needs"):
        hint = "name in 'needs' the steps that it follows"
        reader.fault(where, f"'when: {when}' means nothing without 'needs'", hint)
    return when


def read_flag(reader: Reader, node: Mapping[str, object], where: str, key: str) -> bool:
    """A key that is true or false, and false when it is left out."""
    given = node.get(key, False)
    if isinstance(given, bool):
        return given
    reader.fault(where + pointer(key), f"{key} must be true or false, not {kind_of(given)}")
    return False


def read_failures(reader: Reader, node: Mapping[str, object], where: str) -> bool:
    """`failures`: whether the failures of items are collected, instead of failing the step."""
    if "failures" not in node:
        return False
    where, given = f"{where}/failures", node["failures"]
    if given not in ("fail", "collect"):
        shown = given if isinstance(given, str) else kind_of(given)
        reader.fault(where, f"'failures: {shown}' is not known", "write 'fail' or 'collect'")
    elif "foreach" not in node:
        reader.fault(where, "'failures' needs 'foreach'", "add foreach, or leave it out")
    return given == "collect"


def read_repeat(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Repeat | None:
    """`repeat: {until, max}`; both are needed, so that every loop has its bound."""
    if "repeat" not in node:
        return None
    where = f"{where}/repeat"
    if "foreach" in node:
        hint = "repeat a step with 'workflow', or make two steps of it"
        reader.fault(where, "'repeat' does not go together with 'foreach'", hint)
    found = reader.mapping(node["repeat"], where, "repeat")
    if found is None:
        return None
    reader.known_keys(found, where, ("until", "max"))
    for key, example in (("until", "previous.score > 0.9"), ("max", "5")):
        if key not in found:
            reader.fault(where, f"repeat has no '{key}'", f"for example '{key}: {example}'")
    until = None
    if "until" in found:
        until = reader.condition(found["until"], f"{where}/until", scope, "'until'")
    most = None
    if "max" in found:
        most = reader.integer(found["max"], f"{where}/max", "max", 1, MAX_ITERATIONS)
    return Repeat(until or "true", most or 1)


def read_compensate(
    reader: Reader,
    node: Mapping[str, object],
    where: str,
    scope: ExpressionScope,
    timeout: TimeoutKeys,
) -> Compensation | None:
    """`compensate`: the task that undoes the step. `timeout` is what lies under its own."""
    if "compensate" not in node:
        return None
    where, timeout = f"{where}/compensate", {**timeout}
    found = reader.mapping(node["compensate"], where, "compensate")
    if found is None:
        return None
    reader.known_keys(found, where, ("capability", "agent", "with", "retry", "timeout"))
    if len(found.keys() & {"capability", "agent"}) != 1:
        hint = "add 'capability: NAME' or 'agent: NAME'"
        reader.fault(where, "compensate names exactly one of capability, agent", hint)
    own = read_retry(reader, found["retry"], f"{where}/retry") if "retry" in found else RetryKeys()
    base = RetryKeys(max_attempts=COMPENSATION_ATTEMPTS)
    if "timeout" in found:
        own_timeout = read_timeout(reader, found["timeout"], f"{where}/timeout")
        if "total" in own_timeout:
            hint = "bound its attempts with 'attempt', and their number with 'retry'"
            reader.fault(f"{where}/timeout/total", "what is undone has no total timeout", hint)
        timeout = {**timeout, **own_timeout}
    # What undoes the step begins after the step's own time, and is never given up for want of it.
    timeout.pop("total", None)
    return Compensation(
        read_target(reader, found, where, scope),
        reader.arguments(found["with"], f"{where}/with", scope) if "with" in found else NOTHING,
        make_retry(reader, base, own, f"{where}/retry"),
        Timeouts(**timeout),
    )


def read_output(reader: Reader, node: Mapping[str, object], where: str) -> Json | None:
    """`output` of a step: a JSON Schema."""
    if "output" not in node:
        return None
    return reader.schema(node["output"], f"{where}/output", "output (a JSON Schema)")


def read_foreach(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> Value | None:
    """`foreach`: a list, a map, or one expression that gives one."""
    if "foreach" not in node:
        return None
    where = f"{where}/foreach"
    value = reader.value(node["foreach"], where, scope)
    if is_list(value.tree) or is_map(value.tree):
        if len(value.tree) > MAX_ITEMS:
            reader.fault(where, f"foreach over more than {MAX_ITEMS} written items")
    elif not isinstance(value.tree, Expression):
        hint = 'for example "${{ input.files }}", in quotes'
        given = kind_of(node["foreach"])
        message = f"foreach must be a list, a map or one expression, not {given}"
        reader.fault(where, message, hint)
    return value


def read_max_parallel(reader: Reader, node: Mapping[str, object], where: str) -> int | None:
    """`maxParallel`: how many items may be open at once."""
    if "maxParallel" not in node:
        return None
    where = f"{where}/maxParallel"
    if "foreach" not in node:
        reader.fault(where, "'maxParallel' needs 'foreach'", "add foreach, or leave it out")
    return reader.integer(node["maxParallel"], where, "maxParallel", 1)


def read_fallback(
    reader: Reader, node: Mapping[str, object], where: str, scope: ExpressionScope
) -> tuple[FallbackMember, ...]:
    """`fallback`: what is tried in turn once the step's work is given up."""
    if "fallback" not in node:
        return ()
    where, members = f"{where}/fallback", node["fallback"]
    if not is_list(members) or not members:
        hint = "for example [{agent: careful-measurer}, {value: null}]"
        reader.fault(where, "fallback must be a list of members", hint)
        return ()
    if len(members) > MAX_FALLBACKS:
        reader.fault(where, f"more than {MAX_FALLBACKS} fallbacks")
    read = [
        _read_member(reader, member, f"{where}/{at}", scope) for at, member in enumerate(members)
    ]
    for at, member in enumerate(read[:-1]):
        if member is not None and member.value is not None:
            reader.fault(f"{where}/{at + 1}", "no fallback after a value is ever reached")
            break
    return tuple(member for member in read if member is not None)


def _read_member(
    reader: Reader, member: object, where: str, scope: ExpressionScope
) -> FallbackMember | None:
    node = reader.mapping(member, where, "a fallback")
    if node is None:
        return None
    reader.known_keys(node, where, (*MEMBERS, "with", "match"))
    kinds = [kind for kind in MEMBERS if kind in node]
    if len(kinds) != 1:
        reader.fault(where, f"a fallback is exactly one of {', '.join(MEMBERS)}")
        return None
    if "match" in node and kinds not in (["capability"], ["agent"]):
        hint = "it chooses among the agents that have a capability"
        reader.fault(f"{where}/match", f"'match' means nothing beside '{kinds[0]}'", hint)
    if kinds == ["value"]:
        if "with" in node:
            hint = "the value is computed, no agent runs it"
            reader.fault(f"{where}/with", "'with' means nothing beside 'value'", hint)
        return FallbackMember(value=reader.value(node["value"], f"{where}/value", scope))
    with_ = reader.arguments(node["with"], f"{where}/with", scope) if "with" in node else None
    if kinds == ["workflow"]:
        child = read_child(reader, node, where, scope)
        return FallbackMember(child=child, with_=with_, begin=create_child)
    target = read_target(reader, node, where, scope)
    match = read_match(reader, node, where, scope)
    return FallbackMember(target=target, with_=with_, match=match, begin=create_task)
