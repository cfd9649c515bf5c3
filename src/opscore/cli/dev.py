"""`opscore dev`: a server to develop against."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from opscore.cli.output import print_lines, say
from opscore.cli.serve import LogLevel, Plan, checked_agentkit, log_to, rules, start, target
from opscore.cli.settings import (
    DEFAULT_PORT,
    DEFAULT_URL,
    DEV_DATABASE,
    QUIET,
    AgentKitUrl,
    DatabaseUrl,
    OutgoingAllow,
    Port,
    Profile,
    Telemetry,
    TemplateEnv,
    WebhookSecret,
    WorkflowsDir,
)


def dev(
    *,
    memory: Annotated[
        bool, Parameter(negative=(), help="Keep everything in memory; it is gone at the end.")
    ] = False,
    database_url: DatabaseUrl = f"sqlite:///{DEV_DATABASE}",
    port: Port = DEFAULT_PORT,
    workflows_dir: WorkflowsDir = None,
    outgoing_allow: OutgoingAllow = "",
    webhook_secret: WebhookSecret = None,
    agentkit_url: AgentKitUrl = None,
    template_env: TemplateEnv = "",
    telemetry: Telemetry = QUIET,
    log_level: LogLevel = "info",
    profile: Profile = None,
) -> None:
    """Start a server to develop against (embedded, loopback).

    It asks for no key, answers this machine only, keeps its database in ./.opscore/ops.db unless
    another one is named, and applies the templates of the workflows directory again whenever they
    are saved.
    """
    from opscore.api.settings import ServerSettings

    del profile  # read by the settings layer before this function is called
    log_to(log_level, None, telemetry)
    settings = ServerSettings(
        host="127.0.0.1",
        port=port,
        development=True,
        webhook_secret=webhook_secret or None,
        agentkit_url=checked_agentkit(agentkit_url),
    )
    url = "sqlite:///:memory:" if memory else database_url
    start(
        Plan(
            settings,
            url,
            workflows_dir,
            outgoing=rules(outgoing_allow, development=True),
            template_env=template_env,
            export=target(telemetry),
            follow_folder=True,
            ready=_Greeting(url),
        )
    )


class _Greeting:
    """Says where the server is and what to type next."""

    def __init__(self, database: str) -> None:
        self._database = database

    def __call__(self, url: str) -> None:
        kept = "nothing is kept" if self._database.endswith(":memory:") else self._database
        say("DEVELOPMENT SERVER, NOT FOR PRODUCTION: no keys, this machine only", f"({kept})")
        print_lines([url])
        at = "" if url == DEFAULT_URL else f" --url {url}"
        say(
            "Next, in another terminal:",
            f"  opscore doctor{at}",
            f"  opscore agent ls{at}",
            f"  opscore run FILE.yaml key=value{at}",
            "Stop with Ctrl-C.",
        )
