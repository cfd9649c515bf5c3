"""What the demo sets, in one place: its server's limits, its fleet, and when things happen."""

from __future__ import annotations

LEASE_SECONDS = 3.0
"""Short, so that a killed agent's tasks move on while one watches (15 s is usual)."""
PAYLOAD_LIMIT = 8 * 1024 * 1024
"""In bytes; all results are one task's input, and 10,000 files give about 2 MiB."""

MEASURERS = 3
KILL_MEASURER_AT = 0.25
URGENT_AT = 0.40
KILL_SERVER_AT = 0.55
"""Moments as shares of the files: so they come on every machine and in every tree."""

READY_SECONDS = 60.0
"""How long the server, and then the agents, may take to start; slow machines are slow."""
STALL_SECONDS = 90.0
"""The demo gives up when nothing at all has happened for so long."""
RATE_LIMIT_SECONDS = 1.0
"""What the measurer asks for when it plays an exhausted quota."""
