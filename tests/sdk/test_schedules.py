"""Schedules through the SDK, against a real server."""

from __future__ import annotations

import asyncio

import pytest

from opscore.api.settings import ServerSettings
from opscore.sdk import Client, OpsCoreProblem
from tests.api.conftest import serving

NIGHTLY = """
name: nightly
version: "1"
schedule: {cron: "0 3 * * *", timezone: Europe/Berlin}
steps: {look: {value: done}}
output: "${{ steps.look.output }}"
"""


async def test_a_schedule_is_looked_at_held_and_triggered() -> None:
    async with serving(ServerSettings(development=True)) as site, Client(site.url) as client:
        await client.workflows.apply(NIGHTLY)
        (listed,) = await client.schedules.list()
        assert (listed.workflow, len(listed.next_times)) == ("nightly", 1)
        found = await client.schedules.get("nightly", next=3)
        assert (found.cron, len(found.next_times)) == ("0 3 * * *", 3)
        paused = await client.schedules.pause("nightly")
        assert (paused.paused, paused.next_times) == (True, [])
        assert not (await client.schedules.resume("nightly")).paused
        run = client.run(await client.schedules.trigger("nightly"))
        assert await run.result() == "done"
        with pytest.raises(OpsCoreProblem) as refused:
            await client.schedules.get("daily")
        assert refused.value.status == 404


async def test_plain_code_has_them_too() -> None:
    async with serving(ServerSettings(development=True)) as site:

        def work() -> str:
            with Client.sync(site.url) as client:
                client.workflows.apply(NIGHTLY)
                return client.schedules.list()[0].workflow

        assert await asyncio.to_thread(work) == "nightly"
