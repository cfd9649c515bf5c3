"""The work that clients of the simulation ask for: templates that use every construct that waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RETRY = {"maxAttempts": 3, "initialDelay": "1s", "maxDelay": "4s"}


def _template(name: str, steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1", "steps": dict(steps), **more}


TEMPLATES = [
    _template(
        "chain",
        {
            "a": {"capability": "work", "retry": RETRY},
            "b": {"needs": "a", "if": "${{ input.go }}", "capability": "other", "retry": RETRY},
            "c": {"needs": ["a", "b"], "capability": "work", "retry": {"maxAttempts": 5}},
        },
        output="${{ steps.c.output }}",
    ),
    _template(
        "fan",
        {
            "all": {
                "foreach": "${{ [1, 2, 3, 4] }}",
                "maxParallel": 3,
                "capability": "work",
                "with": {"n": "${{ item }}"},
                "concurrency": {"key": "gpu", "limit": 2},
                "retry": RETRY,
                "failures": "collect",
            },
            "sum": {"needs": "all", "value": "${{ size(steps.all.output) }}"},
        },
        output="${{ steps.sum.output }}",
    ),
    _template(
        "patient",
        {
            "pause": {"wait": "4s"},
            "paid": {
                "needs": "pause",
                "signal": "paid",
                "timeout": "60s",
                "fallback": [{"value": 0}],
            },
            "ship": {
                "needs": "paid",
                "capability": "other",
                "retry": 2,
                "fallback": [{"value": 1}],
            },
        },
    ),
    _template(
        "saga",
        {
            "book": {"capability": "work", "retry": RETRY, "compensate": {"capability": "other"}},
            "pay": {"needs": "book", "capability": "other", "retry": 1},
            "notify": {"needs": "pay", "when": "failed", "capability": "work", "retry": RETRY},
        },
        onError={"workflow": "mourn", "with": {"why": "${{ error.message }}"}},
    ),
    _template(
        "mourn", {"mourn": {"capability": "work", "retry": 4, "fallback": [{"value": "sad"}]}}
    ),
    _template(
        "limited",
        {
            "call": {
                "capability": "work",
                "rate": {"key": "api", "limit": 2, "per": "4s"},
                "retry": RETRY,
            }
        },
        concurrency={"key": "one", "limit": 1},
    ),
    _template(
        "family",
        {
            "child": {"workflow": "chain", "with": {"go": True}, "retry": 2},
            "after": {"needs": "child", "when": "always", "capability": "work", "retry": RETRY},
        },
    ),
    _template(
        "asks",
        {
            "review": {"approval": {"title": "Ship?", "timeout": "30s", "onTimeout": "approve"}},
            "ship": {"needs": "review", "capability": "work", "timeout": "8s", "retry": RETRY},
        },
    ),
    _template("long", {"long": {"capability": "other", "with": {"seconds": 60}, "retry": RETRY}}),
]

STARTED = ("chain", "chain", "fan", "patient", "saga", "limited", "family", "asks")
"""What clients start, the more often the more often it stands here."""
