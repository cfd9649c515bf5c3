"""Temporary: a hand-written engine until the real one is there."""
from __future__ import annotations
import asyncio, sys, types
from dataclasses import dataclass, field
from typing import Any
import msgspec
from opscore.core.errors import *
from opscore.core.types import *
from opscore.engine.records import *

life = types.ModuleType("opscore.engine.lifecycle")
orch = types.ModuleType("opscore.engine.orchestration")

@dataclass(frozen=True, slots=True)
class AgentDetails:
    agent_name: str
    agent_id: str | None = None
    version: str = ""
    capabilities: tuple = ()
    channel: str = "stream"
    contact_endpoint: str | None = None
    max_in_flight: int = 1
    labels: Any = None
    metadata: Any = None
    schemas: Any = None
@dataclass(frozen=True, slots=True)
class StartRequest:
    workflow: str
    version: str | None = None
    input: bytes = b"{}"
    context: bytes = b"{}"
    priority: int | None = None
    labels: Any = None
    agent_id: str | None = None
@dataclass(frozen=True, slots=True)
class TaskRequest:
    capability: Any = None
    agent: Any = None
    input: Any = b"{}"
    context: Any = b"{}"
    priority: int = 50
    delay_seconds: Any = None
    due_at: Any = None
    retry: Any = None
    timeout: Any = None
    labels: Any = None
life.AgentDetails = AgentDetails
orch.StartRequest = StartRequest
orch.TaskRequest = TaskRequest
sys.modules.setdefault("opscore.engine.lifecycle", life)
sys.modules.setdefault("opscore.engine.orchestration", orch)

@dataclass
class Settings:
    lease_seconds: float = 15
    payload_limit: int = 262144
    offline_after_seconds: float = 45
    development: bool = True
T0 = 1_700_000_000_000_000
class Lifecycle:
    def __init__(self): self.connections = []
    async def connect(self, agent_id, *, instance_id, max_in_flight, holding, receiver, namespace="default"):
        if agent_id == "nobody": raise NotFound("There is no agent nobody.")
        c = Connection(receiver); self.connections.append(c); return c
class Connection:
    stale = []
    def __init__(self, r): self.receiver = r; self.gone = False
    def ready(self, n): self.n = n
    async def heartbeat(self, attempts): return [a for a in attempts if a[0] == "tsk_stale"]
    async def disconnect(self): self.gone = True
def attempt(n): return ClaimedAttempt(f"tsk_{n}", 1, "ses_1", "default", "s", "c", b'{"a":1}', b"{}", T0, None, "0"*32, "0"*16)
class Orchestration:
    async def start(self, workflow, **k): return "ses_1"
    async def start_many(self, starts, **k): return ["ses_1"] * len(starts)
    async def settle(self, reports, *, agent_id=None, namespace="default"):
        return [VerdictRecord(r.task_id, r.attempt, "recorded") for r in reports]
    async def claim(self, agent_id, *, instance_id, max=10, wait_seconds=0.0, holding=None, namespace="default"):
        return [attempt(1)]
class Engine:
    def __init__(self):
        self.settings = Settings(); self.lifecycle = Lifecycle(); self.orchestration = Orchestration()
    def ready(self): return []
    async def close(self, s=10): pass
