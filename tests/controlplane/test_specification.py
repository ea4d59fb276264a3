"""Rules that span several fields of a specification, and what a job is created as."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import json_format, struct_pb2
from google.protobuf.duration_pb2 import Duration

from tenure.cli.documents import read_submission
from tenure.controlplane.catalogue import EXAMPLE_APPLICATION, EXAMPLE_PRODUCT, Catalogue
from tenure.controlplane.specification import created, digest, normalise
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.queue import Queue
from tenure.v1 import job_pb2, worker_service_pb2

DATA = Path(__file__).parents[1] / "data"
DEFAULT = Queue(name="default", version=1, configured=e.QueueConfigured(products=(EXAMPLE_PRODUCT,)))
CATALOGUE = Catalogue(lambda: {"default": DEFAULT}, applications=(EXAMPLE_APPLICATION,))

Spec = job_pb2.JobSpecification


def event_of(spec: Spec) -> e.JobCreated:
    target = normalise(spec, CATALOGUE)
    return created(spec, target, DEFAULT.configured, defaults=CATALOGUE.defaults, created_by="user", project="")


def sync(phase: str, *rules: dict[str, object]) -> dict[str, object]:
    plain = {"bucket": "bucket", "prefix": "in/", "localPath": "in/"}
    return {"command": "x", "sync": {phase: [{**plain, **rule} for rule in rules]}}


INVALID, UNSUPPORTED = Reason.INVALID_FIELD, Reason.UNSUPPORTED_FIELD
FORBIDDEN = Reason.WEBHOOK_TARGET_FORBIDDEN
UNKNOWN_PRODUCT: dict[str, object] = {"command": "x", "product": {"id": "a", "category": "b", "provider": "c"}}

# What it is, the specification as JSON, the reason, the path of the field.
BAD: list[tuple[str, dict[str, object], Reason, str]] = [
    ("two replicas", {"command": "x", "replicas": 2}, UNSUPPORTED, "replicas"),
    ("ssh", {"command": "x", "sshEnabled": True}, UNSUPPORTED, "ssh_enabled"),
    ("restart", {"command": "x", "restartOnExit": True}, UNSUPPORTED, "restart_on_exit"),
    ("resources", {"command": "x", "resources": [{}]}, UNSUPPORTED, "resources"),
    ("webhook inside", {"command": "x", "webhook": "https://127.0.0.1/"}, FORBIDDEN, "webhook"),
    ("webhook without TLS", {"command": "x", "webhook": "http://example.org/"}, FORBIDDEN, "webhook"),
    ("webhook that is no URL", {"command": "x", "webhook": "example.org"}, INVALID, "webhook"),
    ("no command", {}, INVALID, "command"),
    ("unknown application", {"application": {"name": "a", "version": "1"}}, Reason.APPLICATION_UNKNOWN, "application"),
    ("unknown product", UNKNOWN_PRODUCT, Reason.PRODUCT_NOT_FOUND, "product"),
    ("NUL in an argument", {"command": "x", "arguments": ["a", "b\0"]}, INVALID, "arguments[1]"),
    ("our prefix", {"command": "x", "environment": {"TENURE_X": "1"}}, INVALID, 'environment["TENURE_X"]'),
    ("reversed text", {"command": "x", "name": "a\u202eb"}, INVALID, "name"),
    ("too large", {"command": "x", "arguments": ["y" * 100_000] * 2}, INVALID, ""),
    ("upload before", sync("before", {"direction": "SYNC_DIRECTION_UPLOAD"}), INVALID, "sync.before[0].direction"),
    ("dots in a prefix", sync("after", {}, {"prefix": "a/../b"}), INVALID, "sync.after[1].prefix"),
    ("empty prefix", sync("after", {"prefix": ""}), INVALID, "sync.after[0].prefix"),
    ("escape", sync("during", {"localPath": "../x"}), INVALID, "sync.during[0].local_path"),
    ("pattern", sync("during", {"pattern": "("}), INVALID, "sync.during[0].pattern"),
    ("marker before", sync("before", {"commitMarker": "x"}), INVALID, "sync.before[0].commit_marker"),
]


@pytest.mark.parametrize(("body", "reason", "field"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_breaks_a_rule_is_refused_with_its_place(body: dict[str, object], reason: Reason, field: str) -> None:
    with pytest.raises(Refused) as refused:
        event_of(json_format.ParseDict(body, Spec()))
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_a_number_that_is_none_is_refused() -> None:
    spec = Spec(command="x")
    spec.parameters["a"].list_value.values.add().number_value = float("nan")
    with pytest.raises(Refused) as refused:
        event_of(spec)
    assert refused.value.field == 'parameters["a"]'


@pytest.mark.parametrize("levels", [33, 48])
def test_parameters_too_deep_for_a_worker_are_refused(levels: int) -> None:
    # 48 lists can be read in a request, and not in an assignment, which holds the specification one message deeper.
    spec = Spec(command="x", parameters={"a": nested(levels)})
    with pytest.raises(Refused) as refused:
        event_of(spec)
    assert (refused.value.reason, refused.value.field) == (INVALID, 'parameters["a"]')


def test_parameters_as_deep_as_allowed_reach_a_worker() -> None:
    spec = Spec(command="x", parameters={"a": nested(32)})
    event_of(spec)
    sent = worker_service_pb2.ConnectResponse()
    sent.assignments.items.add(specification=spec)
    assert worker_service_pb2.ConnectResponse.FromString(sent.SerializeToString()) == sent


def nested(levels: int) -> struct_pb2.Value:
    """A number in so many lists, one in the other."""
    value = struct_pb2.Value(number_value=1)
    for _ in range(levels):
        outer = struct_pb2.Value()
        outer.list_value.values.add().CopyFrom(value)
        value = outer
    return value


def test_what_we_do_not_know_is_not_stored() -> None:
    spec = Spec(command="x", sync=job_pb2.Sync(before=[job_pb2.SyncRule(bucket="bucket", prefix="a/", local_path="a")]))
    known = event_of(spec)
    spec.MergeFromString(b"\xfa\x3e\x05hello")
    spec.sync.before[0].MergeFromString(b"\xfa\x3e\x05hello")
    assert event_of(spec) == known


@pytest.mark.parametrize(
    "duration", [Duration(seconds=1, nanos=-1), Duration(seconds=1, nanos=2_000_000_000)], ids=["signs", "nanos"]
)
def test_a_duration_that_is_none_is_refused(duration: Duration) -> None:
    with pytest.raises(Refused) as refused:
        event_of(Spec(command="x", time_allocation=duration))
    assert refused.value.reason is Reason.INVALID_FIELD
    assert "time_allocation" in refused.value.field


def test_null_false_and_one_are_taken_and_kept() -> None:
    spec = Spec(command="x", replicas=1, ssh_enabled=False, restart_on_exit=False)
    stored = Spec.FromString(event_of(spec).specification)
    assert (stored.replicas, stored.HasField("ssh_enabled"), stored.ssh_enabled) == (1, True, False)


def test_prefixes_get_their_last_slash() -> None:
    (spec,) = read_submission((DATA / "kelpie-job.json.txt").read_bytes()).specifications
    for rules in (spec.sync.before, spec.sync.during, spec.sync.after):
        for one in rules:
            one.prefix = one.prefix.rstrip("/")
    event = event_of(spec)
    stored = Spec.FromString(event.specification)
    assert [one.prefix for one in stored.sync.before] == ["demoapp1/job0/input/", "demoapp1/job0/state/"]
    assert event.queue == "8e78dce7-08b8-4854-b6ea-67a6bb6bcf03"
    assert event.absolute_paths == ("/app/data/input", "/app/data/output", "/app/data/state")
    assert (event.terms.max_failures, event.terms.heartbeat_interval_us) == (3, 30_000_000)


def test_the_first_seed_is_resolved_to_the_example() -> None:
    (spec,) = read_submission((DATA / "ucloud-create.json").read_bytes()).specifications
    event = event_of(spec)
    assert (event.queue, event.command, event.allow_duplicate) == ("default", "python3", False)
    assert (event.terms.basis, event.terms.time_allocation_us) == (e.Basis.CREATED, 5 * 3_600_000_000)
    assert event.facets.application_name == "acme-web-application"


def test_the_digest_is_of_the_work_alone() -> None:
    plain = Spec(command="x", arguments=["1"])
    dressed = Spec(command="x", arguments=["1"], name="n", labels={"a": "b"}, allow_duplicate_job=False)
    assert digest(plain) == digest(dressed)
    assert digest(plain) != digest(Spec(command="x", arguments=["2"]))
