"""`opscore key …`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from opscore.cli.app import noun
from opscore.cli.exits import usage
from opscore.cli.inputs import given
from opscore.cli.output import Columns, print_json, print_lines, print_list, say
from opscore.cli.settings import DEFAULTS, Common
from opscore.cli.times import seconds_of

app = noun("key", "Keys: who may do what.")

Scope = Literal["agent:report", "agent:work", "session:start", "session:read", "operate", "admin"]
KeyId = Annotated[str, Parameter(help="The key's id, as `key ls` shows it.")]


@app.command
async def create(
    name: Annotated[str, Parameter(help="What the key is for.")],
    /,
    *,
    scope: Annotated[
        tuple[Scope, ...], Parameter(negative=(), help="What it may do; may be repeated.")
    ] = (),
    agent: Annotated[
        str | None, Parameter(help="Let it act only as the agent of this name.")
    ] = None,
    everywhere: Annotated[
        bool, Parameter(negative=(), help="Let it name any namespace, not only the current one.")
    ] = False,
    expires: Annotated[str | None, Parameter(help="After how long it ends: 12h, 90d.")] = None,
    common: Common = DEFAULTS,
) -> None:
    """Make a key and print its text, which is not kept and never shown again."""
    from opscore.cli.remote import connect

    if not scope:
        raise usage(
            "a key needs a --scope", "for example --scope session:start --scope session:read"
        )
    body = given(
        name=name,
        scopes=list(scope),
        agent=agent,
        namespace="*" if everywhere else None,
        expiresInSeconds=None if expires is None else seconds_of("--expires", expires),
    )
    async with connect(common) as server:
        made = await server.post("/key", body)
    _hand_over(made, common, f"made {made['keyId']} ({', '.join(made['scopes'])})")


@app.command
async def ls(
    *,
    limit: Annotated[int, Parameter(help="At most this many.")] = 100,
    common: Common = DEFAULTS,
) -> None:
    """List keys, newest first, revoked and expired ones too."""
    from opscore.cli.remote import connect

    async with connect(common) as server:
        keys = await server.listing("/key", "keys", limit)
    columns: Columns = [
        ("KEY", "keyId"),
        ("NAME", "name"),
        ("STATE", "state"),
        ("NAMESPACE", "namespace"),
        ("AGENT", "agent"),
        ("SCOPES", lambda row: ", ".join(row["scopes"])),
        ("EXPIRES", "expiresAt"),
        ("LAST USED", "lastUsedAt"),
    ]
    print_list(keys, columns, common.format)


@app.command
async def rotate(
    key: KeyId,
    /,
    *,
    overlap: Annotated[
        str, Parameter(help="How long the old text still counts: 0s ends it at once.")
    ] = "24h",
    common: Common = DEFAULTS,
) -> None:
    """Give a key a new text and print it; the old one counts for a while longer."""
    from opscore.cli.remote import connect, part

    body = {"overlapSeconds": seconds_of("--overlap", overlap)}
    async with connect(common) as server:
        made = await server.post(f"/key/{part(key)}/rotate", body)
    until = made.get("previousUntil")
    old = f"the old text counts until {until}" if until else "the old text counts no longer"
    _hand_over(made, common, f"rotated {made['keyId']}; {old}")


@app.command
async def revoke(key: KeyId, /, *, common: Common = DEFAULTS) -> None:
    """Revoke a key: it lets nobody in any more."""
    from opscore.cli.remote import connect, part

    async with connect(common) as server:
        await server.delete(f"/key/{part(key)}")
    say(f"revoked {key}")


def _hand_over(made: dict[str, Any], common: Common, words: str) -> None:
    """The text alone on standard output, so that it can be put where it belongs unseen."""
    if common.format != "table":
        print_json(made)
        return
    say(words, "  this is the only time that its text is shown:")
    print_lines([made["key"]])
