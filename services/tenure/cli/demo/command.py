"""The demo's story, told on the screen as it happens."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tenure.cli import failures
from tenure.cli.demo.bucket import Bucket
from tenure.cli.demo.processes import TENURE, Process, ProcessFailed, start_server, start_worker
from tenure.cli.demo.telling import Teller, local_time
from tenure.cli.demo.watching import has_ended, started_on
from tenure.cli.documents import read_submission
from tenure.cli.seaweedfs import SeaweedFS, SeaweedFSFailed, SeaweedFSMissing
from tenure.client.client import Client
from tenure.v1 import event_service_pb2, job_pb2, job_service_pb2

HERE = Path(__file__).parent
FIRST, SECOND = "worker-1", "worker-2"
NUMBERS = 80
HEARTBEAT_S = 2
STORY_S = 120


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the temporary folder behind.")] = False,
) -> None:
    """Show everything once: a job that survives its worker, an extension, a cancellation, and the log."""
    console = Console(highlight=False)
    # Whoever ends the demo, by whichever signal and from wherever it was started, ends what it has started.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="tenure-demo-"))
    try:
        with ExitStack() as running:
            _play(Teller(console), folder, running)
    except KeyboardInterrupt:
        console.print("\nStopped; everything that was started has been ended.")
        raise typer.Exit(130) from None
    except SeaweedFSMissing as missing:
        raise failures.Problem(str(missing), exit_code=failures.EXIT_REFUSED) from None
    except (ProcessFailed, SeaweedFSFailed) as failed:
        raise failures.Problem(f"the demo could not go on: {failed}", exit_code=failures.EXIT_REFUSED) from None
    finally:
        if keep:
            console.print(f"Everything is in {folder}")
        else:
            _remove(folder)


def _play(teller: Teller, folder: Path, running: ExitStack) -> None:
    data = folder / "data"
    teller.chapter("Starting an S3 store (SeaweedFS), a server on SQLite and two workers")
    store = SeaweedFS(folder / "s3")
    running.callback(store.stop)
    store.start()
    server, address, door = start_server(data)
    running.callback(server.kill)
    teller.say(f"server on {address}, its data in {data}")
    token_file = data / "admin.token"
    teller.say(f"its page, while this runs: http://{door}/ (sign in with the token in {token_file})")
    teller.detail(f'curl -H "Authorization: Bearer $(cat {token_file})" http://{door}/api/jobs/browse')
    teller.detail(f'curl -H "Authorization: Bearer $(cat {token_file})" http://{door}/v1/queues')
    bucket = Bucket(store)
    bucket.make()
    specification, differences = summing_job()
    queues = ["default", specification.queue]
    workers: dict[str, Process] = {}
    for name in (FIRST, SECOND):
        workers[name] = start_worker(name, address, data, folder / name, queues, bucket.environment)
        running.callback(workers[name].kill)
    teller.say(f"{FIRST} and {SECOND} are connected")
    token = token_file.read_text().strip()
    asyncio.run(_both_jobs(teller, address, token, workers, bucket, specification, differences))
    _verify(teller, server, workers, data)
    teller.finish()


async def _both_jobs(
    teller: Teller,
    address: str,
    token: str,
    workers: dict[str, Process],
    bucket: Bucket,
    specification: job_pb2.JobSpecification,
    differences: list[str],
) -> None:
    try:
        async with Client(address, token=token) as client, asyncio.timeout(STORY_S):
            job_id = await _survive(teller, client, workers, bucket, specification, differences)
            await extend_and_cancel(teller, client)
            await _events(teller, client, job_id)
    except TimeoutError:
        raise ProcessFailed(f"its jobs were not through within {STORY_S} s") from None


async def _survive(
    teller: Teller,
    client: Client,
    workers: dict[str, Process],
    bucket: Bucket,
    specification: job_pb2.JobSpecification,
    differences: list[str],
) -> str:
    teller.chapter(f"A job that sums 1..{NUMBERS} and saves its state to S3; its worker will die")
    teller.say("it is the printed Kelpie job; what differs:")
    for difference in differences:
        teller.detail(difference)
    created = await client.create_jobs([specification])
    job_id = created.responses[0].id
    teller.say(f"submitted: job {job_id}")
    flags = job_service_pb2.JobFlags(include_updates=True)
    victim = ""
    async for message in client.watch_jobs(ids=[job_id]):
        teller.change(message)
        if (worker := started_on(message)) and not victim:
            victim = worker
            await _checkpoints(bucket)
            teller.strong(f"kill -9 {victim} (process {workers[victim].pid}), with everything it runs")
            await asyncio.to_thread(workers[victim].kill)
            teller.say(f"its lease of {2 * HEARTBEAT_S} s runs out unless it is heard of …")
        elif worker not in ("", victim):
            teller.strong(f"resumed on {worker} from the checkpoint in S3")
        if has_ended(message):
            break
    job = await client.retrieve_job(job_id, flags=flags)
    result = await asyncio.to_thread(bucket.sum_of, job)
    teller.attempts(job)
    expected = NUMBERS * (NUMBERS + 1) // 2
    if job.status.outcome != job_pb2.JOB_OUTCOME_COMPLETED or result != expected:
        raise ProcessFailed(f"the job did not end as it should: {job.status}, result {result}, not {expected}")
    teller.strong(
        f"completed: the sum in {job.output.output_folder} is {result}, with {job.status.num_failures} failures"
    )
    return job_id


async def _checkpoints(bucket: Bucket) -> None:
    """Wait until a checkpoint with a quarter of the numbers is in the store."""
    for _ in range(200):
        if await asyncio.to_thread(bucket.numbers_done) >= NUMBERS // 4:
            return
        await asyncio.sleep(0.2)
    raise ProcessFailed("the job saved no checkpoint")


async def extend_and_cancel(teller: Teller, client: Client) -> None:
    """Submit the printed UCloud job, extend it once it runs, and cancel it."""
    teller.chapter("A job with 5 hours, extended by 1 and cancelled: the printed UCloud flow")
    submission = read_submission((HERE / "ucloud-create.json").read_bytes())
    created = await client.create_jobs(list(submission.specifications))
    job_id = created.responses[0].id
    teller.say(f"submitted: job {job_id}, acme-web-application 1.0.0, 5 h")
    async for message in client.watch_jobs(ids=[job_id]):
        teller.change(message)
        if started_on(message) or has_ended(message):
            break
    job = await client.retrieve_job(job_id)
    teller.say(f"it expires at {local_time(job.status.expires_at)}")
    item = job_service_pb2.ExtendJobsRequest.Item(job_id=job_id)
    item.requested_time.seconds = 3600
    extended = await client.extend_jobs([item])
    teller.strong(f"extended by 1 h: it expires at {local_time(extended.responses[0].expires_at)}")
    await client.terminate_jobs([job_service_pb2.TerminateJobsRequest.Item(id=job_id)])
    job = await client.retrieve_job(job_id)
    teller.strong(f"cancelled: {job.updates[-1].status}")


async def _events(teller: Teller, client: Client, job_id: str) -> None:
    teller.chapter("What the log says of the first job")
    only = event_service_pb2.EventFilter(job_ids=[job_id])
    async for event in client.read_events(filter=only):
        teller.stored(event)


def _verify(teller: Teller, server: Process, workers: dict[str, Process], data: Path) -> None:
    teller.chapter("Is the log whole? The server is stopped and the log verified: positions, hash chain, every job")
    for worker in workers.values():
        worker.stop()
    code = server.stop()
    if code != 0:
        raise ProcessFailed(f"the server ended with {code}")
    verified = subprocess.run(
        [*TENURE, "log", "verify", "--store", f"sqlite://{data}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if verified.returncode != 0:
        raise ProcessFailed(f"the log is not whole:\n{verified.stdout}{verified.stderr}")
    teller.strong(verified.stdout.strip().splitlines()[-1])


def summing_job() -> tuple[job_pb2.JobSpecification, list[str]]:
    """The printed Kelpie job, changed so that it runs anywhere within seconds, and what was changed, in words."""
    (specification,) = read_submission((HERE / "kelpie-job.json.txt").read_bytes()).specifications
    specification.command = sys.executable
    del specification.arguments[:]
    specification.arguments.extend([str(HERE / "program.py"), str(NUMBERS)])
    specification.environment.update({"STATE_SAVING_INTERVAL": "0.5", "STEP_RUNNING_TIME": "0.12"})
    specification.heartbeat_interval.FromSeconds(HEARTBEAT_S)
    for rules in (specification.sync.before, specification.sync.during, specification.sync.after):
        for rule in rules:
            rule.local_path = rule.local_path.removeprefix("/app/data/")
    return specification, [
        f"command: python /app/main.py → python program.py {NUMBERS}",
        "environment: a step 10 s → 0.12 s, saving every 60 s → 0.5 s",
        f"heartbeat_interval: 30 s → {HEARTBEAT_S} s",
        "sync local paths: /app/data/state/ → state/ and so on, in the attempt's own folder",
    ]


def _remove(folder: Path) -> None:
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.2)  # a process that was just ended may still be letting go of its files
