"""A bad day with real processes: a backup under load, a lost disk, the backup put back, and what clients are told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tenure.v1 import job_service_pb2
from tests.acceptance.callers import Caller, refusal
from tests.acceptance.processes import ServerProcess, run_tenure
from tests.acceptance.specifications import simple
from tests.acceptance.waiting import eventually

pytestmark = pytest.mark.processes


async def tenure(server: ServerProcess, *arguments: str) -> str:
    done = await asyncio.to_thread(run_tenure, "--server", server.address, *arguments, env=server.env)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_backup_under_load_is_put_back_after_the_disk_was_lost(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    backup = tmp_path / "backup.db"
    try:
        await server.up()
        caller = Caller(server.address, server.admin_token())
        early = [await caller.create(simple(hours=1)) for _ in range(20)]
        created: list[str] = []
        saved = asyncio.Event()

        async def submit() -> None:
            while not saved.is_set():
                created.append(await caller.create(simple(hours=1)))

        submitting = asyncio.ensure_future(submit())
        assert "verified" in await tenure(server, "log", "backup", str(backup))
        saved.set()
        await submitting
        late = await caller.create_many([simple(hours=1)] * 3)
        await caller.close()
        server.kill()

        # The disk is gone, and what is kept elsewhere is put back.
        for name in ("tenure.db", "tenure.db-wal", "tenure.db-shm"):
            (server.data / name).unlink(missing_ok=True)
        assert "epoch 2" in await tenure(
            server, "log", "restore", str(backup), "--replace", "--store", server.store_url
        )
        await server.up()
        caller = Caller(server.address, server.admin_token())
        assert "verified" in await tenure(server, "log", "verify")
        for job_id in early:
            await caller.job(job_id)
        assert created
        lost = await refusal(caller.job(late.responses[0].id))
        assert lost.reason == "JOB_NOT_FOUND"

        # Who has seen what is lost is told so, and not silently given what comes in its place.
        request = job_service_pb2.WatchJobsRequest(ids=early, resume_token=late.resume_token)
        watch = caller.jobs.WatchJobs(request, metadata=caller.metadata, timeout=20)
        told = await refusal(watch.read())
        assert (told.code, told.reason) == ("DATA_LOSS", "LOG_REGRESSED")
        await caller.create(simple(hours=1))
        await caller.close()
        assert "verified" in await tenure(server, "log", "verify")
    finally:
        server.close()


async def test_a_killed_server_leaves_no_half_backup(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    backup = tmp_path / "backup.db"
    try:
        await server.up()
        caller = Caller(server.address, server.admin_token())
        for _ in range(5):
            await caller.create_many([simple(hours=1)] * 1000)
        await caller.close()
        copying = asyncio.ensure_future(
            asyncio.to_thread(
                run_tenure, "--server", server.address, "log", "backup", str(backup), env=server.env, timeout_s=60
            )
        )

        async def begun() -> bool:
            return copying.done() or (tmp_path / ".backup.db.part").exists()

        await eventually(begun, "the copy to begin")
        server.kill()
        await copying
        # Either it was whole before the kill, or there is none of that name.
        if backup.exists():
            await tenure(server, "log", "restore", str(backup), "--store", f"sqlite://{tmp_path / 'new'}")
        await server.up()
        backup.unlink(missing_ok=True)
        assert "verified" in await tenure(server, "log", "backup", str(backup))
        assert not (tmp_path / ".backup.db.part").exists()
    finally:
        server.close()
