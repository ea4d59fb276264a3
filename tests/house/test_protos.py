"""The contract as a whole: which RPCs change something, what that obliges them to, and what is vendored."""

from __future__ import annotations

import re
from importlib import import_module, metadata, resources
from pathlib import Path

import grpc
import protovalidate._gen.buf.validate.validate_pb as validate
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_tools import protoc

from tenure.v1 import errors_pb2
from tests.house.tree import ROOT

FILES = ["admin_service", "event_service", "job_service", "queue_service", "webhook_service", "worker_service"]

# What an RPC does decides what its messages carry. A new RPC belongs into one of these.
READS = {
    "BrowseDeliveries",
    "BrowseJobs",
    "BrowseQueues",
    "BrowseTokens",
    "BrowseWebhooks",
    "BrowseWorkers",
    "ExplainJob",
    "FollowLogs",
    "ReadEvents",
    "RetrieveJob",
    "RetrieveStore",
    "VerifyLog",
    "WatchJobs",
}
APPENDS_EVENTS = {"CreateJobs", "ExtendJobs", "PauseQueues", "StopJobs", "TerminateJobs", "UpsertQueues"}
# Changes that are no events, and why a repeat of each does no harm without a request id.
CHANGES_OTHERWISE = {
    "BackupStore": "refuses a file that exists",
    "Connect": "every message carries its lease",
    "CreateToken": "a secret is shown once; an unused token can be revoked",
    "DeleteWebhooks": "a removed webhook stays removed",
    "DrainWorkers": "a drained worker stays drained",
    "ReplayDeliveries": "what waits to be delivered is not added again",
    "RevokeToken": "a revoked token stays revoked",
    "RotateWebhookSecret": "every secret signs on for its overlap, those of lost answers too",
    "ShipLogs": "carries offsets",
    "UpsertWebhooks": "an owner has a URL once, and a secret is shown once",
}


# Shown with a worker; never the reason of a refused call.
NO_CODE = {"ERROR_REASON_WORKER_SUSPECT"}


def _services() -> list[ServiceDescriptor]:
    files = [import_module(f"tenure.v1.{name}_pb2").DESCRIPTOR for name in FILES]
    return [service for file in files for service in file.services_by_name.values()]


METHODS: list[MethodDescriptor] = [method for service in _services() for method in service.methods]


def test_every_service_is_looked_at() -> None:
    named = {path.name.removesuffix(".proto") for path in (ROOT / "protos" / "tenure" / "v1").glob("*_service.proto")}
    assert named == set(FILES)


def test_every_rpc_is_classified_once() -> None:
    assert sorted(method.name for method in METHODS) == sorted([*READS, *APPENDS_EVENTS, *CHANGES_OTHERWISE])


@pytest.mark.parametrize("method", [m for m in METHODS if m.name in APPENDS_EVENTS], ids=lambda m: m.name)
def test_what_appends_events_can_be_repeated_and_read_after(method: MethodDescriptor) -> None:
    assert "request_id" in method.input_type.fields_by_name
    assert "resume_token" in method.output_type.fields_by_name


@pytest.mark.parametrize("method", [m for m in METHODS if m.name.startswith("Browse")], ids=lambda m: m.name)
def test_every_list_comes_in_pages(method: MethodDescriptor) -> None:
    assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
    assert "next_page_token" in method.output_type.fields_by_name


def test_every_error_reason_says_its_code() -> None:
    """Clients in other languages read the code of a reason in its comment."""
    source = (ROOT / "protos" / "tenure" / "v1" / "errors.proto").read_text(encoding="utf-8")
    said = re.findall(r"// ([A-Z_]+): .*\n(?:  //.*\n)*  (ERROR_REASON_\w+) = ", source)
    codes = {reason: code for code, reason in said}
    reasons = {value.name for value in errors_pb2.ErrorReason.DESCRIPTOR.values if value.number} - NO_CODE
    assert [reason for reason in reasons if codes.get(reason) not in grpc.StatusCode.__members__] == []


@pytest.mark.parametrize(
    "path",
    [
        "google/api/annotations.proto",
        "google/api/http.proto",
        "google/rpc/code.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
    ],
)
def test_vendored_google_protos_are_the_installed_ones(path: str) -> None:
    vendored = (ROOT / "third_party" / "protos" / path).read_text(encoding="utf-8")
    installed = Path(str(metadata.distribution("googleapis-common-protos").locate_file(path)))
    assert vendored == installed.read_text(encoding="utf-8")


def test_vendored_validate_proto_has_what_protovalidate_reads(tmp_path: Path) -> None:
    """Every field and extension of the rules with its number and type, as the installed engine knows them."""
    target = tmp_path / "validate.binpb"
    vendored = str(ROOT / "third_party" / "protos")
    well_known = str(resources.files("grpc_tools") / "_proto")
    arguments = ["protoc", f"-I{vendored}", f"-I{well_known}", "-o", str(target), "buf/validate/validate.proto"]
    assert protoc.main(arguments) == 0
    ours = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file[0]
    theirs = descriptor_pb2.FileDescriptorProto.FromString(validate.desc().proto.to_binary())
    assert _shape(ours) == _shape(theirs)


def _shape(file: descriptor_pb2.FileDescriptorProto) -> set[tuple[str, str, int, int, str]]:
    def fields(scope: str, messages: list[descriptor_pb2.DescriptorProto]) -> set[tuple[str, str, int, int, str]]:
        found: set[tuple[str, str, int, int, str]] = set()
        for message in messages:
            name = f"{scope}.{message.name}"
            found |= {(name, field.name, field.number, field.type, field.type_name) for field in message.field}
            found |= fields(name, list(message.nested_type))
        return found

    extensions = {(one.extendee, one.name, one.number, one.type, one.type_name) for one in file.extension}
    return extensions | fields(file.package, list(file.message_type))
