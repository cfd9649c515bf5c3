"""`opscore workflow …`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from opscore.cli import exits
from opscore.cli.app import noun
from opscore.cli.diff import diff
from opscore.cli.exits import Stop, usage
from opscore.cli.inputs import read_text
from opscore.cli.output import Columns, block, complain, fields, print_list, print_one, say
from opscore.cli.plan import plan
from opscore.cli.rehearse import rehearse
from opscore.cli.settings import DEFAULTS, Common

if TYPE_CHECKING:
    from opscore.cli.remote import Remote

app = noun("workflow", "Templates: apply, check, try out, read.")
app.command(plan)
app.command(rehearse, name="test")
app.command(diff)

SUFFIXES = (".yaml", ".yml", ".json")
Files = Annotated[str, Parameter(help="A template, a directory of templates, or - for stdin.")]


@app.command
async def apply(file: Files, /, *files: Files, common: Common = DEFAULTS) -> int:
    """Create a version of each template; a bad file does not keep the others back."""
    from opscore.cli.remote import connect

    async with connect(common) as server:
        made, code = await _each((file, *files), lambda name: send(server, name))
    columns: Columns = [
        ("WORKFLOW", "name"),
        ("VERSION", "version"),
        ("", lambda row: "created" if row["created"] else "unchanged"),
    ]
    if made:
        print_list(made, columns, common.format)
    return code


@app.command
async def validate(
    file: Files,
    /,
    *files: Files,
    offline: Annotated[
        bool, Parameter(negative=(), help="Ask no server: whether agents can do it stays open.")
    ] = False,
    common: Common = DEFAULTS,
) -> int:
    """Check templates and change nothing; every mistake is told at once, with line and column.

    The server also says which capabilities nobody has, and which inputs agents would refuse.
    """
    from opscore.cli.remote import connect

    if offline:
        checked, code = await _each((file, *files), _check_here)
    else:
        async with connect(common) as server:
            checked, code = await _each((file, *files), lambda name: _check(server, name))
    if common.format == "table":
        say(*(f"{one['file']}: {'valid' if one['valid'] else 'not valid'}" for one in checked))
    else:
        print_list(checked, [], common.format)
    return code if all(one["valid"] for one in checked) else exits.ERROR


@app.command
async def ls(
    *,
    limit: Annotated[int, Parameter(help="At most this many.")] = 100,
    common: Common = DEFAULTS,
) -> None:
    """List templates, each with its latest version."""
    from opscore.cli.remote import connect

    async with connect(common) as server:
        found = await server.listing("/workflow", "workflows", limit)
    columns: Columns = [
        ("WORKFLOW", "name"),
        ("VERSION", "version"),
        ("CREATED", "createdAt"),
        ("DESCRIPTION", "description"),
    ]
    print_list(found, columns, common.format)


@app.command
async def show(
    name: Annotated[str, Parameter(help="The template.")],
    version: Annotated[str | None, Parameter(help="Its version; the latest without.")] = None,
    /,
    *,
    common: Common = DEFAULTS,
) -> None:
    """Show a template."""
    from opscore.cli.remote import connect, part

    path = f"/workflow/{part(name)}" + (f"/{part(version)}" if version else "")
    async with connect(common) as server:
        found = await server.get(path)
    print_one(found, _view, common.format)


async def send(server: Remote, name: str) -> dict[str, Any]:
    """Create the template in file `name` on the server; raises `Stop` with the faults located."""
    return await server.template("/workflow", read_text(name), _kind(name), name)


async def _check(server: Remote, name: str) -> dict[str, Any]:
    answer = await server.template("/workflow/validate", read_text(name), _kind(name), name)
    return _told(name, answer)


async def _check_here(name: str) -> dict[str, Any]:
    from opscore.templates import check_file

    return _told(name, check_file(read_text(name), name))


def _told(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Say every mistake and every warning; the answer with the file's name."""
    import msgspec

    from opscore.cli.remote import fault_lines
    from opscore.wire.base import PointedError

    for word, key in (("", "errors"), ("warning: ", "warnings")):
        for fault in msgspec.convert(answer.get(key, []), list[PointedError]):
            told = msgspec.structs.replace(fault, message=word + fault.message)
            complain(*fault_lines(told, name))
    return {"file": name, **answer}


async def _each(
    names: Sequence[str], action: Callable[[str], Awaitable[dict[str, Any]]]
) -> tuple[list[dict[str, Any]], int]:
    """Do `action` on every file; returns what came back and the worst exit code."""
    results: list[dict[str, Any]] = []
    code = exits.OK
    for name in _files(names):
        try:
            results.append(await action(name))
        except Stop as stop:
            complain(*stop.lines)
            code = max(code, stop.code)
    return results, code


def _files(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        path = Path(name)
        if name == "-" or not path.is_dir():
            yield name
            continue
        inside = sorted(str(one) for one in path.iterdir() if one.suffix in SUFFIXES)
        if not inside:
            raise usage(f"{name}: no template in this directory", "templates are *.yaml or *.json")
        yield from inside


def _kind(name: str) -> str:
    return "application/json" if name.endswith(".json") else "application/yaml"


def _view(workflow: Any) -> list[str]:
    names = ("name", "version", "description", "digest", "createdAt")
    shown = fields([(name, workflow.get(name) or None) for name in names])
    return shown + block("definition", workflow.get("definition"))
