"""From the encoded JSON of a scope to just what an expression mentions."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from opscore.core.expressions import AgentView, ExpressionFailed, Scope
from opscore.core.types import ErrorInfo, Json
from opscore.expressions.bounds import Extent
from opscore.expressions.references import Needed
from opscore.expressions.results import NULL, Raw, encode

T = TypeVar("T")
_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_decode = msgspec.json.Decoder().decode


UNREADABLE = (RecursionError, msgspec.DecodeError)
"""What reading a value raises when it is nested too deeply, or holds half a surrogate pair."""


def unreadable(error: Exception) -> ExpressionFailed:
    """One of `UNREADABLE` as a failure of the expression."""
    if isinstance(error, RecursionError):
        return ExpressionFailed("the value is nested too deeply", "expression_limit")
    return ExpressionFailed(f"the value is not JSON: {error}")


def variables(wanted: Needed, scope: Scope) -> dict[str, Any]:
    """The data for an evaluation: each variable pruned to the fields that are mentioned."""
    return {name: _variable(name, below, scope) for name, below in wanted.items()}


def raw_at(path: tuple[str, ...], scope: Scope) -> Json:
    """The encoded value of a plain path such as `steps.scan.output.files`, bytes untouched."""
    root, rest = path[0], path[1:]
    match root:
        case "input":
            return _walk(scope.input, rest)
        case "item":
            return _walk(_present(scope.item, root), rest)
        case "previous":
            return _walk(NULL if scope.previous is None else scope.previous, rest)
        case "steps" if len(rest) >= 2 and rest[1] == "output":
            view = scope.step(rest[0])
            if view is None:
                raise ExpressionFailed(f"no step '{rest[0]}'")
            return _walk(NULL if view.output is None else view.output, rest[2:])
        case "session" if rest[:1] == ("context",):
            return _walk(scope.session.context, rest[1:])
        case _:
            return _walk(Raw(encode(_variable(root, None, scope))), rest)


def extent_at(path: tuple[str, ...], scope: Scope) -> Extent:
    """Bytes and items of what stands at a path; nothing when it is not there."""
    try:
        found = raw_at(path, scope)
    except ExpressionFailed:
        return Extent(0, 0)
    start = bytes(memoryview(found)[:1])
    count = len(_items(found)) if start == b"[" else len(_fields(found)) if start == b"{" else 0
    return Extent(memoryview(found).nbytes, count)


def elements(value: Json) -> list[Json]:
    """The encoded items of an encoded list, bytes untouched; of a map `{key, value}`, by key."""
    try:
        if bytes(memoryview(value)[:1]) == b"{":
            fields = _fields(value)
            return [_entry(key, fields[key]) for key in sorted(fields)]
        return list(_items(value))
    except msgspec.ValidationError:
        shown = bytes(value)[:60].decode(errors="replace")
        raise ExpressionFailed(f"expected a list or a map, not {shown}") from None
    except UNREADABLE as error:
        raise unreadable(error) from None


def _entry(key: str, value: Json) -> Json:
    return Raw(b'{"key":%b,"value":%b}' % (encode(key), value))


def _variable(name: str, wanted: Needed | None, scope: Scope) -> Any:
    match name:
        case "input":
            return _pruned(scope.input, wanted)
        case "item":
            return _pruned(_present(scope.item, name), wanted)
        case "previous":
            return None if scope.previous is None else _pruned(scope.previous, wanted)
        case "index":
            return _present(scope.index, name)
        case "steps":
            return _steps(wanted, scope)
        case "session":
            return _session(wanted, scope)
        case "error":
            return _error(scope.error)
        case "agent":
            return _agent(_present(scope.agent, name))
        case "env":
            return dict(scope.session.env)
        case _:
            raise ExpressionFailed(f"'{name}' is not known here")


def _steps(wanted: Needed | None, scope: Scope) -> dict[str, Any]:
    names: Needed = dict.fromkeys(scope.ancestors) if wanted is None else wanted
    found: dict[str, Any] = {}
    for name, below in names.items():
        view = scope.step(name)
        if view is not None:
            output = None
            if view.output is not None and (below is None or "output" in below):
                output = _pruned(view.output, below["output"] if below else None)
            found[name] = {"status": str(view.status), "output": output}
            found[name]["error"] = _error(view.error)
    return found


def _session(wanted: Needed | None, scope: Scope) -> dict[str, Any]:
    session = scope.session
    view: dict[str, Any] = {
        "id": session.id,
        "workflow": session.workflow,
        "version": session.version,
        "priority": session.priority,
        "labels": dict(session.labels),
    }
    if wanted is None or "context" in wanted:
        view["context"] = _pruned(session.context, wanted["context"] if wanted else None)
    return view


def _agent(agent: AgentView) -> dict[str, Any]:
    return {
        "name": agent.name,
        "version": agent.version,
        "labels": dict(agent.labels),
        "metadata": dict(agent.metadata),
        "state": agent.state,
        "free": agent.free,
    }


def _error(error: ErrorInfo | None) -> dict[str, Any] | None:
    if error is None:
        return None
    after = None if error.retry_after is None else error.retry_after / 1_000_000
    return {"class": error.error_class, "message": error.message, "retryAfterSeconds": after}


def _present(value: T | None, name: str) -> T:
    if value is None:
        raise ExpressionFailed(f"'{name}' is not known here")
    return value


def _pruned(data: Json, wanted: Needed | None) -> Any:
    if wanted is None:
        return _decode(data)
    try:
        fields = _fields(data)
    except msgspec.ValidationError:
        return _decode(data)  # Not an object: the expression will say what it makes of it.
    return {name: _pruned(fields[name], below) for name, below in wanted.items() if name in fields}


def _walk(data: Json, path: tuple[str, ...]) -> Json:
    for part in path:
        try:
            fields = _fields(data)
        except msgspec.ValidationError:
            raise ExpressionFailed(f"no field '{part}' in what is not an object") from None
        if part not in fields:
            raise ExpressionFailed(f"no such key: '{part}'")
        data = fields[part]
    return data
