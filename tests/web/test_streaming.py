"""Watches and the log over HTTP: a line for each message, or server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from tests.acceptance.waiting import eventually
from tests.web.doors import PATIENCE_S, WebWorld
from tests.web.test_transcoder import create, error_of

EVENTS = {"accept": "text/event-stream"}


async def lines(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        yield json.loads(line)


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """Type, id and data of each event."""
    kind, token, data = "message", "", ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "id":
            token = value
        elif name == "data":
            data = value
        elif not line and data:
            yield kind, token, json.loads(data)
            kind, token, data = "message", "", ""


async def test_a_watch_in_lines(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await create(user)
    async with asyncio.timeout(PATIENCE_S), user.stream("GET", "/v1/jobs:watch", params={"ids": job_id}) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        coming = lines(response)
        assert (await anext(coming))["snapshot"]["id"] == job_id
        assert "progressMark" in await anext(coming)
        await user.post("/v1/jobs:terminate", json={"items": [{"id": job_id}]})
        event = (await anext(coming))["event"]
        assert event["update"]["status"] == "Your job has been cancelled!"
        assert "jobTerminated" in event["event"]


async def test_a_watch_in_events_goes_on_where_it_was(world: WebWorld) -> None:
    user = await world.user_client()
    job_id = await create(user)
    async with asyncio.timeout(PATIENCE_S), user.stream("GET", "/v1/jobs:watch", headers=EVENTS) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        coming = events(response)
        kind, token, snapshot = await anext(coming)
        # No id: a browser that comes back with the id of a part of a snapshot would miss the rest of it.
        assert (kind, token, snapshot["snapshot"]["id"]) == ("message", "", job_id)
        _, token, mark = await anext(coming)
        assert token == mark["resumeToken"]
    await user.post("/v1/jobs:terminate", json={"items": [{"id": job_id}]})
    again = {**EVENTS, "last-event-id": token}
    async with asyncio.timeout(PATIENCE_S), user.stream("GET", "/v1/jobs:watch", headers=again) as response:
        _, _, event = await anext(events(response))
        assert event["event"]["jobId"] == job_id


async def test_a_refused_stream_has_its_code(world: WebWorld) -> None:
    user = await world.user_client()
    for headers in ({}, EVENTS):
        response = await user.get("/v1/jobs:watch", params={"ids": "unknown"}, headers=headers)
        assert error_of(response) == (404, "JOB_NOT_FOUND", [])
        assert error_of(await user.get("/v1/events", headers=headers)) == (403, "ROLE_NOT_ALLOWED", [])
    token = await user.get("/v1/jobs:watch", headers={"last-event-id": "no token"})
    assert error_of(token)[:2] == (400, "RESUME_TOKEN_INVALID")


async def test_the_log_ends_where_it_ends(world: WebWorld) -> None:
    user, admin = await world.user_client(), await world.admin_client()
    job_id = await create(user)
    response = await admin.get("/v1/events", params={"filter.jobIds": job_id})
    found = [event for line in response.text.splitlines() for event in json.loads(line)["events"]]
    assert ["jobCreated" in event for event in found] == [True]
    ended = await admin.get("/v1/events", headers=EVENTS)
    assert ended.text.endswith("event: end\ndata: {}\n\n")


async def test_a_server_that_stops_says_so_in_the_stream(world: WebWorld) -> None:
    user = await world.user_client()
    async with asyncio.timeout(PATIENCE_S), user.stream("GET", "/v1/jobs:watch") as response:
        coming = lines(response)
        assert "progressMark" in await anext(coming)
        world.server.stop()
        last = [line async for line in coming][-1]
        assert last["error"]["details"][0]["reason"] == "DRAINING"


async def test_who_has_gone_is_not_served(world: WebWorld) -> None:
    admin = await world.admin_client()
    open_streams = world.server.plane.host._pipeline._streams
    # The log has nothing to say, so the response begins before the first message.
    query = "/v1/events?follow=true&afterPosition=1"
    async with asyncio.timeout(PATIENCE_S), admin.stream("GET", query, headers=EVENTS) as response:
        assert await anext(response.aiter_raw()) == b"retry: 1000\n\n"
        assert len(open_streams) == 1

    async def ended() -> bool:
        return not open_streams

    await eventually(ended, "the stream to end")
