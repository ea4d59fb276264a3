"""The yardstick: the same services on bare grpc.aio, doing nothing. Run by `processes.bare`.

It decodes the same requests and answers as many bytes as the real one, on the same event loop; there is no token, no
rule, no event and no disk. `Connect` reads until the stream ends, and answers only to workers whose name begins with
`echo`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import uvloop

from tenure.v1 import job_service_pb2, job_service_pb2_grpc, worker_service_pb2_grpc
from tenure.v1 import worker_service_pb2 as pb

# As long as the real ones.
ID = 36 * "0"
RESUME_TOKEN = 76 * "0"


class Jobs:
    """Creates nothing."""

    def __getattr__(self, name: str) -> object:
        """Other methods: they are registered and never called."""
        return None

    async def CreateJobs(  # noqa: N802 (named by the service)
        self, request: job_service_pb2.CreateJobsRequest, context: object
    ) -> job_service_pb2.CreateJobsResponse:
        """Answers with one id an item."""
        items = [job_service_pb2.CreateJobsResponse.Item(id=ID) for _ in request.items]
        return job_service_pb2.CreateJobsResponse(responses=items, resume_token=RESUME_TOKEN)


class Workers:
    """Listens and does nothing."""

    def __getattr__(self, name: str) -> object:
        """Other methods: they are registered and never called."""
        return None

    async def Connect(  # noqa: N802 (named by the service)
        self, request_iterator: AsyncIterator[pb.ConnectRequest], context: object
    ) -> AsyncIterator[pb.ConnectResponse]:
        """Welcomes; then answers each heartbeat, or none."""
        echo = False
        async for message in request_iterator:
            if message.HasField("hello"):
                echo = message.hello.worker_id.startswith("echo")
                yield pb.ConnectResponse(welcome=pb.Welcome())
            elif echo:
                items = [pb.HeartbeatAck.Item(lease_id=beat.lease_id) for beat in message.heartbeat.beats]
                yield pb.ConnectResponse(heartbeat_ack=pb.HeartbeatAck(items=items))


async def serve() -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    job_service_pb2_grpc.add_JobServiceServicer_to_server(cast("Any", Jobs()), server)
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(cast("Any", Workers()), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
