"""Hostile jobs: what each does to the machine it runs on, as a Python program of its own.

A program is given two arguments: a folder that anybody may write, whose path also marks every process that came of it
(a fork has its parent's command line), and how much of it there is to be. `outside` is what it tries to reach.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.proof.sizes import size

PRELUDE = """
import ctypes, errno, os, pathlib, shutil, signal, socket, subprocess, sys, time
marks, amount = pathlib.Path(sys.argv[1]), int(sys.argv[2])
outside = marks.parent / "outside"
job_dir = pathlib.Path(os.environ["TENURE_JOB_DIR"])
attempt_dir = job_dir.parent
agent = os.getppid()
def ready():
    (marks / "ready").touch()
def wait_for(name):
    while not (marks / name).exists():
        time.sleep(0.02)
def for_ever():
    while True:
        time.sleep(600)
"""


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """One hostile job.

    Attributes:
        name: for people and folders.
        program: what it runs, after PRELUDE.
        amount: its second argument.
        ends: the outcomes that are right; empty: it never ends by itself, and is terminated once it is ready.
        during: it has a rule that uploads `out` while it runs.
        after: it has a rule that uploads `out` at its end.
        stored: the keys that its rules are to store, if that is certain.
        says: what the reason of its failure has in it.
        extended: its time is extended when it is ready; then `go` is put into its folder.
    """

    name: str
    program: str
    amount: int = 0
    ends: frozenset[str] = frozenset({"COMPLETED"})
    during: bool = False
    after: bool = False
    stored: frozenset[str] | None = None
    says: str = ""
    extended: bool = False


FAILS = frozenset({"FAILED"})
EITHER = frozenset({"COMPLETED", "FAILED"})
NEVER: frozenset[str] = frozenset()


def processes() -> list[Hostile]:
    """Jobs that do not want to end."""
    return [
        Hostile(
            name="forks-away",
            program="""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ready()
        for_ever()
    os._exit(0)
wait_for("ready")
""",
        ),
        Hostile(
            name="forks-away-and-stays",
            program="""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ready()
        for_ever()
    os._exit(0)
for_ever()
""",
            ends=NEVER,
        ),
        Hostile(
            name="ignores-signals",
            program="""
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
ready()
for_ever()
""",
            ends=NEVER,
        ),
        Hostile(
            name="fork-bomb",
            program="""
# Each in a session of its own.
for number in range(amount // 2):
    if os.fork() == 0:
        os.setsid()
        os.fork()
        if number == amount // 2 - 1:
            ready()
        for_ever()
for_ever()
""",
            amount=size(short=30, full=1000),
            ends=NEVER,
        ),
        Hostile(
            name="keeps-files-open",
            program="""
(job_dir / "open").write_text("x" * 1000)
file = open(job_dir / "open", "a")
if os.fork() == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready()
    while True:
        file.write("x"); file.flush(); time.sleep(0.01)
wait_for("ready")
""",
        ),
        Hostile(name="kills-its-group", program="os.killpg(0, signal.SIGKILL)\n", ends=FAILS),
        Hostile(name="stops-itself", program="ready(); os.killpg(0, signal.SIGSTOP)\n", ends=NEVER),
    ]


def output() -> list[Hostile]:
    """Jobs that say too much, or nothing."""
    return [
        Hostile(
            name="prints-without-end",
            program="""
block = b"all work and no play\\n" * 50_000
for _ in range(amount):
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(1, rest):]
""",
            amount=size(short=200, full=10_000),
        ),
        Hostile(
            name="closes-its-output",
            program="""
os.closerange(0, 100)
time.sleep(0.2)
os._exit(0)
""",
        ),
        Hostile(
            name="prints-control-characters",
            program="""
os.write(2, b"\\x1b]0;title\\x07\\x1b[2J\\xff\\xfe\\x00 last words\\n")
sys.exit(3)
""",
            ends=FAILS,
            says="last words",
        ),
        Hostile(
            name="lies-about-its-progress",
            program="""
progress = pathlib.Path(os.environ["TENURE_PROGRESS_FILE"])
with open(progress, "wb") as file:
    file.truncate(1 << 40)
time.sleep(0.5)
progress.unlink()
os.mkfifo(progress)
time.sleep(0.5)
""",
        ),
    ]


def the_agent_itself() -> list[Hostile]:
    """Jobs that look into the agent. Of root nothing can be kept: these count for other users only."""
    return [
        Hostile(
            name="reads-the-agent",
            program="""
if os.geteuid() == 0:
    sys.exit(0)
found = []
for name in ("environ", "mem", "maps", "cwd", "exe"):
    path = f"/proc/{agent}/{name}"
    try:
        os.readlink(path) if name in ("cwd", "exe") else open(path, "rb").read(1)
        found.append(name)
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, agent, 0, 0) == 0:
    found.append("ptrace")
try:
    open(f"/proc/{agent}/mem", "r+b")
    found.append("mem for writing")
except OSError:
    pass
sys.exit(", ".join(found) or 0)
""",
        ),
    ]


KILLS_ITS_AGENT = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        (marks / "strayed").touch()
        for_ever()
    os._exit(0)
wait_for("strayed")
os.kill(agent, signal.SIGKILL)
ready()
for_ever()
"""

# The second attempt has nothing to do.
STOPS_ITS_AGENT = """
if (marks / "ready").exists():
    sys.exit(0)
ready()
os.kill(agent, signal.SIGSTOP)
for_ever()
"""

FILLS_ITS_DISK = """
tmp = pathlib.Path(os.environ["TMPDIR"])
try:
    with open(tmp / "full", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
            file.flush()
except OSError as error:
    assert error.errno == errno.ENOSPC, error
ready()
wait_for("go")
"""

NEIGHBOUR = """
wait_for("end")
(job_dir / "out").mkdir(exist_ok=True)
(job_dir / "out" / "result").write_text("done")
"""
