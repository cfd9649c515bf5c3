"""A decorated function: its published schema, and how a task's input becomes its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from opscore.sdk.errors import Fatal
from opscore.sdk.task import Task

_SCALARS = (str, int, float, bool, type(None))
_KINDS = inspect.Parameter


class Capability:
    """One thing an agent can do.

    Raises `TypeError` when the function's signature cannot be filled from JSON: parameters that
    are positional-only or `*args`, or types that msgspec cannot read.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        parameters, hints = _signature(name, function)
        self._task_parameter = _task_parameter(name, parameters, hints)
        self._rest = _rest_decoder(parameters)
        data = [
            parameter
            for parameter in parameters
            if parameter.name != self._task_parameter and parameter.kind is not _KINDS.VAR_KEYWORD
        ]
        self._names = tuple(parameter.name for parameter in data)
        try:
            self._fields = msgspec.json.Decoder(self._struct(data, hints))
            self._sole = _sole_decoder(data, hints)
            self.schema = self._schema()
        except (TypeError, NotImplementedError) as error:
            raise TypeError(f"capability {name!r}: {error}") from error

    @property
    def wants_task(self) -> bool:
        """Does the function take the `Task`?"""
        return self._task_parameter is not None

    def arguments(self, raw: msgspec.Raw, task: Task | None) -> dict[str, Any]:
        """The keyword arguments for an input (encoded JSON).

        Raises `Fatal` with the class `invalid_input` that says which parameter is wrong.
        """
        try:
            values = self._values(raw)
        except msgspec.MsgspecError as error:
            raise Fatal(self._complaint(error), error_class="invalid_input") from error
        if self._task_parameter is not None:
            values[self._task_parameter] = task
        return values

    def _values(self, raw: msgspec.Raw) -> dict[str, Any]:
        start = bytes(memoryview(raw)[:64]).lstrip()[:1]
        if start != b"{":
            return self._single(raw, start)
        fields = self._fields.decode(raw)
        values = {name: getattr(fields, name) for name in self._names}
        if self._rest is not None:
            given = self._rest.decode(raw)
            values.update(item for item in given.items() if item[0] not in values)
        return values

    def _single(self, raw: msgspec.Raw, start: bytes) -> dict[str, Any]:
        if self._sole is not None:
            return {self._names[0]: self._sole.decode(raw)}
        if start == b"n" and not self._names:
            return {}
        raise msgspec.ValidationError(
            f"Expected an object with the parameters {self._known()}, got a single value"
        )

    def _complaint(self, error: Exception) -> str:
        return f"input of {self.name!r}: {error} (parameters: {self._known()})"

    def _known(self) -> str:
        return ", ".join(self._names) or "none"

    def _struct(self, data: list[inspect.Parameter], hints: dict[str, Any]) -> type[msgspec.Struct]:
        return msgspec.defstruct(
            f"{self.name}_input",
            [_field(parameter, hints) for parameter in data],
            kw_only=True,
            forbid_unknown_fields=self._rest is None,
        )

    def _schema(self) -> dict[str, Any]:
        """JSON Schema of the input object, its definitions inlined under `$defs`."""
        (root,), definitions = msgspec.json.schema_components([self._fields.type])
        name = root["$ref"].rpartition("/")[2]
        schema = dict(definitions.pop(name))
        schema["title"] = self.name
        if definitions:
            schema["$defs"] = definitions
        return schema


def _signature(
    name: str, function: Callable[..., Any]
) -> tuple[list[inspect.Parameter], dict[str, Any]]:
    parameters = list(inspect.signature(function).parameters.values())
    for parameter in parameters:
        if parameter.kind in {_KINDS.POSITIONAL_ONLY, _KINDS.VAR_POSITIONAL}:
            raise TypeError(
                f"capability {name!r}: parameter {parameter} cannot be filled by name; "
                "input objects fill named parameters only"
            )
    return parameters, get_type_hints(function, include_extras=True)


def _task_parameter(
    name: str, parameters: list[inspect.Parameter], hints: dict[str, Any]
) -> str | None:
    found = [one.name for one in parameters if _is_task(hints.get(one.name))]
    if len(found) > 1:
        raise TypeError(f"capability {name!r}: only one parameter can take the Task")
    return found[0] if found else None


def _is_task(hint: Any) -> bool:
    if get_origin(hint) in {Union, UnionType}:
        return Task in get_args(hint)
    return hint is Task


def _rest_decoder(
    parameters: list[inspect.Parameter],
) -> msgspec.json.Decoder[dict[str, Any]] | None:
    """Reads the whole object when the function has `**kwargs`; named parameters are left out."""
    if not any(parameter.kind is _KINDS.VAR_KEYWORD for parameter in parameters):
        return None
    return msgspec.json.Decoder(dict[str, Any])


def _field(parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    hint = hints.get(parameter.name, Any)
    default = parameter.default
    if default is _KINDS.empty:
        return (parameter.name, hint)
    if isinstance(default, _SCALARS):
        return (parameter.name, hint, default)
    # The function's own object, as a direct call would get it.
    return (parameter.name, hint, msgspec.field(default_factory=lambda: default))


def _sole_decoder(
    data: list[inspect.Parameter], hints: dict[str, Any]
) -> msgspec.json.Decoder[Any] | None:
    if len(data) != 1:
        return None
    return msgspec.json.Decoder(hints.get(data[0].name, Any))
