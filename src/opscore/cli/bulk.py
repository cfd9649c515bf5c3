"""Commands that change what a filter finds."""

from __future__ import annotations

from typing import Any

from opscore.cli.exits import ERROR, OK
from opscore.cli.output import complain, print_json, print_lines, say
from opscore.cli.settings import Common


async def change_found(common: Common, path: str, body: Any, what: str, words: str) -> int:
    """Ask for a change by filter and tell what came of it; the exit code says if all changed."""
    from opscore.cli.remote import connect

    async with connect(common) as server:
        answer = await server.post(path, body)
    if common.format != "table":
        print_json(answer)
        return ERROR if answer["refused"] else OK
    if answer["dryRun"]:
        print_lines(answer["ids"])
        say(f"{answer['matched']} {what} {words}; nothing was changed (--dry-run)")
    else:
        say(f"{answer['changed']} of {answer['matched']} {what} {words}")
    for refused in answer["refused"]:
        complain(f"  {refused['id']}: {refused['detail']}")
    if answer["more"]:
        say("there are more; run it again")
    return ERROR if answer["refused"] else OK
