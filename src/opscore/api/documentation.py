"""`/openapi.json`, and `/docs`: one page without scripts, so it works without internet."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from html import escape
from typing import Any

import msgspec

from opscore.api import openapi
from opscore.api.answer import Answer
from opscore.api.call import Call
from opscore.api.nouns import NOUNS
from opscore.api.route import Reply, Routes

routes = Routes("documentation", base="")

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1a1a1a;background:#fff}h2{margin-top:2.5rem;border-bottom:1px solid #ccc}
summary{cursor:pointer;padding:.3rem 0}code,pre{font:14px/1.5 ui-monospace,monospace}
pre{background:#f5f5f5;padding:1rem;overflow:auto}b{display:inline-block;min-width:4.5rem}
@media(prefers-color-scheme:dark){body{color:#eee;background:#181818}pre{background:#262626}}
"""
_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@routes.plain("GET", "/openapi.json", "public", {200: dict})
async def openapi_json(call: Call) -> Reply:
    """Read this API as OpenAPI 3.1."""
    return _cached(call, _openapi_bytes, b"application/json")


@routes.plain("GET", "/docs", "public", {200: None})
async def docs(call: Call) -> Reply:
    """Read this API as a page."""
    return _cached(call, _page, b"text/html; charset=utf-8")


def _cached(call: Call, make: Callable[[], bytes], media_type: bytes) -> Answer:
    assert call.scope["method"] in {"GET", "HEAD"}
    return Answer(200, make(), media_type, ((b"content-security-policy", _POLICY),))


@cache
def described() -> dict[str, Any]:
    """The OpenAPI document of all nouns."""
    every = (*NOUNS, routes)
    return openapi.document((one.noun, op) for one in every for op in one.operations)


@cache
def _openapi_bytes() -> bytes:
    return msgspec.json.encode(described())


@cache
def _page() -> bytes:
    sections: dict[str, list[str]] = {}
    for path, methods in described()["paths"].items():
        for method, operation in methods.items():
            entry = _entry(path, method, operation)
            sections.setdefault(operation["tags"][0], []).append(entry)
    body = "".join(f"<h2>{noun}</h2>{''.join(found)}" for noun, found in sections.items())
    shapes = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<pre>{_pretty(schema)}</pre></details>"
        for name, schema in described()["components"]["schemas"].items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Ops-Core API</title>'
        f"<style>{_STYLE}</style><h1>Ops-Core API</h1>"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{body}<h2>schemas</h2>{shapes}</html>"
    ).encode()


def _entry(path: str, method: str, operation: dict[str, Any]) -> str:
    shown = {
        key: operation[key]
        for key in ("parameters", "requestBody", "responses")
        if operation.get(key)
    }
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation['summary'])}</summary><p>Needs <code>"
        f"{escape(operation['x-permission'])}</code>.</p><pre>{_pretty(shown)}</pre></details>"
    )


def _pretty(value: Any) -> str:
    return escape(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
