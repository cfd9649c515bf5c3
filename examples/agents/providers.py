"""Three providers of the same thing: one is down, one has a quota, one is slow but sure."""

from __future__ import annotations

import asyncio

from opscore.sdk import Agent, Retryable, Task

fast = Agent("fast-model", max_in_flight=4)
thrifty = Agent("thrifty-model", max_in_flight=4)
steady = Agent("steady-model", max_in_flight=4)


@fast.task("generate-fast")
def generate_fast(prompt: str) -> str:
    """Down since the morning."""
    raise Retryable(f"503 while answering {prompt!r}")


@thrifty.task("generate-cheap")
def generate_cheap(prompt: str, task: Task) -> str:
    """Answers the second time."""
    if task.attempt == 1:
        raise Retryable("quota for this second is used up", after=0.2)
    return f"cheap: {prompt}"


@steady.task("generate")
async def generate(prompt: str) -> str:
    """Slow but sure."""
    await asyncio.sleep(0.05)
    return f"steady: {prompt}"


@steady.task("rate-answer")
def rate_answer(text: str, task: Task) -> object:
    """A mark from 0 to 10; the first answer is not in the agreed form, as happens with models."""
    return "quite good" if task.attempt == 1 else {"mark": min(10, len(text))}


AGENTS = [fast, thrifty, steady]
