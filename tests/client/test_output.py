"""The asyncio client follows the output of a job, over connections that break off and hours without a word."""

from __future__ import annotations

import asyncio

import grpc

from tenure.client import Client
from tenure.v1 import job_service_pb2
from tests.client.scripted import FakeClock, Meanwhile, Refusal, ScriptedServer, Silence

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def piece(offset: int, data: bytes = b"", *, attempt: int = 2, end: bool = False) -> job_service_pb2.FollowLogsResponse:
    return job_service_pb2.FollowLogsResponse(offset=offset, data=data, attempt=attempt, end=end)


async def test_output_goes_on_at_the_next_byte_of_the_same_attempt(server: ScriptedServer, client: Client) -> None:
    server.streams("FollowLogs", [piece(10, b"abc"), Refusal(UNAVAILABLE)], [piece(13, b"d", end=True), Silence()])
    assert [each.data async for each in client.follow_logs("a", from_offset=10)] == [b"abc", b"d"]
    second = server.asked["FollowLogs"][1]
    assert (second.attempt, second.from_offset) == (2, 13)


async def test_an_empty_piece_says_where_to_go_on_and_is_not_shown(server: ScriptedServer, client: Client) -> None:
    """Otherwise a reader that connects again may meet a later attempt, and would begin within its output."""
    server.streams(
        "FollowLogs",
        [piece(10, attempt=0), Refusal(UNAVAILABLE)],
        [piece(10), Refusal(UNAVAILABLE)],
        [piece(10, b"abc"), piece(13), piece(13, end=True)],
    )
    read = [(each.data, each.end) async for each in client.follow_logs("a", from_offset=10)]
    assert read == [(b"abc", False), (b"", True)]
    asked = [(each.HasField("attempt"), each.attempt, each.from_offset) for each in server.asked["FollowLogs"]]
    assert asked == [(False, 0, 10), (False, 0, 10), (True, 2, 10)]


async def test_the_attempt_that_was_asked_for_stays_while_it_has_not_begun(
    server: ScriptedServer, client: Client
) -> None:
    server.streams("FollowLogs", [piece(0, attempt=0), Refusal(UNAVAILABLE)], [piece(0, attempt=7, end=True)])
    assert [each.end async for each in client.follow_logs("a", attempt=7)] == [True]
    assert [each.attempt for each in server.asked["FollowLogs"]] == [7, 7]


async def test_a_quiet_follower_outlives_a_server_that_is_away_for_a_while(
    server: ScriptedServer, client: Client, clock: FakeClock
) -> None:
    looks = clock.looks

    async def nothing_is_printed_for_two_hours() -> None:
        async with asyncio.timeout(10):
            while clock.looks == looks:  # noqa: ASYNC110 - that the client has noticed shows nowhere else
                await asyncio.sleep(0.01)
        clock.sleep_now(7200)

    gone = Refusal(UNAVAILABLE)
    server.streams(
        "FollowLogs",
        [Meanwhile(nothing_is_printed_for_two_hours), gone],
        *([[gone]] * 20),
        [piece(0, b"x", end=True)],
    )
    assert [each.data async for each in client.follow_logs("a")] == [b"x"]
