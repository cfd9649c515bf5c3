"""The tree of commands, and the one place where a command's end becomes an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cyclopts import App, CycloptsError

from opscore.cli import exits, nextup
from opscore.cli.help import print_help
from opscore.cli.output import complain
from opscore.cli.settings import apply_file

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("opscore.cli.run:run", "Apply a template, start it, watch it; print its output."),
    "dev": ("opscore.cli.dev:dev", "Start a server to develop against (embedded, loopback)."),
    "serve": ("opscore.cli.serve:serve", "Start a server."),
    "demo": ("opscore.cli.demo:demo", "Watch a fleet of agents do a real job, and lose nothing."),
    "top": ("opscore.cli.top:top", "See agents, sessions, queues and the log live."),
    "doctor": ("opscore.cli.doctor:doctor", "Examine this machine, the database and the server."),
    "bench": ("opscore.cli.bench:bench", "Measure."),
    "agent": ("opscore.cli.agent:app", "Agents: what they can do and what they are doing."),
    "workflow": ("opscore.cli.workflow:app", "Templates: apply, check, try out, read."),
    "session": ("opscore.cli.session:app", "Sessions: start, follow, control."),
    "approval": ("opscore.cli.approval:app", "Approvals: what people are asked."),
    "schedule": ("opscore.cli.schedule:app", "Schedules: workflows that start by themselves."),
    "trace": ("opscore.cli.trace:trace", "Show where a session's time and money went."),
    "usage": ("opscore.cli.usage:usage", "Sum up tokens and cost."),
    "task": ("opscore.cli.task:app", "Tasks: enqueue, read, repeat by hand."),
    "event": ("opscore.cli.event:event", "Show what happened to sessions and agents; follow it."),
    "log": ("opscore.cli.log:app", "Show what agents and the server said; search it."),
    "debug": ("opscore.cli.debug:app", "Debug bundles: a session in one file."),
    "limit": ("opscore.cli.limit:app", "Limits: concurrency and rate keys in use."),
    "key": ("opscore.cli.key:app", "Keys: who may do what."),
    "store": ("opscore.cli.store:app", "The database: move it, back it up, restore it."),
    "migrate": ("opscore.cli.migrate:migrate", "Bring the database to this version's schema."),
    "audit": ("opscore.cli.audit:app", "The audit: who changed what by order."),
}


def build() -> App:
    """The root of the command tree; a command's module is imported when the command is used."""
    root = noun("opscore", "The operational backbone for fleets of AI agents.")
    root.suppress_keyboard_interrupt = False
    root.config = (apply_file,)
    for name, (path, summary) in COMMANDS.items():
        root.command(path, name=name, help=summary)
    return root


def noun(name: str, text: str) -> App:
    """An empty group of commands; help and version are answered here, not by cyclopts."""
    return App(name=name, help=text, help_flags=(), version_flags=())


def execute(tokens: Sequence[str]) -> int:
    """Run one command line; returns the exit code and never raises for what a user can cause."""
    words = nextup.words.set(tuple(tokens))
    try:
        code = _guarded(lambda: _dispatch(list(tokens)))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has left: nobody to tell. Python would complain at exit otherwise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exits.OK
    finally:
        nextup.words.reset(words)
    return code


def _guarded(call: Callable[[], int]) -> int:
    try:
        return call()
    except exits.Stop as stop:
        complain(*stop.lines)
        return stop.code
    except CycloptsError as problem:
        complain(f"error: {problem}", "  `--help` shows what it takes")
        return exits.USAGE
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def _dispatch(tokens: list[str]) -> int:
    root = build()
    options = tokens[: tokens.index("--")] if "--" in tokens else tokens
    asked = [token for token in options if token in {"--help", "-h"}]
    words = [token for token in tokens if token not in asked] if asked else tokens
    path, apps, rest = root.parse_commands(words)
    target = apps[-1]
    unknown = target.default_command is None and rest
    if not unknown and (asked or target.default_command is None):
        summaries = {name: text for name, (_, text) in COMMANDS.items()}
        print_help(("opscore", *path), target, summaries, sys.stdout if asked else sys.stderr)
        return exits.OK if asked else exits.USAGE
    result: Any = root(words, exit_on_error=False, print_error=False, result_action="return_value")
    return int(result or 0)
