"""Runs the benchmarks: `make bench`, `make bench-smoke`, or `.venv/bin/python benchmarks/run.py --help`.

Each question is one file in `questions/`. What comes out is a table here and a JSON file in `results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import questions
from benchmarks.rig import report
from benchmarks.rig.bench import Bench
from benchmarks.rig.figures import Answer

REPEATS = 5


def main() -> None:
    """Ask the questions and show the answers."""
    names = sorted(module.name for module in pkgutil.iter_modules(questions.__path__))
    arguments = _arguments(names)
    wanted = [name for name in names if not arguments.only or _number(name) in arguments.only]
    bench = Bench(repeats=arguments.repeats or (1 if arguments.smoke else REPEATS), smoke=arguments.smoke)
    run = report.Run(bench)
    answers: list[Answer] = []
    # One loop for all: grpc.aio does not outlive the loop that it was first used on.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for name in wanted:
            print(f"Goal {_number(name)}", flush=True)
            start = time.monotonic()
            answer: Answer = runner.run(importlib.import_module(f"benchmarks.questions.{name}").ask(bench))
            print(f"  {time.monotonic() - start:.0f} s")
            answers.append(answer)
    report.show(answers, markdown=arguments.markdown)
    print(f"\nAll samples: {run.write(answers)}")


def _number(name: str) -> int:
    return int(name.split("_")[1])


def _arguments(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures Tenure beside yardsticks, all of them on this machine.")
    parser.add_argument("--smoke", action="store_true", help="each once and small: do they work? Figures mean nothing")
    parser.add_argument("--markdown", action="store_true", help="print the tables for a document")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"measure each case so often ({REPEATS})")
    numbers = ", ".join(str(_number(name)) for name in names)
    parser.add_argument(
        "--only",
        type=lambda text: {int(part) for part in text.split(",")},
        metavar="N,…",
        help=f"only the questions of these goals, of {numbers}",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
