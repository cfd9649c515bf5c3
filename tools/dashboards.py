"""Grafana dashboards made from one list of panels, written to `deploy/grafana/`.

A dashboard's JSON repeats the same thirty lines for every panel, which nobody wants to keep. The
form is that of Grafana's dashboard model, schema 39 (Grafana 10 and later).
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

RATE = "[$__rate_interval]"
SOURCE = {"type": "prometheus", "uid": "${source}"}


class Panel(NamedTuple):
    """`queries`: PromQL with its legend. `unit`: Grafana's name of one."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""


def rate(metric: str, *by: str, where: str = "") -> str:
    """Events per second, summed by labels."""
    total = f"sum by ({', '.join(by)}) " if by else "sum"
    return f"{total}(rate({metric}{where}{RATE}))"


def mean(histogram: str) -> str:
    """The mean of a histogram's observations."""
    return f"{rate(f'{histogram}_sum')} / {rate(f'{histogram}_count')}"


def quantile(share: float, metric: str, *by: str) -> str:
    """A quantile of a histogram, by labels."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', 'le', *by)})"


FLEET = (
    Panel("Agents", (("sum by (state) (opscore_agents)", "{{state}}"),)),
    Panel("Tasks", (("sum by (status) (opscore_tasks)", "{{status}}"),)),
    Panel(
        "Queued by capability",
        (('sum by (capability) (opscore_tasks{status="available"})', "{{capability}}"),),
    ),
    Panel(
        "Oldest task in its queue",
        (("max by (capability) (opscore_queue_oldest_seconds)", "{{capability}}"),),
        "s",
        about="Rising while agents are online: they are too few, too slow, or stuck.",
    ),
    Panel(
        "Held back by limits",
        (('sum by (capability) (opscore_tasks{status="blocked"})', "{{capability}}"),),
    ),
    Panel(
        "Leases expired",
        ((rate("opscore_lease_expiries_total", "capability"), "{{capability}}"),),
        "ops",
        about="Agents that died or hung with work in hand.",
    ),
)
WORKFLOWS = (
    Panel("Open sessions", (("sum by (status) (opscore_sessions)", "{{status}}"),)),
    Panel(
        "Sessions started", ((rate("opscore_sessions_started_total", "workflow"), "{{workflow}}"),)
    ),
    Panel("Sessions over", ((rate("opscore_sessions_ended_total", "status"), "{{status}}"),)),
    Panel(
        "Waiting in the queue, p95",
        ((quantile(0.95, "opscore_queue_wait_seconds", "capability"), "{{capability}}"),),
        "s",
    ),
    Panel(
        "Working, p95",
        ((quantile(0.95, "opscore_attempt_seconds", "capability"), "{{capability}}"),),
        "s",
    ),
    Panel(
        "Attempts by outcome",
        ((rate("opscore_attempt_seconds_count", "outcome"), "{{outcome}}"),),
        "ops",
    ),
)
ENGINE = (
    Panel(
        "Commits",
        ((rate("opscore_commit_seconds_count"), "commits"),),
        "ops",
    ),
    Panel(
        "Commands in a commit, mean",
        ((mean("opscore_commit_commands"), "commands"),),
    ),
    Panel(
        "Commit, from deciding to the disk",
        tuple(
            (quantile(share, "opscore_commit_seconds"), f"p{share * 100:.0f}")
            for share in (0.5, 0.99)
        ),
        "s",
    ),
    Panel(
        "HTTP requests by route",
        ((rate("opscore_http_request_seconds_count", "method", "route"), "{{method}} {{route}}"),),
        "reqps",
    ),
    Panel(
        "HTTP, p99 by route",
        ((quantile(0.99, "opscore_http_request_seconds", "route"), "{{route}}"),),
        "s",
    ),
    Panel("Followers of live events", (("sum(opscore_feed_subscribers)", "followers"),)),
    Panel("Followers dropped", ((rate("opscore_feed_drops_total"), "dropped"),), "ops"),
    Panel(
        "Spans exported",
        ((rate("opscore_exported_spans_total"), "spans"),),
        "ops",
    ),
    Panel(
        "Telemetry lost",
        (
            (rate("opscore_logs_dropped_total"), "log records"),
            (rate("opscore_export_drops_total", "reason"), "sessions not exported: {{reason}}"),
        ),
        "ops",
        about="Work is not affected: opscore doctor says why.",
    ),
    Panel("Versions", (("count by (version) (opscore_build_info)", "{{version}}"),), kind="stat"),
)
ERRORS = (
    Panel(
        "Failed attempts by class",
        ((rate("opscore_attempt_failures_total", "error_class"), "{{error_class}}"),),
        "ops",
    ),
    Panel(
        "Failed attempts by capability",
        ((rate("opscore_attempt_failures_total", "capability"), "{{capability}}"),),
        "ops",
    ),
    Panel("Retries", ((rate("opscore_retries_total", "capability"), "{{capability}}"),), "ops"),
    Panel("Fallbacks", ((rate("opscore_fallbacks_total", "capability"), "{{capability}}"),), "ops"),
    Panel(
        "Sessions that ended in error",
        (
            (
                rate("opscore_sessions_ended_total", "workflow", where='{status="error"}'),
                "{{workflow}}",
            ),
        ),
        "ops",
    ),
    Panel(
        "HTTP errors",
        (
            (
                rate(
                    "opscore_http_request_seconds_count",
                    "route",
                    "status",
                    where='{status=~"4..|5.."}',
                ),
                "{{status}} {{route}}",
            ),
        ),
        "reqps",
    ),
    Panel(
        "Commits refused by the store",
        ((rate("opscore_commits_failed_total"), "refused"),),
        "ops",
        about="Nothing is lost: callers were told 503. Look at the disk.",
    ),
)
DASHBOARDS = {"fleet": FLEET, "workflows": WORKFLOWS, "engine": ENGINE, "errors": ERRORS}


def texts() -> dict[str, str]:
    """Every dashboard's file by its name."""
    return {f"{name}.json": dashboard(name) for name in DASHBOARDS}


def dashboard(name: str) -> str:
    """One dashboard as the text of its file."""
    panels = [_panel(number, panel) for number, panel in enumerate(DASHBOARDS[name])]
    document: dict[str, Any] = {
        "uid": f"opscore-{name}",
        "title": f"Ops-Core: {name}",
        "tags": ["ops-core"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}
            ]
        },
        "links": [
            {"type": "dashboards", "tags": ["ops-core"], "title": "Ops-Core", "asDropdown": True}
        ],
        "panels": panels,
    }
    return json.dumps(document, indent=2) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    return {
        "id": number + 1,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": {"x": number % 2 * 12, "y": number // 2 * 8, "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": query,
                "legendFormat": legend,
            }
            for i, (query, legend) in enumerate(panel.queries)
        ],
    }
