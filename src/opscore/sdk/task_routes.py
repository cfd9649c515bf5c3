"""The routes of tasks, one thin typed call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opscore.sdk.calls import body_of, decode
from opscore.sdk.many import ManyTasks
from opscore.sdk.routes import Routes
from opscore.sdk.server import segment
from opscore.wire.agent import (
    Attempt,
    Claimed,
    ClaimTasks,
)
from opscore.wire.queue import QueuePage
from opscore.wire.session import (
    Reason,
)
from opscore.wire.task import (
    Settlement,
    SettleTasks,
    TaskAccepted,
    TaskPage,
    TaskView,
    Verdict,
    Verdicts,
)
from opscore.wire.why import WhyView


class Tasks(ManyTasks, Routes):
    """`/task`."""

    async def enqueue(
        self,
        capability: str | None = None,
        input: Any = None,
        *,
        agent: str | None = None,
        context: Any = None,
        priority: int | None = None,
        delay_seconds: float | None = None,
        due_at: str | None = None,
        retry: Any = None,
        timeout: Any = None,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> TaskAccepted:
        """One task for a capability, or for an agent by name.

        `retry` and `timeout` are written as in a template. The same `idempotency_key` again, within
        24 hours, gives the task that was enqueued then.
        """
        body = body_of(
            capability=capability,
            agent=agent,
            input=input,
            context=context,
            priority=priority,
            delaySeconds=delay_seconds,
            dueAt=due_at,
            retry=retry,
            timeout=timeout,
            labels=labels,
        )
        answer = await self._calls.change("POST", "/task", body, key=idempotency_key)
        return decode(answer, TaskAccepted)

    async def queues(self, *, cursor: str | None = None, limit: int | None = None) -> QueuePage:
        """By capability, how many tasks wait, for how long, and how many run."""
        return await self._calls.get("/queue", QueuePage, body_of(cursor=cursor, limit=limit))

    async def list(
        self,
        *,
        status: str | None = None,
        agent: str | None = None,
        capability: str | None = None,
        session: str | None = None,
        workflow: str | None = None,
        error_class: str | None = None,
        dead: bool = False,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> TaskPage:
        """A page of tasks; `dead`: only those given up for good, which a retry would run again."""
        params = body_of(
            status=status,
            agent=agent,
            capability=capability,
            session=session,
            workflow=workflow,
            errorClass=error_class,
            dead="true" if dead else None,
            cursor=cursor,
            limit=limit,
        )
        return await self._calls.get("/task", TaskPage, params)

    async def get(self, task_id: str) -> TaskView:
        """One task with every attempt."""
        return await self._calls.get(f"/task/{segment(task_id)}", TaskView)

    async def why(self, task_id: str) -> WhyView:
        """What it waits for, since when, and its place in the queue."""
        return await self._calls.get(f"/task/{segment(task_id)}/why", WhyView)

    async def retry(self, task_id: str) -> None:
        """Run a failed one again."""
        await self._tell(f"/task/{segment(task_id)}/retry", {})

    async def fallback(self, task_id: str) -> None:
        """Give it up for its next fallback."""
        await self._tell(f"/task/{segment(task_id)}/fallback", {})

    async def cancel(self, task_id: str, reason: str = "") -> None:
        """Stop it."""
        await self._tell(f"/task/{segment(task_id)}/cancel", Reason(reason=reason))

    async def patch(self, task_id: str, *, priority: int) -> None:
        """Change its priority."""
        await self._patch(f"/task/{segment(task_id)}", priority=priority)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        """Report attempts, up to 500; one verdict each, in order. May be repeated."""
        body = SettleTasks(settlements=list(settlements))
        return (await self._calls.post("/task/settle", body, Verdicts)).verdicts

    async def claim(
        self,
        agent_id: str,
        instance_id: str,
        *,
        max: int = 10,
        wait_seconds: float = 0.0,
        holding: Sequence[tuple[str, int]] | None = None,
    ) -> list[Attempt]:
        """Take attempts for an agent, waiting up to `wait_seconds` for the first."""
        body = ClaimTasks(
            instance_id=instance_id,
            max=max,
            wait_seconds=wait_seconds,
            holding=None if holding is None else list(holding),
        )
        path = f"/agent/{segment(agent_id)}/claim"
        return (await self._calls.post(path, body, Claimed, timeout=wait_seconds + 30)).tasks
