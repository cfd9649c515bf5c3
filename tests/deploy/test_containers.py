"""What the image and the composition name is there, and their commands do what they are for.

No container engine is needed: what a container would run is run on this machine.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from opscore.demo.agents import ROLES
from tests import stores

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KEY = "k" * 32
SETTING = re.compile(r"^\| `(OPSCORE_\w+)` \|", re.MULTILINE)
BIN = Path(sys.executable).parent


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path)  # pyright: ignore[reportUnknownMemberType]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments; no other form of line is in it."""
    lines = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
    kept = [line for line in lines if line and not line.startswith("#")]
    assert all(re.match(r"[A-Z]+ \S", line) for line in kept)
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in kept]


def arguments(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def settings() -> dict[str, str]:
    """What ENV sets."""
    return dict(pair.split("=", 1) for line in arguments("ENV") for pair in line.split())


def known_settings() -> set[str]:
    return set(SETTING.findall((ROOT / "docs/operations.md").read_text("utf-8")))


def composition() -> Any:
    return loaded(DEPLOY / "compose.yaml")


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody_special() -> None:
    words = [word for word, _ in instructions()]
    known = "FROM WORKDIR COPY RUN ENV USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK CMD"
    assert set(words) <= set(known.split()) and words[0] == "FROM"
    assert words.index("USER") < words.index("CMD") and arguments("USER") == ["opscore"]
    for line in arguments("COPY"):
        *sources, _ = line.split()
        if not sources[0].startswith("--from=build"):
            assert all((ROOT / source).exists() for source in sources), line
    for line in arguments("RUN"):
        for file in re.findall(r"-r (\S+)", line):
            assert (ROOT / file).is_file()
            assert "--require-hashes" in line
    assert {name for name in settings() if name.startswith("OPSCORE_")} <= known_settings()


def test_the_wheel_that_is_built_has_everything(tmp_path: Path) -> None:
    [build] = [line for line in arguments("RUN") if "hatchling" in line]
    words = build.replace("/opt/tools/bin/hatchling", str(BIN / "hatchling")).split()
    words[-1] = str(tmp_path)
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    mine = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.sql")}
    assert mine and mine <= names
    assert "opscore/demo/code-health.yaml" in names


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_command_serves_and_the_health_check_sees_it(tmp_path: Path, database: str) -> None:
    port = str(free_port())
    url = f"sqlite:///{tmp_path}/ops.db" if database == "sqlite" else stores.fresh(empty=True)
    given = {**settings(), "OPSCORE_HOST": "127.0.0.1", "OPSCORE_DATABASE_URL": url}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    surroundings = {**given, "PATH": path, "OPSCORE_PORT": port, "OPSCORE_API_KEY": KEY}
    [check] = arguments("HEALTHCHECK")
    words = json.loads(check[check.index("[") :])
    assert "8700" in words[-1]
    words = [word.replace("8700", port) for word in words]
    [command] = arguments("CMD")
    server = subprocess.Popen(
        json.loads(command), env=surroundings, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        while '"listening"' not in (line := server.stderr.readline()) and line:
            pass
        assert line, "the server ended"
        healthy = subprocess.run(words, env=surroundings, check=False, timeout=30)
        assert healthy.returncode == 0
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
        assert server.returncode == 0
        ill = subprocess.run(words, env=surroundings, check=False, timeout=30, capture_output=True)
        assert ill.returncode != 0
    finally:
        server.kill()
        server.communicate()
        stores.forget()


def test_what_the_composition_names_is_there() -> None:
    whole = composition()
    services = whole["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        for setting in service.get("environment", {}):
            assert setting in known_settings() or name == "postgres", setting
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            there = (DEPLOY / source).is_dir() if source.startswith(".") else False
            assert there or source in whole["volumes"], volume
        for secret in service.get("secrets", ()):
            assert secret in whole["secrets"]
        assert "image" in service
    build = services["server"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert services["server"]["deploy"]["replicas"] == 2


def test_every_agent_of_the_demo_is_started_by_a_command_that_is_one() -> None:
    commands = [
        service["command"]
        for service in composition()["services"].values()
        if service["image"] == "opscore" and "command" in service
    ]
    assert sorted(command[-1] for command in commands) == sorted(ROLES)
    for command in commands:
        words = [sys.executable, *command[1:-1], "nobody"]
        assert command[0] == "python"
        ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 2 and command[-1] in ran.stderr  # the usage names its role


def test_prometheus_and_grafana_find_their_files() -> None:
    services = composition()["services"]
    [config] = services["prometheus"]["command"]
    name = Path(config.removeprefix("--config.file=/etc/prometheus/")).name
    scraping = loaded(DEPLOY / "prometheus" / name)
    assert all((DEPLOY / "prometheus" / file).is_file() for file in scraping["rule_files"])
    [job] = scraping["scrape_configs"]
    plain = loaded(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"][0]
    assert (job["job_name"], job["metrics_path"]) == (plain["job_name"], plain["metrics_path"])
    assert job["dns_sd_configs"][0]["names"][0] in services
    secret = job["authorization"]["credentials_file"].removeprefix("/run/secrets/")
    assert secret in services["prometheus"]["secrets"]
    [source] = loaded(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"].split("/")[2].split(":")[0] in services
    [provider] = loaded(DEPLOY / "grafana/provisioning/dashboards/ops-core.yaml")["providers"]
    mounted = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted


def test_the_example_of_the_first_lines_is_a_command() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    path = re.search(r"run /opt/opscore/lib/python3\.11/site-packages/(\S+)", text)
    assert path is not None and (ROOT / "src" / path[1]).is_file()
    image = [line.split()[0] for line in arguments("FROM")]
    assert image == ["python:3.11-slim"] * 2
