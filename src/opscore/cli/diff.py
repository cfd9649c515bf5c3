"""`opscore workflow diff`: what differs between two versions of a template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from opscore.cli.exits import usage
from opscore.cli.inputs import read_text
from opscore.cli.output import Columns, encode, print_list, say
from opscore.cli.run import is_file
from opscore.cli.settings import DEFAULTS, Common

if TYPE_CHECKING:
    from opscore.cli.remote import Remote

MISSING = object()
COLUMNS: Columns = [
    ("", "change"),
    ("WHERE", "path"),
    ("BEFORE", lambda row: encode(row["before"]) if "before" in row else ""),
    ("AFTER", lambda row: encode(row["after"]) if "after" in row else ""),
]


async def diff(
    workflow: Annotated[str, Parameter(help="A template's name, or a file with one.")],
    before: Annotated[str | None, Parameter(help="A version of it on the server.")] = None,
    after: Annotated[str | None, Parameter(help="Another version; the latest without.")] = None,
    /,
    *,
    common: Common = DEFAULTS,
) -> None:
    """Show what differs: two versions on the server, or the server's version and a file.

    A file is compared with BEFORE, or with the latest version; a name needs BEFORE.
    """
    from opscore.cli.remote import connect

    if not is_file(workflow) and before is None:
        raise usage("diff needs a version to compare with", "opscore workflow diff NAME 1 2")
    if is_file(workflow) and after is not None:
        raise usage("a file is compared with one version", "opscore workflow diff FILE 1")
    async with connect(common) as server:
        if is_file(workflow):
            new = _tree(workflow)
            old = await _definition(server, str(new.get("name") or new.get("id")), before)
        else:
            old = await _definition(server, workflow, before)
            new = await _definition(server, workflow, after)
    rows = list(changes(old, new, ""))
    if not rows and common.format == "table":
        say("no difference")
    else:
        print_list(rows, COLUMNS, common.format)


def _tree(file: str) -> dict[str, Any]:
    from opscore.templates import definition_of

    found = definition_of(read_text(file), file)
    if isinstance(found, str):
        raise usage(found)
    return found


async def _definition(server: Remote, name: str, version: str | None) -> dict[str, Any]:
    from opscore.cli.remote import part

    path = f"/workflow/{part(name)}" + (f"/{part(version)}" if version else "")
    return (await server.get(path))["definition"]


def changes(before: Any, after: Any, path: str) -> Iterator[dict[str, Any]]:
    """One row for each place that differs; mappings are compared key by key."""
    if isinstance(before, dict) and isinstance(after, dict):
        old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        for key in [*old, *(key for key in new if key not in old)]:
            place = f"{path}.{key}" if path else key
            yield from changes(old.get(key, MISSING), new.get(key, MISSING), place)
    elif before != after:
        yield _row(before, after, path)


def _row(before: Any, after: Any, path: str) -> dict[str, Any]:
    if before is MISSING:
        return {"change": "+", "path": path, "after": after}
    if after is MISSING:
        return {"change": "-", "path": path, "before": before}
    return {"change": "~", "path": path, "before": before, "after": after}
