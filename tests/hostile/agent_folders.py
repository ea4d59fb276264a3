"""Hostile jobs that go for what the agent copies and removes: folders, files and links; and the list of all."""

from __future__ import annotations

from tests.hostile.agent_jobs import EITHER, FAILS, NEVER, Hostile, output, processes, the_agent_itself
from tests.proof.sizes import size


def hostile_jobs(*, all_of_them: bool = True) -> list[Hostile]:
    """Those that share one worker; everything they do at the same time is everybody's problem.

    Not all of them: those whose success hangs on who the worker is.
    """
    chosen = [*processes(), *the_agent_itself()]
    return [*chosen, *output(), *folders(), *files(), *links()] if all_of_them else chosen


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
