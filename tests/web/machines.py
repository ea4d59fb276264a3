"""A worker written against Kelpie's documented API, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

Run = Callable[[dict[str, Any]], Awaitable[int]]


class HttpMachine:
    """One machine: asks for work, beats, reports."""

    def __init__(self, client: httpx.AsyncClient, machine_id: str, container_group_id: str) -> None:
        self.id = machine_id
        self.ran: list[str] = []
        self._client = client
        self._who = {"machine_id": machine_id, "container_group_id": container_group_id}

    async def work(self) -> dict[str, Any] | None:
        """`GET /work`: a job, or None."""
        response = await self._client.get("/work", params=self._who)
        assert response.status_code == 200, response.text
        jobs: list[dict[str, Any]] = response.json()
        assert len(jobs) <= 1
        return jobs[0] if jobs else None

    async def heartbeat(self, job_id: str) -> str:
        """`POST /jobs/{id}/heartbeat`: the status that it answers."""
        response = await self.say(job_id, "heartbeat")
        assert response.status_code == 200, response.text
        answer: dict[str, str] = response.json()
        assert list(answer) == ["status"]
        return answer["status"]

    async def completed(self, job_id: str) -> httpx.Response:
        """`POST /jobs/{id}/completed`."""
        return await self.say(job_id, "completed")

    async def failed(self, job_id: str) -> httpx.Response:
        """`POST /jobs/{id}/failed`."""
        return await self.say(job_id, "failed")

    async def say(self, job_id: str, what: str) -> httpx.Response:
        """One of its reports."""
        return await self._client.post(f"/jobs/{job_id}/{what}", json=self._who)

    async def until_no_work(self, run: Run) -> None:
        """The loop of a worker: claim, beat, run, report, until there is nothing more."""
        while (job := await self.work()) is not None:
            self.ran.append(job["id"])
            if await self.heartbeat(job["id"]) == "canceled":
                continue
            if await run(job) == 0:
                response = await self.completed(job["id"])
                assert response.status_code == 200, response.text
            else:
                response = await self.failed(job["id"])
                assert response.status_code == 202, response.text
