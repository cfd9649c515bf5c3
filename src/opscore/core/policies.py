"""Retry and timeout as templates write them, read into the records that the decider follows.

Each reader gives only the keys that were written, so that a step's keys can be laid over those of
`defaults` before the record is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypedDict

from opscore.core.backoffs import BACKOFFS
from opscore.core.durations import show_duration
from opscore.core.reading import Reader
from opscore.core.template import RetryPolicy, Timeouts
from opscore.core.trees import is_list, is_map, kind_of, pointer
from opscore.core.types import SECOND, Micros

CLASS_KEYS = ("maxAttempts", "backoff", "initialDelay", "maxDelay", "jitter")
"""What a class of errors may have of its own."""

RETRY_KEYS = (*CLASS_KEYS, "errors", "per")
MAX_ATTEMPTS = 1000
TASK_TIMEOUTS = ("attempt", "queue", "heartbeat")
"""Bounds that only tasks have."""

STEP_TIMEOUTS: tuple[Literal["attempt", "queue", "heartbeat", "total"], ...] = (
    "attempt",
    "queue",
    "heartbeat",
    "total",
)
SHORTEST_LEASE: Micros = 1 * SECOND
"""Agents beat three times a lease, each beat a request: a shorter one would be all they do."""


class ClassKeys(TypedDict, total=False):
    """What `retry` may say of one class of errors, by the field of `RetryPolicy`."""

    max_attempts: int
    backoff: str
    initial_delay: Micros
    max_delay: Micros
    jitter: float


class RetryKeys(ClassKeys, total=False):
    """What `retry` may say, by the field of `RetryPolicy`."""

    errors: frozenset[str]
    per: Mapping[str, ClassKeys]


class TimeoutKeys(TypedDict, total=False):
    """What `timeout` may say, by the field of `Timeouts`."""

    attempt: Micros
    queue: Micros
    heartbeat: Micros
    total: Micros


def read_retry(reader: Reader, node: object, where: str) -> RetryKeys:
    """`retry`: a mapping, or a number that is `maxAttempts`."""
    if isinstance(node, int) and not isinstance(node, bool):
        node, where_of = {"maxAttempts": node}, {"maxAttempts": where}
    elif is_map(node):
        reader.known_keys(node, where, RETRY_KEYS)
        where_of = {key: f"{where}/{key}" for key in RETRY_KEYS}
    else:
        hint = "write a number of attempts, or keys such as maxAttempts"
        reader.fault(where, f"retry must be a number or a mapping, not {kind_of(node)}", hint)
        return {}
    keys: RetryKeys = {**_class_keys(reader, node, where_of)}
    if "errors" in node:
        keys["errors"] = _errors(reader, node["errors"], where_of["errors"])
    if "per" in node:
        keys["per"] = _per_class(reader, node["per"], where_of["per"])
    return keys


def _per_class(reader: Reader, node: object, where: str) -> dict[str, ClassKeys]:
    """`per`: an error class to what holds for it instead."""
    found: dict[str, ClassKeys] = {}
    for name, own in (reader.mapping(node, where, "per") or {}).items():
        at = where + pointer(name)
        if isinstance(own, int) and not isinstance(own, bool):
            found[name] = _class_keys(reader, {"maxAttempts": own}, {"maxAttempts": at})
        elif is_map(own):
            reader.known_keys(own, at, CLASS_KEYS)
            found[name] = _class_keys(reader, own, {key: f"{at}/{key}" for key in CLASS_KEYS})
        else:
            hint = "for example {rate_limited: {maxAttempts: 10, initialDelay: 5s}}"
            message = f"'{name[:60]}' must have a number or a mapping, not {kind_of(own)}"
            reader.fault(at, message, hint)
    return found


def _class_keys(
    reader: Reader, node: Mapping[str, object], where_of: Mapping[str, str]
) -> ClassKeys:
    keys: ClassKeys = {}
    if "maxAttempts" in node:
        where = where_of["maxAttempts"]
        count = reader.integer(node["maxAttempts"], where, "maxAttempts", 1, MAX_ATTEMPTS)
        if count is not None:
            keys["max_attempts"] = count
    if "backoff" in node:
        if isinstance(node["backoff"], str) and node["backoff"] in BACKOFFS:
            keys["backoff"] = str(node["backoff"])
        else:
            reader.fault(where_of["backoff"], f"backoff is one of: {', '.join(BACKOFFS)}")
    _delays(reader, node, where_of, keys)
    if "jitter" in node:
        jitter = _jitter(reader, node["jitter"], where_of["jitter"])
        if jitter is not None:
            keys["jitter"] = jitter
    return keys


def _delays(
    reader: Reader, node: Mapping[str, object], where_of: Mapping[str, str], keys: ClassKeys
) -> None:
    if "initialDelay" in node:
        delay = reader.duration(node["initialDelay"], where_of["initialDelay"], "initialDelay")
        if delay is not None:
            keys["initial_delay"] = delay
    if "maxDelay" in node:
        delay = reader.duration(node["maxDelay"], where_of["maxDelay"], "maxDelay")
        if delay is not None:
            keys["max_delay"] = delay


def _jitter(reader: Reader, node: object, where: str) -> float | None:
    if isinstance(node, int | float) and not isinstance(node, bool) and 0 <= node <= 1:
        return float(node)
    reader.fault(where, "jitter must be a number from 0 to 1")
    return None


def _errors(reader: Reader, node: object, where: str) -> frozenset[str]:
    if not is_list(node) or not node:
        reader.fault(where, "errors must be a list of error classes", "for example [timeout]")
        return frozenset()
    return frozenset(name for name, _ in reader.strings(node, where, "an error class"))


def make_retry(reader: Reader, defaults: RetryKeys, own: RetryKeys, where: str) -> RetryPolicy:
    """Lay a step's keys over the defaults, and those of each class over both."""
    keys: RetryKeys = {**defaults, **own}
    classes = keys.pop("per", {})
    errors = keys.pop("errors", None)
    policy = _policy(reader, {**keys}, where)
    per = {
        name: _policy(reader, {**keys, **of_class}, f"{where}/per{pointer(name)}")
        for name, of_class in classes.items()
    }
    return replace(policy, errors=errors, per=per)


def _policy(reader: Reader, keys: ClassKeys, where: str) -> RetryPolicy:
    """The delays must fit each other."""
    policy = RetryPolicy(**keys)
    if "max_delay" not in keys and policy.initial_delay > policy.max_delay:
        return replace(policy, max_delay=policy.initial_delay)
    if policy.initial_delay > policy.max_delay:
        longest, first = show_duration(policy.max_delay), show_duration(policy.initial_delay)
        reader.fault(where, f"maxDelay {longest} is shorter than initialDelay {first}")
    return policy


def read_timeout(reader: Reader, node: object, where: str) -> TimeoutKeys:
    """`timeout`: a mapping, or a duration that is `attempt`."""
    keys: TimeoutKeys = {}
    if not is_map(node):
        attempt = reader.duration(node, where, "timeout")
        return {"attempt": attempt} if attempt is not None else {}
    reader.known_keys(node, where, STEP_TIMEOUTS)
    for key in STEP_TIMEOUTS:
        if key in node:
            found = reader.duration(node[key], f"{where}/{key}", f"timeout {key}")
            if found is not None:
                keys[key] = found
    if keys.get("heartbeat", SHORTEST_LEASE) < SHORTEST_LEASE:
        shown = show_duration(SHORTEST_LEASE)
        reader.fault(f"{where}/heartbeat", f"timeout heartbeat must be {shown} or longer")
    return keys


def read_bound(reader: Reader, node: Mapping[str, object], where: str, only: str) -> Timeouts:
    """`timeout` of a step that waits: a duration, or a mapping with the `only` bound it knows."""
    if "timeout" not in node:
        return Timeouts()
    found, where = node["timeout"], f"{where}/timeout"
    if is_map(found):
        reader.known_keys(found, where, (only,))
        if only not in found:
            return Timeouts()
        found, where = found[only], f"{where}/{only}"
    return Timeouts(total=reader.duration(found, where, "timeout"))


def read_total(reader: Reader, node: object, where: str) -> Timeouts:
    """`timeout` of a whole template: a duration, or a mapping with `total`."""
    if is_map(node):
        for key in TASK_TIMEOUTS:
            if key in node:
                hint = "move it to defaults.timeout"
                reader.fault(f"{where}/{key}", f"'{key}' bounds a step, not a session", hint)
        reader.known_keys(node, where, STEP_TIMEOUTS)
        if "total" not in node:
            return Timeouts()
        node, where = node["total"], f"{where}/total"
    return Timeouts(total=reader.duration(node, where, "timeout"))
