"""The program that the demo's job runs: it sums 1..N, one number a step, and saves its state now and then.

It knows nothing of Tenure: it reads `state/` when it starts, writes `state/` while it runs and `output/` at its end, in
its working directory, like any program that can go on where it was stopped.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

STATE = Path("state", "checkpoint.json")
RESULT = Path("output", "result.json")


def main() -> None:
    """Sum up, from the last checkpoint on."""
    last = int(sys.argv[1])
    step_seconds = float(os.environ["STEP_RUNNING_TIME"])
    saving_interval = float(os.environ["STATE_SAVING_INTERVAL"])
    done, total = 0, 0
    if STATE.exists():
        state = json.loads(STATE.read_text())
        done, total = state["done"], state["total"]
        print(f"resumed after {done} with {total}", flush=True)
    saved = time.monotonic()
    for number in range(done + 1, last + 1):
        time.sleep(step_seconds)
        total += number
        if time.monotonic() - saved >= saving_interval:
            replace(STATE, {"done": number, "total": total})
            saved = time.monotonic()
        progress(number, last)
    replace(RESULT, {"sum": total})
    print(f"the sum of 1..{last} is {total}", flush=True)


def progress(done: int, last: int) -> None:
    """Say how far it is, where somebody wants to know."""
    if path := os.environ.get("TENURE_PROGRESS_FILE"):
        replace(Path(path), {"fraction": done / last, "message": f"{done} of {last}"})


def replace(path: Path, value: dict[str, object]) -> None:
    """Write a file so that whoever reads it sees the old content or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


if __name__ == "__main__":
    main()
