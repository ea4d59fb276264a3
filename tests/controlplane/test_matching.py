"""Which worker a job goes to, and what it costs to find that there is none."""

from __future__ import annotations

import pytest

from tenure.controlplane import folders
from tests.controlplane.fleet import FakeWorker, Plane, fleet, succeeded


async def test_jobs_that_no_worker_allows_cost_the_same_however_many_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []
    below = folders.below

    def counted(path: str, folder: str) -> bool:
        compared.append((path, folder))
        return below(path, folder)

    monkeypatch.setattr(folders, "below", counted)
    async with Plane() as plane:
        busy = FakeWorker(plane, "busy", roots=["/scratch"])
        await busy.connect()
        await plane.create()
        await plane.settle()
        [one] = busy.assignments
        await busy.start(one.lease_id)
        async with fleet(plane, 50, lambda i: FakeWorker(plane, f"w{i}", roots=["/scratch", "/data"][i % 2 :])):
            await plane.create(40, absolute_paths=("/nowhere",))
            await plane.settle()
            compared.clear()
            await busy.report(succeeded(one.lease_id))
            # Each job with each of the three choices of folders there are: four comparisons.
            assert len(compared) == 40 * 4
            assert {path for path, _ in compared} == {"/nowhere"}


async def test_among_workers_that_allow_other_folders_the_one_that_allows_these_is_found() -> None:
    async with Plane() as plane:
        workers = [FakeWorker(plane, f"w{index}", slots=2, roots=[f"/data/{index}"]) for index in range(5)]
        for worker in workers:
            await worker.connect()
        given = {
            worker.id: await plane.create(absolute_paths=(f"/data/{index}/x",)) for index, worker in enumerate(workers)
        }
        again = await plane.create(absolute_paths=("/data/3/x/deep",))
        await plane.settle()
        assert {worker.id: [one.job_id for one in worker.assignments] for worker in workers} == given
        [one] = workers[3].assignments
        await workers[3].start(one.lease_id)
        await workers[3].report(succeeded(one.lease_id))
        assert [one.job_id for one in workers[3].assignments] == [*given["w3"], *again]
