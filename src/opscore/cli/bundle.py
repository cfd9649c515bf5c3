"""Debug bundles: everything about one session in one file, readable without a server.

A zip archive of JSON documents. `manifest.json` says what it is; a reader knows the versions of the
format up to its own, and only what is listed in `PARTS`.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from opscore import __version__
from opscore.cli.exits import Stop, failure, usage
from opscore.cli.redaction import without_secrets

if TYPE_CHECKING:
    from opscore.cli.remote import Remote

Json = dict[str, Any]

FORMAT = "opscore-debug-bundle"
VERSION = 1
PARTS = ("session", "template", "history", "tasks", "failed", "trace", "why", "logs", "agents")
LARGEST = 256 * 1024 * 1024
"""Of one document when it is read: what is larger was not made by us, or not to be helpful."""
EVENTS = 20_000
TASKS = 5_000
RECORDS = 10_000
CLOSELY = 50
"""So many tasks that failed or were tried again are there with every attempt."""


async def gathered(server: Remote, session_id: str, known: tuple[str, ...]) -> Json:
    """All parts of a bundle, without secrets (`known` are some for certain), by name.

    What cannot be read is named in the manifest's `missing`, with the reason. Raises `Stop` when
    the session itself cannot be read.
    """
    from opscore.cli.remote import part

    path = f"/session/{part(session_id)}"
    session = await server.get(path)
    parts: Json = {"session": session}
    missing: dict[str, str] = {}

    async def add(name: str, reading: Any) -> Any:
        try:
            parts[name] = await reading
        except Stop as stop:
            missing[name] = stop.lines[0].removeprefix("error: ")
        return parts.get(name) or []

    template = f"/workflow/{part(session['workflow'])}/{part(session['version'])}"
    await add("template", server.get(template))
    await add("history", server.listing(f"{path}/history", "events", EVENTS))
    tasks = await add("tasks", server.listing("/task", "tasks", TASKS, session=session_id))
    await add("failed", _closely(server, tasks))
    await add("trace", server.get(f"{path}/trace"))
    await add("why", server.get(f"{path}/why"))
    await add("logs", server.listing("/log", "records", RECORDS, session=session_id))
    await add("agents", _agents(server, tasks))
    parts["manifest"] = {
        "format": FORMAT,
        "version": VERSION,
        "madeBy": f"opscore {__version__}",
        "madeAt": datetime.now(UTC).isoformat(timespec="seconds"),
        "sessionId": session_id,
        "missing": missing,
    }
    return cast("Json", without_secrets(parts, known))


async def _closely(server: Remote, tasks: list[Json]) -> list[Json]:
    from opscore.cli.remote import part

    bad = [one["taskId"] for one in tasks if one["status"] == "failed" or one["failures"]]
    return [await server.get(f"/task/{part(one)}") for one in bad[:CLOSELY]]


async def _agents(server: Remote, tasks: list[Json]) -> list[Json]:
    """Who worked on it, as far as they are still registered."""
    ids = {one["agentId"] for one in tasks if one.get("agentId")}
    every = await server.listing("/agent", "agents", 1_000)
    return [one for one in every if one["agentId"] in ids]


def write(file: Path, parts: Mapping[str, Any]) -> None:
    """Write a bundle that only its owner can read. Raises `Stop`, also when the file is there."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise usage(f"{file} is there already", "name another file with -f") from None
    except OSError as problem:
        raise failure(f"{file}: {problem.strerror}") from None
    with (
        os.fdopen(handle, "wb") as raw,
        zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, document in parts.items():
            archive.writestr(f"{name}.json", json.dumps(document, indent=1, ensure_ascii=False))


def read(file: Path) -> Json:
    """The parts of a bundle. Raises `Stop` for what is none, is damaged, or is too new."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = {info.filename: info.file_size for info in archive.infolist()}
            if "manifest.json" not in names:
                raise _foreign(file)
            parts = {"manifest": _checked(file, _document(archive, names, "manifest"))}
            for name in PARTS:
                if f"{name}.json" in names:
                    parts[name] = _document(archive, names, name)
    except OSError as problem:
        raise failure(f"{file}: {problem.strerror or problem}") from None
    except zipfile.BadZipFile:
        raise _foreign(file) from None
    except (zlib.error, ValueError, RecursionError, NotImplementedError, RuntimeError) as problem:
        hint = f"copy it again from where it was made ({problem})"
        raise failure(f"{file} is damaged", hint) from None
    if not isinstance(parts.get("session"), dict):
        raise failure(f"{file} is damaged: it holds no session")
    return parts


def _foreign(file: Path) -> Stop:
    return failure(f"{file} is no debug bundle, or damaged", "opscore debug bundle makes them")


def _checked(file: Path, manifest: Any) -> Json:
    if not isinstance(manifest, dict):
        raise _foreign(file)
    found = cast("Json", manifest)
    if found.get("format") != FORMAT or not isinstance(found.get("version"), int):
        raise _foreign(file)
    if found["version"] > VERSION:
        told = f"{file} has version {found['version']} of the format; this command reads {VERSION}"
        raise failure(told, "upgrade ops-core to read it")
    return found


def _document(archive: zipfile.ZipFile, names: Mapping[str, int], name: str) -> Any:
    if names[f"{name}.json"] > LARGEST:
        raise ValueError(f"{name}.json is larger than {LARGEST // 1024 // 1024} MiB")
    return json.loads(archive.read(f"{name}.json"))
