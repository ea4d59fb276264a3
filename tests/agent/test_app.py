"""`tenure worker` as a process: what it prints, how it ends, and what it leaves behind. The server is played."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, cast

import grpc
import pytest

from tenure.agent import app, strays
from tenure.agent.app import PREEMPTION_POLL_S, SuspendAwareClock, _drain_when_preempted
from tenure.agent.config import WorkerConfig
from tenure.agent.copying import StoreCopying
from tenure.agent.process import LocalRunner
from tenure.agent.sync.offload import Offload
from tenure.agent.worker import Worker
from tests.agent.commands import alive
from tests.agent.conftest import Eventually
from tests.agent.fake_server import FakeServer, assignment
from tests.agent.worker_process import Start, ended, running
from tests.fakes import FakeClock

pytestmark = pytest.mark.processes


async def test_sigterm_drains_and_ends_with_0(
    start: Start, server: FakeServer, tmp_path: Path, eventually: Eventually
) -> None:
    process = await start("--queue", "q1", "--queue", "q2", "--slots", "2", "--label", "zone=a")
    session = await server.session()
    hello = await session.welcome()
    assert (hello.worker_id, list(hello.queues), hello.slots, dict(hello.labels)) == (
        ("w7", ["q1", "q2"], 2, {"zone": "a"})
    )
    assert hello.agent_version
    assert server.metadata[0]["authorization"] == "Bearer secret"
    pid = await running(session, tmp_path, eventually)
    process.send_signal(signal.SIGTERM)
    session = await server.session()
    assert (await session.keep("lease-1")).draining
    assert (await session.reported("released")).released.reason == "worker is draining"
    await session.next("goodbye")
    session.end()
    code, out, err = await ended(process)
    assert code == 0
    assert out == f"tenure: worker w7 connected to 127.0.0.1:{server.port}\n"
    words = [word for word in ("starting", "connected", "assigned", "started", "draining", "released") if word in err]
    assert words == ["starting", "connected", "assigned", "started", "draining", "released"]
    assert "secret" not in err
    assert not alive(pid)


async def test_a_preemption_file_that_cannot_be_looked_at_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its folder is on another machine, say, which does not answer for a while."""
    drained: list[str] = []

    class Drained:
        def drain(self, reason: str) -> None:
            drained.append(reason)

    clock, notice = FakeClock(), tmp_path / "preempted"
    notice.touch()
    answers = [OSError(errno.ESTALE, "Stale file handle"), PermissionError(errno.EACCES, "Permission denied")]
    really = os.stat

    def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if path == notice and answers:
            raise answers.pop()
        return really(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)
    waiting = asyncio.ensure_future(_drain_when_preempted(cast(Worker, Drained()), notice, clock))
    await clock.advance(3 * PREEMPTION_POLL_S)
    await waiting
    assert (drained, answers) == (["preemption notice"], [])


@pytest.mark.parametrize("how", ["signal", "file"])
async def test_a_preemption_notice_drains(
    start: Start, server: FakeServer, tmp_path: Path, eventually: Eventually, how: str
) -> None:
    notice = tmp_path / "preempted"
    process = await start(TENURE_PREEMPTION_FILE=str(notice), TENURE_QUEUE="q1 q2")
    session = await server.session()
    assert list((await session.welcome()).queues) == ["q1", "q2"]
    await running(session, tmp_path, eventually)
    if how == "signal":
        process.send_signal(signal.SIGUSR1)
    else:
        notice.touch()
    session = await server.session()
    await session.keep("lease-1")
    assert (await session.reported("released")).released.reason == "preemption notice"
    await session.next("goodbye")
    session.end()
    assert (await ended(process))[0] == 0


async def test_a_second_signal_stops_at_once(
    start: Start, server: FakeServer, tmp_path: Path, eventually: Eventually
) -> None:
    process = await start()
    session = await server.session()
    await session.welcome()
    deaf = 'trap "" INT TERM; touch up; while true; do sleep 0.05; done'
    await session.started(assignment(command="sh", arguments=("-c", deaf), grace_s=600))
    await eventually((tmp_path / "agent/jobs/job-of-lease-1-1" / "work" / "up").exists)
    process.send_signal(signal.SIGINT)
    session = await server.session()
    await session.keep("lease-1")
    await session.beat(more=2)
    process.send_signal(signal.SIGINT)
    assert (await session.reported("released")).released.reason == "the worker was stopped at once"
    await session.next("goodbye")
    session.end()
    assert (await ended(process))[0] == 0


async def test_when_it_is_killed_its_commands_die_and_the_next_start_tidies_up(
    start: Start, server: FakeServer, tmp_path: Path, eventually: Eventually
) -> None:
    process = await start()
    session = await server.session()
    await session.welcome()
    pid = await running(session, tmp_path, eventually)
    process.kill()
    await ended(process)
    await eventually(lambda: not alive(pid))
    jobs = tmp_path / "agent" / "jobs"
    assert len(list(jobs.iterdir())) == 1
    again = await start()
    session = await server.session()
    assert not (await session.welcome()).leases
    assert list(jobs.iterdir()) == []
    again.send_signal(signal.SIGTERM)
    await session.next("goodbye")
    session.end()
    assert (await ended(again))[0] == 0


async def test_a_job_sees_nothing_of_the_agent(start: Start, server: FakeServer, tmp_path: Path) -> None:
    await start("--pass-env", "MINE", "--pass-env", "ABSENT", "--allow-root", f"{tmp_path}/data/", MINE="1", OTHER="2")
    session = await server.session()
    assert list((await session.welcome()).allowed_roots) == [f"{tmp_path}/data"]
    seen = tmp_path / "seen"
    await session.started(assignment(command="sh", arguments=("-c", f"env > {seen}")))
    await session.reported("succeeded")
    names = {line.split("=", 1)[0] for line in seen.read_text().splitlines()}
    told = {name for name in names if name.startswith("TENURE_")}
    assert names - told - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "HOME", "LANG", "TMPDIR", "MINE"}
    assert "TENURE_TOKEN_FILE" not in told


async def test_a_new_token_is_used_for_the_next_stream(start: Start, server: FakeServer, tmp_path: Path) -> None:
    await start()
    session = await server.session()
    await session.welcome()
    (tmp_path / "token").write_text("newer\n")
    session.end()
    await (await server.session()).welcome()
    assert [metadata["authorization"] for metadata in server.metadata] == ["Bearer secret", "Bearer newer"]


async def test_one_that_never_found_its_server_ends_at_once_when_told(start: Start, server: FakeServer) -> None:
    await server.stop()
    process = await start()
    if process.stderr is not None:
        async with asyncio.timeout(20):
            while b"disconnected" not in await process.stderr.readline():
                pass
    process.send_signal(signal.SIGTERM)
    assert (await ended(process))[:2] == (0, "")


async def test_the_look_through_all_processes_waits_for_no_file_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Without it the end of a command is not told: it has to go on where every thread for files is taken."""
    offloads: dict[str, Offload] = {}

    def noted(name: str, kind: Callable[..., Any]) -> Callable[..., Any]:
        def make(**options: Any) -> Any:
            offloads[name] = options["offload"]
            return kind(**options)

        return make

    monkeypatch.setattr(app, "LocalRunner", noted("runner", LocalRunner))
    monkeypatch.setattr(app, "StoreCopying", noted("copying", StoreCopying))
    go_on, begun = Event(), []

    def blocked() -> None:
        begun.append(1)
        go_on.wait(60)

    config = WorkerConfig(
        server="127.0.0.1:1", token=lambda: None, queues=("q",), slots=1, work_dir=tmp_path / "agent", environment={}
    )
    async with app._assembled(config):
        taken = [asyncio.create_task(offloads["copying"].run(blocked)) for _ in range(app.FILE_THREADS)]
        try:
            await eventually(lambda: len(begun) == app.FILE_THREADS)
            async with asyncio.timeout(20):
                assert os.getpid() in {each.pid for each in (await offloads["runner"].run(strays.census)).everything}
        finally:
            go_on.set()
            await asyncio.gather(*taken)


async def test_one_worker_a_work_directory(start: Start, server: FakeServer) -> None:
    await start()
    await (await server.session()).welcome()
    code, out, err = await ended(await start())
    assert (code, out) == (1, "")
    assert "give each worker a --work-dir of its own" in err


async def test_a_refused_token_ends_with_1(start: Start, server: FakeServer) -> None:
    async def refuse() -> None:
        # A refusal may be overtaken by the end of its stream; then the worker asks once more.
        while True:
            session = await server.session()
            session.end(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID", "the token is not known here")

    process = await start()
    refusing = asyncio.ensure_future(refuse())
    code, out, err = await ended(process)
    refusing.cancel()
    await asyncio.wait((refusing,))
    assert (code, out) == (1, "")
    assert "tenure: the server refuses this worker: CREDENTIALS_INVALID: the token is not known here" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--allow-root", "data"), "--allow-root: 'data' is not an absolute path"),
        (("--slots", "0"), "--slots"),
        (("--label", "zone"), "--label: 'zone' is not KEY=VALUE"),
        (("--server", "nowhere"), "--server: 'nowhere' is not an address"),
        (("--token-file", "/absent"), "--token-file: cannot read /absent"),
    ],
)
async def test_what_is_written_wrongly_ends_with_2(start: Start, arguments: tuple[str, ...], why: str) -> None:
    code, out, err = await ended(await start(*arguments))
    assert (code, out) == (2, "")
    assert why in err
    assert "Traceback" not in err


def test_leases_go_on_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's clock is the one that counts the time asleep: after a night it knows that it has no lease."""
    asleep_ns = 8 * 3600 * 1_000_000_000
    awake = time.clock_gettime_ns

    def after_a_night(clock_id: int) -> int:
        return awake(clock_id) + (asleep_ns if clock_id == getattr(time, "CLOCK_BOOTTIME", None) else 0)

    clock = SuspendAwareClock()
    before_ns = clock.monotonic_ns()
    monkeypatch.setattr(time, "clock_gettime_ns", after_a_night)
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert clock.monotonic_ns() - before_ns >= asleep_ns
