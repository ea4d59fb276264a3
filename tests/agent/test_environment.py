"""What a command is told, and what it is not."""

from __future__ import annotations

from pathlib import Path

from tenure.agent.environment import DEFAULT_PATH, JobEnvironment, build

JOB = JobEnvironment(
    job_id="j",
    attempt=2,
    slot=1,
    job_dir=Path("/w"),
    home=Path("/h"),
    tmp=Path("/t"),
    deadline_file=Path("/d"),
    progress_file=Path("/p"),
    parameters=None,
    opened_file="",
)
TOLD = {
    "TENURE_JOB_ID": "j",
    "TENURE_ATTEMPT": "2",
    "TENURE_SLOT": "1",
    "TENURE_JOB_DIR": "/w",
    "TENURE_DEADLINE_FILE": "/d",
    "TENURE_PROGRESS_FILE": "/p",
}


def test_nothing_is_inherited_but_path_and_language() -> None:
    agent = {
        "PATH": "/a",
        "LANG": "de_DE.UTF-8",
        "HOME": "/home/agent",
        "AWS_SECRET_ACCESS_KEY": "k",
        "LD_PRELOAD": "x",
    }
    fixed = {"PATH": "/a", "LANG": "de_DE.UTF-8", "HOME": "/h", "TMPDIR": "/t"}
    assert build(JOB, agent=agent, passed={}, own={}) == fixed | TOLD
    bare = build(JOB, agent={}, passed={}, own={})
    assert (bare["PATH"], bare["LANG"]) == (DEFAULT_PATH, "C.UTF-8")


def test_the_job_wins_over_the_operator_and_neither_over_tenure() -> None:
    built = build(
        JOB,
        agent={},
        passed={"A": "operator", "B": "operator", "HOME": "/home/agent", "TENURE_TOKEN": "secret"},
        own={"A": "job", "PATH": "/mine", "TENURE_JOB_ID": "other"},
    )
    assert (built["A"], built["B"], built["PATH"], built["HOME"]) == ("job", "operator", "/mine", "/home/agent")
    assert built["TENURE_JOB_ID"] == "j"
    assert "TENURE_TOKEN" not in built
