"""Error classes, backoff, and what a failed attempt leads to.

Backoff: exponential growth with a cap and proportional jitter, as in Marc Brooker, "Exponential
Backoff And Jitter" (AWS Architecture Blog, 2015). The random number is passed in.
"""

from __future__ import annotations

from opscore.core.backoffs import BACKOFFS
from opscore.core.template import RetryPolicy
from opscore.core.types import ErrorInfo, Micros

AGENT_LOST = "agent_lost"
TIMEOUT = "timeout"
CANCELLED = "cancelled"
REJECTED = "rejected"
FATAL = "fatal"
FALLBACK_REQUESTED = "fallback_requested"
INVALID_OUTPUT = "invalid_output"

NEVER_RETRIED = frozenset(
    {
        FATAL,
        CANCELLED,
        REJECTED,
        "expression_limit",
        "expression",
        "invalid_input",
        "payload_too_large",
        INVALID_OUTPUT,
    }
)


def is_retried(
    policy: RetryPolicy, error: ErrorInfo, failures: int, allowance: int | None = None
) -> bool:
    """Whether a task that has now failed `failures` times is tried again.

    `allowance` replaces the policy's bound. A class that the policy names, in `errors` or in `per`,
    is retried even when it is not retried by default. All failures count, whatever their class,
    against the bound of the class that failed last.
    """
    own = policy.per.get(error.error_class)
    if failures >= (((own or policy).max_attempts) if allowance is None else allowance):
        return False
    if own is not None:
        return True
    if policy.errors is not None:
        return error.error_class in policy.errors
    return error.error_class not in NEVER_RETRIED


def backoff(policy: RetryPolicy, failures: int, chance: float) -> Micros:
    """The delay before the next attempt, in microseconds.

    `failures` counts from 1; `chance` is uniform in [0, 1). Jitter spreads the delay by that share
    to either side.
    """
    delay = min(BACKOFFS[policy.backoff](policy.initial_delay, failures), policy.max_delay)
    return round(delay * (1 + policy.jitter * (2 * chance - 1)))


def retry_delay(policy: RetryPolicy, error: ErrorInfo, failures: int, chance: float) -> Micros:
    """The backoff of the error's class, and no sooner than the agent asked for (`Retry-After`)."""
    delay = backoff(policy.per.get(error.error_class, policy), failures, chance)
    return delay if error.retry_after is None else max(delay, error.retry_after)
