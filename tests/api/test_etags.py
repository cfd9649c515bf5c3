"""`ETag` and `If-Match`: an edit counts for what its author saw."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Reply, Site


async def edit(site: Site, method: str, path: str, body: Any, tag: str) -> Reply:
    return await site.call(method, path, body, headers={"If-Match": tag})


async def places(site: Site) -> dict[str, dict[str, Any]]:
    agent = await site.agent("edited")
    started = await site.call("POST", "/task", {"capability": "nobody-has-it"})
    one = started.good
    return {
        f"/agent/{agent}": {"labels": {"a": "b"}},
        f"/session/{one['sessionId']}": {"labels": {"a": "b"}},
        f"/task/{one['taskId']}": {"priority": 77},
    }


async def test_an_edit_of_what_was_seen_passes_and_a_later_one_does_not(site: Site) -> None:
    for path, body in (await places(site)).items():
        seen = (await site.call("GET", path)).headers["ETag"]
        first = await edit(site, "PATCH", path, body, seen)
        assert first.status == 200, path
        late = await edit(site, "PATCH", path, {**body, **_other(body)}, seen)
        assert (late.status, late.body["code"]) == (412, "outdated"), path
        now = await site.call("GET", path)
        assert now.headers["ETag"] == first.headers["ETag"] != seen
        assert {name: now.good[name] for name in body} == body
        assert (await edit(site, "PATCH", path, body, f'"x", {now.headers["ETag"]}')).status == 200
        assert (await edit(site, "PATCH", path, body, "*")).status == 200
        assert (await site.call("PATCH", path, body)).status == 200
        weak = f"W/{(await site.call('GET', path)).headers['ETag']}"
        assert (await edit(site, "PATCH", path, body, weak)).status == 412


def _other(body: dict[str, Any]) -> dict[str, Any]:
    return {name: 3 if isinstance(value, int) else {} for name, value in body.items()}


async def test_a_deletion_is_guarded_too(site: Site) -> None:
    agent = await site.agent("deleted")
    seen = (await site.call("GET", f"/agent/{agent}")).headers["ETag"]
    await site.call("PATCH", f"/agent/{agent}", {"version": "2"})
    assert (await edit(site, "DELETE", f"/agent/{agent}", None, seen)).status == 412
    seen = (await site.call("GET", f"/agent/{agent}")).headers["ETag"]
    assert (await edit(site, "DELETE", f"/agent/{agent}", None, seen)).status == 204
    session = (await site.call("POST", "/task", {"capability": "x"})).good["sessionId"]
    seen = (await site.call("GET", f"/session/{session}")).headers["ETag"]
    await site.call("POST", f"/session/{session}/cancel")
    assert (await edit(site, "DELETE", f"/session/{session}", None, seen)).status == 412
    seen = (await site.call("GET", f"/session/{session}")).headers["ETag"]
    assert (await edit(site, "DELETE", f"/session/{session}", None, seen)).status == 204


async def test_an_edit_without_a_change_is_guarded_too(site: Site) -> None:
    session = (await site.call("POST", "/task", {"capability": "x"})).good["sessionId"]
    for path in (f"/agent/{await site.agent('unchanged')}", f"/session/{session}"):
        seen = (await site.call("GET", path)).headers["ETag"]
        assert (await edit(site, "PATCH", path, {}, seen)).headers["ETag"] == seen
        assert (await edit(site, "PATCH", path, {"labels": {"a": "b"}}, seen)).status == 200
        assert (await edit(site, "PATCH", path, {}, seen)).status == 412
    assert (await site.call("PATCH", "/session/ses_unknown", {})).status == 404


@pytest.mark.parametrize("tag", ["12", '"a" "b"', "", '"12'])
async def test_a_malformed_tag_is_refused(site: Site, tag: str) -> None:
    agent = await site.agent("malformed")
    reply = await edit(site, "PATCH", f"/agent/{agent}", {"version": "2"}, tag)
    assert (reply.status, reply.body["code"]) == (400, "invalid")


async def test_metadata_can_be_read_where_it_was_written(site: Site) -> None:
    session = (await site.call("POST", "/task", {"capability": "x"})).good["sessionId"]
    await site.call("PATCH", f"/session/{session}", {"metadata": {"ticket": 4}})
    assert (await site.call("GET", f"/session/{session}")).good["metadata"] == {"ticket": 4}
