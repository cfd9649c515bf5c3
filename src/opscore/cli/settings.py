"""Where a setting comes from: flag, then `OPSCORE_*`, then the profile, then `opscore.toml`.

cyclopts reads flags and environment by itself (`env_var` on each parameter); this file adds the
two layers of `opscore.toml` with cyclopts' own dictionary source. Only the settings named in
`FILE_KEYS` may stand in the file, so that a stray key can never fill an argument of a command.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import Parameter

from opscore.cli.exits import Stop, usage

if TYPE_CHECKING:
    from cyclopts import App, ArgumentCollection

DEFAULT_URL = "http://127.0.0.1:8700"
DEFAULT_DATABASE = "sqlite:///ops.db"
DEV_DATABASE = ".opscore/ops.db"
DEFAULT_PORT = 8700
DEFAULT_LEASE_SECONDS = 15.0
DEFAULT_PAYLOAD_LIMIT = 262_144
DEFAULT_KEY_REQUESTS = 10_000
DEFAULT_KEY_CONNECTIONS = 20_000
DEFAULT_LOG_DAYS = 14.0
DEFAULT_LOG_MIB = 2048
DEFAULT_LOG_FILE_MIB = 50
DEFAULT_LOG_FILES = 5
SETTINGS_FILE = "opscore.toml"
FILE_KEYS = frozenset(
    {
        "url",
        "api_key",
        "namespace",
        "output",
        "database_url",
        "host",
        "port",
        "workflows_dir",
        "lease_seconds",
        "payload_limit",
        "outgoing_allow",
        "webhook_secret",
        "agentkit_url",
        "key_requests",
        "key_connections",
        "template_env",
        "audit_checkpoint",
        "log_days",
        "log_mib",
        "log_file",
        "log_file_mib",
        "log_files",
        "otlp_endpoint",
        "otlp_headers",
        "otlp_sample",
    }
)

OutputFormat = Literal["table", "json", "jsonl"]
DATABASE = Parameter(
    env_var="OPSCORE_DATABASE_URL", help="The database, as sqlite:///path/to/ops.db."
)
DatabaseUrl = Annotated[str, DATABASE]
Host = Annotated[str, Parameter(env_var="OPSCORE_HOST", help="Address to listen on.")]
Port = Annotated[int, Parameter(env_var="OPSCORE_PORT", help="Port to listen on.")]
WorkflowsDir = Annotated[
    Path | None,
    Parameter(env_var="OPSCORE_WORKFLOWS_DIR", help="Apply the templates of this directory."),
]
ApiKey = Annotated[
    str | None,
    Parameter(env_var="OPSCORE_API_KEY", help="The key; better set in the environment."),
]
LeaseSeconds = Annotated[
    float,
    Parameter(
        env_var="OPSCORE_LEASE_SECONDS",
        help="How long an agent that says nothing keeps its tasks, in seconds.",
    ),
]
PayloadLimit = Annotated[
    int,
    Parameter(
        env_var="OPSCORE_PAYLOAD_LIMIT",
        help="The largest input or output of a task, in bytes.",
    ),
]
OutgoingAllow = Annotated[
    str,
    Parameter(
        env_var="OPSCORE_OUTGOING_ALLOW",
        help="Private networks that agents and callbacks may be called in, comma-separated.",
    ),
]
WebhookSecret = Annotated[
    str | None,
    Parameter(
        env_var="OPSCORE_WEBHOOK_SECRET",
        help="With what AgentKit signs its notices; better set in the environment.",
    ),
]
AgentKitUrl = Annotated[
    str | None,
    Parameter(env_var="OPSCORE_AGENTKIT_URL", help="Where AgentKit is."),
]
KeyRequests = Annotated[
    int,
    Parameter(
        env_var="OPSCORE_KEY_REQUESTS", help="How many requests one key may make, per second."
    ),
]
KeyConnections = Annotated[
    int,
    Parameter(
        env_var="OPSCORE_KEY_CONNECTIONS", help="How many connections one key may hold open."
    ),
]
LogDays = Annotated[
    float, Parameter(env_var="OPSCORE_LOG_DAYS", help="How many days log records are kept.")
]
LogMib = Annotated[
    int, Parameter(env_var="OPSCORE_LOG_MIB", help="How large their store may become, in MiB.")
]
TemplateEnv = Annotated[
    str,
    Parameter(
        env_var="OPSCORE_TEMPLATE_ENV",
        help="Environment variables that templates may read: names, comma-separated.",
    ),
]
AuditCheckpoint = Annotated[
    str | None,
    Parameter(
        env_var="OPSCORE_AUDIT_CHECKPOINT",
        help="A file, or an http(s) URL, that is told every minute how far the audit has come.",
    ),
]
Profile = Annotated[
    str | None,
    Parameter(env_var="OPSCORE_PROFILE", help="Use [profile.NAME] of opscore.toml."),
]
JsonFlag = Annotated[bool, Parameter(name="--json", negative=(), help="The same as -o json.")]


IdempotencyKey = Annotated[
    str | None,
    Parameter(help="The same key again, within 24 hours, does not start it a second time."),
]


CallbackUrl = Annotated[
    str | None, Parameter(help="A URL that is told, with a signed message, when it has ended.")
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every command that talks to a server takes."""

    output: Annotated[
        OutputFormat, Parameter(name=("--output", "-o"), help="How to print the data.")
    ] = "table"
    as_json: JsonFlag = False
    url: Annotated[str, Parameter(env_var="OPSCORE_URL", help="The server.")] = DEFAULT_URL
    api_key: ApiKey = None
    namespace: Annotated[
        str | None, Parameter(env_var="OPSCORE_NAMESPACE", help="The namespace to work in.")
    ] = None
    profile: Profile = None

    @property
    def format(self) -> OutputFormat:
        """The output format after `--json` had its say."""
        return "json" if self.as_json else self.output


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Where a server tells of itself, beside standard error and its own stores."""

    log_file: Annotated[
        Path | None,
        Parameter(env_var="OPSCORE_LOG_FILE", help="Log into this file as well, as JSON lines."),
    ] = None
    log_file_mib: Annotated[
        int,
        Parameter(env_var="OPSCORE_LOG_FILE_MIB", help="At this size another is begun, in MiB."),
    ] = DEFAULT_LOG_FILE_MIB
    log_files: Annotated[
        int, Parameter(env_var="OPSCORE_LOG_FILES", help="How many old ones are kept.")
    ] = DEFAULT_LOG_FILES
    otlp_endpoint: Annotated[
        str | None,
        Parameter(
            env_var=("OPSCORE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
            help="A collector that is sent the spans of sessions that ended (OTLP over HTTP).",
        ),
    ] = None
    otlp_headers: Annotated[
        str,
        Parameter(
            env_var=("OPSCORE_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
            help="What it is sent as headers, name=value,…; better set in the environment.",
        ),
    ] = ""
    otlp_sample: Annotated[
        float,
        Parameter(env_var="OPSCORE_OTLP_SAMPLE", help="The share of traces it is sent, 0 to 1."),
    ] = 1.0


QUIET = Telemetry()
DEFAULTS = Common()
"""The default of every `common` parameter (one object: cyclopts fills in what is given)."""


def apply_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill what flags and environment left open from the profile, then from the file itself.

    A config source in the sense of cyclopts. Raises `Stop` (usage) for a key that is not a setting
    and for a profile that the file does not have.
    """
    table = read_file()
    profiles = cast("dict[str, dict[str, Any]]", table.pop("profile", {}))
    wanted = _given(arguments, "--profile")
    if wanted is not None:
        if wanted not in profiles:
            raise _no_profile(wanted, profiles)
        _fill(app, commands, arguments, profiles[wanted], f"profile.{wanted}")
    _fill(app, commands, arguments, table, "")


def read_file() -> dict[str, Any]:
    """The tables of `opscore.toml`; nothing when there is none. Raises `Stop` (usage)."""
    path = Path(SETTINGS_FILE)
    if not path.is_file():
        return {}
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as problem:
        raise usage(f"{SETTINGS_FILE}: {problem}") from None


def _given(arguments: ArgumentCollection, name: str) -> str | None:
    argument = arguments.get(name, None)
    return argument.tokens[0].value if argument and argument.tokens else None


def _no_profile(wanted: str, profiles: dict[str, dict[str, Any]]) -> Stop:
    known = ", ".join(sorted(profiles)) or "none"
    return usage(f"there is no profile {wanted!r} in {SETTINGS_FILE}", f"it has: {known}")


def _fill(
    app: App,
    commands: tuple[str, ...],
    arguments: ArgumentCollection,
    table: dict[str, Any],
    place: str,
) -> None:
    from cyclopts.config import Dict

    settings = {key.replace("-", "_"): value for key, value in table.items()}
    where = f"{SETTINGS_FILE} [{place}]" if place else SETTINGS_FILE
    if stray := sorted(set(settings) - FILE_KEYS):
        hint = f"settings are: {', '.join(sorted(FILE_KEYS))}"
        raise usage(f"{where}: unknown setting {stray[0]!r}", hint)
    mine = {key: value for key, value in settings.items() if _takes(arguments, key)}
    source = Dict(mine, source=where, use_commands_as_keys=False)
    source(app, commands, arguments)


def _takes(arguments: ArgumentCollection, key: str) -> bool:
    """Whether this command has the setting as an option (a positional of that name is another)."""
    return arguments.get(f"--{key.replace('_', '-')}", None) is not None


def template_env(names: str) -> dict[str, str | None]:
    """The variables that templates may read, None for one that is not set."""
    listed = [name.strip() for name in names.split(",")]
    return {name: os.environ.get(name) for name in listed if name}


def usual_database() -> str:
    """The database that is meant when none is named: ops.db, else that of `opscore dev`."""
    usual = Path(DEFAULT_DATABASE.removeprefix("sqlite:///"))
    dev = Path(DEV_DATABASE).exists() and not usual.exists()
    return f"sqlite:///{DEV_DATABASE}" if dev else DEFAULT_DATABASE
