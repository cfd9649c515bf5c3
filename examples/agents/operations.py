"""People on call have these agents: one looks at things, one changes them, one tells people."""

from __future__ import annotations

from opscore.sdk import Agent, Fatal

monitor = Agent("monitor", max_in_flight=8)
operator = Agent("operator", max_in_flight=4)
herald = Agent("herald", max_in_flight=8)


@monitor.task("collect-signs")
def collect_signs(machine: str) -> dict[str, float]:
    """What the machine looks like; the name decides, so that examples take the same course."""
    return {"errors": 0.31, "latency": 2.4} if "2" in machine else {"errors": 0.01, "latency": 0.1}


@monitor.task("diagnose")
def diagnose(signs: dict[str, float]) -> dict[str, str]:
    """What is probably wrong, and what would help."""
    if signs["errors"] > 0.1:
        return {"severity": "high", "cause": "too many errors", "remedy": "restart"}
    return {"severity": "low", "cause": "a blip", "remedy": "wait"}


@monitor.task("check-health")
def check_health(release: str) -> dict[str, object]:
    """Releases whose name ends in `bad` are not healthy."""
    if release.endswith("bad"):
        raise Fatal(f"release {release} answers with errors")
    return {"healthy": True, "release": release}


@operator.task("restart")
def restart(machine: str) -> str:
    """Restart it (not really)."""
    return f"{machine} was restarted"


@operator.task("deploy")
def deploy(release: str, share: int) -> dict[str, object]:
    """Give a release a share of the traffic (not really)."""
    return {"release": release, "share": share}


@operator.task("clean-up")
def clean_up(what: str) -> str:
    """Remove something (not really)."""
    return f"{what} is gone"


@herald.task("notify")
def notify(text: str) -> str:
    """Tell people."""
    print(f"herald: {text}", flush=True)
    return text


AGENTS = [monitor, operator, herald]
