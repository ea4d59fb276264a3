"""Watches and the log over HTTP: a line for each message, or server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tenure.controlplane.shares import Shares
from tenure.v1.job_service_pb2 import FollowLogsResponse
from tenure.web.streaming import stream_response
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


@pytest.mark.parametrize("start", ["resumeToken={old}", "resume_token={old}", "afterPosition=1", "after_position=1"])
async def test_a_browser_goes_on_where_it_was_wherever_its_address_begins(world: WebWorld, start: str) -> None:
    """An EventSource comes back with the address that it was given first, and says beside it how far it has come."""
    admin = await world.admin_client()
    old = [token async for _, token, _ in events(await admin.get("/v1/events", headers=EVENTS)) if token][-1]
    await create(admin)
    seen = [token async for _, token, _ in events(await admin.get("/v1/events", headers=EVENTS)) if token][-1]
    job_id = await create(admin)
    response = await admin.get(f"/v1/events?{start.format(old=old)}", headers={**EVENTS, "last-event-id": seen})
    assert response.status_code == 200, response.text
    told = [event["stream"] async for _, _, data in events(response) for event in data.get("events", [])]
    assert told == [f"job/{job_id}"]


@pytest.mark.parametrize(
    ("trouble", "code", "reason"),
    [("draining", 503, "DRAINING"), ("full", 429, "LIMIT_EXCEEDED")],
    ids=lambda each: each,
)
async def test_a_browser_comes_back_to_a_server_that_is_stopping_or_full(
    world: WebWorld, monkeypatch: pytest.MonkeyPatch, trouble: str, code: int, reason: str
) -> None:
    """An EventSource gives up for good when it is answered with an error's code."""
    user = await world.user_client()
    if trouble == "draining":
        world.server.plane.host.drain()
    else:
        monkeypatch.setattr(world.server.plane.host._pipeline, "streams", Shares(0, "open streams"))
    response = await user.get("/v1/jobs:watch", headers=EVENTS)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert response.text.startswith("retry: 1000\n\n")
    [(kind, token, status)] = [each async for each in events(response)]
    assert (kind, token, status["details"][0]["reason"]) == ("failed", "", reason)
    # Everybody else sees the code.
    assert error_of(await user.get("/v1/jobs:watch")) == (code, reason, [])


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


@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["lines", "events"])
async def test_an_empty_piece_of_output_is_a_message_like_any_other(headers: dict[str, str]) -> None:
    """It says that the server is there; a browser keeps the id that it has."""
    pieces = [FollowLogsResponse(offset=7, attempt=1), FollowLogsResponse(offset=7, attempt=1, end=True)]

    async def messages() -> AsyncGenerator[Message, None]:
        for each in pieces:
            yield each

    async def answer(request: Request) -> Response:
        return await stream_response(request, messages(), lambda _: "")

    transport = httpx.ASGITransport(Starlette(routes=[Route("/", answer)]))
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        response = await client.get("/", headers=headers)
    told = [value async for _, _, value in events(response)] if headers else [value async for value in lines(response)]
    empty = {"offset": "7", "data": "", "attempt": 1}
    assert told[:2] == [{**empty, "end": False}, {**empty, "end": True}]
    assert "id:" not in response.text


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
