"""Rows 28 to 30, 35 and 44: what a job may not be."""

from __future__ import annotations

from typing import Any

from google.protobuf import struct_pb2

from tenure.v1 import job_service_pb2
from tests.hostile.catalogue import (
    CREATE,
    EVENTS,
    FOLLOW,
    QUEUES,
    REPLAY,
    SPEC,
    Case,
    bad,
    bad_job,
    bad_web,
    good,
    good_job,
    key_of,
    web,
)
from tests.hostile.catalogue_values import INFINITY, MAX_INT32, MAX_INT64, MIN_INT32, NAN
from tests.hostile.outcome import Outcome
from tests.hostile.scene import STANDING, Scene

BANG = "\U0001f4a5"  # four bytes, and twelve where they are percent-encoded
UNSUPPORTED, NO_PRODUCT, NO_APPLICATION = "UNSUPPORTED_FIELD", "PRODUCT_NOT_FOUND", "APPLICATION_UNKNOWN"


def _web_job(row: int, name: str, *fields: str, **body: Any) -> Case:
    request = {"items": [{"specification": {"command": "x", **body}}]}
    return bad_web(row, name, web("POST", "/v1/jobs", request), *(f"{SPEC}.{field}" for field in fields))


def _kelpie_job(row: int, name: str, *fields: str, **body: Any) -> Case:
    request = {"command": "x", "container_group_id": "a", **body}
    return bad_web(row, f"kelpie-{name}", web("POST", "/jobs", request), *fields)


# --- 28: what is missing ----------------------------------------------------------------------------------------------

NO_COMMAND = {"items": [{"specification": {"queue": "still"}}]}
UNHEARD_OF = {"items": [{"specification": {"application": {"name": "a", "version": "b"}}}]}
UNHEARD_OF_BANGS = {"items": [{"specification": {"application": {"name": BANG * 128, "version": BANG * 64}}}]}
SERVED_ELSEWHERE = {"id": "example-compute", "category": "example-compute", "provider": "example"}
BANGS = {"id": BANG * 128, "category": BANG * 128, "provider": BANG * 128}
MISTAKES: dict[str, Any] = {"queue": "no queue", "replicas": 0, "max_failures": -1, "labels": {"": "x"}}


async def _fifty_of_a_thousand(scene: Scene) -> Outcome:
    outcome = await scene.call(CREATE, {"items": [{"specification": {"command": "x", "max_failures": 0}}] * 1000})
    assert 30 <= len(outcome.fields) <= 50, f"{len(outcome.fields)} violations are told of"
    assert "more" in outcome.message
    return outcome


MISSING = [
    bad(28, "everything", CREATE, b"", "items"),
    bad(28, "specification", CREATE, {"items": [{}]}, SPEC),
    bad(28, "command", CREATE, NO_COMMAND, f"{SPEC}.command"),
    bad(28, "application-of-nobody", CREATE, UNHEARD_OF, f"{SPEC}.application", reason=NO_APPLICATION),
    # What is told back must fit into what clients take, in whatever letters it came.
    bad(28, "application-in-emoji", CREATE, UNHEARD_OF_BANGS, f"{SPEC}.application", reason=NO_APPLICATION),
    bad_job(28, "half-an-application", {"application": {"name": "a"}}, "application.version"),
    bad_job(28, "half-a-product", {"product": {"id": "a"}}, "product.category", "product.provider"),
    bad_job(28, "product-of-another-queue", {"product": SERVED_ELSEWHERE}, "product", reason=NO_PRODUCT),
    bad_job(28, "product-in-emoji", {"product": BANGS, "queue": ""}, "product", reason=NO_PRODUCT),
    bad_job(28, "several-at-once", MISTAKES, "queue", "replicas", "max_failures", key_of("labels", "")),
    Case(row=28, name="fifty-of-a-thousand", send=_fifty_of_a_thousand, reason="INVALID_FIELD"),
    bad_web(28, "native", web("POST", "/v1/jobs", {}), "items"),
    bad_web(28, "ucloud", web("POST", "/api/jobs", {"items": [{}]})),
    bad_web(28, "kelpie", web("POST", "/jobs", {}), "command", "container_group_id"),
]

# --- 29 and 30: argv and environment ----------------------------------------------------------------------------------

ARGV = [
    bad_job(29, "empty-command", {"command": ""}, "command"),
    bad_job(29, "nul-in-command", {"command": "tr\0ue"}, "command"),
    bad_job(29, "long-command", {"command": "x" * 4097}, "command"),
    bad_job(29, "nul-in-argument", {"arguments": ["a", "b", "c", "d\0"]}, "arguments[3]"),
    bad_job(29, "long-argument", {"arguments": ["x" * 102_401]}, "arguments[0]"),
    bad_job(29, "4097-arguments", {"arguments": ["x"] * 4097}, "arguments"),
    bad_job(29, "all-of-it-too-long", {"arguments": ["x" * 100_000, "y" * 40_000]}, ""),
    bad_job(29, "environment-too-long", {"environment": {"A": "x" * 140_000}}, ""),
    good_job(29, "odd-arguments", {"arguments": ["", " ", "-rf", "$(reboot)", "`reboot`", "a\nb"]}),
    _web_job(29, "text-for-a-list", "arguments", arguments="y"),
    _kelpie_job(29, "numbers", "arguments", arguments=[1]),
]
NO_NAMES = {
    "empty": "",
    "equals": "A=B",
    "nul": "A\0",
    "digit": "1A",
    "blank": "A B",
    "dash": "A-B",
    "ring": "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}",
    "129": "A" * 129,
    "newline": "A\n",
    "ours": "TENURE_JOB_ID",
    "nearly-ours": "TENURE_",
}
ENVIRONMENT = [
    *(
        bad_job(30, f"name-{name}", {"environment": {text: "canary"}}, key_of("environment", text))
        for name, text in NO_NAMES.items()
    ),
    bad_job(30, "nul-in-value", {"environment": {"A": "canary\0"}}, key_of("environment", "A")),
    bad_job(30, "257", {"environment": {f"A{n}": "" for n in range(257)}}, "environment"),
    good_job(30, "upper-and-lower", {"environment": {"path": "a", "PATH": "b", "LD_PRELOAD": "c"}}),
    _web_job(30, "list", key_of("environment", "A"), environment={"A": ["canary"]}),
    _kelpie_job(30, "number", "environment", environment={"A": 1}),
]

# --- 35: numbers ------------------------------------------------------------------------------------------------------


def _with_parameter(value: struct_pb2.Value) -> job_service_pb2.CreateJobsRequest:
    request = job_service_pb2.CreateJobsRequest()
    specification = request.items.add().specification
    specification.command, specification.queue = "true", "still"
    specification.parameters["x"].CopyFrom(value)
    return request


def _number(value: float) -> struct_pb2.Value:
    return struct_pb2.Value(number_value=value)


NO_NUMBERS = {
    "nan": _number(NAN),
    "infinity": _number(-INFINITY),
    "nan-in-a-list": struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_number(NAN)])),
    "nan-in-an-object": struct_pb2.Value(struct_value=struct_pb2.Struct(fields={"a": _number(NAN)})),
}
MANY_PARAMETERS = {"parameters": {f"p{n}": n for n in range(257)}}
SUSPENSION = {"items": [{"name": "a", "features": {"suspension": True}}]}
NO_COUNTS: list[dict[str, Any]] = [
    {"maxFailures": 1.5},
    {"maxFailures": "3x"},
    {"maxFailures": 10**20},
    {"maxFailures": 1e300},
    {"maxFailures": [3]},
    {"priority": True},
    {"priority": "NaN"},
]
NUMBERS = [
    *(bad_job(35, f"failures-{n}", {"max_failures": n}, "max_failures") for n in (0, -1, 1001, MAX_INT32, MIN_INT32)),
    *(bad_job(35, f"replicas-{n}", {"replicas": n}, "replicas") for n in (0, -1, MIN_INT32)),
    *(bad_job(35, f"replicas-{n}", {"replicas": n}, "replicas", reason=UNSUPPORTED) for n in (2, MAX_INT32)),
    bad_job(35, "ssh", {"ssh_enabled": True}, "ssh_enabled", reason=UNSUPPORTED),
    bad_job(35, "restart", {"restart_on_exit": True}, "restart_on_exit", reason=UNSUPPORTED),
    bad_job(35, "resources", {"resources": [{}]}, "resources", reason=UNSUPPORTED),
    bad(35, "suspension", QUEUES, SUSPENSION, "items[0].features.suspension", reason=UNSUPPORTED),
    good_job(35, "priority-most", {"priority": MAX_INT32}),
    good_job(35, "priority-least", {"priority": MIN_INT32}),
    *(bad(35, name, CREATE, _with_parameter(value), f'{SPEC}.parameters["x"]') for name, value in NO_NUMBERS.items()),
    good(35, "a-parameter-that-is-nothing", CREATE, _with_parameter(struct_pb2.Value()), writes=True),
    bad_job(35, "257-parameters", MANY_PARAMETERS, "parameters"),
    bad(35, "attempt-0", FOLLOW, {"job_id": STANDING, "attempt": 0}, "attempt"),
    bad(35, "offset-over", FOLLOW, {"job_id": STANDING, "from_offset": 2**62 + 1}, "from_offset"),
    bad(35, "offset-negative", FOLLOW, {"job_id": STANDING, "from_offset": -1}, "from_offset"),
    bad(35, "position-negative", EVENTS, {"after_position": -1}, "after_position"),
    bad(35, "limit-negative", EVENTS, {"limit": -1}, "limit"),
    good(35, "limit-largest", EVENTS, {"limit": MAX_INT64}),
    bad(35, "replay-largest", REPLAY, {"webhook_id": "a", "from_position": MAX_INT64}, reason="WEBHOOK_NOT_FOUND"),
    bad(35, "replay-negative", REPLAY, {"webhook_id": "a", "from_position": -1}, "from_position"),
    bad(35, "replay-of-nothing", REPLAY, b"", "ids"),
    bad(35, "replay-of-both", REPLAY, {"ids": ["1-1-a"], "webhook_id": "b"}, "ids"),
    *(_web_job(35, f"{index}", **fields) for index, fields in enumerate(NO_COUNTS)),
]

# --- 44: labels -------------------------------------------------------------------------------------------------------

NO_KEYS = {
    "empty": "",
    "blank": "a b",
    "newline": "a\n",
    "64": "x" * 64,
    "10000": "x" * 10_000,
    "dash": "-a",
    "equals": "a=b",
    "umlaut": "\N{LATIN SMALL LETTER U WITH DIAERESIS}",
    "nul": "a\0",
}


def _labels(count: int) -> dict[str, str]:
    return {f"k{number}": "" for number in range(count)}


LABELS = [
    *(bad_job(44, f"key-{name}", {"labels": {key: "x"}}, key_of("labels", key)) for name, key in NO_KEYS.items()),
    bad_job(44, "65", {"labels": _labels(65)}, "labels"),
    bad_job(44, "ten-thousand", {"labels": _labels(10_000)}, "labels"),
    bad_job(44, "value", {"labels": {"a": "x" * 257}}, key_of("labels", "a")),
    bad(
        44, "65-in-a-filter", "JobService.BrowseJobs", {"flags": {"filter_labels": _labels(65)}}, "flags.filter_labels"
    ),
    _web_job(44, "number", labels={"a": 1}),
]

CASES: list[Case] = [*MISSING, *ARGV, *ENVIRONMENT, *NUMBERS, *LABELS]
