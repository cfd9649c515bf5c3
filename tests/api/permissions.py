"""Which right every route needs, written a second time by hand.

A route that is added is added here, and to the requests of `test_tenants.py`; both fail until then.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar
from litestar.routes import ASGIRoute, HTTPRoute, WebSocketRoute

V1 = "/v1/opscore"

NEEDS: dict[str, str] = {
    "POST /agent": "agent:register",
    "GET /agent": "session:read",
    "GET /agent/{agentId}": "session:read",
    "PATCH /agent/{agentId}": "operate",
    "DELETE /agent/{agentId}": "operate",
    "POST /agent/{agentId}/state": "agent:report",
    "GET /agent/{agentId}/state": "session:read",
    "GET /agent/{agentId}/state/history": "session:read",
    "POST /agent/{agentId}/heartbeat": "agent:work",
    "POST /agent/{agentId}/drain": "operate",
    "POST /agent/{agentId}/activate": "operate",
    "POST /agent/{agentId}/workflow": "session:start",
    "POST /agent/{agentId}/claim": "agent:work",
    "WEBSOCKET /agent/{agentId}/channel": "agent:work",
    "POST /workflow": "operate",
    "GET /workflow": "session:read",
    "POST /workflow/validate": "session:read",
    "POST /workflow/plan": "session:read",
    "GET /workflow/{name}": "session:read",
    "GET /workflow/{name}/{version}": "session:read",
    "POST /session": "session:start",
    "GET /session": "session:read",
    "POST /session/batch": "session:start",
    "GET /session/{sessionId}": "session:read",
    "PATCH /session/{sessionId}": "operate",
    "DELETE /session/{sessionId}": "operate",
    "GET /session/{sessionId}/history": "session:read",
    "GET /session/{sessionId}/why": "session:read",
    "GET /session/{sessionId}/trace": "session:read",
    "GET /session/{sessionId}/stream": "session:read",
    "POST /session/cancel": "operate",
    "POST /session/{sessionId}/cancel": "operate",
    "POST /session/{sessionId}/pause": "operate",
    "POST /session/{sessionId}/resume": "operate",
    "POST /session/{sessionId}/retry": "operate",
    "GET /event": "session:read",
    "WEBSOCKET /event/ws": "session:read",
    "GET /trace/slowest": "session:read",
    "GET /usage": "session:read",
    "POST /task": "session:start",
    "GET /task": "session:read",
    "POST /task/settle": "agent:work",
    "POST /task/retry": "operate",
    "POST /task/fallback": "operate",
    "GET /task/{taskId}": "session:read",
    "PATCH /task/{taskId}": "operate",
    "GET /task/{taskId}/why": "session:read",
    "POST /task/{taskId}/cancel": "operate",
    "POST /task/{taskId}/retry": "operate",
    "POST /task/{taskId}/fallback": "operate",
    "POST /task/{taskId}/heartbeat": "agent:work",
    "POST /task/{taskId}/progress": "agent:work",
    "POST /task/{taskId}/complete": "agent:work",
    "POST /task/{taskId}/fail": "agent:work",
    "POST /session/{sessionId}/signal/{name}": "operate",
    "GET /approval": "session:read",
    "GET /approval/{approvalId}": "session:read",
    "POST /approval/{approvalId}/approve": "operate",
    "GET /limit": "session:read",
    "GET /queue": "session:read",
    "GET /schedule": "session:read",
    "GET /schedule/{scheduleId}": "session:read",
    "POST /schedule/{scheduleId}/pause": "operate",
    "POST /schedule/{scheduleId}/resume": "operate",
    "POST /schedule/{scheduleId}/trigger": "operate",
    "POST /approval/{approvalId}/reject": "operate",
    "POST /key": "admin",
    "GET /key": "admin",
    "GET /key/{keyId}": "admin",
    "DELETE /key/{keyId}": "admin",
    "POST /key/{keyId}/rotate": "admin",
    "GET /audit": "admin",
    "GET /log": "session:read",
    "GET /log/stream": "session:read",
    "POST /log": "agent:report",
    "POST /log/gc": "operate",
    "POST /internal/agent/notify": "public",
    "POST /internal/agent/refresh": "operate",
    "GET //health": "public",
    "GET //ready": "public",
    "GET //metrics": "session:read",
    "POST //v1/traces": "agent:report",
    "POST //v1/logs": "agent:report",
    "GET /schema/{name}": "public",
    "GET //openapi.json": "public",
    "GET //docs": "public",
}
"""`METHOD /path` below the base; a path of the root begins with `//`."""


SIGNED = {"POST /internal/agent/notify"}
"""Public routes that look at a signature: without one (and without a key) they answer 401."""


def served(app: Litestar) -> dict[str, str]:
    """What the running application really has, in the form of `NEEDS`."""
    found: dict[str, str] = {}
    for route in app.routes:
        for one in handlers(route):
            permissions: dict[str, str] = one.opt["permissions"]
            for method, permission in permissions.items():
                found[f"{method} {short(route.path_format)}"] = permission
    return found


def handlers(route: HTTPRoute | WebSocketRoute | ASGIRoute) -> list[Any]:
    return route.route_handlers if isinstance(route, HTTPRoute) else [route.route_handler]


def short(path: str) -> str:
    return path.removeprefix(V1) if path.startswith(V1) else f"/{path}"


def full(path: str) -> str:
    return path[1:] if path.startswith("//") else V1 + path
