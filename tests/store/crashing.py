"""A process that writes to a store until it is killed, and says on standard output what has become durable.

`python -m tests.store.crashing DIRECTORY ROUND`: each line is the id of a job whose creation was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.store.making import change, creation, life, put, request
from tests.store.opening import opened


async def main(directory: Path, prefix: str) -> None:
    """Write from several callers, for ever."""
    async with opened(directory) as store:

        async def caller(name: str) -> None:
            number = 0
            while True:
                number += 1
                job_id = f"{prefix}-{name}-{number}"
                (job,) = await put(store, creation(job_id), request=request(job_id))
                os.write(1, f"{job_id}\n".encode())
                if number % 3 == 0:
                    await put(store, change(job, *life(job)))

        await asyncio.gather(*(caller(f"c{number}") for number in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
