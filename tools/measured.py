"""The table of metrics in docs/observability.md, from the metrics themselves."""

from __future__ import annotations

from opscore.telemetry.measures import METRICS


def table() -> str:
    """Name, kind, labels and meaning, a row each."""
    rows = [
        f"| `{metric.name}{'_total' if metric.kind == 'counter' else ''}` | {metric.kind} "
        f"| {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
        for metric in METRICS
    ]
    return "\n".join(("| metric | kind | labels | what it says |", "|---|---|---|---|", *rows))
