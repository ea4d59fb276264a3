"""Rows 32 to 34, 36 and 47: enums, spans, instants, ids and filters, wherever they are asked for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tenure.v1 import job_service_pb2
from tests.hostile.catalogue import (
    BROWSE,
    CREATE,
    EVENTS,
    EXTEND,
    FOLLOW,
    PAUSE,
    QUEUES,
    REPLAY,
    RETRIEVE,
    SPEC,
    STOP,
    TERMINATE,
    WATCH,
    Case,
    bad,
    bad_job,
    bad_web,
    good,
    good_job,
    web,
)
from tests.hostile.catalogue_values import (
    MAX_INT32,
    MIN_INT32,
    NO_IDS,
    NO_INSTANTS,
    NO_NUMBER,
    NO_PRINT,
    NO_SPANS,
    put,
    some,
)
from tests.hostile.outcome import Outcome
from tests.hostile.scene import METHODS, STANDING, Scene

TOKEN, BACKUP = "AdminService.CreateToken", "AdminService.BackupStore"
DELIVERIES = "WebhookService.BrowseDeliveries"
RULE = {"bucket": "bucket", "prefix": "a/", "local_path": "a"}
PRODUCT = {"id": "a", "category": "b", "provider": "c"}

# --- 32: numbers that no enum has -------------------------------------------------------------------------------------

# RPC, path of the field, the request.
NO_ENUMS: list[tuple[str, str, dict[str, Any]]] = [
    (BROWSE, "flags.filter_state", {"flags": {"filter_state": NO_NUMBER}}),
    (WATCH, "flags.filter_state", {"flags": {"filter_state": -1}}),
    (BROWSE, "sort_by", {"sort_by": NO_NUMBER}),
    (BROWSE, "sort_direction", {"sort_direction": MAX_INT32}),
    (QUEUES, "items[0].basis", {"items": [{"name": "a", "basis": NO_NUMBER}]}),
    (QUEUES, "items[0].products[0].basis", {"items": [{"name": "a", "products": [{"product": PRODUCT, "basis": 9}]}]}),
    (DELIVERIES, "state", {"state": NO_NUMBER}),
    (REPLAY, "state", {"webhook_id": "a", "state": NO_NUMBER}),
    (REPLAY, "state", {"webhook_id": "a", "state": "DELIVERY_STATE_PENDING"}),
    (TOKEN, "role", {"role": NO_NUMBER, "subject": "a"}),
    (TOKEN, "role", {"subject": "a"}),
]
DIRECTION = {"sync": {"before": [{**RULE, "direction": NO_NUMBER}]}}
ENUMS = [
    *(bad(32, f"{rpc}-{path}-{n}", rpc, sent, path) for n, (rpc, path, sent) in enumerate(NO_ENUMS)),
    *(
        bad_job(32, f"basis-{number}", {"time_allocation_basis": number}, "time_allocation_basis")
        for number in (NO_NUMBER, -1, MAX_INT32, MIN_INT32)
    ),
    bad_job(32, "direction", DIRECTION, "sync.before[0].direction"),
    bad_web(32, "word", web("GET", "/v1/jobs?flags.filterState=SLEEPING"), "flags.filter_state"),
    bad_web(32, "number", web("GET", "/v1/jobs?flags.filterState=99")),
    bad_web(32, "ucloud", web("GET", "/api/jobs/browse?filterState=SLEEPING")),
    bad_web(32, "ucloud-unspecified", web("GET", "/api/jobs/browse?filterState=UNSPECIFIED")),
    bad_web(32, "kelpie", web("GET", "/jobs?status=sleeping"), "status"),
]

# --- 33 and 34: spans and instants ------------------------------------------------------------------------------------

YEAR, DAY, HOUR = 31_622_400, 86_400, 3600
JOB = {"items": [{"specification": {"command": "true", "queue": "still"}}]}
RULED = {"items": [{"specification": {"command": "true", "queue": "still", "sync": {"during": [RULE]}}}]}
# RPC, path of the field, whether zero is taken, the most it takes in seconds, the request without it.
SPANNED: list[tuple[str, str, bool, int, dict[str, Any]]] = [
    (CREATE, f"{SPEC}.time_allocation", False, YEAR, JOB),
    (CREATE, f"{SPEC}.heartbeat_interval", False, HOUR, JOB),
    (CREATE, f"{SPEC}.termination_grace_period", True, HOUR, JOB),
    (CREATE, f"{SPEC}.max_disconnected", True, DAY, JOB),
    (CREATE, f"{SPEC}.sync_retry_budget", False, DAY, JOB),
    (CREATE, f"{SPEC}.retry_backoff.initial", True, DAY, JOB),
    (CREATE, f"{SPEC}.retry_backoff.maximum", True, DAY, JOB),
    (CREATE, f"{SPEC}.sync.during[0].quiet_period", True, HOUR, RULED),
    (CREATE, f"{SPEC}.sync.during[0].max_wait", True, HOUR, RULED),
    (QUEUES, "items[0].max_time_allocation", False, YEAR, {"items": [{"name": "a"}]}),
    (QUEUES, "items[0].default_time_allocation", False, YEAR, {"items": [{"name": "a"}]}),
    (EXTEND, "items[0].requested_time", False, YEAR, {"items": [{"job_id": STANDING}]}),
    (TERMINATE, "items[0].grace_period", True, HOUR, {"items": [{"id": STANDING}]}),
    ("WebhookService.RotateWebhookSecret", "overlap", True, 30 * DAY, {"id": "a"}),
]


def _with(rpc: str, sent: dict[str, Any], path: str, value: Message) -> Message:
    return put(json_format.ParseDict(sent, GetMessageClass(METHODS[rpc].input_type)()), path, value)


def _spans() -> Iterator[Case]:
    for turn, (rpc, path, zero, most, sent) in enumerate(SPANNED):
        values = NO_SPANS | {
            "a-second-over": Duration(seconds=most + 1),
            "a-nano-over": Duration(seconds=most, nanos=1),
        }
        if not zero:
            values["zero"] = Duration()
        for name, span in some(turn, values).items():
            yield bad(33, f"{path.removeprefix(SPEC + '.')}-{name}", rpc, _with(rpc, sent, path, span), path)


def _instants() -> Iterator[Case]:
    fields = ("flags.filter_created_after", "flags.filter_created_before")
    for turn, (rpc, path) in enumerate(itertools.product((BROWSE, WATCH), fields)):
        for name, instant in some(turn, NO_INSTANTS).items():
            yield bad(34, f"{rpc}-{path}-{name}", rpc, _with(rpc, {}, path, instant), path)


OVER = {"queue": "capped", "time_allocation": "21601s"}
UPSIDE_DOWN = {"items": [{"name": "a", "max_time_allocation": "1s", "default_time_allocation": "2s"}]}
NO_SPANS_IN_JSON: list[Any] = ["5h", "", "s", "1e9s", "-1s", "99999999999999999999s", 5, {"seconds": 5}, "NaNs"]
NO_SPANS_OF_UCLOUD: dict[str, Any] = {
    "60-minutes": {"minutes": 60},
    "negative": {"hours": -1},
    "fraction": {"hours": 1.5},
    "text": {"hours": "1"},
    "flag": {"hours": True},
    "huge": {"hours": 10**30},
    "null": None,
    "other": {"days": 1},
    "number": 3600,
    "nothing": {},
}
NO_INSTANTS_IN_JSON = {
    "word": "yesterday",
    "year-0": "0000-01-01T00:00:00Z",
    "year-10000": "10000-01-01T00:00:00Z",
    "no-zone": "2021-10-04T06:42:56",
    "february": "2021-02-30T00:00:00Z",
    "leap": "2021-12-31T23:59:61Z",
    "number": "1633329776235",
}
NO_NUMBERS_IN_ADDRESSES = {"word": "x", "negative": "-1", "huge": "9" * 30, "longer": "9" * 5000, "blank": "%201"}


def _json_span(value: Any) -> Any:
    return web("POST", "/v1/jobs", {"items": [{"specification": {"command": "x", "timeAllocation": value}}]})


def _ucloud_span(value: Any) -> Any:
    return web("POST", "/api/jobs/extend", {"items": [{"jobId": STANDING, "requestedTime": value}]})


def _after(value: str) -> Any:
    return web("GET", "/v1/jobs", params=[("flags.filterCreatedAfter", value)])


TIMES = [
    *_spans(),
    bad_job(33, "over-the-queues-maximum", OVER, "time_allocation", reason="TIME_ALLOCATION_CAP"),
    bad(33, "default-over-maximum", QUEUES, UPSIDE_DOWN, "items[0].default_time_allocation"),
    *(bad_web(33, f"{index}", _json_span(value)) for index, value in enumerate(NO_SPANS_IN_JSON)),
    *(bad_web(33, f"ucloud-{name}", _ucloud_span(value)) for name, value in NO_SPANS_OF_UCLOUD.items()),
    bad_web(33, "kelpie", web("POST", "/jobs", {"command": "x", "container_group_id": "a", "heartbeat_interval": 0})),
    *_instants(),
    *(bad_web(34, name, _after(value)) for name, value in NO_INSTANTS_IN_JSON.items()),
    *(
        bad_web(34, f"ucloud-{name}", web("GET", f"/api/jobs/browse?filterCreatedAfter={value}"))
        for name, value in NO_NUMBERS_IN_ADDRESSES.items()
    ),
]

# --- 36: ids and names ------------------------------------------------------------------------------------------------

# RPC, path of the field, the request with ID in its place.
IDENTIFIED: list[tuple[str, str, str]] = [
    (RETRIEVE, "id", '{"id": ID}'),
    ("JobService.ExplainJob", "id", '{"id": ID}'),
    (FOLLOW, "job_id", '{"job_id": ID}'),
    (WATCH, "ids[0]", '{"ids": [ID]}'),
    (EXTEND, "items[0].job_id", '{"items": [{"job_id": ID, "requested_time": "1s"}]}'),
    (TERMINATE, "items[0].id", '{"items": [{"id": ID}]}'),
    (CREATE, f"{SPEC}.queue", '{"items": [{"specification": {"command": "x", "queue": ID}}]}'),
    (QUEUES, "items[0].name", '{"items": [{"name": ID}]}'),
    (PAUSE, "items[0].name", '{"items": [{"name": ID}]}'),
    (STOP, "ids[0]", '{"ids": [ID], "reason": "x"}'),
    ("WorkerService.DrainWorkers", "worker_ids[0]", '{"worker_ids": [ID]}'),
    (TOKEN, "subject", '{"role": 1, "subject": ID}'),
]


def _ids() -> Iterator[Case]:
    for turn, (rpc, path, request) in enumerate(IDENTIFIED):
        for name, text in some(turn, NO_IDS).items():
            if text or not path.endswith("queue"):
                yield bad(36, f"{rpc}-{name}", rpc, json.loads(request.replace("ID", json.dumps(text))), path)


NO_BACKUPS = {"nul": "/tmp/a\0b", "relative": "relative", "device": "/dev/null", "long": "/" + "x" * 4000}
NAMES = [
    *_ids(),
    *(bad_job(36, f"name-{name}", {"name": text}, "name") for name, text in NO_PRINT.items()),
    bad_job(36, "name-257", {"name": "x" * 257}, "name"),
    bad_job(36, "name-258-wide", {"name": "\N{EURO SIGN}" * 86}, "name"),
    good_job(36, "name-of-the-world", {"name": "Übung 3 – 数据 🚀"}),
    bad_job(36, "opened-file-nul", {"opened_file": "a\0"}, "opened_file"),
    bad_job(36, "opened-file-long", {"opened_file": "x" * 4097}, "opened_file"),
    bad(36, "no-such-queue", PAUSE, {"items": [{"name": "nowhere"}]}, "items[0].name", reason="QUEUE_NOT_FOUND"),
    *(bad(36, f"backup-{name}", BACKUP, {"path": path}, reason="BACKUP_FAILED") for name, path in NO_BACKUPS.items()),
    bad_web(36, "escapes", web("GET", "/v1/jobs/..%2f..%2fetc%2fpasswd"), reason="NOT_IMPLEMENTED", http=404),
    bad_web(36, "latin", web("GET", "/v1/jobs/%ff%fe")),
    bad_web(36, "nul", web("GET", "/v1/jobs/a%00b")),
    bad_web(36, "kelpie", web("GET", "/jobs/a%0ab")),
    bad_web(36, "ucloud", web("GET", "/api/jobs/retrieve?id=..%2F")),
    bad_web(36, "ucloud-twice", web("GET", "/api/jobs/retrieve?id=a&id=b")),
]

# --- 47: filters ------------------------------------------------------------------------------------------------------

HIDING = ["hide_product_id", "hide_product_category", "hide_provider"]
FINDING = [
    *("filter_application", "filter_created_by", "filter_provider", "filter_product_id"),
    *("filter_product_category", "filter_queue"),
]
SQL = "' OR 1=1; DROP TABLE jobs; --"
ODD = {"sql": SQL, "nul": "a\0b", "wild": "%", "quote": '"', "path": "$.a"}


def _finds_nothing(name: str, flags: dict[str, Any]) -> Case:
    async def send(scene: Scene) -> Outcome:
        outcome = await scene.call(BROWSE, {"flags": flags})
        found = job_service_pb2.BrowseJobsResponse.FromString(outcome.answers[0])
        assert not found.jobs, "a filter that fits no job has found some"
        return outcome

    return Case(row=47, name=name, send=send)


FILTERS = [
    *(bad(47, f"{one}-long", BROWSE, {"flags": {one: "x" * 129}}, f"flags.{one}") for one in FINDING + HIDING),
    *(
        _finds_nothing(f"{one}-{name}", {one: text})
        for turn, one in enumerate(FINDING)
        for name, text in some(turn, ODD).items()
    ),
    *(_finds_nothing(f"labels-{name}", {"filter_labels": {text: text}}) for name, text in {**ODD, "blank": ""}.items()),
    *(_finds_nothing(f"{one}-sql", {one: [SQL, "", "a\0b"]}) for one in ("filter_ids", "filter_provider_ids")),
    bad(47, "1001-ids", BROWSE, {"flags": {"filter_ids": ["a"] * 1001}}, "flags.filter_ids"),
    bad(47, "long-id", BROWSE, {"flags": {"filter_ids": ["a" * 65]}}, "flags.filter_ids[0]"),
    bad(47, "ids-and-flags", WATCH, {"ids": [STANDING], "flags": {}}, "flags"),
    bad(47, "event-type", EVENTS, {"filter": {"types": ["JobCreated", "Job%"]}}, "filter.types[1]"),
    good(47, "streams-of-nobody", EVENTS, {"filter": {"job_ids": ["../queue/still", SQL, "\0"]}}),
    bad_web(47, "no-such-parameter", web("GET", "/v1/jobs?flags.filterSate=x"), "flags.filterSate"),
    bad_web(47, "too-deep", web("GET", "/v1/jobs?flags.filterState.x.y=1")),
    bad_web(47, "ucloud-no-such", web("GET", "/api/jobs/browse?filterOwner=x")),
    bad_web(47, "kelpie-no-such", web("GET", "/jobs?state=x"), "state"),
]

CASES: list[Case] = [*ENUMS, *TIMES, *NAMES, *FILTERS]
