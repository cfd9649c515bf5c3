"""Tokens and cost in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opscore.cli.output import Columns, plain, table


def usage_lines(usage: Mapping[str, Any] | None) -> list[str]:
    """What a session spent, in vain and altogether, and by step; nothing when nobody told."""
    if not usage:
        return []
    total, wasted = usage["total"], usage["wasted"]
    lines = [f"usage          {spent(total)}"]
    if wasted["attempts"]:
        lines.append(f"wasted         {spent(wasted)}")
    if len(usage["steps"]) > 1:
        steps = [{"step": name, **step} for name, step in usage["steps"].items()]
        steps.sort(key=lambda row: -row["total"]["costUsd"])
        lines += ["", *table(steps, _STEPS)]
    return lines


def spent(usage: Mapping[str, Any]) -> str:
    """One sum: cost, tokens, attempts, models."""
    tokens = f"{usage['inputTokens']} tokens in, {usage['outputTokens']} out"
    attempts = "1 attempt" if usage["attempts"] == 1 else f"{usage['attempts']} attempts"
    models = ", ".join(map(plain, usage["models"]))
    return f"{cost(usage)}, {tokens}, {attempts}" + (f" ({models})" if models else "")


def cost(usage: Mapping[str, Any]) -> str:
    """Dollars, with as many digits as small sums need."""
    return f"${usage.get('costUsd', 0):.4f}"


_STEPS: Columns = [
    ("STEP", "step"),
    ("COST", lambda row: cost(row["total"])),
    ("WASTED", lambda row: cost(row["wasted"])),
    ("TOKENS IN", lambda row: row["total"]["inputTokens"]),
    ("OUT", lambda row: row["total"]["outputTokens"]),
    ("ATTEMPTS", lambda row: row["total"]["attempts"]),
]
