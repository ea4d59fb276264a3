"""Rows 38 to 46 and 52 to 58: repeats, pages, extending and ending, and going on from a place in the log."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from tenure.v1 import (
    admin_service_pb2,
    event_service_pb2,
    job_pb2,
    job_service_pb2,
    queue_service_pb2,
    webhook_service_pb2,
)
from tenure.v1 import worker_service_pb2 as pb
from tests.hostile.catalogue import Case, call, web
from tests.hostile.catalogue_jobs import YEAR, Extension, Termination, request_for, specification
from tests.hostile.catalogue_transport import CREATE
from tests.hostile.catalogue_values import MAX_INT32, MIN_INT32, NO_IDS
from tests.hostile.scene import CAPPED, ENDED, ENDLESS, FIXED, STANDING, Outcome, Scene, Send

EXTEND, TERMINATE = "JobService.ExtendJobs", "JobService.TerminateJobs"
BROWSE, WATCH = "JobService.BrowseJobs", "JobService.WatchJobs"

# --- 38 to 42: request ids --------------------------------------------------------------------------------------------

Making = Callable[[str], Message]


def extension(job_id: str, seconds: int = 60, request_id: str = "") -> job_service_pb2.ExtendJobsRequest:
    """More time for one job."""
    item = Extension.Item(job_id=job_id, requested_time=Duration(seconds=seconds))
    return Extension(items=[item], request_id=request_id)


def termination(job_id: str, request_id: str = "", reason: str = "") -> job_service_pb2.TerminateJobsRequest:
    """The end of one job."""
    return Termination(items=[Termination.Item(id=job_id, reason=reason)], request_id=request_id)


def _create(request_id: str, command: str = "true") -> job_service_pb2.CreateJobsRequest:
    request = request_for(specification(command=command))
    request.request_id = request_id
    return request


def _queue(request_id: str, basis: int = 0) -> queue_service_pb2.UpsertQueuesRequest:
    queue = queue_service_pb2.QueueSpecification(name="again", basis=basis)  # type: ignore[arg-type]
    return queue_service_pb2.UpsertQueuesRequest(items=[queue], request_id=request_id)


def _pause(request_id: str, reason: str = "") -> queue_service_pb2.PauseQueuesRequest:
    item = queue_service_pb2.PauseQueuesRequest.Item(name="plain", paused=True, reason=reason)
    return queue_service_pb2.PauseQueuesRequest(items=[item], request_id=request_id)


def _stop(request_id: str, reason: str = "x") -> admin_service_pb2.StopJobsRequest:
    return admin_service_pb2.StopJobsRequest(ids=[ENDED], reason=reason, request_id=request_id)


# RPC, who calls, the first request, another one with the same id.
CHANGING: list[tuple[str, str, Making, Making]] = [
    (CREATE, "owner", _create, lambda key: _create(key, "false")),
    (EXTEND, "owner", lambda key: extension(STANDING, 1, key), lambda key: extension(STANDING, 2, key)),
    (TERMINATE, "owner", lambda key: termination(ENDED, key), lambda key: termination(ENDED, key, "another")),
    ("QueueService.UpsertQueues", "admin", _queue, lambda key: _queue(key, 2)),
    ("QueueService.PauseQueues", "admin", _pause, lambda key: _pause(key, "another")),
    ("AdminService.StopJobs", "admin", _stop, lambda key: _stop(key, "another")),
]


def _again(rpc: str, who: str, first: Making, second: Making) -> Send:
    """Send the one, and then what is judged: the other with the same request id."""

    async def send(scene: Scene) -> Outcome:
        key = scene.fresh("key")
        before = await scene.call(rpc, first(key).SerializeToString(), who=who)
        assert before.code == "OK", before
        scene.mark()
        after = await scene.call(rpc, second(key).SerializeToString(), who=who)
        if after.code == "OK" and rpc == CREATE:
            made = [
                job_service_pb2.CreateJobsResponse.FromString(each.answers[0]).responses for each in (before, after)
            ]
            assert made[0] == made[1], "the repeat got other ids"
        return after

    return send


async def _of_somebody_else(scene: Scene) -> Outcome:
    key = scene.fresh("key")
    await scene.call(CREATE, _create(key).SerializeToString())
    return await scene.call(CREATE, _create(key, "false").SerializeToString(), who="stranger")


async def _of_another_rpc(scene: Scene) -> Outcome:
    key = scene.fresh("key")
    await scene.call(CREATE, _create(key).SerializeToString())
    return await scene.call(TERMINATE, termination(ENDED, key).SerializeToString())


async def _after_a_refusal(scene: Scene) -> Outcome:
    """A refused call burns no id: a good one may have it."""
    key = scene.fresh("key")
    await scene.call(EXTEND, extension(ENDED, 60, key).SerializeToString())
    return await scene.call(EXTEND, extension(STANDING, 60, key).SerializeToString())


async def _web_again(scene: Scene) -> Outcome:
    headers = [("idempotency-key", scene.fresh("key"))]
    body = {"items": [{"specification": {"command": "x", "queue": "still"}}]}
    assert (await scene.request("POST", "/v1/jobs", json=body, headers=headers)).code == "OK"
    scene.mark()
    body["items"][0]["specification"]["command"] = "y"
    return await scene.request("POST", "/v1/jobs", json=body, headers=headers)


REPEATS = [
    *(Case(row=38, name=rpc, send=_again(rpc, who, first, first)) for rpc, who, first, _ in CHANGING),
    *(
        Case(row=39, name=rpc, send=_again(rpc, who, *bodies), reason="REQUEST_ID_REUSED", fields=("request_id",))
        for rpc, who, *bodies in CHANGING
    ),
    Case(row=39, name="another-rpc-is-free", send=_of_another_rpc, writes=True),
    Case(row=39, name="a-refused-call-burns-none", send=_after_a_refusal, writes=True),
    Case(row=39, name="web", send=_web_again, reason="REQUEST_ID_REUSED", fields=("request_id",), http=400),
    Case(row=41, name="none", send=call(TERMINATE, termination(ENDED))),
    *(
        Case(row=41, name=f"{rpc}-{name}", send=call(rpc, make(text), who=who), reason="INVALID_FIELD", fields=("request_id",))
        for rpc, who, make, _ in CHANGING
        for name, text in NO_IDS.items()
        if text and name in ("path", "65", "a-million", "newline", "nul", "right-to-left")
    ),
    Case(row=41, name="web", send=web("POST", "/v1/jobs", json={"items": [{"specification": {"command": "x"}}]}, headers=[("idempotency-key", "no good")]), reason="INVALID_FIELD", fields=("request_id",), http=400),
    Case(row=42, name="somebody-else's", send=_of_somebody_else, writes=True),
]  # fmt: skip

# --- 45 and 46: pages -------------------------------------------------------------------------------------------------

# RPC, who may, how its request is made, and the same with another question.
PAGED: list[tuple[str, str, Callable[..., Any], dict[str, Any]]] = [
    (BROWSE, "owner", job_service_pb2.BrowseJobsRequest, {"sort_by": 2}),
    ("QueueService.BrowseQueues", "owner", queue_service_pb2.BrowseQueuesRequest, {}),
    ("WorkerService.BrowseWorkers", "admin", pb.BrowseWorkersRequest, {"queue": "still"}),
    ("WebhookService.BrowseWebhooks", "owner", webhook_service_pb2.BrowseWebhooksRequest, {}),
    ("WebhookService.BrowseDeliveries", "owner", webhook_service_pb2.BrowseDeliveriesRequest, {"job_id": "a"}),
    ("AdminService.BrowseTokens", "admin", admin_service_pb2.BrowseTokensRequest, {}),
]
FORGED = {
    "word": "next",
    "not-base64": "!!!!",
    "wide": "\N{FULLWIDTH DIGIT ONE}" * 40,
    "zeros": base64.urlsafe_b64encode(bytes(40)).decode(),
    "json": base64.urlsafe_b64encode(b"\x01[1,2]" + bytes(16)).decode(),
    "another-version": base64.urlsafe_b64encode(b"\xff" * 60).decode(),
    "one-letter": "A",
    "1024": "A" * 1024,
}


async def _token(scene: Scene) -> str:
    request = job_service_pb2.BrowseJobsRequest(page_size=1)
    response = await scene.ask(BROWSE, request, job_service_pb2.BrowseJobsResponse)
    assert response.next_page_token
    return str(response.next_page_token)


def _elsewhere(rpc: str, who: str, make: Callable[..., Any], **more: Any) -> Send:
    """A good token of the owner's list of jobs, for another list."""

    async def send(scene: Scene) -> Outcome:
        request = make(page_token=await _token(scene), **more)
        return await scene.call(rpc, request.SerializeToString(), who=who)

    return send


async def _changed(scene: Scene) -> Outcome:
    token = await _token(scene)
    changed = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
    return await scene.call(BROWSE, job_service_pb2.BrowseJobsRequest(page_token=changed).SerializeToString())


def _pages() -> Iterator[Case]:
    for rpc, who, make, other in PAGED:
        fields = ("page_token",)
        for name, token in FORGED.items():
            request = make(page_token=token)
            yield Case(
                row=45,
                name=f"{rpc}-{name}",
                send=call(rpc, request, who=who),
                reason="PAGE_TOKEN_INVALID",
                fields=fields,
            )
        yield Case(
            row=45,
            name=f"{rpc}-1025",
            send=call(rpc, make(page_token="A" * 1025), who=who),
            reason="INVALID_FIELD",
            fields=fields,
        )
        if other or rpc != BROWSE:
            yield Case(
                row=45,
                name=f"{rpc}-of-another-list",
                send=_elsewhere(rpc, who, make, **other),
                reason="PAGE_TOKEN_INVALID",
                fields=fields,
            )
        for size in (-1, MIN_INT32):
            yield Case(
                row=46,
                name=f"{rpc}-{size}",
                send=call(rpc, make(page_size=size), who=who),
                reason="INVALID_FIELD",
                fields=("page_size",),
            )
        yield Case(row=46, name=f"{rpc}-most", send=call(rpc, make(page_size=MAX_INT32), who=who))


PAGES = [
    *_pages(),
    Case(row=45, name="somebody-else's", send=_elsewhere(BROWSE, "stranger", job_service_pb2.BrowseJobsRequest), reason="PAGE_TOKEN_INVALID", fields=("page_token",)),
    Case(row=45, name="one-letter-changed", send=_changed, reason="PAGE_TOKEN_INVALID", fields=("page_token",)),
    Case(row=45, name="web", send=web("GET", "/v1/jobs?pageToken=abc"), reason="PAGE_TOKEN_INVALID", fields=("page_token",), http=400),
    Case(row=45, name="web-ucloud", send=web("GET", "/api/jobs/browse?next=abc"), reason="PAGE_TOKEN_INVALID", http=400),
    *(
        Case(row=46, name=f"web-{name}", send=web("GET", f"/v1/jobs?pageSize={value}"), reason="INVALID_FIELD", http=400)
        for name, value in {"negative": "-1", "huge": "9" * 30, "word": "many", "fraction": "1.5", "longer": "9" * 5000}.items()
    ),
    *(
        Case(row=46, name=f"web-kelpie-{name}", send=web("GET", f"/jobs?{value}"), reason="INVALID_FIELD", http=400)
        for name, value in {"zero": "page_size=0", "over": "page_size=1001", "page": "page=0", "huge": "page=" + "9" * 30, "longer": "page=" + "9" * 5000}.items()
    ),
    Case(row=46, name="web-kelpie-far", send=web("GET", "/jobs?page=2147483647"), http=200),
]  # fmt: skip

# --- 52 and 54: ending and extending ----------------------------------------------------------------------------------


async def _year_by_year(scene: Scene) -> Outcome:
    """As many years in one call as it takes to leave the calendar; the refusal undoes them all."""
    request = Extension()
    for _ in range(1000):
        request.items.add(job_id=STANDING, requested_time=Duration(seconds=YEAR))
    outcome = Outcome(code="OK")
    for number in range(20):
        request.request_id = scene.fresh(f"years-{number}")
        job_id = await _long_lived(scene) if number == 0 else job_id  # noqa: F821 # the first round makes it
        for item in request.items:
            item.job_id = job_id
        scene.mark()
        outcome = await scene.call(EXTEND, request.SerializeToString())
        if outcome.code != "OK":
            break
    return outcome


async def _long_lived(scene: Scene) -> str:
    return await scene.create("calendar", time_allocation_basis=job_pb2.TIME_ALLOCATION_BASIS_CREATED)


ENDING = [
    Case(row=52, name="ended", send=call(TERMINATE, termination(ENDED))),
    Case(row=52, name="ended-with-grace", send=call(TERMINATE, Termination(items=[Termination.Item(id=ENDED, grace_period=Duration(seconds=10))]))),
    Case(row=52, name="ended-by-the-operator", send=call("AdminService.StopJobs", admin_service_pb2.StopJobsRequest(ids=[ENDED], reason="x"), who="admin")),
    Case(row=52, name="a-long-reason", send=call(TERMINATE, termination(STANDING, reason="x" * 1025)), reason="INVALID_FIELD", fields=("items[0].reason",)),
    Case(row=52, name="web", send=web("POST", "/v1/jobs:terminate", json={"items": [{"id": ENDED}]}), http=200),
    Case(row=52, name="web-kelpie", send=web("DELETE", f"/jobs/{ENDED}"), http=202),
    Case(row=52, name="web-ucloud", send=web("POST", "/api/jobs/terminate", json={"type": "bulk", "items": [{"id": ENDED}]}), http=200),
    Case(row=52, name="web-ucloud-no-bulk", send=web("POST", "/api/jobs/terminate", json={"type": "single", "items": [{"id": ENDED}]}), reason="INVALID_FIELD", http=400),
    Case(row=54, name="ended", send=call(EXTEND, extension(ENDED)), reason="JOB_FINAL", fields=("items[0]",)),
    Case(row=54, name="no-allocation", send=call(EXTEND, extension(ENDLESS)), reason="NO_TIME_ALLOCATION", fields=("items[0]",)),
    Case(row=54, name="unsupported", send=call(EXTEND, extension(FIXED)), reason="EXTENSION_UNSUPPORTED", fields=("items[0]",)),
    Case(row=54, name="over-the-cap", send=call(EXTEND, extension(CAPPED, 3601)), reason="EXTENSION_CAP", fields=("items[0]",)),
    Case(row=54, name="two-over-the-cap-together", send=call(EXTEND, Extension(items=[*extension(CAPPED, 3600).items, *extension(CAPPED, 1).items])), reason="EXTENSION_CAP", fields=("items[1]",)),
    Case(row=54, name="preview-over-the-cap", send=call(EXTEND, Extension(items=extension(CAPPED, 3601).items, validate_only=True)), reason="EXTENSION_CAP", fields=("items[0]",)),
    Case(row=54, name="preview", send=call(EXTEND, Extension(items=extension(CAPPED, 3600).items, validate_only=True))),
    Case(row=54, name="by-nothing", send=call(EXTEND, Extension(items=[Extension.Item(job_id=STANDING)])), reason="INVALID_FIELD", fields=("items[0].requested_time",)),
    Case(row=54, name="beyond-the-calendar", send=_year_by_year, reason="INVALID_FIELD"),
    Case(row=54, name="web-ended", send=web("POST", "/v1/jobs:extend", json={"items": [{"jobId": ENDED, "requestedTime": "60s"}]}), reason="JOB_FINAL", http=400),
    Case(row=54, name="web-ucloud-ended", send=web("POST", "/api/jobs/extend", json={"items": [{"jobId": ENDED, "requestedTime": {"hours": 1}}]}), reason="JOB_FINAL", http=400),
]  # fmt: skip

# --- 56 and 58: places in the log -------------------------------------------------------------------------------------


def _resumed(token: str) -> Iterator[tuple[str, str, str, Message]]:
    yield "watch", WATCH, "owner", job_service_pb2.WatchJobsRequest(resume_token=token)
    yield "log", "EventService.ReadEvents", "admin", event_service_pb2.ReadEventsRequest(resume_token=token)


def _tampered(change: Callable[[str], str]) -> Send:
    """A token of this log with something changed."""

    async def send(scene: Scene) -> Outcome:
        request = job_service_pb2.RetrieveJobRequest(id=STANDING)
        response = await scene.ask("JobService.RetrieveJob", request, job_service_pb2.RetrieveJobResponse)
        watch = job_service_pb2.WatchJobsRequest(resume_token=change(response.resume_token))
        return await scene.call(WATCH, watch.SerializeToString())

    return send


def _places() -> Iterator[Case]:
    for name, token in FORGED.items():
        if len(token) > 512:
            continue
        for what, rpc, who, request in _resumed(token):
            yield Case(
                row=58,
                name=f"{what}-{name}",
                send=call(rpc, request, who=who),
                reason="RESUME_TOKEN_INVALID",
                fields=("resume_token",),
            )
    for what, rpc, who, request in _resumed("A" * 513):
        yield Case(
            row=58,
            name=f"{what}-513",
            send=call(rpc, request, who=who),
            reason="INVALID_FIELD",
            fields=("resume_token",),
        )


async def _both(scene: Scene) -> Outcome:
    request = job_service_pb2.RetrieveJobRequest(id=STANDING)
    response = await scene.ask("JobService.RetrieveJob", request, job_service_pb2.RetrieveJobResponse)
    read = event_service_pb2.ReadEventsRequest(resume_token=response.resume_token, after_position=1)
    return await scene.call("EventService.ReadEvents", read.SerializeToString(), who="admin")


PLACES = [
    *(
        Case(row=56, name=f"position-{name}", send=call("EventService.ReadEvents", event_service_pb2.ReadEventsRequest(after_position=position), who="admin"), reason="INVALID_FIELD", fields=("after_position",))
        for name, position in {"a-billion": 10**9, "largest": 2**63 - 1}.items()
    ),
    Case(row=56, name="position-and-token", send=_both, reason="INVALID_FIELD", fields=("after_position",)),
    *_places(),
    *(
        Case(row=58, name=name, send=_tampered(change), reason="RESUME_TOKEN_INVALID", fields=("resume_token",))
        for name, change in {
            "one-letter-changed": lambda token: ("B" if token[0] == "A" else "A") + token[1:],
            "shortened": lambda token: token[:-4],
            "doubled": lambda token: token * 2,
            "a-blank-behind": lambda token: token + " ",
        }.items()
    ),
    Case(row=58, name="web", send=web("GET", "/v1/jobs:watch?resumeToken=abc"), reason="RESUME_TOKEN_INVALID", http=400),
    Case(row=58, name="web-last-event", send=web("GET", "/v1/jobs:watch", headers=[("last-event-id", "abc")]), reason="RESUME_TOKEN_INVALID", http=400),
]  # fmt: skip

CASES: list[Case] = [*REPEATS, *PAGES, *ENDING, *PLACES]
