"""`opscore serve`, and what it shares with `opscore dev`: one server in this process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from opscore.api.loop import run_on_loop
from opscore.cli.exits import Stop, failure, usage
from opscore.cli.output import complain, print_lines, say
from opscore.cli.settings import (
    DEFAULT_DATABASE,
    DEFAULT_KEY_CONNECTIONS,
    DEFAULT_KEY_REQUESTS,
    DEFAULT_LEASE_SECONDS,
    DEFAULT_LOG_DAYS,
    DEFAULT_LOG_MIB,
    DEFAULT_PAYLOAD_LIMIT,
    DEFAULT_PORT,
    QUIET,
    AgentKitUrl,
    ApiKey,
    AuditCheckpoint,
    DatabaseUrl,
    Host,
    KeyConnections,
    KeyRequests,
    LeaseSeconds,
    LogDays,
    LogMib,
    OutgoingAllow,
    PayloadLimit,
    Port,
    Profile,
    Telemetry,
    TemplateEnv,
    WebhookSecret,
    WorkflowsDir,
)
from opscore.cli.settings import template_env as allowed_env

if TYPE_CHECKING:
    from opscore.api.settings import ServerSettings
    from opscore.core.logs import Retention
    from opscore.engine.engine import Engine
    from opscore.outgoing.addresses import Rules
    from opscore.telemetry.logs import Form, Level
    from opscore.telemetry.otlp.target import Target

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], Parameter(help="From which level on to log.")
]
SUFFIXES = frozenset({".yaml", ".yml", ".json"})
SAVED_SECONDS = 1.0
"""How soon `dev` notices that a template was saved."""
MIN_KEY = 32
LAST_PORT = 65_535
LEASE_BOUNDS = (1.0, 3600.0)
PAYLOAD_BOUNDS = (1024, 64 * 1024 * 1024)
SHARE_BOUNDS = (1, 1_000_000)
BODY_ROOM = 768 * 1024
"""What a request may add to the largest payload."""


def serve(
    *,
    database_url: DatabaseUrl = DEFAULT_DATABASE,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    api_key: ApiKey = None,
    workflows_dir: WorkflowsDir = None,
    lease_seconds: LeaseSeconds = DEFAULT_LEASE_SECONDS,
    payload_limit: PayloadLimit = DEFAULT_PAYLOAD_LIMIT,
    outgoing_allow: OutgoingAllow = "",
    webhook_secret: WebhookSecret = None,
    agentkit_url: AgentKitUrl = None,
    key_requests: KeyRequests = DEFAULT_KEY_REQUESTS,
    key_connections: KeyConnections = DEFAULT_KEY_CONNECTIONS,
    template_env: TemplateEnv = "",
    audit_checkpoint: AuditCheckpoint = None,
    log_days: LogDays = DEFAULT_LOG_DAYS,
    log_mib: LogMib = DEFAULT_LOG_MIB,
    telemetry: Telemetry = QUIET,
    log_level: LogLevel = "info",
    profile: Profile = None,
) -> None:
    """Start a server.

    Everybody needs a key. OPSCORE_API_KEY (32 characters or more) is one with all rights; without
    it, a server that has no such key yet makes one and prints it, once. It logs JSON lines to
    stderr and stops gracefully on SIGTERM: what runs is given time to settle, nothing that was
    accepted is lost.
    """
    del profile  # read by the settings layer before this function is called
    _check_key(api_key)
    _check_bounds("the lease", lease_seconds, LEASE_BOUNDS, "seconds (OPSCORE_LEASE_SECONDS)")
    _check_bounds(
        "the payload limit", payload_limit, PAYLOAD_BOUNDS, "bytes (OPSCORE_PAYLOAD_LIMIT)"
    )
    _check_bounds("a key's share", key_requests, SHARE_BOUNDS, "a second (OPSCORE_KEY_REQUESTS)")
    _check_bounds("a key's share", key_connections, SHARE_BOUNDS, "(OPSCORE_KEY_CONNECTIONS)")
    retention = _retention(log_days, log_mib)
    from opscore.api.settings import ServerSettings

    log_to(log_level, "json", telemetry)
    settings = ServerSettings(
        host=host,
        port=port,
        api_key=api_key,
        body_limit=payload_limit + BODY_ROOM,
        webhook_secret=webhook_secret or None,
        agentkit_url=checked_agentkit(agentkit_url),
        key_requests=key_requests,
        key_connections=key_connections,
    )
    plan = Plan(settings, database_url, workflows_dir, lease_seconds, payload_limit)
    outgoing = rules(outgoing_allow)
    plan = replace(plan, outgoing=outgoing, template_env=template_env, log_retention=retention)
    plan = replace(plan, export=target(telemetry))
    start(replace(plan, audit_checkpoint=_checked_checkpoint(audit_checkpoint, outgoing)))


def log_to(level: Level, form: Form | None, told: Telemetry) -> None:
    """Set logging up: stderr, and a file if one is named. Raises `Stop` (usage)."""
    from opscore.telemetry.logs import LogFile, configure

    _check_bounds("the log file", told.log_file_mib, (1, 1_048_576), "MiB (OPSCORE_LOG_FILE_MIB)")
    _check_bounds("old log files", told.log_files, (1, 1_000), "of them (OPSCORE_LOG_FILES)")
    path, size = told.log_file, told.log_file_mib * 1024 * 1024
    try:
        configure(level, form, None if path is None else LogFile(path, size, told.log_files))
    except OSError as error:
        why = f"{path}: {error.strerror or error}"
        raise usage(why, "name another file with OPSCORE_LOG_FILE") from error


def checked_agentkit(url: str | None) -> str | None:
    """The address of AgentKit, if it can be one. Raises `Stop` (usage)."""
    from opscore.outgoing.addresses import Rules
    from opscore.outgoing.request import OutgoingFailed, checked_url

    if not url:
        return None
    try:
        checked_url(url, Rules(trusted=True))
    except OutgoingFailed as error:
        raise usage(str(error), "see OPSCORE_AGENTKIT_URL") from error
    return url


def target(told: Telemetry) -> Target | None:
    """Where spans are exported to, if anywhere. Raises `Stop` (usage)."""
    from opscore.outgoing.addresses import Rules
    from opscore.outgoing.request import OutgoingFailed, checked_url
    from opscore.telemetry.otlp.target import Target, headers_of

    _check_bounds("the sample", told.otlp_sample, (0, 1), "(OPSCORE_OTLP_SAMPLE)")
    if not told.otlp_endpoint:
        return None
    try:
        checked_url(told.otlp_endpoint, Rules(trusted=True))
        return Target(told.otlp_endpoint, headers_of(told.otlp_headers), told.otlp_sample)
    except OutgoingFailed as error:
        raise usage(str(error), "see OPSCORE_OTLP_ENDPOINT") from error
    except ValueError as error:
        raise usage(f"the headers of OTLP: {error}", "see OPSCORE_OTLP_HEADERS") from error


def _checked_checkpoint(target: str | None, outgoing: Rules) -> str | None:
    """Where checkpoints of the audit go, if they can. Raises `Stop` (usage)."""
    from opscore.outgoing.request import OutgoingFailed, checked_url

    if target and "://" in target:
        try:
            checked_url(target, outgoing)
        except OutgoingFailed as error:
            raise usage(str(error), "see OPSCORE_AUDIT_CHECKPOINT") from error
    return target or None


def rules(allow: str, *, development: bool = False) -> Rules:
    """What agents and callbacks may be called. Raises `Stop` (usage)."""
    from opscore.outgoing.addresses import LOOPBACK, BadNetwork, Rules, networks

    try:
        opened = networks(allow.split(","))
    except BadNetwork as error:
        raise usage(str(error), "see OPSCORE_OUTGOING_ALLOW") from error
    return Rules((*opened, *LOOPBACK) if development else opened)


def _check_key(api_key: str | None) -> None:
    if api_key is not None and len(api_key) < MIN_KEY:
        make_one = "make one: export OPSCORE_API_KEY=$(openssl rand -hex 32), or unset it"
        raise failure(f"the key in OPSCORE_API_KEY has fewer than {MIN_KEY} characters", make_one)


def _check_bounds(what: str, given: float, bounds: tuple[float, float], unit: str) -> None:
    least, most = bounds
    if not least <= given <= most:  # so that NaN is refused too
        raise usage(f"{what} cannot be {given:g}", f"{least:,.0f} to {most:,.0f} {unit}")


def _retention(days: float, mebibytes: int) -> Retention:
    from opscore.core.logs import Retention

    _check_bounds("keeping log records", days, (0.01, 3650), "days (OPSCORE_LOG_DAYS)")
    _check_bounds("their store", mebibytes, (16, 1_048_576), "MiB (OPSCORE_LOG_MIB)")
    return Retention(days * 86_400, mebibytes * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. `follow_folder`: apply a template again whenever it is saved."""

    settings: ServerSettings
    database_url: str
    workflows_dir: Path | None = None
    lease_seconds: float = DEFAULT_LEASE_SECONDS
    payload_limit: int = DEFAULT_PAYLOAD_LIMIT
    outgoing: Rules | None = None
    template_env: str = ""
    audit_checkpoint: str | None = None
    log_retention: Retention | None = None
    export: Target | None = None
    follow_folder: bool = False
    ready: Callable[[str], None] | None = None


def start(plan: Plan) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises `Stop` with what to do when the port is taken, the key is bad, or the database is in use,
    of a newer version, or damaged.
    """
    if not 0 <= plan.settings.port <= LAST_PORT:
        raise usage(f"{plan.settings.port} is not a port", f"ports are 0 (any) to {LAST_PORT}")
    if plan.workflows_dir is not None and not plan.workflows_dir.is_dir():
        raise usage(f"{plan.workflows_dir} is not a directory", "see OPSCORE_WORKFLOWS_DIR")
    refusal = run_on_loop(_serve(plan))
    if refusal is not None:
        raise refusal


async def _serve(plan: Plan) -> Stop | None:
    """The refusal is returned, not raised: the task group would wrap it."""
    from opscore.api.server import run
    from opscore.core.errors import OpsCoreError
    from opscore.telemetry.log_store import kept

    folder = WorkflowFolder(plan.workflows_dir) if plan.workflows_dir else None
    opened: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()

    listening = ExitStack()

    async def open_engine() -> Engine:
        engine = await _open(plan, folder)
        listening.enter_context(kept(engine.debugging.keep))
        opened.set_result(engine)
        return engine

    async with asyncio.TaskGroup() as group:
        follower = group.create_task(_follow(plan, folder, opened))
        try:
            await run(open_engine, plan.settings, ready=plan.ready)
        except OpsCoreError as refused:
            return failure(str(refused))
        finally:
            listening.close()
            follower.cancel()
    return None


async def _open(plan: Plan, folder: WorkflowFolder | None) -> Engine:
    from opscore.core.logs import Retention
    from opscore.engine.engine import Engine
    from opscore.engine.settings import Settings

    settings = Settings(
        lease_seconds=plan.lease_seconds,
        payload_limit=plan.payload_limit,
        template_env=allowed_env(plan.template_env),
        audit_checkpoint=plan.audit_checkpoint,
        log_retention=plan.log_retention or Retention(),
        export=plan.export,
        development=plan.settings.development,
        outgoing=plan.outgoing or rules(""),
    )
    engine = await Engine.open(plan.database_url, settings=settings)
    try:
        if plan.settings.api_key is None and not plan.settings.development:
            _tell(await engine.keys.first())
        if folder is not None:
            await folder.apply(engine)
    except BaseException:
        await engine.close(0)
        raise
    return engine


def _tell(first_key: str | None) -> None:
    if first_key is not None:
        say(
            "No key was set and the database has none: this is the first, with all rights.",
            "  It is not kept and never shown again: export OPSCORE_API_KEY=…",
        )
        print_lines([first_key])
        sys.stdout.flush()


async def _follow(
    plan: Plan, folder: WorkflowFolder | None, opened: asyncio.Future[Engine]
) -> None:
    engine = await opened
    while plan.follow_folder and folder is not None:
        await asyncio.sleep(SAVED_SECONDS)
        await folder.apply(engine)


class WorkflowFolder:
    """The templates of a directory, each applied again when its file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[Path, tuple[int, int]] = {}
        self._gone = False

    async def apply(self, engine: Engine) -> None:
        """Apply what is new or changed; a bad file is reported and the others load."""
        for file, source in self._news():
            await _apply(engine, file, source)

    def _news(self) -> Iterator[tuple[Path, bytes]]:
        for file in self._files():
            try:
                if self._changed(file):
                    yield file, file.read_bytes()
            except OSError as problem:
                complain(f"error: {file}: {problem.strerror}")

    def _files(self) -> list[Path]:
        try:
            found = sorted(one for one in self._path.iterdir() if one.suffix in SUFFIXES)
        except OSError as problem:
            if not self._gone:
                complain(f"error: {self._path}: {problem.strerror}")
            self._gone = True
            return []
        self._gone = False
        return found

    def _changed(self, file: Path) -> bool:
        facts = file.stat()
        stamp = (facts.st_mtime_ns, facts.st_size)
        before = self._known.get(file)
        self._known[file] = stamp
        return stamp != before


async def _apply(engine: Engine, file: Path, source: bytes) -> None:
    from opscore.core.errors import Refusal

    try:
        made = await engine.orchestration.create_workflow(source, name_hint=file.stem)
    except Refusal as refusal:
        complain(f"error: {file}: {refusal.detail}")
        for fault in refusal.faults:
            place = f"{file}:{fault.line}:{fault.column}" if fault.line else fault.pointer
            complain(f"  {place}: {fault.message}", *([f"    {fault.hint}"] if fault.hint else []))
    else:
        say(f"{file}: {made.name} {made.version} {'created' if made.created else 'unchanged'}")
