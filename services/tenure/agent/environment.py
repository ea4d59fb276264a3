"""The environment of a command: built, never inherited.

What the agent itself was started with (its token, the keys of the object store) is therefore not there; a value of the
agent gets through only when the operator names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RESERVED_PREFIX = "TENURE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnvironment:
    """What a command is told of its job.

    Attributes:
        job_dir: working directory of the command and base of relative sync paths.
        parameters: JSON of the specification's parameters; None: it has none.
        opened_file: of the specification; empty: none.
    """

    job_id: str
    attempt: int
    slot: int
    job_dir: Path
    home: Path
    tmp: Path
    deadline_file: Path
    progress_file: Path
    parameters: str | None
    opened_file: str


def build(
    job: JobEnvironment, *, agent: Mapping[str, str], passed: Mapping[str, str], own: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of a command.

    Args:
        job: what Tenure says of the job.
        agent: the agent's own environment; only PATH and LANG are taken from it.
        passed: values of the agent that its operator lets through; they win over the fixed ones.
        own: the job's own variables; they win over both, except over names that start with TENURE_.
    """
    told = {
        "TENURE_JOB_ID": job.job_id,
        "TENURE_ATTEMPT": str(job.attempt),
        "TENURE_SLOT": str(job.slot),
        "TENURE_JOB_DIR": str(job.job_dir),
        "TENURE_DEADLINE_FILE": str(job.deadline_file),
        "TENURE_PROGRESS_FILE": str(job.progress_file),
    }
    if job.parameters is not None:
        told["TENURE_PARAMETERS"] = job.parameters
    if job.opened_file:
        told["TENURE_OPENED_FILE"] = job.opened_file
    fixed = {
        "PATH": agent.get("PATH") or DEFAULT_PATH,
        "HOME": str(job.home),
        "LANG": agent.get("LANG") or "C.UTF-8",
        "TMPDIR": str(job.tmp),
    }
    free = {name: value for name, value in {**passed, **own}.items() if not name.startswith(RESERVED_PREFIX)}
    return {**fixed, **free, **told}
