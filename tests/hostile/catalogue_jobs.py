"""Rows 28 to 37 and 43 to 47: what is asked for when jobs are created, read and listed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from google.protobuf import struct_pb2
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
from tests.hostile.catalogue import Case, call, web
from tests.hostile.catalogue_transport import CREATE
from tests.hostile.catalogue_values import (
    INFINITY,
    MAX_INT32,
    MIN_INT32,
    NAN,
    NO_IDS,
    NO_INSTANTS,
    NO_NUMBER,
    NO_SPANS,
)
from tests.hostile.scene import STANDING, Outcome, Scene

SPEC = "items[0].specification"


def specification(**fields: object) -> job_pb2.JobSpecification:
    """A good one, with these fields changed."""
    return job_pb2.JobSpecification(**{"command": "true", "queue": "still", **fields})  # type: ignore[arg-type]


def request_for(spec: job_pb2.JobSpecification) -> job_service_pb2.CreateJobsRequest:
    """The request that creates it."""
    return job_service_pb2.CreateJobsRequest(items=[job_service_pb2.CreateJobsRequest.Item(specification=spec)])


def refused(row: int, name: str, spec: job_pb2.JobSpecification, *fields: str, reason: str = "INVALID_FIELD") -> Case:
    """A specification that is refused; the fields are relative to it."""
    paths = tuple(f"{SPEC}.{field}" if field else SPEC for field in fields)
    return Case(row=row, name=name, send=call(CREATE, request_for(spec)), reason=reason, fields=paths)


def taken(row: int, name: str, spec: job_pb2.JobSpecification) -> Case:
    """One that is strange and good."""
    return Case(row=row, name=name, send=call(CREATE, request_for(spec)), writes=True)


def key_of(field: str, key: str) -> str:
    """`environment["A"]`"""
    return f"{field}[{json.dumps(key, ensure_ascii=False)}]"


# --- 28: what is missing ----------------------------------------------------------------------------------------------

MANY_MISTAKES = specification(
    queue="no queue", replicas=0, max_failures=-1, heartbeat_interval=Duration(), labels={"": "x"}, priority=1
)
MISSING = [
    Case(row=28, name="everything", send=call(CREATE, b""), reason="INVALID_FIELD", fields=("items",)),
    Case(
        row=28,
        name="specification",
        send=call(CREATE, job_service_pb2.CreateJobsRequest(items=[job_service_pb2.CreateJobsRequest.Item()])),
        reason="INVALID_FIELD",
        fields=(SPEC,),
    ),
    refused(28, "command", job_pb2.JobSpecification(queue="still"), "command"),
    refused(
        28,
        "blank-command-known-to-nobody",
        job_pb2.JobSpecification(application=job_pb2.NameAndVersion(name="a", version="b")),
        "application",
        reason="APPLICATION_UNKNOWN",
    ),
    refused(
        28, "half-an-application", specification(application=job_pb2.NameAndVersion(name="a")), "application.version"
    ),
    refused(
        28,
        "half-a-product",
        specification(product=job_pb2.ProductReference(id="a")),
        "product.category",
        "product.provider",
    ),
    refused(
        28,
        "no-such-product",
        specification(queue="", product=job_pb2.ProductReference(id="a", category="b", provider="c")),
        "product",
        reason="PRODUCT_NOT_FOUND",
    ),
    refused(
        28,
        "product-of-another-queue",
        specification(
            product=job_pb2.ProductReference(id="example-compute", category="example-compute", provider="example")
        ),
        "product",
        reason="PRODUCT_NOT_FOUND",
    ),
    # Four bytes a character and three more each on the wire: what is told back must fit into what clients take.
    refused(
        28,
        "no-such-product-in-emoji",
        specification(
            queue="",
            product=job_pb2.ProductReference(
                id="\U0001f4a5" * 128, category="\U0001f4a5" * 128, provider="\U0001f4a5" * 128
            ),
        ),
        "product",
        reason="PRODUCT_NOT_FOUND",
    ),
    refused(
        28,
        "no-such-application-in-emoji",
        job_pb2.JobSpecification(
            application=job_pb2.NameAndVersion(name="\U0001f4a5" * 128, version="\U0001f4a5" * 64)
        ),
        "application",
        reason="APPLICATION_UNKNOWN",
    ),
    refused(
        28,
        "several-at-once",
        MANY_MISTAKES,
        "queue",
        "replicas",
        "heartbeat_interval",
        "max_failures",
        key_of("labels", ""),
    ),
    Case(
        row=28, name="web", send=web("POST", "/v1/jobs", json={}), reason="INVALID_FIELD", fields=("items",), http=400
    ),
    Case(
        row=28, name="web-ucloud", send=web("POST", "/api/jobs", json={"items": [{}]}), reason="INVALID_FIELD", http=400
    ),
    Case(
        row=28,
        name="web-kelpie",
        send=web("POST", "/jobs", json={}),
        reason="INVALID_FIELD",
        fields=("command", "container_group_id"),
        http=400,
    ),
]


async def _every_violation_of_a_thousand(scene: Scene) -> Outcome:
    request = job_service_pb2.CreateJobsRequest()
    for _ in range(1000):
        request.items.add(specification=specification(max_failures=0))
    outcome = await scene.call(CREATE, request.SerializeToString())
    assert len(outcome.fields) == 50, f"{len(outcome.fields)} violations are told of, not 50"
    return outcome


MISSING.append(Case(row=28, name="fifty-are-told", send=_every_violation_of_a_thousand, reason="INVALID_FIELD"))

# --- 29 and 30: argv and environment ----------------------------------------------------------------------------------

ARGV = [
    refused(29, "empty-command", specification(command=""), "command"),
    refused(29, "nul-in-command", specification(command="tr\0ue"), "command"),
    refused(29, "long-command", specification(command="x" * 4097), "command"),
    refused(29, "nul-in-argument", specification(arguments=["a", "b", "c", "d\0"]), "arguments[3]"),
    refused(29, "long-argument", specification(arguments=["x" * 102_401]), "arguments[0]"),
    refused(29, "4097-arguments", specification(arguments=["x"] * 4097), "arguments"),
    refused(29, "all-of-it-too-long", specification(arguments=["x" * 100_000, "y" * 40_000]), ""),
    refused(29, "environment-too-long", specification(environment={"A": "x" * 140_000}), ""),
    taken(29, "blank-argument", specification(arguments=["", " ", "-rf", "$(reboot)", "`reboot`", "a\nb"])),
    Case(
        row=29,
        name="web-text-for-a-list",
        send=web("POST", "/v1/jobs", json={"items": [{"specification": {"command": "x", "arguments": "y"}}]}),
        reason="INVALID_FIELD",
        fields=(f"{SPEC}.arguments",),
        http=400,
    ),
    Case(
        row=29,
        name="web-kelpie-numbers",
        send=web("POST", "/jobs", json={"command": "x", "arguments": [1], "container_group_id": "a"}),
        reason="INVALID_FIELD",
        fields=("arguments",),
        http=400,
    ),
]
NO_NAMES = ["", "A=B", "A\0", "1A", "A B", "A-B", "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}", "A" * 129, "A\n", "TENURE_JOB_ID", "TENURE_"]  # fmt: skip
ENVIRONMENT = [
    *(
        refused(30, f"name-{index}", specification(environment={name: "canary"}), key_of("environment", name[:64]))
        for index, name in enumerate(NO_NAMES)
    ),
    refused(30, "nul-in-value", specification(environment={"A": "canary\0"}), key_of("environment", "A")),
    refused(30, "257", specification(environment={f"A{n}": "" for n in range(257)}), "environment"),
    taken(30, "upper-and-lower", specification(environment={"path": "a", "PATH": "b", "LD_PRELOAD": "c"})),
    Case(
        row=30,
        name="web-list",
        send=web(
            "POST", "/v1/jobs", json={"items": [{"specification": {"command": "x", "environment": {"A": ["canary"]}}}]}
        ),
        reason="INVALID_FIELD",
        fields=(f'{SPEC}.environment["A"]',),
        http=400,
    ),
    Case(
        row=30,
        name="web-kelpie-number",
        send=web("POST", "/jobs", json={"command": "x", "environment": {"A": 1}, "container_group_id": "a"}),
        reason="INVALID_FIELD",
        fields=("environment",),
        http=400,
    ),
]

# --- 32: numbers that no enum has -------------------------------------------------------------------------------------

Flags = job_service_pb2.JobFlags
Queue = queue_service_pb2.QueueSpecification


def _upsert(*queues: Queue) -> queue_service_pb2.UpsertQueuesRequest:
    return queue_service_pb2.UpsertQueuesRequest(items=queues)


def _product(basis: int) -> queue_service_pb2.QueueProduct:
    reference = job_pb2.ProductReference(id="a", category="b", provider="c")
    return queue_service_pb2.QueueProduct(product=reference, basis=basis)  # type: ignore[arg-type]


def _rule(**fields: object) -> job_pb2.SyncRule:
    return job_pb2.SyncRule(**{"bucket": "bucket", "prefix": "a/", "local_path": "a", **fields})  # type: ignore[arg-type]


ENUM_MESSAGES: list[tuple[str, str, str, Message]] = [
    (
        "JobService.BrowseJobs",
        "owner",
        "flags.filter_state",
        job_service_pb2.BrowseJobsRequest(flags=Flags(filter_state=NO_NUMBER)),
    ),  # type: ignore[arg-type]
    (
        "JobService.WatchJobs",
        "owner",
        "flags.filter_state",
        job_service_pb2.WatchJobsRequest(flags=Flags(filter_state=-1)),
    ),  # type: ignore[arg-type]
    ("JobService.BrowseJobs", "owner", "sort_by", job_service_pb2.BrowseJobsRequest(sort_by=NO_NUMBER)),  # type: ignore[arg-type]
    ("JobService.BrowseJobs", "owner", "sort_direction", job_service_pb2.BrowseJobsRequest(sort_direction=MAX_INT32)),  # type: ignore[arg-type]
    ("QueueService.UpsertQueues", "admin", "items[0].basis", _upsert(Queue(name="a", basis=NO_NUMBER))),  # type: ignore[arg-type]
    (
        "QueueService.UpsertQueues",
        "admin",
        "items[0].products[0].basis",
        _upsert(Queue(name="a", products=[_product(NO_NUMBER)])),
    ),
    ("WebhookService.BrowseDeliveries", "owner", "state", webhook_service_pb2.BrowseDeliveriesRequest(state=NO_NUMBER)),  # type: ignore[arg-type]
    (
        "WebhookService.ReplayDeliveries",
        "owner",
        "state",
        webhook_service_pb2.ReplayDeliveriesRequest(webhook_id="a", state=NO_NUMBER),
    ),  # type: ignore[arg-type]
    (
        "WebhookService.ReplayDeliveries",
        "owner",
        "state",
        webhook_service_pb2.ReplayDeliveriesRequest(webhook_id="a", state=webhook_service_pb2.DELIVERY_STATE_PENDING),
    ),
    ("AdminService.CreateToken", "admin", "role", admin_service_pb2.CreateTokenRequest(role=NO_NUMBER, subject="a")),  # type: ignore[arg-type]
    ("AdminService.CreateToken", "admin", "role", admin_service_pb2.CreateTokenRequest(subject="a")),
]
ENUMS = [
    *(
        Case(
            row=32,
            name=f"{rpc}-{field}-{index}",
            send=call(rpc, message, who=who),
            reason="INVALID_FIELD",
            fields=(field,),
        )
        for index, (rpc, who, field, message) in enumerate(ENUM_MESSAGES)
    ),
    *(
        refused(32, f"basis-{number}", specification(time_allocation_basis=number), "time_allocation_basis")
        for number in (NO_NUMBER, -1, MAX_INT32, MIN_INT32)
    ),
    refused(
        32,
        "direction",
        specification(sync=job_pb2.Sync(before=[_rule(direction=NO_NUMBER)])),
        "sync.before[0].direction",
    ),
    Case(
        row=32,
        name="web-word",
        send=web("GET", "/v1/jobs?flags.filterState=SLEEPING"),
        reason="INVALID_FIELD",
        fields=("flags.filterState",),
        http=400,
    ),
    Case(row=32, name="web-number", send=web("GET", "/v1/jobs?flags.filterState=99"), reason="INVALID_FIELD", http=400),
    Case(
        row=32,
        name="web-ucloud",
        send=web("GET", "/api/jobs/browse?filterState=SLEEPING"),
        reason="INVALID_FIELD",
        http=400,
    ),
    Case(
        row=32,
        name="web-ucloud-unspecified",
        send=web("GET", "/api/jobs/browse?filterState=UNSPECIFIED"),
        reason="INVALID_FIELD",
        http=400,
    ),
    Case(
        row=32,
        name="web-kelpie",
        send=web("GET", "/jobs?status=sleeping"),
        reason="INVALID_FIELD",
        fields=("status",),
        http=400,
    ),
]

# --- 33 and 34: spans and instants ------------------------------------------------------------------------------------

# Each field with a span: RPC, who, path, whether zero is taken, seconds at most, and the request with it.
Spanned = tuple[str, str, str, bool, int, Callable[[Duration], Message]]
YEAR = 31_622_400


def _of_job(path: str, zero: bool, most: int) -> Spanned:
    def make(span: Duration) -> Message:
        spec = specification()
        target: Message = spec
        *parents, name = path.split(".")
        for parent in parents:
            target = getattr(target, parent)
        getattr(target, name).CopyFrom(span)
        return request_for(spec)

    return CREATE, "owner", f"{SPEC}.{path}", zero, most, make


def _of_rule(name: str) -> Spanned:
    def make(span: Duration) -> Message:
        return request_for(specification(sync=job_pb2.Sync(during=[_rule(**{name: span})])))

    return CREATE, "owner", f"{SPEC}.sync.during[0].{name}", True, 3600, make


def _of_queue(name: str) -> Spanned:
    return (
        "QueueService.UpsertQueues",
        "admin",
        f"items[0].{name}",
        False,
        YEAR,
        lambda span: _upsert(Queue(name="a", **{name: span})),
    )  # type: ignore[arg-type]


Extension, Termination = job_service_pb2.ExtendJobsRequest, job_service_pb2.TerminateJobsRequest
SPANNED: list[Spanned] = [
    _of_job("time_allocation", zero=False, most=YEAR),
    _of_job("heartbeat_interval", zero=False, most=3600),
    _of_job("termination_grace_period", zero=True, most=3600),
    _of_job("max_disconnected", zero=True, most=86_400),
    _of_job("sync_retry_budget", zero=False, most=86_400),
    _of_job("retry_backoff.initial", zero=True, most=86_400),
    _of_job("retry_backoff.maximum", zero=True, most=86_400),
    _of_rule("quiet_period"),
    _of_rule("max_wait"),
    _of_queue("max_time_allocation"),
    _of_queue("default_time_allocation"),
    (
        "JobService.ExtendJobs",
        "owner",
        "items[0].requested_time",
        False,
        YEAR,
        lambda span: Extension(items=[Extension.Item(job_id=STANDING, requested_time=span)]),
    ),
    (
        "JobService.TerminateJobs",
        "owner",
        "items[0].grace_period",
        True,
        3600,
        lambda span: Termination(items=[Termination.Item(id=STANDING, grace_period=span)]),
    ),
    (
        "WebhookService.RotateWebhookSecret",
        "owner",
        "overlap",
        True,
        30 * 86_400,
        lambda span: webhook_service_pb2.RotateWebhookSecretRequest(id="a", overlap=span),
    ),
]


def _spans() -> Iterator[Case]:
    for rpc, who, path, zero, most, make in SPANNED:
        values = dict(NO_SPANS) | {
            "a-second-over": Duration(seconds=most + 1),
            "a-nano-over": Duration(seconds=most, nanos=1),
        }
        if not zero:
            values["zero"] = Duration()
        for name, span in values.items():
            field = path.removeprefix(SPEC + ".")
            yield Case(
                row=33,
                name=f"{field}-{name}",
                send=call(rpc, make(span), who=who),
                reason="INVALID_FIELD",
                fields=(path,),
            )


def _instants() -> Iterator[Case]:
    for field in ("filter_created_after", "filter_created_before"):
        for name, instant in NO_INSTANTS.items():
            for rpc, message in (
                ("BrowseJobs", job_service_pb2.BrowseJobsRequest),
                ("WatchJobs", job_service_pb2.WatchJobsRequest),
            ):
                request = message(flags=Flags(**{field: instant}))  # type: ignore[arg-type]
                yield Case(
                    row=34,
                    name=f"{rpc}-{field}-{name}",
                    send=call(f"JobService.{rpc}", request),
                    reason="INVALID_FIELD",
                    fields=(f"flags.{field}",),
                )


SPANS = [
    *_spans(),
    refused(
        33,
        "over-the-queues-maximum",
        specification(queue="capped", time_allocation=Duration(seconds=6 * 3600 + 1)),
        "time_allocation",
        reason="TIME_ALLOCATION_CAP",
    ),
    Case(
        row=33,
        name="default-over-maximum",
        send=call(
            "QueueService.UpsertQueues",
            _upsert(
                Queue(name="a", max_time_allocation=Duration(seconds=1), default_time_allocation=Duration(seconds=2))
            ),
            who="admin",
        ),
        reason="INVALID_FIELD",
        fields=("items[0].default_time_allocation",),
    ),
    *(
        Case(
            row=33,
            name=f"web-{index}",
            send=web(
                "POST", "/v1/jobs", json={"items": [{"specification": {"command": "x", "timeAllocation": value}}]}
            ),
            reason="INVALID_FIELD",
            http=400,
        )
        for index, value in enumerate(
            [
                "5h",
                "",
                "s",
                "1e9s",
                "-1s",
                "99999999999999999999s",
                "1.0000000000001s",
                5,
                {"seconds": 5},
                "NaNs",
                "\uff11s",
            ]
        )
    ),
    *(
        Case(
            row=33,
            name=f"web-ucloud-{name}",
            send=web("POST", "/api/jobs/extend", json={"items": [{"jobId": STANDING, "requestedTime": value}]}),
            reason="INVALID_FIELD",
            http=400,
        )
        for name, value in {
            "60-minutes": {"minutes": 60},
            "negative": {"hours": -1},
            "fraction": {"hours": 1.5},
            "text": {"hours": "1"},
            "flag": {"hours": True},
            "huge": {"hours": 10**30},
            "none": {},
            "null": None,
            "other": {"days": 1},
            "number": 3600,
        }.items()
    ),
    Case(
        row=33,
        name="web-kelpie",
        send=web("POST", "/jobs", json={"command": "x", "container_group_id": "a", "heartbeat_interval": 0}),
        reason="INVALID_FIELD",
        fields=("heartbeat_interval",),
        http=400,
    ),
]
INSTANTS = [
    *_instants(),
    *(
        Case(
            row=34,
            name=f"web-{name}",
            send=web("GET", "/v1/jobs", params=[("flags.filterCreatedAfter", value)]),
            reason="INVALID_FIELD",
            http=400,
        )
        for name, value in {
            "word": "yesterday",
            "year-0": "0000-01-01T00:00:00Z",
            "year-10000": "10000-01-01T00:00:00Z",
            "no-zone": "2021-10-04T06:42:56",
            "february": "2021-02-30T00:00:00Z",
            "leap": "2021-12-31T23:59:61Z",
            "number": "1633329776235",
        }.items()
    ),
    *(
        Case(
            row=34,
            name=f"web-ucloud-{name}",
            send=web("GET", f"/api/jobs/browse?filterCreatedAfter={value}"),
            reason="INVALID_FIELD",
            http=400,
        )
        for name, value in {
            "word": "x",
            "negative": "-1",
            "huge": "9" * 30,
            "longer": "9" * 5000,
            "blank": "%201",
            "underscore": "1__0",
        }.items()
    ),
]

# --- 35: numbers ------------------------------------------------------------------------------------------------------


def _parameters(value: struct_pb2.Value) -> job_pb2.JobSpecification:
    return specification(parameters={"x": value})


def _number(value: float) -> struct_pb2.Value:
    return struct_pb2.Value(number_value=value)


NUMBERS = [
    *(
        refused(35, f"max-failures-{n}", specification(max_failures=n), "max_failures")
        for n in (0, -1, 1001, MAX_INT32, MIN_INT32)
    ),
    *(refused(35, f"replicas-{n}", specification(replicas=n), "replicas") for n in (0, -1, MIN_INT32)),
    *(
        refused(35, f"replicas-{n}", specification(replicas=n), "replicas", reason="UNSUPPORTED_FIELD")
        for n in (2, MAX_INT32)
    ),
    refused(35, "ssh", specification(ssh_enabled=True), "ssh_enabled", reason="UNSUPPORTED_FIELD"),
    refused(35, "restart", specification(restart_on_exit=True), "restart_on_exit", reason="UNSUPPORTED_FIELD"),
    refused(35, "resources", specification(resources=[struct_pb2.Struct()]), "resources", reason="UNSUPPORTED_FIELD"),
    Case(
        row=35,
        name="suspension",
        send=call(
            "QueueService.UpsertQueues",
            _upsert(Queue(name="a", features=queue_service_pb2.QueueFeatures(suspension=True))),
            who="admin",
        ),
        reason="UNSUPPORTED_FIELD",
        fields=("items[0].features.suspension",),
    ),
    taken(35, "priority-most", specification(priority=MAX_INT32)),
    taken(35, "priority-least", specification(priority=MIN_INT32)),
    refused(35, "nan", _parameters(_number(NAN)), key_of("parameters", "x")),
    refused(35, "infinity", _parameters(_number(-INFINITY)), key_of("parameters", "x")),
    refused(
        35,
        "nan-in-a-list",
        _parameters(struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_number(NAN)]))),
        key_of("parameters", "x"),
    ),
    refused(
        35,
        "nan-in-an-object",
        _parameters(struct_pb2.Value(struct_value=struct_pb2.Struct(fields={"a": _number(NAN)}))),
        key_of("parameters", "x"),
    ),
    taken(35, "a-parameter-that-is-nothing", _parameters(struct_pb2.Value())),
    refused(35, "257-parameters", specification(parameters={f"p{n}": _number(n) for n in range(257)}), "parameters"),
    Case(
        row=35,
        name="attempt-0",
        send=call("JobService.FollowLogs", job_service_pb2.FollowLogsRequest(job_id=STANDING, attempt=0)),
        reason="INVALID_FIELD",
        fields=("attempt",),
    ),
    Case(
        row=35,
        name="offset",
        send=call("JobService.FollowLogs", job_service_pb2.FollowLogsRequest(job_id=STANDING, from_offset=2**62 + 1)),
        reason="INVALID_FIELD",
        fields=("from_offset",),
    ),
    Case(
        row=35,
        name="offset-negative",
        send=call("JobService.FollowLogs", job_service_pb2.FollowLogsRequest(job_id=STANDING, from_offset=-1)),
        reason="INVALID_FIELD",
        fields=("from_offset",),
    ),
    Case(
        row=35,
        name="position-negative",
        send=call("EventService.ReadEvents", event_service_pb2.ReadEventsRequest(after_position=-1), who="admin"),
        reason="INVALID_FIELD",
        fields=("after_position",),
    ),
    Case(
        row=35,
        name="limit-negative",
        send=call("EventService.ReadEvents", event_service_pb2.ReadEventsRequest(limit=-1), who="admin"),
        reason="INVALID_FIELD",
        fields=("limit",),
    ),
    Case(
        row=35,
        name="limit-largest",
        send=call("EventService.ReadEvents", event_service_pb2.ReadEventsRequest(limit=2**63 - 1), who="admin"),
    ),
    Case(
        row=35,
        name="replay-from-the-largest",
        send=call(
            "WebhookService.ReplayDeliveries",
            webhook_service_pb2.ReplayDeliveriesRequest(webhook_id="a", from_position=2**63 - 1),
        ),
        reason="WEBHOOK_NOT_FOUND",
    ),
    Case(
        row=35,
        name="replay-negative",
        send=call(
            "WebhookService.ReplayDeliveries",
            webhook_service_pb2.ReplayDeliveriesRequest(webhook_id="a", from_position=-1),
        ),
        reason="INVALID_FIELD",
        fields=("from_position",),
    ),
    Case(
        row=35,
        name="replay-nothing-named",
        send=call("WebhookService.ReplayDeliveries", b""),
        reason="INVALID_FIELD",
        fields=("ids",),
    ),
    Case(
        row=35,
        name="replay-both",
        send=call(
            "WebhookService.ReplayDeliveries",
            webhook_service_pb2.ReplayDeliveriesRequest(ids=["1-1-a"], webhook_id="b"),
        ),
        reason="INVALID_FIELD",
        fields=("ids",),
    ),
    *(
        Case(
            row=35,
            name=f"web-{index}",
            send=web("POST", "/v1/jobs", json={"items": [{"specification": {"command": "x", **fields}}]}),
            reason="INVALID_FIELD",
            http=400,
        )
        for index, fields in enumerate(
            [
                {"maxFailures": 1.5},
                {"maxFailures": "3x"},
                {"maxFailures": 10**20},
                {"priority": True},
                {"priority": "NaN"},
                {"maxFailures": 1e300},
                {"maxFailures": [3]},
            ]
        )
    ),
]

# --- 36: ids and names ------------------------------------------------------------------------------------------------

ID_FIELDS: list[tuple[str, str, str, bool, Callable[[str], Message]]] = [
    ("JobService.RetrieveJob", "owner", "id", False, lambda text: job_service_pb2.RetrieveJobRequest(id=text)),
    ("JobService.ExplainJob", "owner", "id", False, lambda text: job_service_pb2.ExplainJobRequest(id=text)),
    ("JobService.FollowLogs", "owner", "job_id", False, lambda text: job_service_pb2.FollowLogsRequest(job_id=text)),
    ("JobService.WatchJobs", "owner", "ids[0]", False, lambda text: job_service_pb2.WatchJobsRequest(ids=[text])),
    (
        "JobService.ExtendJobs",
        "owner",
        "items[0].job_id",
        False,
        lambda text: Extension(items=[Extension.Item(job_id=text, requested_time=Duration(seconds=1))]),
    ),
    (
        "JobService.TerminateJobs",
        "owner",
        "items[0].id",
        False,
        lambda text: Termination(items=[Termination.Item(id=text)]),
    ),
    (CREATE, "owner", f"{SPEC}.queue", True, lambda text: request_for(specification(queue=text))),
    ("QueueService.UpsertQueues", "admin", "items[0].name", False, lambda text: _upsert(Queue(name=text))),
    (
        "QueueService.PauseQueues",
        "admin",
        "items[0].name",
        False,
        lambda text: queue_service_pb2.PauseQueuesRequest(items=[queue_service_pb2.PauseQueuesRequest.Item(name=text)]),
    ),
    (
        "AdminService.CreateToken",
        "admin",
        "subject",
        False,
        lambda text: admin_service_pb2.CreateTokenRequest(role=admin_service_pb2.ROLE_USER, subject=text),
    ),
]


def _ids() -> Iterator[Case]:
    for rpc, who, path, blank, make in ID_FIELDS:
        for name, text in NO_IDS.items():
            if text or not blank:
                yield Case(
                    row=36,
                    name=f"{rpc}-{name}",
                    send=call(rpc, make(text), who=who),
                    reason="INVALID_FIELD",
                    fields=(path,),
                )


def _names() -> Iterator[Case]:
    for name, text in {
        "newline": "a\nb",
        "nul": "a\0b",
        "escape": "\x1b[31mred",
        "right-to-left": "a\N{RIGHT-TO-LEFT OVERRIDE}b",
        "isolate": "\N{FIRST STRONG ISOLATE}",
        "zero-width": "\N{ZERO WIDTH SPACE}",
        "tag": "\U000e0041",
        "257-bytes": "x" * 257,
        "257-bytes-wide": "\N{EURO SIGN}" * 86,
    }.items():
        yield refused(36, f"name-{name}", specification(name=text), "name")


IDS = [
    *_ids(),
    *_names(),
    taken(36, "name-of-the-world", specification(name="Übung 3 – 数据 🚀")),
    refused(36, "opened-file-nul", specification(opened_file="a\0"), "opened_file"),
    refused(36, "opened-file-long", specification(opened_file="x" * 4097), "opened_file"),
    Case(
        row=36,
        name="pause-no-such-queue",
        send=call(
            "QueueService.PauseQueues",
            queue_service_pb2.PauseQueuesRequest(items=[queue_service_pb2.PauseQueuesRequest.Item(name="nowhere")]),
            who="admin",
        ),
        reason="QUEUE_NOT_FOUND",
        fields=("items[0].name",),
    ),
    Case(
        row=36,
        name="stop-a-job-in-emoji",
        send=call(
            "AdminService.StopJobs",
            admin_service_pb2.StopJobsRequest(ids=["\U0001f4a5" * 2000], reason="x"),
            who="admin",
        ),
        reason="INVALID_FIELD",
        fields=("ids[0]",),
    ),
    Case(
        row=36,
        name="backup-of-nul",
        send=call("AdminService.BackupStore", admin_service_pb2.BackupStoreRequest(path="/tmp/a\0b"), who="admin"),
        reason="BACKUP_FAILED",
    ),
    Case(
        row=36,
        name="backup-beside",
        send=call("AdminService.BackupStore", admin_service_pb2.BackupStoreRequest(path="relative"), who="admin"),
        reason="BACKUP_FAILED",
    ),
    Case(
        row=36,
        name="backup-of-a-device",
        send=call("AdminService.BackupStore", admin_service_pb2.BackupStoreRequest(path="/dev/null"), who="admin"),
        reason="BACKUP_FAILED",
    ),
    Case(
        row=36,
        name="backup-long",
        send=call("AdminService.BackupStore", admin_service_pb2.BackupStoreRequest(path="/" + "x" * 4000), who="admin"),
        reason="BACKUP_FAILED",
    ),
    Case(
        row=36,
        name="web-escapes",
        send=web("GET", "/v1/jobs/..%2f..%2fetc%2fpasswd"),
        reason="NOT_IMPLEMENTED",
        http=404,
    ),
    Case(row=36, name="web-latin", send=web("GET", "/v1/jobs/%ff%fe"), reason="INVALID_FIELD", http=400),
    Case(row=36, name="web-nul", send=web("GET", "/v1/jobs/a%00b"), reason="INVALID_FIELD", http=400),
    Case(row=36, name="web-kelpie", send=web("GET", "/jobs/a%0ab"), reason="INVALID_FIELD", http=400),
    Case(row=36, name="web-ucloud", send=web("GET", "/api/jobs/retrieve?id=..%2F"), reason="INVALID_FIELD", http=400),
    Case(
        row=36,
        name="web-ucloud-twice",
        send=web("GET", "/api/jobs/retrieve?id=a&id=b"),
        reason="INVALID_FIELD",
        http=400,
    ),
]

# --- 43 and 44: bulk and labels ---------------------------------------------------------------------------------------


def _bulk(count: int, **changed: job_pb2.JobSpecification) -> job_service_pb2.CreateJobsRequest:
    request = job_service_pb2.CreateJobsRequest()
    for index in range(count):
        request.items.add(specification=changed.get(f"at_{index}", specification()))
    return request


def _extensions(count: int, at: int = -1) -> job_service_pb2.ExtendJobsRequest:
    request = Extension()
    for index in range(count):
        request.items.add(job_id="nowhere" if index == at else STANDING, requested_time=Duration(seconds=1))
    return request


def _queues(count: int) -> queue_service_pb2.UpsertQueuesRequest:
    return _upsert(*(Queue(name=f"q{n}") for n in range(count)))


LONE = specification(allow_duplicate_job=False)
HOOK = webhook_service_pb2.WebhookSpecification(url="https://example.org/hook")
BULK = [
    Case(row=43, name="1001-jobs", send=call(CREATE, _bulk(1001)), reason="INVALID_FIELD", fields=("items",)),
    Case(
        row=43,
        name="one-bad-of-1000",
        send=call(CREATE, _bulk(1000, at_17=specification(arguments=["\0"]))),
        reason="INVALID_FIELD",
        fields=("items[17].specification.arguments[0]",),
    ),
    Case(
        row=43,
        name="the-last-of-1000",
        send=call(CREATE, _bulk(1000, at_999=specification(replicas=2))),
        reason="UNSUPPORTED_FIELD",
        fields=("items[999].specification.replicas",),
    ),
    Case(
        row=43,
        name="equal-ones-that-may-not-be",
        send=call(CREATE, _bulk(3, at_0=LONE, at_2=LONE)),
        reason="DUPLICATE_JOB",
        fields=("items[2]",),
    ),
    Case(
        row=43, name="no-extensions", send=call("JobService.ExtendJobs", b""), reason="INVALID_FIELD", fields=("items",)
    ),
    Case(
        row=43,
        name="1001-extensions",
        send=call("JobService.ExtendJobs", _extensions(1001)),
        reason="INVALID_FIELD",
        fields=("items",),
    ),
    Case(
        row=43,
        name="one-extension-of-nothing",
        send=call("JobService.ExtendJobs", _extensions(100, at=41)),
        reason="JOB_NOT_FOUND",
        fields=("items[41]",),
    ),
    Case(
        row=43,
        name="no-terminations",
        send=call("JobService.TerminateJobs", b""),
        reason="INVALID_FIELD",
        fields=("items",),
    ),
    Case(
        row=43,
        name="one-termination-of-nothing",
        send=call(
            "JobService.TerminateJobs",
            Termination(items=[Termination.Item(id=STANDING), Termination.Item(id="nowhere")]),
        ),
        reason="JOB_NOT_FOUND",
        fields=("items[1]",),
    ),
    Case(
        row=43,
        name="1001-watched",
        send=call("JobService.WatchJobs", job_service_pb2.WatchJobsRequest(ids=[f"a{n}" for n in range(1001)])),
        reason="INVALID_FIELD",
        fields=("ids",),
    ),
    Case(
        row=43,
        name="101-queues",
        send=call("QueueService.UpsertQueues", _queues(101), who="admin"),
        reason="INVALID_FIELD",
        fields=("items",),
    ),
    Case(
        row=43,
        name="a-queue-twice",
        send=call("QueueService.UpsertQueues", _upsert(Queue(name="a"), Queue(name="b"), Queue(name="a")), who="admin"),
        reason="INVALID_FIELD",
        fields=("items[2].name",),
    ),
    Case(
        row=43,
        name="a-product-twice",
        send=call(
            "QueueService.UpsertQueues",
            _upsert(Queue(name="a", products=[_product(0)]), Queue(name="b", products=[_product(0)])),
            who="admin",
        ),
        reason="INVALID_FIELD",
        fields=("items[1].products[0].product",),
    ),
    Case(
        row=43,
        name="paused-twice",
        send=call(
            "QueueService.PauseQueues",
            queue_service_pb2.PauseQueuesRequest(
                items=[queue_service_pb2.PauseQueuesRequest.Item(name="still", paused=p) for p in (True, False)]
            ),
            who="admin",
        ),
        reason="INVALID_FIELD",
        fields=("items[1].name",),
    ),
    Case(
        row=43,
        name="a-webhook-twice",
        send=call("WebhookService.UpsertWebhooks", webhook_service_pb2.UpsertWebhooksRequest(items=[HOOK, HOOK])),
        reason="INVALID_FIELD",
        fields=("items[1].url",),
    ),
    Case(
        row=43,
        name="nothing-to-stop",
        send=call("AdminService.StopJobs", admin_service_pb2.StopJobsRequest(reason="x"), who="admin"),
        reason="INVALID_FIELD",
        fields=("ids",),
    ),
    Case(
        row=43,
        name="stopped-for-no-reason",
        send=call("AdminService.StopJobs", admin_service_pb2.StopJobsRequest(ids=[STANDING]), who="admin"),
        reason="INVALID_FIELD",
        fields=("reason",),
    ),
    Case(
        row=43,
        name="web-1001",
        send=web("POST", "/v1/jobs", json={"items": [{"specification": {"command": "x"}}] * 1001}),
        reason="INVALID_FIELD",
        fields=("items",),
        http=400,
    ),
    Case(row=43, name="web-kelpie-none", send=web("POST", "/jobs/batch", json=[]), reason="INVALID_FIELD", http=400),
    Case(
        row=43,
        name="web-kelpie-one-bad",
        send=web("POST", "/jobs/batch", json=[{"command": "x", "container_group_id": "a"}, {"command": "x"}]),
        reason="INVALID_FIELD",
        fields=("[1].container_group_id",),
        http=400,
    ),
    Case(
        row=43,
        name="web-ucloud-none",
        send=web("POST", "/api/jobs/terminate", json={"items": []}),
        reason="INVALID_FIELD",
        http=400,
    ),
]
NO_KEYS = ["", "a b", "a\n", "x" * 64, "x" * 10_000, "-a", "a=b", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "a\0"]
LABELS = [
    *(
        refused(44, f"key-{index}", specification(labels={key: "x"}), key_of("labels", key[:64]))
        for index, key in enumerate(NO_KEYS)
    ),
    refused(44, "65", specification(labels={f"k{n}": "" for n in range(65)}), "labels"),
    refused(44, "10000", specification(labels={f"k{n}": "" for n in range(10_000)}), "labels"),
    refused(44, "value", specification(labels={"a": "x" * 257}), key_of("labels", "a")),
    Case(
        row=44,
        name="65-in-a-filter",
        send=call(
            "JobService.BrowseJobs",
            job_service_pb2.BrowseJobsRequest(flags=Flags(filter_labels={f"k{n}": "" for n in range(65)})),
        ),
        reason="INVALID_FIELD",
        fields=("flags.filter_labels",),
    ),
    Case(
        row=44,
        name="web-number",
        send=web("POST", "/v1/jobs", json={"items": [{"specification": {"command": "x", "labels": {"a": 1}}}]}),
        reason="INVALID_FIELD",
        http=400,
    ),
]

# --- 47: filters ------------------------------------------------------------------------------------------------------

TEXT_FILTERS = ["filter_application", "filter_created_by", "filter_provider", "filter_product_id", "filter_product_category", "filter_queue", "hide_product_id", "hide_product_category", "hide_provider"]  # fmt: skip
SQL = "' OR 1=1; DROP TABLE jobs; --"


def _browse(**flags: object) -> job_service_pb2.BrowseJobsRequest:
    return job_service_pb2.BrowseJobsRequest(flags=Flags(**flags))  # type: ignore[arg-type]


async def _finds_nothing(scene: Scene, request: job_service_pb2.BrowseJobsRequest) -> Outcome:
    outcome = await scene.call("JobService.BrowseJobs", request.SerializeToString())
    found = job_service_pb2.BrowseJobsResponse.FromString(outcome.answers[0])
    assert not found.jobs, "a filter that fits no job has found some"
    return outcome


def _odd_filters() -> Iterator[Case]:
    for field in TEXT_FILTERS:
        yield Case(
            row=47,
            name=f"{field}-long",
            send=call("JobService.BrowseJobs", _browse(**{field: "x" * 129})),
            reason="INVALID_FIELD",
            fields=(f"flags.{field}",),
        )
        if field.startswith("filter"):
            for name, text in {"sql": SQL, "nul": "a\0b", "wild": "%"}.items():
                request = _browse(**{field: text})
                yield Case(
                    row=47, name=f"{field}-{name}", send=lambda scene, request=request: _finds_nothing(scene, request)
                )  # type: ignore[misc]
    for name, labels in {
        "sql": {SQL: SQL},
        "quote": {'"': '"'},
        "json-path": {"$.a": "b"},
        "nul": {"a\0": "b"},
        "blank": {"": ""},
    }.items():
        request = _browse(filter_labels=labels)
        yield Case(
            row=47, name=f"filter_labels-{name}", send=lambda scene, request=request: _finds_nothing(scene, request)
        )  # type: ignore[misc]
    for field in ("filter_ids", "filter_provider_ids"):
        request = _browse(**{field: [SQL, "", "a\0b"]})
        yield Case(row=47, name=f"{field}-sql", send=lambda scene, request=request: _finds_nothing(scene, request))  # type: ignore[misc]


FILTERS = [
    *_odd_filters(),
    Case(row=47, name="1001-ids", send=call("JobService.BrowseJobs", _browse(filter_ids=[f"a{n}" for n in range(1001)])), reason="INVALID_FIELD", fields=("flags.filter_ids",)),
    Case(row=47, name="long-id", send=call("JobService.BrowseJobs", _browse(filter_ids=["a" * 65])), reason="INVALID_FIELD", fields=("flags.filter_ids[0]",)),
    Case(row=47, name="ids-and-flags", send=call("JobService.WatchJobs", job_service_pb2.WatchJobsRequest(ids=[STANDING], flags=Flags())), reason="INVALID_FIELD", fields=("flags",)),
    Case(row=47, name="event-type", send=call("EventService.ReadEvents", event_service_pb2.ReadEventsRequest(filter=event_service_pb2.EventFilter(types=["JobCreated", "Job%"])), who="admin"), reason="INVALID_FIELD", fields=("filter.types[1]",)),
    Case(row=47, name="stream-of-another", send=call("EventService.ReadEvents", event_service_pb2.ReadEventsRequest(filter=event_service_pb2.EventFilter(job_ids=["../queue/still", SQL, "\0"])), who="admin")),
    Case(row=47, name="web-no-such-parameter", send=web("GET", "/v1/jobs?flags.filterSate=x"), reason="INVALID_FIELD", fields=("flags.filterSate",), http=400),
    Case(row=47, name="web-too-deep", send=web("GET", "/v1/jobs?flags.filterState.x.y=1"), reason="INVALID_FIELD", http=400),
    Case(row=47, name="web-ucloud-no-such", send=web("GET", "/api/jobs/browse?filterOwner=x"), reason="INVALID_FIELD", http=400),
    Case(row=47, name="web-kelpie-no-such", send=web("GET", "/jobs?state=x"), reason="INVALID_FIELD", fields=("state",), http=400),
]  # fmt: skip

CASES: list[Case] = [*MISSING, *ARGV, *ENVIRONMENT, *ENUMS, *SPANS, *INSTANTS, *NUMBERS, *IDS, *BULK, *LABELS, *FILTERS]
