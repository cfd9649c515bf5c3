"""Every template of docs/templates.md is run; what it says is refused is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from opscore import inprocess
from opscore.channels.local import LocalRetry
from opscore.core.errors import Impossible, Invalid
from opscore.templates import read_template
from tests.docs.pages import blocks, page

PAGE = page("docs/templates.md")
GIVES = re.compile(
    r"```yaml\n(?P<template>[^`]*?)```\s+"
    r"With the input `(?P<given>[^`]*)` it gives\s`(?P<wanted>[^`]*)`\."
)
EXAMPLES = [found.groupdict() for found in GIVES.finditer(PAGE)]
[CHAPTER] = [one for one in blocks(PAGE, "yaml") if one.startswith("name: chapter")]
REFUSED = blocks(PAGE, "yaml")[-1]


def shout(given: dict[str, str]) -> str:
    return given["text"].upper()


def join(given: dict[str, list[str]]) -> str:
    return " ".join(given["words"])


def flaky(_: Any) -> None:
    raise LocalRetry("not today")


def edit(given: dict[str, str]) -> str:
    return f"edited: {given['text']}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one["template"].split()[1])
async def test_an_example_gives_what_the_page_says(example: dict[str, str]) -> None:
    async with inprocess.open("sqlite:///:memory:") as ops:
        await ops.agent("writer", {"shout": shout, "join": join, "flaky": flaky})
        await ops.agent("editor", {"edit": edit})
        await ops.orchestration.create_workflow(CHAPTER)
        made = await ops.orchestration.create_workflow(example["template"])
        session = await ops.orchestration.start(made.name, input=example["given"].encode())
        ended = await ops.orchestration.wait(session, 60)
        assert ended.error is None
        assert ended.output is not None
        assert json.loads(bytes(ended.output)) == json.loads(example["wanted"])


def test_every_template_of_the_page_is_read() -> None:
    for template in blocks(PAGE, "yaml")[:-1]:
        assert read_template(template).steps
    assert len(EXAMPLES) >= len(blocks(PAGE, "yaml")) - 5
    # All but those of onError, limits, the chapter, the saga, and the wrong one.


def test_the_mistakes_are_told_as_the_page_says() -> None:
    with pytest.raises(Invalid) as refused:
        read_template(REFUSED)
    told = [
        f"{one.line}:{one.column}: {one.message}" + (f" ({one.hint})" if one.hint else "")
        for one in refused.value.faults
    ]
    assert told == blocks(PAGE, "text")[-1].splitlines()


async def test_the_saga_is_undone() -> None:
    [saga] = [one for one in blocks(PAGE, "yaml") if "compensate" in one]
    undone: list[Any] = []
    async with inprocess.open("sqlite:///:memory:") as ops:
        rooms: dict[str, Any] = {"book-hotel": book, "cancel-hotel": undone.append}
        await ops.agent("travel", {**rooms, "book-flight": no_seats})
        await ops.orchestration.create_workflow(saga)
        session = await ops.orchestration.start("saga")
        ended = await ops.orchestration.wait(session, 60)
    assert ended.steps["hotel"].status == "compensated"
    assert undone == [{"booking": 7, "why": "no seats"}]


def book(_: Any) -> dict[str, int]:
    return {"id": 7}


def no_seats(_: Any) -> None:
    raise LocalRetry("no seats")


async def test_on_error_starts_the_other_workflow_once() -> None:
    [guarded] = [one for one in blocks(PAGE, "yaml") if "onError" in one]
    clean_up = {
        "name": "clean-up",
        "version": "1",
        "steps": {"a": {"value": "${{ input.reason }}"}},
    }
    async with inprocess.open("sqlite:///:memory:") as ops:
        made = await ops.orchestration.create_workflow(
            {**clean_up, "output": "${{ steps.a.output }}"}
        )
        started = ops.feed.subscribe()
        await ops.orchestration.create_workflow(guarded)
        await ops.agent("writer", {"shout": broken})
        session = await ops.orchestration.start("guarded", input=b'{"text": "hi"}')
        async for event in started:
            if event.type == "session.completed":
                break
        assert (await ops.orchestration.get_session(session)).status == "error"
        [cleaned] = (await ops.orchestration.list_sessions(workflow=made.name)).items
        ended = await ops.orchestration.get_session(cleaned.session_id)
        assert ended.output is not None
        assert json.loads(bytes(ended.output)) == "cannot"


async def test_a_session_is_refused_without_the_workflow_of_its_on_error() -> None:
    [guarded] = [one for one in blocks(PAGE, "yaml") if "onError" in one]
    async with inprocess.open("sqlite:///:memory:") as ops:
        await ops.orchestration.create_workflow(guarded)
        with pytest.raises(Impossible, match="clean-up"):
            await ops.orchestration.start("guarded", input=b'{"text": "hi"}')


def broken(_: Any) -> None:
    raise LocalRetry("cannot", after=0)
