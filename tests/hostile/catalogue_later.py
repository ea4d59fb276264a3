"""Rows 38 to 42 and 52 to 58: repeats, extending and ending, and going on from a place in the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from tenure.v1 import job_service_pb2
from tests.hostile.catalogue import (
    CREATE,
    EVENTS,
    EXTEND,
    PAUSE,
    QUEUES,
    RETRIEVE,
    STOP,
    TERMINATE,
    WATCH,
    Case,
    bad,
    bad_web,
    good,
    job,
    web,
)
from tests.hostile.catalogue_fields import YEAR
from tests.hostile.catalogue_lists import FORGED
from tests.hostile.catalogue_values import MAX_INT64, NO_IDS, some
from tests.hostile.outcome import Outcome
from tests.hostile.scene import CAPPED, ENDED, ENDLESS, FIXED, STANDING, Scene, Send

# --- 38 to 42: request ids --------------------------------------------------------------------------------------------

# Of every changing RPC a request, and what is changed in it for another one with the same id. JOB waits in QUEUE.
CHANGING: dict[str, tuple[str, str, str]] = {
    CREATE: ('{"items": [{"specification": {"command": "true", "queue": "still"}}]}', '"true"', '"false"'),
    EXTEND: ('{"items": [{"job_id": "JOB", "requested_time": "1s"}]}', "1s", "2s"),
    TERMINATE: ('{"items": [{"id": "JOB", "reason": "a"}]}', '"a"', '"b"'),
    QUEUES: ('{"items": [{"name": "JOB", "basis": 1}]}', "1", "2"),
    PAUSE: ('{"items": [{"name": "QUEUE", "paused": true}]}', "true", "false"),
    STOP: ('{"ids": ["JOB"], "reason": "a"}', '"a"', '"b"'),
}
REUSED = "REQUEST_ID_REUSED"


def _again(rpc: str, *, same: bool) -> Send:
    """Send a request, and then what is judged: the same, or another one with the same id."""

    async def send(scene: Scene) -> Outcome:
        text, old, new = CHANGING[rpc]
        queue = scene.fresh("queue")
        job_id = await scene.create(queue)
        first, other = (
            json.loads(each.replace("JOB", job_id).replace("QUEUE", queue)) for each in (text, text.replace(old, new))
        )
        first["request_id"] = scene.fresh("key")
        before = await scene.call(rpc, first)
        assert before.code == "OK", before
        second = first if same else other
        scene.mark()
        after = await scene.call(rpc, {**second, "request_id": first["request_id"]})
        if same and rpc == CREATE:
            made = [job_service_pb2.CreateJobsResponse.FromString(each.answers[0]) for each in (before, after)]
            assert made[0].responses == made[1].responses, "the repeat got other ids"
        return after

    return send


async def _of_somebody_else(scene: Scene) -> Outcome:
    key = scene.fresh("key")
    await scene.call(CREATE, job() | {"request_id": key})
    return await scene.call(CREATE, job(command="false") | {"request_id": key}, who="stranger")


async def _of_another_rpc(scene: Scene) -> Outcome:
    key = scene.fresh("key")
    await scene.call(CREATE, job() | {"request_id": key})
    return await scene.call(TERMINATE, ended(ENDED) | {"request_id": key})


async def _after_a_refusal(scene: Scene) -> Outcome:
    """A refused call burns no id: a good one may have it."""
    key = scene.fresh("key")
    await scene.call(EXTEND, extended(ENDED) | {"request_id": key})
    return await scene.call(EXTEND, extended(STANDING) | {"request_id": key})


async def _web_again(scene: Scene) -> Outcome:
    headers = [("idempotency-key", scene.fresh("key"))]
    assert (await scene.request("POST", "/v1/jobs", json=job(command="x"), headers=headers)).code == "OK"
    scene.mark()
    return await scene.request("POST", "/v1/jobs", json=job(command="y"), headers=headers)


def extended(job_id: str, seconds: int = 60) -> dict[str, Any]:
    """More time for one job."""
    return {"items": [{"job_id": job_id, "requested_time": f"{seconds}s"}]}


def ended(job_id: str, **more: Any) -> dict[str, Any]:
    """The end of one job."""
    return {"items": [{"id": job_id, **more}]}


NO_KEY = [("idempotency-key", "no good")]
NO_REQUEST_IDS = ("path", "65", "a-million", "newline", "nul", "right-to-left")
REPEATS = [
    *(Case(row=38, name=rpc, send=_again(rpc, same=True)) for rpc in CHANGING),
    *(Case(row=39, name=rpc, send=_again(rpc, same=False), reason=REUSED, fields=("request_id",)) for rpc in CHANGING),
    Case(row=39, name="another-rpc-is-free", send=_of_another_rpc, writes=True),
    Case(row=39, name="a-refused-call-burns-none", send=_after_a_refusal, writes=True),
    bad_web(39, "native", _web_again, "request_id", reason=REUSED),
    good(41, "none", TERMINATE, ended(ENDED)),
    *(
        bad(41, f"{rpc}-{name}", rpc, {**json.loads(text), "request_id": NO_IDS[name]}, "request_id")
        for turn, (rpc, (text, _, _)) in enumerate(CHANGING.items())
        for name in some(turn, dict.fromkeys(NO_REQUEST_IDS))
    ),
    bad_web(41, "native", web("POST", "/v1/jobs", job(), headers=NO_KEY), "request_id"),
    Case(row=42, name="somebody-else's", send=_of_somebody_else, writes=True),
]

# --- 52 and 54: ending and extending ----------------------------------------------------------------------------------


async def _year_by_year(scene: Scene) -> Outcome:
    """As many years as it takes to leave the calendar, a thousand a call; the refused call undoes all of its own."""
    job_id = await scene.create("calendar", time_allocation_basis="TIME_ALLOCATION_BASIS_CREATED")
    years = {"items": extended(job_id, YEAR)["items"] * 1000}
    for _ in range(20):
        scene.mark()
        outcome = await scene.call(EXTEND, years)
        if outcome.code != "OK":
            return outcome
    return outcome


ENDING = [
    good(52, "ended", TERMINATE, ended(ENDED)),
    good(52, "ended-with-grace", TERMINATE, ended(ENDED, grace_period="10s")),
    good(52, "ended-by-the-operator", STOP, {"ids": [ENDED], "reason": "x"}),
    bad(52, "a-long-reason", TERMINATE, ended(STANDING, reason="x" * 1025), "items[0].reason"),
    bad_web(52, "ucloud-no-bulk", web("POST", "/api/jobs/terminate", {"type": "single", **ended(ENDED)})),
    Case(row=52, name="web", send=web("POST", "/v1/jobs:terminate", ended(ENDED)), http=200),
    Case(row=52, name="web-kelpie", send=web("DELETE", f"/jobs/{ENDED}"), http=202),
    Case(row=52, name="web-ucloud", send=web("POST", "/api/jobs/terminate", ended(ENDED)), http=200),
]
EXTENDING = [
    bad(54, "ended", EXTEND, extended(ENDED), "items[0]", reason="JOB_FINAL"),
    bad(54, "no-allocation", EXTEND, extended(ENDLESS), "items[0]", reason="NO_TIME_ALLOCATION"),
    bad(54, "unsupported", EXTEND, extended(FIXED), "items[0]", reason="EXTENSION_UNSUPPORTED"),
    bad(54, "over-the-cap", EXTEND, extended(CAPPED, 3601), "items[0]", reason="EXTENSION_CAP"),
    bad(
        54,
        "two-over-the-cap-together",
        EXTEND,
        {"items": extended(CAPPED, 3600)["items"] + extended(CAPPED, 1)["items"]},
        "items[1]",
        reason="EXTENSION_CAP",
    ),
    bad(54, "preview", EXTEND, extended(CAPPED, 3601) | {"validate_only": True}, "items[0]", reason="EXTENSION_CAP"),
    good(54, "good-preview", EXTEND, extended(CAPPED, 3600) | {"validate_only": True}),
    bad(54, "by-nothing", EXTEND, {"items": [{"job_id": STANDING}]}, "items[0].requested_time"),
    Case(row=54, name="beyond-the-calendar", send=_year_by_year, reason="INVALID_FIELD"),
    bad_web(54, "ended", web("POST", "/v1/jobs:extend", extended(ENDED)), "items[0]", reason="JOB_FINAL"),
    bad_web(
        54,
        "ucloud-ended",
        web("POST", "/api/jobs/extend", {"items": [{"jobId": ENDED, "requestedTime": {"hours": 1}}]}),
        reason="JOB_FINAL",
    ),
]

# --- 56 and 58: places in the log -------------------------------------------------------------------------------------

NO_PLACE = "RESUME_TOKEN_INVALID"


def _tampered(change: Callable[[str], str]) -> Send:
    """A token of this log with something changed."""

    async def send(scene: Scene) -> Outcome:
        token = (await scene.ask(RETRIEVE, {"id": STANDING})).resume_token
        return await scene.call(WATCH, {"resume_token": change(token)})

    return send


async def _both(scene: Scene) -> Outcome:
    token = (await scene.ask(RETRIEVE, {"id": STANDING})).resume_token
    return await scene.call(EVENTS, {"resume_token": token, "after_position": 1})


def _places() -> Iterator[Case]:
    for rpc in (WATCH, EVENTS):
        for name, token in FORGED.items():
            yield bad(58, f"{rpc}-{name}", rpc, {"resume_token": token}, "resume_token", reason=NO_PLACE)
        yield bad(58, f"{rpc}-513", rpc, {"resume_token": "A" * 513}, "resume_token")


CHANGES: dict[str, Callable[[str], str]] = {
    "one-letter-changed": lambda token: ("B" if token[0] == "A" else "A") + token[1:],
    "shortened": lambda token: token[:-4],
    "doubled": lambda token: token * 2,
    "a-blank-behind": lambda token: token + " ",
}
PLACES = [
    bad(56, "a-billion", EVENTS, {"after_position": 10**9}, "after_position"),
    bad(56, "the-largest", EVENTS, {"after_position": MAX_INT64}, "after_position"),
    Case(row=56, name="position-and-token", send=_both, reason="INVALID_FIELD", fields=("after_position",)),
    *_places(),
    *(
        Case(row=58, name=name, send=_tampered(change), reason=NO_PLACE, fields=("resume_token",))
        for name, change in CHANGES.items()
    ),
    bad_web(58, "native", web("GET", "/v1/jobs:watch?resumeToken=abc"), reason=NO_PLACE),
    bad_web(58, "last-event", web("GET", "/v1/jobs:watch", headers=[("last-event-id", "abc")]), reason=NO_PLACE),
]

CASES: list[Case] = [*REPEATS, *ENDING, *EXTENDING, *PLACES]
