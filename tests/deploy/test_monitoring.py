"""Dashboards and alerts ask only for what the server shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from opscore.telemetry.measures import METRICS, Metric

DEPLOY = Path(__file__).parents[2] / "deploy"
FROM_THE_SCRAPER = {"up"}
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}
SHOWN = {f"{metric.name}{suffix}": metric for metric in METRICS for suffix in SUFFIXES[metric.kind]}
_SELECTOR = re.compile(r"\b(opscore_\w+|up)\b(?:\{([^}]*)\})?")
_GROUPING = re.compile(r"\bby \(([^)]*)\)")
_LEGEND = re.compile(r"\{\{(\w+)\}\}")


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path)  # pyright: ignore[reportUnknownMemberType]


def panels() -> Iterator[tuple[str, dict[str, str]]]:
    """Every query of every dashboard, and where it is."""
    for path in sorted((DEPLOY / "grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target


def rules() -> list[dict[str, Any]]:
    [group] = loaded(DEPLOY / "prometheus/alerts.yml")["groups"]
    return group["rules"]


def labels_of(metric: Metric) -> set[str]:
    return {*metric.labels, "instance", "job"} | ({"le"} if metric.bounds else set())


def check(query: str) -> set[str]:
    """The labels that the query's metrics have. Raises KeyError for an unknown metric."""
    found = _SELECTOR.findall(query)
    assert found, query
    labels: set[str] = {"instance", "job"}
    for name, matchers in found:
        if name in FROM_THE_SCRAPER:
            continue
        known = labels_of(SHOWN[name])
        labels |= known
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= known, query
    for group in _GROUPING.findall(query):
        assert {part.strip() for part in group.split(",")} <= labels, query
    assert query.count("(") == query.count(")")
    return labels


def test_there_are_dashboards_for_all_that_is_shown() -> None:
    assert {path.stem for path in (DEPLOY / "grafana").glob("*.json")} == {
        "fleet",
        "workflows",
        "engine",
        "errors",
    }
    text = "".join(target["expr"] for _, target in panels())
    assert [metric.name for metric in METRICS if metric.name not in text] == []


@pytest.mark.parametrize(("where", "target"), list(panels()), ids=lambda each: str(each)[:60])
def test_a_panel_asks_for_what_exists(where: str, target: dict[str, str]) -> None:
    labels = check(target["expr"])
    assert set(_LEGEND.findall(target["legendFormat"])) <= labels, where


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_exists_and_says_what_to_do(rule: dict[str, Any]) -> None:
    labels = check(rule["expr"])
    summary = rule["annotations"]["summary"]
    assert set(re.findall(r"\$labels\.(\w+)", summary)) <= labels
    assert rule["labels"]["severity"] in {"page", "ticket"}


@pytest.mark.parametrize(
    "query",
    [
        "rate(opscore_nothing_total[5m])",
        "sum by (agent_id) (opscore_agents)",
        'opscore_agents{id="1"}',
    ],
)
def test_the_check_can_fail(query: str) -> None:
    with pytest.raises((KeyError, AssertionError)):
        check(query)


def test_the_scraper_comes_where_the_figures_are() -> None:
    [job] = loaded(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": ["localhost:8700"]}]


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="PROMTOOL IS NOT HERE (Debian: apt install prometheus): rules were checked by name only",
)
def test_promtool_accepts_the_files(tmp_path: Path) -> None:
    for name in ("alerts.yml", "prometheus.yml"):
        text = (DEPLOY / "prometheus" / name).read_text()
        (tmp_path / name).write_text(text.replace("/etc/prometheus/", ""))
    (tmp_path / "opscore.key").write_text("key")
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
