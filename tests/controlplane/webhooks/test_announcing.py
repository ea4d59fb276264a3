"""From a job's change to its owner: at least once, in order, signed, and with nothing in it that is not theirs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from standardwebhooks import WebhookVerificationError

from tenure.controlplane.webhooks.endpoints import Wanted
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.controlplane.webhooks.targets import TargetRules
from tenure.domain import commands as c
from tenure.domain import events as e
from tenure.store.outbox import DeliveryState
from tests.controlplane.webhooks.receiver import Receiver, Reply, Seen, receiving
from tests.controlplane.webhooks.rig import CANARY, Names, Rig, rigged
from tests.store.opening import opened


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as made:
        yield made


def url_of(receiver: Receiver, path: str = "/hook?x=1") -> str:
    return f"http://hooks.example:{receiver.port}{path}"


async def test_what_fails_twice_is_delivered_the_third_time_with_the_same_id(rig: Rig, receiver: Receiver) -> None:
    receiver.replies(500, 503)
    url = url_of(receiver)
    await rig.create(url)
    first = (await receiver.until(1))[0]
    assert len(await rig.until(lambda found: found[0].attempts == 1)) == 1
    await rig.clock.advance(5)
    await receiver.until(2)
    await rig.until(lambda found: found[0].attempts == 2)
    await rig.clock.advance(10)
    seen = await receiver.until(3)
    (delivery,) = await rig.until(lambda found: found[0].state is DeliveryState.DELIVERED)
    assert (delivery.attempts, delivery.status, delivery.error) == (3, 200, "")
    assert [one.id for one in seen] == [delivery.id] * 3
    assert len({one.body for one in seen}) == 1
    assert len({one.headers["webhook-timestamp"] for one in seen}) == 3
    assert first.target == "/hook?x=1"
    for one in seen:
        assert one.verified(rig.secret(url))["type"] == "job.created"
    with pytest.raises(WebhookVerificationError):
        first.verified("whsec_" + "A" * 43 + "=")


async def test_every_change_of_a_jobs_state_is_announced_in_order(rig: Rig, receiver: Receiver) -> None:
    url = url_of(receiver)
    (job_id,) = await rig.create(url)
    lease = await rig.start(job_id)
    beat = c.Beat(count=1, at_us=rig.clock.wall_us())
    await rig.do(job_id, c.Record(lease_id=lease, beat=beat), c.Fail(lease_id=lease, stage=e.Stage.RUN, exit_code=3))
    lease = await rig.start(job_id, "w-2")
    await rig.do(job_id, c.Terminate(grace_us=60_000_000), c.Succeed(lease_id=lease))
    seen = await receiver.until(6)
    types = ["job.created", "job.running", "job.requeued", "job.running", "job.canceling", "job.cancelled"]
    assert [one.type for one in seen] == types
    data = [one.json["data"] for one in seen]
    assert [one["sequence"] for one in data] == [1, 2, 3, 4, 5, 6]
    assert [one["state"].removeprefix("JOB_STATE_") for one in data] == [
        "IN_QUEUE",
        "RUNNING",
        "IN_QUEUE",
        "RUNNING",
        "CANCELING",
        "SUCCESS",
    ]
    assert [(one["attempt"], one["machineId"]) for one in data] == [
        (0, ""),
        (1, "w-1"),
        (1, "w-1"),
        (2, "w-2"),
        (2, "w-2"),
        (2, "w-2"),
    ]
    assert data[1]["update"] == "Your job is now running!"
    assert "exit code 3" in data[2]["update"]
    assert [one["outcome"] for one in data[-2:]] == ["JOB_OUTCOME_UNSPECIFIED", "JOB_OUTCOME_CANCELLED"]
    positions = [int(one["position"]) for one in data]
    assert positions == sorted(positions)
    job = data[3]["job"]
    assert (job["id"], job["status"]["state"], job["status"]["numFailures"]) == (job_id, "JOB_STATE_RUNNING", 1)
    assert len({one.id for one in seen}) == 6


async def test_nothing_is_sent_that_is_nobodys_business(rig: Rig, receiver: Receiver) -> None:
    await rig.create(url_of(receiver))
    (seen,) = await receiver.until(1)
    assert set(seen.headers) == {
        "host",
        "user-agent",
        "content-type",
        "content-length",
        "accept",
        "connection",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    assert seen.method == "POST"
    assert seen.headers["host"] == f"hooks.example:{receiver.port}"
    assert seen.headers["content-type"] == "application/json"
    assert CANARY.encode() not in seen.body
    assert seen.json["data"]["job"]["specification"]["environment"] == {"TOKEN": ""}


async def test_jobs_without_a_webhook_and_others_events_are_not_announced(rig: Rig, receiver: Receiver) -> None:
    (quiet,) = await rig.create("")
    await rig.start(quiet)
    (loud,) = await rig.create(url_of(receiver))
    await rig.do(quiet, c.Terminate())
    await rig.do(loud, c.Terminate())
    seen = await receiver.until(2)
    assert {one.job_id for one in seen} == {loud}
    await rig.until(lambda found: all(one.state is DeliveryState.DELIVERED for one in found))
    assert len(await rig.deliveries()) == 2
    assert await rig.store.outbox.subscriptions() == {}


async def test_the_order_of_each_job_is_kept_under_failures(rig: Rig, receiver: Receiver) -> None:
    """Every announcement fails the first two times; nothing overtakes what was before it in its job."""
    tries: dict[str, int] = {}

    def answer(seen: Seen) -> int:
        tries[seen.id] = tries.get(seen.id, 0) + 1
        return 200 if tries[seen.id] > 2 else 500

    receiver.answer = answer
    jobs = await rig.create(url_of(receiver), count=4)
    for job_id in jobs:
        lease = await rig.start(job_id)
        await rig.do(job_id, c.Release(lease_id=lease, reason="moving"))
        await rig.do(job_id, c.Succeed(lease_id=await rig.start(job_id)))
    await rig.until(
        lambda found: len(found) == 20 and all(one.state is DeliveryState.DELIVERED for one in found), step_s=5
    )
    for job_id in jobs:
        order = [one.json["data"]["sequence"] for one in receiver.seen if one.job_id == job_id]
        assert order == [number for number in range(1, 6) for _ in range(3)]
    assert receiver.most_open <= 2


async def test_an_endpoint_says_what_it_wants(rig: Rig, receiver: Receiver) -> None:
    url = url_of(receiver)
    await rig.webhooks.endpoints.upsert([Wanted(url=url, event_types=("job.assigned", "job.completed"))], "user", "")
    (job_id,) = await rig.create(url)
    await rig.do(job_id, c.Succeed(lease_id=await rig.start(job_id)))
    seen = await receiver.until(2)
    assert [(one.type, one.json["data"]["sequence"]) for one in seen] == [("job.assigned", 1), ("job.completed", 2)]
    assert (seen[0].json["data"]["attempt"], seen[0].json["data"]["machineId"]) == (1, "w-1")


async def test_an_owner_is_told_of_their_own_jobs_only(rig: Rig, receiver: Receiver) -> None:
    url = url_of(receiver)
    (mine,) = await rig.create(url)
    (theirs,) = await rig.create(url, created_by="other")
    seen = {one.job_id: one for one in await receiver.until(2)}
    seen[mine].verified(rig.secret(url))
    seen[theirs].verified(rig.secret(url, "other"))
    with pytest.raises(WebhookVerificationError):
        seen[theirs].verified(rig.secret(url))


async def test_everything_is_signed_with_both_secrets_while_one_is_replaced(rig: Rig, receiver: Receiver) -> None:
    url = url_of(receiver)
    (job_id,) = await rig.create(url)
    old = rig.secret(url)
    endpoint = rig.webhooks.endpoints.find("user", "", url)
    assert endpoint is not None
    await rig.webhooks.endpoints.rotate(endpoint.id, 60_000_000)
    new = rig.secret(url)
    assert new != old
    await rig.start(job_id)
    (_, both) = await receiver.until(2)
    both.verified(old)
    both.verified(new)
    await rig.clock.advance(61)
    await rig.do(job_id, c.Terminate())
    (*_, last) = await receiver.until(3)
    last.verified(new)
    with pytest.raises(WebhookVerificationError):
        last.verified(old)


async def test_what_nobody_takes_is_dead_and_can_be_replayed(receiver: Receiver) -> None:
    receiver.answer = lambda seen: 500
    async with rigged(schedule=Schedule(max_attempts=3)) as rig:
        (job_id,) = await rig.create(url_of(receiver))
        await rig.do(job_id, c.Terminate())
        found = await rig.until(
            lambda found: len(found) == 2 and all(one.state is DeliveryState.DEAD for one in found), step_s=5
        )
        assert [(one.attempts, one.status, one.error) for one in found] == [(3, 500, "it answered 500")] * 2
        assert [one.type for one in receiver.seen] == ["job.created"] * 3 + ["job.cancelled"] * 3
        receiver.answer = lambda seen: 204
        assert await rig.webhooks.replay([one.number for one in found], {one.host for one in found}) == 2
        seen = (await receiver.until(8))[-2:]
        assert [one.id for one in seen] == [one.id for one in found]
        await rig.until(lambda found: all(one.state is DeliveryState.DELIVERED for one in found))


async def test_what_comes_too_late_is_dead(receiver: Receiver) -> None:
    receiver.answer = lambda seen: 500
    async with rigged(schedule=Schedule(max_age_us=20_000_000)) as rig:
        await rig.create(url_of(receiver))
        (found,) = await rig.until(lambda found: found[:1] != [] and found[0].state is DeliveryState.DEAD, step_s=5)
        assert 1 < found.attempts < 10


async def test_gone_disables_the_endpoint(rig: Rig, receiver: Receiver) -> None:
    receiver.answer = lambda seen: 410
    url = url_of(receiver)
    (job_id, other) = await rig.create(url, count=2)
    await rig.until(lambda found: len(found) == 2 and all(one.state is DeliveryState.DEAD for one in found))
    endpoint = rig.webhooks.endpoints.find("user", "", url)
    assert endpoint is not None
    assert endpoint.disabled == "the endpoint answered 410 Gone"
    calls = receiver.connections
    await rig.do(job_id, c.Terminate())
    found = await rig.until(lambda found: len(found) == 3)
    assert [(one.state, one.error) for one in found[2:]] == [(DeliveryState.DEAD, endpoint.disabled)]
    assert receiver.connections == calls
    assert other


async def test_a_redirect_is_a_failed_try_and_nobody_goes_there(rig: Rig, receiver: Receiver) -> None:
    async with receiving() as inside:
        location = ("location", f"http://127.0.0.1:{inside.port}/latest/meta-data/")
        receiver.replies(Reply(status=302, headers=[location]))
        await rig.create(url_of(receiver))
        (found,) = await rig.until(lambda found: found[:1] != [] and found[0].attempts == 1)
        assert (found.state, found.status) == (DeliveryState.PENDING, 302)
        assert found.error == "it answered 302, and redirects are not followed"
        await rig.clock.advance(5)
        await receiver.until(2)
        assert inside.connections == 0


async def test_a_name_that_leads_inside_since_is_not_called(receiver: Receiver) -> None:
    rules = TargetRules(allow_http=True, ports=None)
    names = Names()
    names.known["hooks.example"] = ["93.184.215.14", "127.0.0.1"]
    async with rigged(rules=rules, names=names) as rig:
        await rig.create(url_of(receiver))
        (found,) = await rig.until(lambda found: found[:1] != [] and found[0].attempts >= 2, step_s=5)
        assert found.error == "blocked: its name leads to an address that is not public"
        assert receiver.connections == 0


async def test_rules_that_became_stricter_count(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = lambda seen: 500
    async with opened(tmp_path) as store:
        async with rigged(store) as rig:
            await rig.create(url_of(receiver))
            await receiver.until(1)
            await rig.until(lambda found: found[0].attempts == 1)
        async with rigged(store, rules=TargetRules()) as rig:
            (found,) = await rig.until(lambda found: found[0].attempts >= 2, step_s=5)
            assert found.error == "blocked: begin it with https://"
            assert receiver.connections == 1


async def test_two_at_a_time_to_one_host(rig: Rig, receiver: Receiver) -> None:
    url, other = url_of(receiver, "/a"), url_of(receiver, "/b")
    await rig.create(url, count=15)
    await rig.create(other, count=15)
    await receiver.until(30)
    assert receiver.most_open == 2


async def test_a_receiver_that_asks_for_time_gets_it(rig: Rig, receiver: Receiver) -> None:
    receiver.replies(Reply(status=429, headers=[("retry-after", "120")]))
    await rig.create(url_of(receiver))
    (found,) = await rig.until(lambda found: found[:1] != [] and found[0].attempts == 1)
    assert found.next_us is not None
    assert found.next_us - rig.clock.wall_us() >= 119_000_000
    await rig.clock.advance(121)
    await receiver.until(2)


async def test_a_host_that_does_not_answer_does_not_hold_up_others(rig: Rig, receiver: Receiver) -> None:
    rig.names.known["dead.example"] = []
    await rig.create("http://dead.example:8443/", count=20)
    await rig.create(url_of(receiver), count=3)
    await receiver.until(3)
    found = await rig.until(
        lambda found: (
            any(one.error for one in found) and sum(one.state is DeliveryState.DELIVERED for one in found) == 3
        )
    )
    dead = [one for one in found if one.host == "dead.example"]
    assert {one.error for one in dead if one.attempts} == {"its name has no address"}
    assert sum(one.attempts for one in dead) <= 2


async def test_secrets_are_in_no_log_record_and_no_event(
    rig: Rig, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.replies(500, 410)
    url = url_of(receiver)
    with structlog.testing.capture_logs() as records, caplog.at_level(logging.DEBUG):
        (job_id,) = await rig.create(url)
        await rig.until(lambda found: found[:1] != [] and found[0].state is DeliveryState.DEAD, step_s=5)
        await rig.do(job_id, c.Terminate())
        await rig.until(lambda found: len(found) == 2)
    events, _ = await rig.store.read(0, 100)
    secret = rig.secret(url)
    raw = rig.webhooks.endpoints.all()[0].secrets[0].value
    assert any(record["event"] == "delivery_dead" for record in records)
    for sink in (str(records), caplog.text, str(events), str(await rig.deliveries())):
        assert secret not in sink
        assert secret.removeprefix("whsec_") not in sink
        assert raw.hex() not in sink
        assert repr(raw) not in sink


async def test_stopping_waits_for_what_is_under_way(rig: Rig, receiver: Receiver) -> None:
    await rig.create(url_of(receiver))
    await receiver.until(1)
    await rig.webhooks.drain(5)
    (found,) = await rig.deliveries()
    assert found.state is DeliveryState.DELIVERED
    await rig.create(url_of(receiver))
    await rig.until(lambda found: len(found) == 2)
    assert receiver.connections == 1
