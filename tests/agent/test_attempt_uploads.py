"""An attempt whose uploads give up while its command runs: what is saved all the same, and what it comes to."""

from __future__ import annotations

import pytest

from tenure.agent.sync.retry import SyncRefused, SyncUnreachable
from tenure.v1 import job_pb2
from tests.agent.bench import BUCKET, Bench, PlayedCopying
from tests.agent.fake_server import assignment, span

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("end", ["sleep 600 & wait", "exit 1"])
async def test_a_file_that_is_refused_does_not_take_the_others_along(bench: Bench, end: str) -> None:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    patient = job_pb2.SyncRule(
        bucket=BUCKET, prefix="ck/", local_path="ck", quiet_period=span(3600), max_wait=span(3600)
    )
    script = f"trap 'echo 3 > ck/3; exit 0' INT; echo 1 > ck/1; echo 2 > ck/2; echo 0 > 'ck/a\\b'; {end}"
    spec = job_pb2.JobSpecification(sync=job_pb2.Sync(during=[patient]))
    await session.started(assignment(command="bash", arguments=("-c", script), specification=spec))
    failed = (await session.reported("failed")).failed
    assert (await bench.object("ck/1"), await bench.object("ck/2")) == (b"1\n", b"2\n")
    if end == "exit 1":
        return  # which of both is told depends on what was seen first
    assert (failed.stage, failed.HasField("exit_code")) == (job_pb2.ATTEMPT_STAGE_RUN, False)
    assert failed.message == "1 object keys cannot be file names: a\\\\b (backslash)"
    assert await bench.object("ck/3") == b"3\n", "what the command saved when it was told to stop"


async def test_uploads_that_give_up_end_the_command(bench: Bench) -> None:
    copying = bench.copying = PlayedCopying()
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    await session.started(assignment(command="sleep", arguments=("600",)))
    copying.failed.set_result(SyncRefused("put bucket/ck: access denied"))
    failed = (await session.reported("failed")).failed
    assert (failed.stage, failed.message) == (job_pb2.ATTEMPT_STAGE_RUN, "put bucket/ck: access denied")
    assert copying.steps.count("finish_during") == 1


async def test_uploads_that_cannot_be_made_end_the_command_without_a_last_pass(bench: Bench) -> None:
    copying = bench.copying = PlayedCopying()
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    await session.started(assignment(command="sleep", arguments=("600",)))
    copying.failed.set_result(SyncUnreachable("no answer for 1 h"))
    assert "no answer for 1 h" in (await session.reported("released")).released.reason
    assert "finish_during" not in copying.steps
