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


def hostile_jobs(*, all_of_them: bool = True) -> list[Hostile]:
    """Those that share one worker; everything they do at the same time is everybody's problem.

    Not all of them: those whose success hangs on who the worker is.
    """
    chosen = [*processes(), *the_agent_itself()]
    return [*chosen, *output(), *folders(), *files(), *links()] if all_of_them else chosen


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
# A chain: each starts the next one, in a session of its own, and stays.
for left in range(amount):
    if os.fork() != 0:
        for_ever()
    os.setsid()
ready()
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


def folders() -> list[Hostile]:
    """Jobs that take their folders apart."""
    return [
        Hostile(name="deletes-its-directory", program="shutil.rmtree(job_dir)\n", ends=EITHER, after=True),
        Hostile(
            name="deletes-all-it-was-given",
            program="""
(job_dir / "out").mkdir(exist_ok=True)
shutil.rmtree(attempt_dir)
(job_dir / "out").mkdir(parents=True)
(job_dir / "out" / "file").write_text("made anew")
""",
            ends=EITHER,
            after=True,
        ),
        Hostile(
            name="is-a-symlink",
            program="""
job_dir.rename(attempt_dir / "moved")
job_dir.symlink_to(outside)
""",
            ends=FAILS,
            during=True,
            after=True,
            stored=frozenset(),
        ),
        Hostile(
            name="is-a-symlink-above",
            program="""
attempt_dir.rename(str(attempt_dir) + "-moved")
attempt_dir.symlink_to(outside)
""",
            ends=FAILS,
            after=True,
            stored=frozenset(),
        ),
        Hostile(
            name="takes-permissions-away",
            program="""
deep = job_dir / "out" / "a" / "b"
deep.mkdir(parents=True)
(deep / "file").write_text("x")
for folder in (deep, deep.parent, deep.parent.parent, job_dir, attempt_dir):
    folder.chmod(0)
""",
            ends=EITHER,
            after=True,
        ),
        Hostile(
            name="digs-deep",
            program="""
above = os.open(job_dir, os.O_RDONLY)
for _ in range(amount):
    os.mkdir("deep", dir_fd=above)
    inner = os.open("deep", os.O_RDONLY, dir_fd=above)
    os.close(above)
    above = inner
""",
            amount=size(short=1200, full=10_000),
        ),
        Hostile(
            name="digs-deep-where-it-is-uploaded",
            program="""
os.makedirs("out/" + "d/" * 200)
""",
            ends=FAILS,
            after=True,
            says="deep",
        ),
        Hostile(
            name="traps-its-deadline",
            program="""
for name in ("deadline", "deadline.new", "progress"):
    path = attempt_dir / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
ready()
wait_for("go")
""",
            extended=True,
        ),
        Hostile(
            name="takes-the-spool-away",
            program="""
(job_dir / "out").mkdir(exist_ok=True)
(job_dir / "out" / "file").write_text("x")
shutil.rmtree(attempt_dir / "spool")
(attempt_dir / "spool").symlink_to(outside)
""",
            ends=EITHER,
            after=True,
        ),
    ]


def files() -> list[Hostile]:
    """Jobs that leave strange files to be uploaded, or many."""
    return [
        Hostile(
            name="leaves-many-files",
            program="""
for number in range(amount):
    os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY))
""",
            amount=size(short=300, full=100_000),
        ),
        Hostile(
            name="uploads-many-files",
            program="""
(job_dir / "out").mkdir(exist_ok=True)
for number in range(amount):
    (job_dir / "out" / f"{number:06}").write_text(str(number))
""",
            amount=size(short=50, full=5000),
            during=True,
            stored=frozenset(f"{number:06}" for number in range(size(short=50, full=5000))),
        ),
        Hostile(
            name="has-names-that-are-no-text",
            program="""
(job_dir / "out").mkdir(exist_ok=True)
os.close(os.open(b"out/\\xff\\xfe", os.O_CREAT | os.O_WRONLY))
time.sleep(1)
""",
            ends=FAILS,
            during=True,
            says="not UTF-8",
        ),
        Hostile(
            name="has-files-that-are-none",
            program="""
(job_dir / "out").mkdir(exist_ok=True)
os.chdir("out")
os.mkfifo("pipe")
listener = socket.socket(socket.AF_UNIX)
listener.bind("socket")
try:
    os.mknod("device", 0o600 | 0o020000, os.makedev(1, 5))
except PermissionError:
    pass
pathlib.Path("file").write_text("a file")
time.sleep(1)
""",
            during=True,
            after=True,
            stored=frozenset({"file"}),
        ),
        Hostile(
            name="leaves-a-terabyte",
            program="""
(job_dir / "out").mkdir(exist_ok=True)
with open(job_dir / "out" / "sparse", "wb") as file:
    file.truncate(1 << 40)
ready()
""",
            ends=NEVER,
            after=True,
        ),
    ]


def links() -> list[Hostile]:
    """Jobs that would have the agent read what it should not."""
    return [
        Hostile(
            name="links-outside",
            program="""
(job_dir / "out").mkdir(exist_ok=True)
(job_dir / "out" / "folder").symlink_to(outside)
(job_dir / "out" / "file").symlink_to(outside / "canary")
(job_dir / "out" / "self").symlink_to(job_dir)
(job_dir / "out" / "plain").write_text("plain")
time.sleep(1)
""",
            during=True,
            after=True,
            stored=frozenset({"plain"}),
        ),
        Hostile(
            name="swaps-links",
            program="""
# The kernel swaps the two in one step, so that the folder is there at every instant, as one or as the other.
out = job_dir / "out"
(out / "d").mkdir(parents=True)
(out / "d" / "canary").write_text("harmless")
(out / "link").symlink_to(outside)
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(amount):
    libc.renameat2(-100, bytes(out / "d"), -100, bytes(out / "link"), 2)
    (out / "d").is_symlink() or (out / "d" / "canary").write_text("harmless " + str(time.monotonic_ns()))
    time.sleep(0.002)
""",
            amount=size(short=300, full=10_000),
            ends=EITHER,
            during=True,
            after=True,
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
