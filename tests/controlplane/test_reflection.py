"""Reflection as grpcurl uses it: list the services, then fetch the files of each, in both versions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2 as pb

from tests.controlplane.callers import channel_to
from tests.controlplane.harness import RunningServer, running_server

VERSIONS = ["grpc.reflection.v1", "grpc.reflection.v1alpha"]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server() as running:
        yield running


async def asked(
    address: str, version: str, *questions: pb.ServerReflectionRequest
) -> list[pb.ServerReflectionResponse]:
    async with channel_to(address) as channel:
        call = channel.stream_stream(
            f"/{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=pb.ServerReflectionRequest.SerializeToString,
            response_deserializer=pb.ServerReflectionResponse.FromString,
        )(timeout=20)
        answers = []
        for question in questions:
            await call.write(question)
            answer = await call.read()
            assert isinstance(answer, pb.ServerReflectionResponse)
            answers.append(answer)
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
    return answers


@pytest.mark.parametrize("version", VERSIONS)
async def test_all_services_are_listed_without_a_token(server: RunningServer, version: str) -> None:
    (answer,) = await asked(server.address, version, pb.ServerReflectionRequest(list_services="*"))
    assert {service.name for service in answer.list_services_response.service} == {
        "tenure.v1.JobService",
        "tenure.v1.WorkerService",
        "tenure.v1.QueueService",
        "tenure.v1.WebhookService",
        "tenure.v1.EventService",
        "tenure.v1.AdminService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_service_can_be_described_from_what_is_given(server: RunningServer, version: str) -> None:
    (listed,) = await asked(server.address, version, pb.ServerReflectionRequest(list_services="*"))
    names = [service.name for service in listed.list_services_response.service]
    answers = await asked(
        server.address, version, *[pb.ServerReflectionRequest(file_containing_symbol=name) for name in names]
    )
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for answer in answers:
        for raw in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            files[file.name] = file
    missing = {name for file in files.values() for name in file.dependency} - files.keys()
    more = await asked(
        server.address, version, *[pb.ServerReflectionRequest(file_by_filename=name) for name in sorted(missing)]
    )
    for answer in more:
        for raw in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            files[file.name] = file
    pool = descriptor_pool.DescriptorPool()
    for name in list(files):
        _add(pool, files, name)
    for name in names:
        assert pool.FindServiceByName(name).methods


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_not_there_is_not_found_and_the_stream_goes_on(server: RunningServer, version: str) -> None:
    nobody, listed = await asked(
        server.address,
        version,
        pb.ServerReflectionRequest(file_containing_symbol="nobody.Knows"),
        pb.ServerReflectionRequest(list_services="*"),
    )
    assert nobody.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert listed.list_services_response.service


async def test_it_can_be_switched_off() -> None:
    async with running_server(reflection=False) as server, channel_to(server.address) as channel:
        for version in VERSIONS:
            method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
                f"/{version}.ServerReflection/ServerReflectionInfo"
            )
            call = method(timeout=20)
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


def _add(pool: descriptor_pool.DescriptorPool, files: dict[str, descriptor_pb2.FileDescriptorProto], name: str) -> None:
    """Add a file after those that it needs; KeyError when one was not given."""
    file = files[name]
    for other in file.dependency:
        _add(pool, files, other)
    pool.AddSerializedFile(file.SerializeToString())
