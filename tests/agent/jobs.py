"""Jobs and first steps that several tests share."""

from __future__ import annotations

import sys

from tenure.v1 import job_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.agent.bench import BUCKET, Bench
from tests.agent.conftest import Eventually
from tests.agent.fake_server import Session, assignment, span

# Writes ck/n every 10 ms; after SIGINT it writes what it has come to once more and exits with 0.
SAVES = """
import os, signal, time
os.makedirs("ck", exist_ok=True)
told = []
signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
def save(text):
    with open("ck/new", "w") as file: file.write(text)
    os.replace("ck/new", "ck/n")
while not told:
    save("running")
    open("up", "w").close()
    time.sleep(0.01)
save("saved")
"""


def saving(
    *, lease_s: float = 60.0, max_disconnected_s: float | None = None, expires_at_us: int | None = None
) -> pb.Assignment:
    during = job_pb2.SyncRule(bucket=BUCKET, prefix="ck/", local_path="ck", quiet_period=span(0.02))
    spec = job_pb2.JobSpecification(sync=job_pb2.Sync(during=[during]))
    if max_disconnected_s is not None:
        spec.max_disconnected.CopyFrom(span(max_disconnected_s))
    return assignment(
        command=sys.executable,
        arguments=("-c", SAVES),
        specification=spec,
        beat_s=0.05,
        lease_s=lease_s,
        expires_at_us=expires_at_us,
    )


async def welcomed(bench: Bench, slots: int = 1) -> Session:
    bench.start(slots=slots)
    session = await bench.server.session()
    await session.welcome()
    return session


async def up(bench: Bench, eventually: Eventually, name: str = "job-of-lease-1-1") -> None:
    await eventually((bench.job_dir(name) / "up").exists)
