"""The JSON Schema of templates, for editors: made from the tables that the reader itself obeys.

A schema sees less than the reader: not what an expression mentions, and nothing that depends on
two places of a template. It is for the present format; the older one is only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opscore.core.backoffs import BACKOFFS
from opscore.core.kinds import KIND_KEYS, KINDS, MODIFIERS
from opscore.core.kinds.kind import Kind
from opscore.core.match_rules import RULES
from opscore.core.modifiers import MAX_FALLBACKS
from opscore.core.parsing import DEFAULT_KEYS, MAX_STEPS, TEMPLATE_KEYS
from opscore.core.policies import MAX_ATTEMPTS, STEP_TIMEOUTS, TASK_TIMEOUTS
from opscore.core.reading import MAX_NAME, TEMPLATE_NAME
from opscore.core.steps import STEP_KEYS, STEP_NAME

Form = dict[str, Any]

SPEC = "https://json-schema.org/draft/2020-12/schema"
DURATION_PATTERN = "^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m(?!s))?([0-9]+s)?([0-9]+ms)?$"
MOMENT_PATTERN = r"\$\{\{|^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]"
"""A time, or text with an expression."""


def _ref(name: str) -> Form:
    return {"$ref": f"#/$defs/{name}"}


def _of(text: str, **keys: Any) -> Form:
    return {"description": text, **keys}


def _closed(properties: Mapping[str, Any], **keys: Any) -> Form:
    """An object with these keys, those that begin with `x-`, and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "patternProperties": {"^x-": True},
        "additionalProperties": False,
        **keys,
    }


NAME: Form = {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": r"^\S(.*\S)?$"}
NAMES: Form = {"anyOf": [_ref("name"), {"type": "array", "items": _ref("name")}]}
LABELS: Form = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 256}}
CONDITION: Form = {"type": ["string", "boolean"], "minLength": 1}
JSON_SCHEMA: Form = {"type": "object"}
POSITIVE: Form = {"type": "integer", "minimum": 1}
PRIORITY: Form = {"type": "integer", "minimum": 0, "maximum": 100}
DELAYS: Form = {
    "maxAttempts": {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS},
    "backoff": {"enum": list(BACKOFFS)},
    "initialDelay": _ref("duration"),
    "maxDelay": _ref("duration"),
    "jitter": {"type": "number", "minimum": 0, "maximum": 1},
}
RETRY: Form = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS},
        _closed(
            {
                **DELAYS,
                "errors": {"type": "array", "items": _ref("name"), "minItems": 1},
                "per": {"type": "object", "additionalProperties": _closed(DELAYS)},
            }
        ),
    ]
}


def _bounds(*keys: str) -> Form:
    return {"anyOf": [_ref("duration"), _closed(dict.fromkeys(keys, _ref("duration")))]}


TIMEOUT = _bounds(*STEP_TIMEOUTS)
TASK_TIMEOUT = _bounds(*TASK_TIMEOUTS)
WITH: Form = {"type": ["object", "string"]}
WORKFLOW: Form = {
    "anyOf": [
        _ref("name"),
        _closed({"name": _ref("name"), "version": _ref("name")}, required=["name"]),
    ]
}
SIGNAL: Form = {
    "anyOf": [
        _ref("name"),
        _closed({"name": _ref("name"), "schema": JSON_SCHEMA}, required=["name"]),
    ]
}
WAIT: Form = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        _closed({"until": {"type": "string", "pattern": MOMENT_PATTERN}}, required=["until"]),
    ]
}
APPROVERS: Form = {"type": ["array", "string"], "items": {"type": "string"}}
APPROVAL: Form = _closed(
    {
        "title": {"type": "string"},
        "details": True,
        "approvers": APPROVERS,
        "quorum": POSITIVE,
        "timeout": _ref("duration"),
        "onTimeout": {"enum": ["approve", "reject", "escalate"]},
        "escalate": _closed(
            {
                "approvers": APPROVERS,
                "timeout": _ref("duration"),
                "onTimeout": {"enum": ["approve", "reject"]},
            },
            required=["approvers"],
        ),
    },
    required=["title"],
    dependentRequired={"onTimeout": ["timeout"]},
    allOf=[
        {
            "if": {"required": ["onTimeout"], "properties": {"onTimeout": {"const": "escalate"}}},
            "then": {"required": ["escalate"]},
        }
    ],
)
MATCH: Form = _closed({rule.key: dict(rule.schema) for rule in RULES}, minProperties=1)
KINDS_OF_MEMBERS = ("capability", "agent", "workflow", "value")
FALLBACK: Form = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_FALLBACKS,
    "items": _closed(
        {
            "capability": _ref("name"),
            "agent": _ref("name"),
            "workflow": WORKFLOW,
            "value": True,
            "with": WITH,
            "match": MATCH,
        },
        oneOf=[{"required": [key]} for key in KINDS_OF_MEMBERS],
        dependentRequired={"match": ["capability"]},
    ),
}
COMPENSATE: Form = _closed(
    {
        "capability": _ref("name"),
        "agent": _ref("name"),
        "with": WITH,
        "retry": RETRY,
        "timeout": TASK_TIMEOUT,
    },
    oneOf=[{"required": ["capability"]}, {"required": ["agent"]}],
)
CONCURRENCY: Form = _closed(
    {
        "key": {"type": "string"},
        "limit": POSITIVE,
        "onFull": {"enum": ["queue", "cancelOldest", "reject"]},
    },
    required=["key", "limit"],
)
RATE: Form = _closed(
    {"key": {"type": "string"}, "limit": POSITIVE, "per": _ref("duration")},
    required=["key", "limit", "per"],
)
SCHEDULE: Form = _closed(
    {
        "cron": {"type": "string"},
        "every": _ref("duration"),
        "timezone": {"type": "string"},
        "overlap": {"enum": ["skip", "queue", "cancel"]},
        "catchUp": {"type": "string"},
    },
    oneOf=[{"required": ["cron"]}, {"required": ["every"]}],
)

OF_STEPS: dict[str, Form] = {
    "capability": _of("A task for any agent with this capability.", **_ref("name")),
    "agent": _of("A task for the agent of this name.", **_ref("name")),
    "workflow": _of("A session of another template.", **WORKFLOW),
    "wait": _of("Nothing for a duration, or until a time.", **WAIT),
    "signal": _of("Something sent from outside.", **SIGNAL),
    "approval": _of("The decision of people.", **APPROVAL),
    "value": _of("Computed from expressions."),
    "needs": _of("Steps that must have ended first.", **NAMES),
    "if": _of("False: the step is skipped.", **CONDITION),
    "when": _of("How the needs must have ended.", enum=["completed", "failed", "always"]),
    "continueOnError": _of("A failure does not fail the session.", type="boolean"),
    "with": _of("The input: a mapping, or one expression.", **WITH),
    "foreach": _of("One piece of work for each item.", type=["array", "object", "string"]),
    "maxParallel": _of("So many items at once.", **POSITIVE),
    "failures": _of("What a failed item means.", enum=["fail", "collect"]),
    "repeat": _of(
        "Again until a condition holds.",
        **_closed({"until": CONDITION, "max": POSITIVE}, required=["until", "max"]),
    ),
    "retry": _of("A number of attempts, or a policy.", **RETRY),
    "timeout": _of("A duration of an attempt, or bounds.", **TIMEOUT),
    "fallback": _of("Tried in order once the work is given up.", **FALLBACK),
    "compensate": _of("Undoes the step when the session fails.", **COMPENSATE),
    "concurrency": _of("How much at once under one key.", **CONCURRENCY),
    "rate": _of("How much in a while under one key.", **RATE),
    "match": _of("Which of the capable agents.", **MATCH),
    "output": _of("The JSON Schema of its output.", **JSON_SCHEMA),
    "priority": _of("0 to 100, higher first.", **PRIORITY),
    "labels": _of("Text by text.", **LABELS),
    "description": _of("Text for people.", type="string"),
}
"""The form of each key of a step."""

OF_TEMPLATES: dict[str, Form] = {
    "name": _of("Its name.", type="string", pattern=f"^{TEMPLATE_NAME.pattern}$"),
    "version": _of("Text; a version never changes.", **_ref("name")),
    "description": _of("Text for people.", type="string"),
    "input": _of("The JSON Schema of the input.", **JSON_SCHEMA),
    "defaults": _of("Laid under every step.", **_closed({k: OF_STEPS[k] for k in DEFAULT_KEYS})),
    "steps": _of(
        "The graph, by name.",
        type="object",
        minProperties=1,
        maxProperties=MAX_STEPS,
        patternProperties={"^x-": True, f"^{STEP_NAME.pattern}$": _ref("step")},
        additionalProperties=False,
    ),
    "output": _of("Any tree with expressions."),
    "onError": _of(
        "Starts when a session ends in error.",
        **_closed(
            {"workflow": _ref("name"), "version": _ref("name"), "with": WITH},
            required=["workflow"],
        ),
    ),
    "priority": _of("0 to 100, higher first.", **PRIORITY),
    "timeout": _of("How long a session may take.", **_bounds("total")),
    "labels": _of("Given to every session.", **LABELS),
    "concurrency": _of("How many sessions at once under one key.", **CONCURRENCY),
    "rate": _of("How many sessions in a while under one key.", **RATE),
    "schedule": _of("Starts sessions by itself.", **SCHEDULE),
    "env": _of("Names of settings that the operator lists.", type="array", items=_ref("name")),
}
"""The form of each key of a template."""


def template_schema() -> Form:
    """The JSON Schema (2020-12) of a template."""
    return {
        "$schema": SPEC,
        "$id": "urn:opscore:schema:template",
        "title": "Ops-Core template",
        **_closed(
            {key: OF_TEMPLATES[key] for key in TEMPLATE_KEYS},
            required=["name", "version", "steps"],
        ),
        "$defs": {
            "name": NAME,
            "duration": {
                "type": "string",
                "pattern": DURATION_PATTERN,
                "description": "A number with a unit, largest first: 500ms, 10s, 1m30s, 2d.",
            },
            "step": _step(),
        },
    }


def _step() -> Form:
    beyond_completed = {"properties": {"when": {"enum": ["failed", "always"]}}}
    return _closed(
        {key: OF_STEPS.get(key, True) for key in STEP_KEYS},
        oneOf=[{"required": [key]} for key in KIND_KEYS],
        dependentRequired={
            "maxParallel": ["foreach"],
            "failures": ["foreach"],
            "match": ["capability"],
        },
        allOf=[
            {"not": {"required": ["foreach", "repeat"]}},
            {"if": {"required": ["when"], **beyond_completed}, "then": {"required": ["needs"]}},
            *(_without(key, kind) for kind in KINDS for key in kind.keys),
        ],
    )


def _without(key: str, kind: Kind) -> Form:
    """What a step with this key may not have beside it."""
    properties: Form = {each: False for each in MODIFIERS if each not in kind.modifiers}
    if kind.bounded_by is not None:
        properties["timeout"] = _bounds(kind.bounded_by)
    return {"if": {"required": [key]}, "then": {"properties": properties}}
