"""What came of a rehearsal, and how it differs from what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from opscore.core.durations import show_duration
from opscore.core.trees import is_list, is_map
from opscore.core.types import ErrorInfo, Json, Micros
from opscore.rehearsal.mocks import Expected


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended. `sessions` are those it led to, by workflow; `took` is simulated time.

    `mistakes` holds one line for each thing that is not as the case expects.
    """

    name: str
    status: str
    waiting_for: str | None
    output: Any
    error: ErrorInfo | None
    steps: Mapping[str, str]
    attempts: Mapping[str, int]
    inputs: Mapping[str, list[object]]
    sessions: Mapping[str, list[str]]
    took: Micros
    mistakes: tuple[str, ...] = ()


def differences(found: Outcome, expected: Expected) -> Iterator[str]:
    """One line for each thing that is not as expected."""
    said = expected.said
    if found.status != expected.status:
        why = f" ({found.error.error_class}: {found.error.message})" if found.error else ""
        waits = f", waiting for {found.waiting_for}" if found.waiting_for else ""
        yield f"status: expected {expected.status}, found {found.status}{why}{waits}"
    if "waitingFor" in said and said["waitingFor"] != found.waiting_for:
        yield f"waitingFor: expected {_shown(said['waitingFor'])}, found {found.waiting_for}"
    if "output" in said and said["output"] != found.output:
        yield f"output: expected {_shown(said['output'])}, found {_shown(found.output)}"
    if "error" in said:
        yield from _error_difference(said["error"], found.error)
    for key, actual in (
        ("steps", found.steps),
        ("attempts", found.attempts),
        ("inputs", found.inputs),
        ("sessions", found.sessions),
    ):
        yield from _differences_by_name(key, said.get(key), actual)
    if expected.within is not None and found.took > expected.within:
        bound, took = show_duration(expected.within), show_duration(found.took)
        yield f"within: expected at most {bound}, took {took}"


def _error_difference(wanted: object, error: ErrorInfo | None) -> Iterator[str]:
    """`error` is a class, or {class, message}: the message need only occur in the true one."""
    parts: dict[str, object] = wanted if is_map(wanted) else {"class": wanted}
    if error is None:
        yield f"error: expected {_shown(wanted)}, found none"
        return
    shown = f"{error.error_class}: {error.message}"
    if "class" in parts and parts["class"] != error.error_class:
        yield f"error: expected {_shown(parts['class'])}, found {shown}"
    if "message" in parts and str(parts["message"]) not in error.message:
        yield f"error: expected a message with {_shown(parts['message'])}, found {shown}"


def _differences_by_name(key: str, wanted: object, actual: Mapping[str, object]) -> Iterator[str]:
    if not is_map(wanted):
        return
    for name, each in wanted.items():
        found = actual.get(name, 0 if key == "attempts" else None)
        # One session of a workflow may be written without brackets.
        same = found == [each] if key == "sessions" and not is_list(each) else found == each
        if not same:
            yield f"{key}.{name}: expected {_shown(each)}, found {_shown(found)}"


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 300 else text[:299] + "…"


def decoded(document: Json | None) -> Any:
    """The value of encoded JSON, None for none."""
    return None if document is None else msgspec.json.decode(document)
