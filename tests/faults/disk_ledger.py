"""What the log must hold after a fault: everything that was acknowledged to the mixed load, once, and in order."""

from __future__ import annotations

import random
from pathlib import Path

import grpc.aio

from tenure.store.offline import verify_directory
from tests.acceptance.callers import Caller
from tests.acceptance.invariants import assert_dense, assert_ends_once, assert_one_owner
from tests.acceptance.mixed_load import MixedLoad
from tests.acceptance.processes import ServerProcess

SAMPLE = 50


async def missing_in_log(server: ServerProcess, load: MixedLoad, generator: random.Random) -> list[str]:
    """What is wrong with the log of a running server, in words; empty: nothing."""
    caller = Caller(server.address, server.admin_token())
    try:
        events = await caller.events()
        known = load.ledger.job_ids
        sample = generator.sample(known, min(SAMPLE, len(known)))
        jobs = {job_id: await caller.job(job_id) for job_id in sample}
        assert_dense(events)
        assert_one_owner(events)
        assert_ends_once(events)
        load.check(events, jobs)
    except AssertionError as error:
        return [f"the log is not what was acknowledged: {error}"]
    except grpc.aio.AioRpcError as error:
        return [f"asked for what was acknowledged, the server says {error.code().name}: {error.details()}"]
    finally:
        await caller.close()
    return []


def problems_in(directory: Path) -> list[str]:
    """What `tenure log verify` says of the data directory of a server that has ended."""
    *_, (_, report) = verify_directory(directory)
    return [f"verify: {problem}" for problem in report.problems]
