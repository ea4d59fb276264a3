"""Rows 43, 45 and 46: too many and too few, one bad among many, and pages."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from tests.hostile.catalogue import (
    BROWSE,
    CREATE,
    EXTEND,
    HOOKS,
    PAUSE,
    QUEUES,
    STOP,
    TERMINATE,
    WATCH,
    Case,
    bad,
    bad_web,
    good,
    web,
)
from tests.hostile.catalogue_fields import PRODUCT
from tests.hostile.catalogue_values import MAX_INT32, MIN_INT32, some
from tests.hostile.outcome import Outcome
from tests.hostile.scene import STANDING, Scene, Send

# --- 43: bulk ---------------------------------------------------------------------------------------------------------


def _bulk(count: int, special: dict[int, dict[str, Any]] | None = None) -> dict[str, Any]:
    """So many jobs, some of them special."""
    plain = {"command": "true", "queue": "still"}
    return {"items": [{"specification": {**plain, **(special or {}).get(n, {})}} for n in range(count)]}


def _extensions(count: int, at: int = -1) -> dict[str, Any]:
    return {"items": [{"job_id": "nowhere" if n == at else STANDING, "requested_time": "1s"} for n in range(count)]}


ALONE = {"command": "alone", "allow_duplicate_job": False}
ANYTHING = {"command": "x", "container_group_id": "a"}
TWO_OF_A_PRODUCT = {"items": [{"name": name, "products": [{"product": PRODUCT}]} for name in "ab"]}
PAUSED_TWICE = {"items": [{"name": "still", "paused": paused} for paused in (True, False)]}
SEVENTEENTH, LAST = "items[17].specification.arguments[0]", "items[999].specification.replicas"
BULK = [
    bad(43, "1001-jobs", CREATE, _bulk(1001), "items"),
    bad(43, "one-bad-of-1000", CREATE, _bulk(1000, {17: {"arguments": ["\0"]}}), SEVENTEENTH),
    bad(43, "the-last-of-1000", CREATE, _bulk(1000, {999: {"replicas": 2}}), LAST, reason="UNSUPPORTED_FIELD"),
    bad(43, "equal-ones", CREATE, _bulk(3, {0: ALONE, 2: ALONE}), "items[2].specification", reason="DUPLICATE_JOB"),
    bad(43, "no-extensions", EXTEND, b"", "items"),
    bad(43, "1001-extensions", EXTEND, _extensions(1001), "items"),
    bad(43, "one-extension-of-nothing", EXTEND, _extensions(100, at=41), "items[41]", reason="JOB_NOT_FOUND"),
    bad(43, "no-terminations", TERMINATE, b"", "items"),
    bad(
        43,
        "one-end-of-nothing",
        TERMINATE,
        {"items": [{"id": STANDING}, {"id": "a"}]},
        "items[1]",
        reason="JOB_NOT_FOUND",
    ),
    bad(43, "1001-watched", WATCH, {"ids": [f"a{n}" for n in range(1001)]}, "ids"),
    bad(43, "101-queues", QUEUES, {"items": [{"name": f"q{n}"} for n in range(101)]}, "items"),
    bad(43, "a-queue-twice", QUEUES, {"items": [{"name": name} for name in "aba"]}, "items[2].name"),
    bad(43, "a-product-twice", QUEUES, TWO_OF_A_PRODUCT, "items[1].products[0].product"),
    bad(43, "paused-twice", PAUSE, PAUSED_TWICE, "items[1].name"),
    bad(43, "a-webhook-twice", HOOKS, {"items": [{"url": "https://example.org/hook"}] * 2}, "items[1].url"),
    bad(43, "nothing-to-stop", STOP, {"reason": "x"}, "ids"),
    bad(43, "stopped-for-no-reason", STOP, {"ids": [STANDING]}, "reason"),
    bad_web(43, "1001", web("POST", "/v1/jobs", {"items": [{"specification": {"command": "x"}}] * 1001}), "items"),
    bad_web(43, "kelpie-none", web("POST", "/jobs/batch", [])),
    bad_web(43, "kelpie-one-bad", web("POST", "/jobs/batch", [ANYTHING, {"command": "x"}]), "[1].container_group_id"),
    bad_web(43, "ucloud-none", web("POST", "/api/jobs/terminate", {"items": []})),
]

# --- 45 and 46: pages -------------------------------------------------------------------------------------------------

# The lists, each with another question than the one that the token is for.
PAGED: dict[str, dict[str, Any]] = {
    BROWSE: {"sort_by": 2},
    "QueueService.BrowseQueues": {},
    "WorkerService.BrowseWorkers": {"queue": "still"},
    "WebhookService.BrowseWebhooks": {},
    "WebhookService.BrowseDeliveries": {"job_id": "a"},
    "AdminService.BrowseTokens": {},
}
FORGED = {
    "word": "next",
    "not-base64": "!!!!",
    "wide": "\N{FULLWIDTH DIGIT ONE}" * 40,
    "zeros": base64.urlsafe_b64encode(bytes(40)).decode(),
    "json": base64.urlsafe_b64encode(b"\x01[1,2]" + bytes(16)).decode(),
    "another-version": base64.urlsafe_b64encode(b"\xff" * 60).decode(),
    "one-letter": "A",
}
NO_TOKEN = "PAGE_TOKEN_INVALID"


async def _token(scene: Scene) -> str:
    response = await scene.ask(BROWSE, {"page_size": 1})
    assert response.next_page_token
    return str(response.next_page_token)


def _elsewhere(rpc: str, other: dict[str, Any], who: str = "") -> Send:
    """A good token of the owner's list of jobs, for another list."""

    async def send(scene: Scene) -> Outcome:
        return await scene.call(rpc, {"page_token": await _token(scene), **other}, who=who)

    return send


async def _changed(scene: Scene) -> Outcome:
    token = await _token(scene)
    return await scene.call(BROWSE, {"page_token": token[:10] + ("A" if token[10] != "A" else "B") + token[11:]})


def _pages() -> Iterator[Case]:
    for turn, (rpc, other) in enumerate(PAGED.items()):
        for name, token in some(turn, FORGED).items():
            yield bad(45, f"{rpc}-{name}", rpc, {"page_token": token}, "page_token", reason=NO_TOKEN)
        yield bad(45, f"{rpc}-1025", rpc, {"page_token": "A" * 1025}, "page_token")
        yield Case(row=45, name=f"{rpc}-of-another-list", send=_elsewhere(rpc, other), reason=NO_TOKEN)
        for size in (-1, MIN_INT32):
            yield bad(46, f"{rpc}-{size}", rpc, {"page_size": size}, "page_size")
        yield good(46, f"{rpc}-most", rpc, {"page_size": MAX_INT32})


NO_SIZES = {"negative": "-1", "huge": "9" * 30, "word": "many", "fraction": "1.5", "longer": "9" * 5000}
NO_PAGES = ["page_size=0", "page_size=1001", "page=0", "page=" + "9" * 30, "page=" + "9" * 5000, "page=1_0"]
PAGES = [
    *_pages(),
    Case(row=45, name="somebody-else's", send=_elsewhere(BROWSE, {}, "stranger"), reason=NO_TOKEN),
    Case(row=45, name="one-letter-changed", send=_changed, reason=NO_TOKEN),
    bad_web(45, "native", web("GET", "/v1/jobs?pageToken=abc"), "page_token", reason=NO_TOKEN),
    bad_web(45, "ucloud", web("GET", "/api/jobs/browse?next=abc"), reason=NO_TOKEN),
    *(bad_web(46, name, web("GET", f"/v1/jobs?pageSize={value}")) for name, value in NO_SIZES.items()),
    *(bad_web(46, f"kelpie-{index}", web("GET", f"/jobs?{query}")) for index, query in enumerate(NO_PAGES)),
    Case(row=46, name="web-kelpie-far", send=web("GET", "/jobs?page=2147483647"), http=200),
]

CASES: list[Case] = [*BULK, *PAGES]
