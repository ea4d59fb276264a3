"""The events of the domain are the stored messages, field for field, and docs/events.md tells of all of them."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import get_args

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tenure.domain import events as e
from tenure.events.v1 import event_pb2
from tenure.projections.updates import text_of
from tests.domain.life import created
from tests.house.tree import read

PAYLOADS: tuple[type, ...] = (*get_args(e.JobEvent), *get_args(e.QueueEvent))
VALUES = (e.Features, e.Terms, e.Transfer, e.Facets, e.Product)
TIMES = {"google.protobuf.Timestamp", "google.protobuf.Duration"}

PAGE = read("docs/events.md")


def _message(name: str) -> Descriptor:
    return event_pb2.DESCRIPTOR.message_types_by_name[name]


def _name(field: FieldDescriptor) -> str:
    """What the domain calls it: times and spans carry their unit."""
    if field.message_type is None or field.message_type.full_name not in TIMES:
        return field.name
    return "requested_us" if field.name == "requested_time" else f"{field.name}_us"


@pytest.mark.parametrize("value", [*PAYLOADS, *VALUES])
def test_fields_are_those_of_the_message(value: type) -> None:
    ours = [field.name for field in fields(value)]
    if value is e.JobAssigned:
        assert ours.pop(0) == "lease_id"  # the id of the event
    assert ours == [_name(field) for field in _message(value.__name__).fields]


def test_every_payload_is_an_event_of_the_domain() -> None:
    stored = [field.message_type for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields]
    assert stored == [_message(payload.__name__) for payload in PAYLOADS]


def test_streams() -> None:
    assert (e.job_stream("62348"), e.queue_stream("default")) == ("job/62348", "queue/default")


# --- the page ---


def _section(name: str) -> str:
    found = re.search(rf"^#+ {re.escape(name)}$\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/events.md has no section {name}"
    return found.group(1)


def _rows(section: str) -> list[str]:
    return re.findall(r"^\| `([a-z_]+)` \| \S", section, re.MULTILINE)


def test_the_page_has_a_section_for_every_event_in_order() -> None:
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == [payload.__name__ for payload in PAYLOADS]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_page_tells_of_every_field(payload: type) -> None:
    assert _rows(_section(payload.__name__)) == [field.name for field in _message(payload.__name__).fields]


def test_the_page_tells_of_the_envelope() -> None:
    stored = [field.name for field in event_pb2.Event.DESCRIPTOR.fields if field.containing_oneof is None]
    assert _rows(_section("The envelope")) == [*stored, "payload"]


LIVE: list[e.JobEvent] = [
    created(),
    e.JobAssigned(lease_id="x", attempt=1, worker_id="A", lease_us=1),
    e.AssignmentDeclined(lease_id="x", attempt=1, worker_id="A", reason="", passed_over_until_us=1),
    e.JobStarted(lease_id="x", attempt=1, worker_id="A"),
    e.JobHeartbeat(lease_id="x", attempt=1, count=1, last_beat_us=1),
    e.JobExtended(requested_us=1),
    e.AttemptFailed(lease_id="x", attempt=1, worker_id="A", stage=e.Stage.RUN),
    e.AttemptReleased(lease_id="x", attempt=1, worker_id="A", reason=""),
    e.LeaseExpired(lease_id="x", attempt=1, worker_id="A", silence_us=1),
    e.CancelRequested(reason="", until_us=1),
]


@pytest.mark.parametrize("event", LIVE, ids=lambda event: type(event).__name__)
def test_the_page_gives_the_update_that_users_see(event: e.JobEvent) -> None:
    [told] = re.findall(r"^Update: (.*)$", _section(type(event).__name__), re.MULTILINE)
    said = text_of(event)
    if said is None:
        assert told.startswith("none")
    else:
        assert told == f"{said[0]}, `{said[1]}`"


@pytest.mark.parametrize("cause", e.RequeueCause)
def test_the_page_gives_the_update_of_every_requeue(cause: e.RequeueCause) -> None:
    reason = "no heartbeat for S s" if cause is e.RequeueCause.LOST else "REASON"
    said = text_of(e.JobRequeued(cause=cause, attempt=7, worker_id="WORKER", reason=reason))
    assert said is not None
    assert f"* {cause.name}: {said[0]}, `{said[1].replace('7', 'N')}`\n" in _section("JobRequeued")


@pytest.mark.parametrize("outcome", e.Outcome)
def test_the_page_gives_the_update_of_every_outcome(outcome: e.Outcome) -> None:
    said = text_of(e.JobTerminated(outcome=outcome, reason="REASON"))
    assert said is not None
    assert f"* {outcome.name}: {said[0]}, `{said[1]}`\n" in _section("JobTerminated")
