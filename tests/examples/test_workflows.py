"""Every template of examples/workflows/: with its mocks, and with the real agents of examples/agents/."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from opscore.api.settings import ServerSettings
from opscore.rehearsal import rehearse_files
from opscore.sdk import Agent, Client, SessionFailed
from opscore.templates import check_template
from tests.api.conftest import Site, serving
from tests.docs.pages import ROOT

FOLDER = ROOT / "examples" / "workflows"
TEMPLATES = sorted(FOLDER.glob("*.yaml"))
CHILDREN = frozenset({"research-round", "site-check"})
"""Templates that others start; they are not started by themselves here."""


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


@pytest.mark.parametrize("path", TEMPLATES, ids=names(TEMPLATES))
def test_a_template_is_in_order_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = check_template(text, name=path.name)
    assert (found.faults, found.warnings) == ([], [])
    assert f"\nname: {path.stem}\n" in text
    assert "\ndescription: " in text
    assert path.stem in CHILDREN or f"opscore run examples/workflows/{path.name}" in text


@pytest.mark.parametrize("path", TEMPLATES, ids=names(TEMPLATES))
def test_it_does_what_its_mocks_expect(path: Path) -> None:
    outcomes = list(rehearse_files(path, FOLDER / "mocks" / path.name))
    assert outcomes
    for outcome in outcomes:
        assert outcome.mistakes == (), outcome.name


def test_there_are_no_mocks_without_a_template() -> None:
    assert names(sorted((FOLDER / "mocks").glob("*"))) == names(TEMPLATES)


# -- with real agents -----------------------------------------------------------------------

RESEARCH = (
    "About bees\n\nBees live in colonies. A colony has one queen. Bees dance to tell where flowers "
    "are. Wax is made by worker bees. Candles are made of wax.\n\n(5 facts)"
)
ENDS: dict[str, Any] = {
    "canary-release": {"release": "2026.2", "share": 100},
    "document-pipeline": {"kind": "invoice", "found": {"amount": 12.5}, "told": False},
    "gpu-training": {"model": "owl trained on a GPU", "score": 9},
    "human-escalation": {"refunded": 120, "by": ["ann", "bob"]},
    "incident-triage": {"severity": "high", "restarted": True},
    "nightly-report": {"looked": 2, "ill": 1},
    "order-payment": "lamp is on its way, 9.50 was paid",
    "park-check": {"sites": 2, "needSomebody": ["berlin"]},
    "polish": "it is a good idea",
    "provider-fallback": "cheap: hello",
    "quality-gate": "good",
    "rate-limited": ["steady: one", "steady: two", "steady: three", "steady: four"],
    "research-team": {"text": RESEARCH, "score": 10},
    "tidy-up": {"healthy": True, "release": "2026.1"},
    "translation": {"done": ["hallo Welt", "hola mundo"], "failed": ["no dictionary for 'xx'"]},
    "travel-saga": {
        "traveller": "completed",
        "flight": "compensated",
        "hotel": "compensated",
        "car": "failed",
    },
    "word-count": {"files": 1, "words": {"bees": 3, "wings": 2, "have": 1, "buzz": 1}},
}
"""The output of each with its own default input (and a directory of one file); of the one that fails,
how its steps ended."""

APPROVERS = {"human-escalation": ["ann", "bob"], "incident-triage": ["ann"]}
SIGNALS = {"order-payment": ("payment", {"amount": 9.5})}
"""What people do for those that wait for them."""


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> list[Agent]:
    """As `python examples/agents` makes them."""
    folder = ROOT / "examples" / "agents"
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("examples_agents", folder / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]  # other tests have agents of these names too
    return module.AGENTS


async def test_they_run_with_the_agents_of_the_examples(
    agents: list[Agent], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("Bees have wings and bees buzz bees wings", "utf-8")
    monkeypatch.chdir(tmp_path)
    async with serving(ServerSettings(development=True)) as site:
        monkeypatch.setenv("OPSCORE_URL", site.url)
        monkeypatch.delenv("OPSCORE_API_KEY", raising=False)
        for path in TEMPLATES:
            made = await site.call(
                "POST",
                "/workflow",
                data=path.read_bytes(),
                headers={"content-type": "application/yaml"},
            )
            assert made.status == 201, made.raw
        async with asyncio.TaskGroup() as group, Client() as client:
            serving_agents = [group.create_task(agent.serve()) for agent in agents]
            found = await asyncio.gather(*(_ended(site, client, name) for name in ENDS))
            for task in serving_agents:
                task.cancel()
    assert dict(zip(ENDS, found, strict=True)) == ENDS
    assert set(ENDS) == set(names(TEMPLATES)) - CHILDREN


async def _ended(site: Site, client: Client, name: str) -> Any:
    run = await client.start(name, {})
    if name in SIGNALS:
        signal, payload = SIGNALS[name]
        path = f"/session/{run.id}/signal/{signal}"
        assert (await site.call("POST", path, {"payload": payload})).status == 202
    for person in APPROVERS.get(name, []):
        await _approve(site, run.id, person)
    try:
        return await run.result()
    except SessionFailed:
        session = (await run.status()).steps
        return {step: view.status for step, view in session.items()}


async def _approve(site: Site, session: str, person: str) -> None:
    query = f"/approval?status=pending&session={session}"
    while not (asked := (await site.call("GET", query)).good["approvals"]):  # noqa: ASYNC110 - a person would look again and again too
        await asyncio.sleep(0.01)
    body = {"contentHash": asked[0]["contentHash"], "by": person}
    path = f"/approval/{asked[0]['approvalId']}/approve"
    (await site.call("POST", path, body)).good  # noqa: B018 - it must have worked
