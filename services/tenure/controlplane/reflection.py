"""Server reflection, so that grpcurl and its like need no protos: v1 and the older v1alpha.

The two differ in nothing but the name of their package, so v1 is made from v1alpha, its descriptor included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

from tenure.controlplane.call import BadMessage, Messages, StreamCall

V1ALPHA = cast(ServiceDescriptor, reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"])


def v1() -> ServiceDescriptor:
    """The descriptor of `grpc.reflection.v1.ServerReflection`, which the library does not carry."""
    pool = descriptor_pool.Default()
    name = "grpc.reflection.v1.ServerReflection"
    try:
        return pool.FindServiceByName(name)
    except KeyError:
        pass
    file = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = "grpc/reflection/v1/reflection.proto"
    file.package = "grpc.reflection.v1"
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = _renamed(field.type_name)
    for method in file.service[0].method:
        method.input_type, method.output_type = _renamed(method.input_type), _renamed(method.output_type)
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(name)


class ReflectionService:
    """The servicer of both versions.

    Args:
        services: full names of the services that it lists.
    """

    def __init__(self, services: Iterable[str]) -> None:
        # It never looks at its context, which here would be none of gRPC's.
        self._answers: Any = reflection.ReflectionServicer(sorted(services))

    async def server_reflection_info(
        self, messages: Messages[reflection_pb2.ServerReflectionRequest], call: StreamCall
    ) -> None:
        """One answer a question."""
        async for message in messages:
            if isinstance(message, BadMessage):  # there are no rules to break
                continue
            # Questions of v1 have the same bytes.
            question = reflection_pb2.ServerReflectionRequest.FromString(message.SerializeToString())
            for answer in self._answers.ServerReflectionInfo(iter([question]), None):
                await call.send(answer)


def _renamed(name: str) -> str:
    return name.replace(".grpc.reflection.v1alpha.", ".grpc.reflection.v1.")
