"""The JSON Schemas that others may rely on: served, and exported to `schemas/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from opscore.api.openapi import proper
from opscore.core.template_schema import template_schema
from opscore.wire.agent import AgentView, StateRecord, StateReport
from opscore.wire.base import Problem
from opscore.wire.log import LogView
from opscore.wire.session import EventView, SessionView, TriggerWorkflow
from opscore.wire.task import TaskView

SCHEMAS: Mapping[str, type | None] = {
    "agent": AgentView,
    "state-report": StateReport,
    "state-record": StateRecord,
    "workflow-trigger": TriggerWorkflow,
    "session": SessionView,
    "task": TaskView,
    "event": EventView,
    "log-record": LogView,
    "problem": Problem,
    "template": None,
}
"""By name; a template's schema is not made from a type but from the language itself."""


def published(name: str) -> dict[str, Any]:
    """A schema of that name. Raises `KeyError`."""
    kind = SCHEMAS[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:opscore:schema:{name}",
        **(template_schema() if kind is None else proper(msgspec.json.schema(kind))),
    }


def texts() -> dict[str, str]:
    """Every published schema as a file's text, by file name."""
    return {
        f"{name}.json": msgspec.json.format(msgspec.json.encode(published(name)), indent=2).decode()
        + "\n"
        for name in SCHEMAS
    }
