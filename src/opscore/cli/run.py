"""`opscore run`: a template from file to output in one command."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from opscore.cli.inputs import given, labels, payload
from opscore.cli.output import say
from opscore.cli.settings import DEFAULTS, CallbackUrl, Common, IdempotencyKey

if TYPE_CHECKING:
    from opscore.cli.remote import Remote


async def run(
    workflow: Annotated[str, Parameter(help="A template's name, or a file with one.")],
    /,
    *words: Annotated[str, Parameter(name="KEY=VALUE", help="The input, word by word.")],
    document: Annotated[
        str | None, Parameter(name="--input", help="The input as JSON, @file.json or @-.")
    ] = None,
    version: Annotated[str | None, Parameter(help="The template's version.")] = None,
    priority: Annotated[int | None, Parameter(help="0 to 100; higher is sooner.")] = None,
    label: Annotated[
        tuple[str, ...], Parameter(name="--label", negative=(), help="key=value.")
    ] = (),
    timeout: Annotated[
        float | None, Parameter(help="Stop watching after this many seconds (exit code 5).")
    ] = None,
    callback: CallbackUrl = None,
    idempotency_key: IdempotencyKey = None,
    common: Common = DEFAULTS,
) -> int:
    """Apply a template, start it, watch it; print its output.

    The exit code is the outcome: 0 completed, 4 failed or cancelled, 5 not ended in time. Ctrl-C
    detaches: the session goes on.
    """
    from opscore.cli.outcome import detached, say_secret, watch_to_end
    from opscore.cli.remote import connect

    body = given(
        input=payload(words, document),
        priority=priority,
        labels=labels(label),
        version=version,
        callback=given(url=callback),
    )
    async with connect(common) as server:
        name = await _named(server, workflow)
        started = await server.post("/session", {**name, **body}, key=idempotency_key)
        session = started["sessionId"]
        say(f"{name['workflow']} started as {session}")
        say_secret(started)
        try:
            return await watch_to_end(server, session, common.format, timeout)
        except asyncio.CancelledError:
            detached(session)
            raise


async def _named(server: Remote, workflow: str) -> dict[str, Any]:
    """The template to start: the one of that name, or the one just applied from that file."""
    if not is_file(workflow):
        return {"workflow": workflow}
    from opscore.cli.workflow import send

    made = await send(server, workflow)
    return {"workflow": made["name"], "version": made["version"]}


def is_file(text: str) -> bool:
    """Whether `text` means a file: it looks like one, so that a misspelt file is not a name."""
    return text == "-" or text.endswith((".yaml", ".yml", ".json")) or Path(text).is_file()
