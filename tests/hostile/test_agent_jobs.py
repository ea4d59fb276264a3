"""Hostile jobs on real workers: nothing outside changes or is stored, nobody else's job suffers, nothing stays behind.

All of them run at once on one worker, beside a job that only wants to be left alone; those that end or freeze their
agent have workers of their own. As root the worker has cgroups; as another user it has process groups and its marks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.callers import extension, outcome_of, state_of
from tests.acceptance.waiting import eventually
from tests.hostile import agent_folders, agent_jobs
from tests.hostile.agent_jobs import Hostile
from tests.hostile.agent_scene import (
    CANARY,
    GONE_S,
    WITHIN_S,
    Kind,
    KindOfWorker,
    Scene,
    kinds,
    make_outside,
    processes_of,
    scene,
    snapshot,
    stored,
)
from tests.proof.record import Proof, settle
from tests.proof.sizes import FULL
from tests.servers.seaweedfs import SeaweedFS, seaweedfs

__all__ = ["seaweedfs"]

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

# --- all at once --------------------------------------------------------------------------------------------------


async def run_all(scene: Scene, kind: Kind, jobs: Sequence[Hostile]) -> list[str]:
    """Run hostile jobs on one worker beside a harmless one; what was wrong."""
    worker = await scene.worker(f"{kind.name}-all", kind, slots=len(jobs) + 1)
    neighbour = await scene.submit(worker, Hostile(name="neighbour", program=agent_jobs.NEIGHBOUR, after=True))
    ids = {hostile.name: await scene.submit(worker, hostile) for hostile in jobs}
    seen = await asyncio.gather(*(watch(scene, worker, one, ids[one.name]) for one in jobs))
    found = [violation for each in seen for violation in each]
    (scene.marks(f"{worker.id}-neighbour") / "end").touch()
    job = await scene.end_of(neighbour)
    if (outcome_of(job), job.status.attempt, job.status.num_interruptions) != ("COMPLETED", 1, 0):
        found.append(f"the neighbour suffered: {outcome_of(job)} in attempt {job.status.attempt}")
    found += await nothing_left(scene, worker)
    return [f"{kind.name}: {one}" for one in found]


async def watch(scene: Scene, worker: KindOfWorker, hostile: Hostile, job_id: str) -> list[str]:
    """See one hostile job to its end; what was wrong."""
    marks = scene.marks(f"{worker.id}-{hostile.name}")
    if not hostile.ends or hostile.extended:
        await scene.is_there(marks / "ready")
    if hostile.extended:
        await scene.fleet.caller.extend_many([extension(job_id, 600)])
        (marks / "go").touch()
    if not hostile.ends:
        await scene.fleet.caller.terminate(job_id)
    job = await scene.end_of(job_id)
    found = []
    ends = hostile.ends or {"CANCELLED"}
    if outcome_of(job) not in ends:
        found.append(f"ended {outcome_of(job)}, not {' or '.join(sorted(ends))}: {list(job.updates)[-1].status}")
    if job.status.attempt != 1:
        found.append(f"took {job.status.attempt} attempts")
    said = job.updates[-1].status
    if hostile.says not in said or not said.isprintable():
        found.append(f"its failure says {said!r}")
    if hostile.stored is not None:
        keys = await scene.fleet.keys(f"{worker.id}-{hostile.name}")
        if keys != hostile.stored:
            found.append(f"stored {sorted(keys)[:5]}, not {sorted(hostile.stored)[:5]}")
    if left := await left_after(marks):
        found.append(f"left processes: {left}")
    return [f"{hostile.name}: {one}" for one in found]


async def left_after(marks: Path) -> list[int]:
    """The processes of a job that are still there after a while."""

    async def gone() -> bool:
        return not processes_of(marks)

    with contextlib.suppress(AssertionError):
        await eventually(gone, within_s=GONE_S)
    return processes_of(marks)


async def nothing_left(scene: Scene, worker: KindOfWorker) -> list[str]:
    """Whether the worker still runs, with an empty folder; what is wrong with it."""
    found = [] if worker.running else [f"the worker has ended: {worker.tail()}"]
    jobs = worker.work_dir / "jobs"

    async def is_empty() -> bool:
        return not [path for path in jobs.iterdir() if not path.name.endswith("-moved")]

    try:
        await eventually(is_empty, within_s=GONE_S)
    except AssertionError:
        found.append(f"folders are left: {[path.name for path in jobs.iterdir()]}")
    return found + [
        f"the worker met {word}: {worker.output().partition(word)[2][:3000]}"
        for word in ("Traceback", "attempt_broke")
        if word in worker.output()
    ]


# --- those that end or freeze their agent -------------------------------------------------------------------------


async def killed_agent(scene: Scene, kind: Kind) -> list[str]:
    """A job kills its agent: the guardian ends the job, and all it forked away."""
    worker = await scene.worker(f"{kind.name}-killed", kind)
    hostile = Hostile(name="kills-its-agent", program=agent_jobs.KILLS_ITS_AGENT)
    job_id = await scene.submit(worker, hostile)
    marks = scene.marks(f"{worker.id}-{hostile.name}")
    await worker.wait(within_s=WITHIN_S)
    found = []
    if left := await left_after(marks):
        found.append(f"kills-its-agent: left processes: {left}")
    await scene.fleet.caller.terminate(job_id)
    return [f"{kind.name}: {one}" for one in found]


async def stopped_agent(scene: Scene, kind: Kind) -> list[str]:
    """A job freezes its agent: it is lost, and when the agent thaws it ends that attempt and takes the next."""
    worker = await scene.worker(f"{kind.name}-stopped", kind)
    hostile = Hostile(name="stops-its-agent", program=agent_jobs.STOPS_ITS_AGENT)
    job_id = await scene.submit(worker, hostile, heartbeat_s=1)
    await scene.is_there(scene.marks(f"{worker.id}-{hostile.name}") / "ready")
    await scene.fleet.until_event(job_id, "LeaseExpired", within_s=WITHIN_S)
    worker.signal(signal.SIGCONT)
    job = await scene.end_of(job_id)
    found = []
    if (outcome_of(job), job.status.attempt, job.status.num_interruptions) != ("COMPLETED", 2, 1):
        found.append(f"stops-its-agent: {outcome_of(job)} in attempt {job.status.attempt}")
    found += await nothing_left(scene, worker)
    return [f"{kind.name}: {one}" for one in found]


@contextmanager
def small_disk(folder: Path, kind: Kind) -> Iterator[None]:
    """A file system of 24 MB in a folder."""
    options = f"size=24m,uid={kind.uid},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tenure-test", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def full_disk(scene: Scene, kind: Kind) -> list[str]:
    """A job fills the disk of its worker: the job beside it goes on, and later there is room again."""
    name = f"{kind.name}-full"
    folder = scene.directory / f"work-{name}"
    folder.mkdir()
    with small_disk(folder, kind):
        worker = await scene.worker(name, kind, slots=2)
        neighbour = await scene.submit(worker, Hostile(name="neighbour", program=agent_jobs.NEIGHBOUR, after=True))

        async def runs() -> bool:
            return state_of(await scene.fleet.caller.job(neighbour)) == "RUNNING"

        await scene.fleet.eventually(runs, "the neighbour to run")
        hostile = Hostile(name="fills-its-disk", program=agent_jobs.FILLS_ITS_DISK)
        job_id = await scene.submit(worker, hostile)
        marks = scene.marks(f"{name}-{hostile.name}")
        await scene.is_there(marks / "ready")
        await scene.fleet.caller.extend_many([extension(neighbour, 600)])  # its deadline file cannot be written now
        (marks / "go").touch()
        found = []
        if outcome_of(job := await scene.end_of(job_id)) != "COMPLETED":
            found.append(f"fills-its-disk: {outcome_of(job)}: {job.updates[-1].status}")
        (scene.marks(f"{name}-neighbour") / "end").touch()
        job = await scene.end_of(neighbour)
        if (outcome_of(job), job.status.attempt) != ("COMPLETED", 1):
            found.append(f"fills-its-disk: the neighbour: {outcome_of(job)} in attempt {job.status.attempt}")
        found += await nothing_left(scene, worker)
        worker.close()
    return [f"{kind.name}: {one}" for one in found]


async def naive_agent_is_noticed(directory: Path) -> bool:
    """Whether it is seen what stays behind of a job whose agent ends no more than the group of its command."""
    (hostile,) = [job for job in agent_jobs.processes() if job.name == "forks-away"]
    marks = directory / "marks-control"
    marks.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", agent_jobs.PRELUDE + hostile.program, str(marks), "0"),
        env={"TENURE_JOB_DIR": str(marks)},
        start_new_session=True,
    )
    await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    left = processes_of(marks)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return bool(left)


async def test_hostile_jobs_harm_nobody_else(seaweedfs: SeaweedFS) -> None:
    began = time.monotonic()
    violations: list[str] = []
    found_kinds = kinds()
    cases = 0
    async with scene(seaweedfs) as opened:
        bites = await naive_agent_is_noticed(opened.directory)
        outside = make_outside(opened.directory, found_kinds[-1])
        before = snapshot(outside)
        async with asyncio.TaskGroup() as group:
            working = []
            for number, kind in enumerate(found_kinds):
                whole = FULL or number == 0
                jobs = agent_folders.hostile_jobs(all_of_them=whole)
                work = [run_all(opened, kind, jobs), killed_agent(opened, kind)]
                if whole:
                    work.append(stopped_agent(opened, kind))
                if whole and os.geteuid() == 0:
                    work.append(full_disk(opened, kind))
                cases += len(jobs) + len(work) - 1
                working += [group.create_task(each) for each in work]
        violations += [violation for each in working for violation in each.result()]
        now = snapshot(outside)
        changed = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
        violations += [f"outside was changed: {path}" for path in changed]
        violations += [
            f"the canary is stored in {key}" for key, data in (await stored(opened)).items() if CANARY in data
        ]
        if left := processes_of(opened.directory):
            violations.append(f"processes are left in the end: {left}")
    settle(
        Proof(
            name="hostile-jobs",
            promise="Whatever a job does to its folders, its output and its processes, its agent stores and changes "
            "nothing outside of its folder, no process of it stays behind, and the job beside it does not suffer.",
            fault="Hostile programs on real workers, all at once beside a harmless job; some kill or freeze their "
            "agent, or fill its disk.",
            runs=cases,
            faults=cases,
            acknowledged=0,
            violations=violations,
            figures={
                "workers run by": ", ".join(kind.name for kind in found_kinds),
                "one of them printed, MB": next(
                    job.amount for job in agent_folders.hostile_jobs() if job.name == "prints-without-end"
                ),
            },
            control="where only the group of a command is killed, a process that forked away is found",
            bites=bites,
            seconds=round(time.monotonic() - began, 1),
        )
    )
