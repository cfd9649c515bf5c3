"""What agent authors import: `Agent` and `Task` to do work, `Client` and `Run` to ask for it.

The names load when they are first used, so that a program which needs only `Client` (a command
line, say) does not pay for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opscore.sdk.agent import Agent
    from opscore.sdk.client import Client
    from opscore.sdk.errors import (
        Cancelled,
        Fatal,
        OpsCoreProblem,
        Retryable,
        SdkError,
        ServerUnreachable,
        SessionCancelled,
        SessionFailed,
        SignatureRefused,
    )
    from opscore.sdk.logs import TaskLog
    from opscore.sdk.run import Run
    from opscore.sdk.signatures import verify
    from opscore.sdk.sync import SyncClient, SyncRun
    from opscore.sdk.task import Task

__all__ = [
    "Agent",
    "Cancelled",
    "Client",
    "Fatal",
    "OpsCoreProblem",
    "Retryable",
    "Run",
    "SdkError",
    "ServerUnreachable",
    "SessionCancelled",
    "SessionFailed",
    "SignatureRefused",
    "SyncClient",
    "SyncRun",
    "Task",
    "TaskLog",
    "verify",
]

_HOMES = {
    "Agent": "agent",
    "Client": "client",
    "Run": "run",
    "SyncClient": "sync",
    "SyncRun": "sync",
    "Task": "task",
    "TaskLog": "logs",
    "verify": "signatures",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value
