"""An attempt from its assignment to its acknowledged outcome, with real processes and a real folder as store."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
import structlog
from google.protobuf.struct_pb2 import Value

from tenure.agent import strays
from tenure.agent.sync.retry import SyncRefused, SyncUnreachable
from tenure.v1 import job_pb2
from tenure.v1 import worker_service_pb2 as pb
from tests.agent.bench import BUCKET, Bench, PlayedCopying
from tests.agent.conftest import Eventually
from tests.agent.fake_server import LOST, assignment, instant, span

pytestmark = pytest.mark.processes

PYTHON = sys.executable


def rules(**phases: list[job_pb2.SyncRule]) -> job_pb2.JobSpecification:
    return job_pb2.JobSpecification(sync=job_pb2.Sync(**phases))


def rule(prefix: str, path: str) -> job_pb2.SyncRule:
    return job_pb2.SyncRule(bucket=BUCKET, prefix=prefix, local_path=path, quiet_period=span(0.02))


async def test_a_job_from_assignment_to_success(bench: Bench, eventually: Eventually) -> None:
    bench.start()
    session = await bench.server.session()
    hello = await session.welcome()
    assert (hello.worker_id, hello.protocol_version, list(hello.queues), hello.slots) == ("w1", 1, ["default"], 1)
    assert not hello.leases
    assert bench.server.metadata[0]["authorization"] == "Bearer secret"
    spec = rules(after=[rule("out/", "out")])
    await session.assign(
        assignment(command="sh", arguments=("-c", "mkdir -p out; echo done > out/result"), specification=spec)
    )
    assert await session.accepted() == ["lease-1"]
    beat = await session.beat()
    assert (beat.count, beat.stage) == (1, job_pb2.ATTEMPT_STAGE_SYNC_BEFORE)
    await session.reported("started")
    item = await session.reported("succeeded")
    assert item.last_beat.sync.files_uploaded == 1
    assert item.last_beat.count >= 1
    assert await bench.object("out/result") == b"done\n"
    await eventually(lambda: not bench.attempts())


async def test_the_command_starts_only_after_leave(bench: Bench) -> None:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    mark = bench.folder / "ran"
    await session.assign(assignment(command="touch", arguments=(str(mark),), beat_s=0.05))
    await session.accepted()
    item = await session.reported("started", answer=False)
    await session.beat(more=3)
    assert not mark.exists()
    await session.answer_report(item)
    await session.reported("succeeded")
    assert mark.exists()


async def test_a_job_that_is_terminated_before_its_start_never_starts(bench: Bench) -> None:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    mark = bench.folder / "ran"
    for number in range(20):
        lease = f"lease-{number}"
        await session.assign(assignment(lease, command="touch", arguments=(str(mark),)))
        await session.accepted()
        item = await session.reported("started", answer=False)
        await session.revoke(lease)
        await session.answer_report(item, LOST if number % 2 else pb.LEASE_STATE_HELD)
        await session.reported("stopped")
    assert not mark.exists()


async def test_environment_and_files_of_a_command(bench: Bench, eventually: Eventually) -> None:
    bench.passed = {"LICENSE_SERVER": "there", "TENURE_TOKEN": "never"}
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    spec = job_pb2.JobSpecification(
        environment={"MINE": "1", "LANG": "de_DE.UTF-8"},
        parameters={"steps": Value(number_value=3), "name": Value(string_value="ä")},
        opened_file="/in/x",
    )
    code = "import json,os; json.dump({'env': dict(os.environ), 'cwd': os.getcwd()}, open('../seen', 'w'))"
    end = bench.server.deadlines["lease-1"] = 1_633_347_776_235_000
    await session.assign(
        assignment(command=PYTHON, arguments=("-c", code), attempt=4, specification=spec, expires_at_us=end)
    )
    await session.accepted()
    item = await session.reported("started", answer=False)
    folder = bench.work_dir.jobs / "job-of-lease-1-4"
    assert (folder / "deadline").read_text() == "1633347776.235000\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    await session.answer_report(item)
    last = await session.reported("succeeded", answer=False)
    seen = json.loads((folder / "seen").read_text())
    environment = seen["env"]
    environment.pop("LC_CTYPE", None)  # Python's own doing
    assert seen["cwd"] == str(folder / "work")
    assert environment == {
        "PATH": environment["PATH"],
        "HOME": str(folder / "home"),
        "LANG": "de_DE.UTF-8",
        "TMPDIR": str(folder / "tmp"),
        "LICENSE_SERVER": "there",
        "MINE": "1",
        "TENURE_JOB_ID": "job-of-lease-1",
        "TENURE_ATTEMPT": "4",
        "TENURE_SLOT": "0",
        "TENURE_JOB_DIR": str(folder / "work"),
        "TENURE_DEADLINE_FILE": str(folder / "deadline"),
        "TENURE_PROGRESS_FILE": str(folder / "progress"),
        "TENURE_PARAMETERS": '{"name":"ä","steps":3}',
        "TENURE_OPENED_FILE": "/in/x",
    }
    await session.answer_report(last)
    await eventually(lambda: not bench.attempts())


async def test_deadline_file_and_progress_while_it_runs(bench: Bench, eventually: Eventually) -> None:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    script = 'echo "{\\"fraction\\": 0.4, \\"message\\": \\"step 2\\"}" > $TENURE_PROGRESS_FILE; exec sleep 600'
    await session.started(assignment(command="sh", arguments=("-c", script), beat_s=0.05))
    await eventually(lambda: any(beat.progress.fraction == 0.4 for beat in session.beats))
    assert session.beats[-1].progress.message == "step 2"
    assert session.beats[-1].stage == job_pb2.ATTEMPT_STAGE_RUN
    file = bench.job_dir().parent / "deadline"
    assert file.read_text() == ""
    changed = pb.DeadlineChanged.Item(lease_id="lease-1", expires_at=instant(1_700_000_000_000_001))
    await session.send(deadline_changed=pb.DeadlineChanged(items=[changed]))
    bench.server.deadlines["lease-1"] = 1_700_000_000_000_001
    await eventually(lambda: file.read_text() == "1700000000.000001\n")
    bench.server.deadlines["lease-1"] = 1_800_000_000_000_000
    await eventually(lambda: file.read_text() == "1800000000.000000\n")


@pytest.mark.parametrize(
    ("command", "arguments", "wanted"),
    [
        (
            "sh",
            ("-c", "echo before; echo it broke >&2; exit 3"),
            {"exit_code": 3, "message": "before\nit broke"},
        ),
        ("sh", ("-c", "kill -SEGV $$"), {"signal": 11, "message": ""}),
        ("no-such", (), {"message": "there is no program 'no-such' on the worker's PATH"}),
    ],
)
async def test_failures_of_the_command(
    bench: Bench, command: str, arguments: tuple[str, ...], wanted: dict[str, object]
) -> None:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    await session.started(assignment(command=command, arguments=arguments))
    failed = (await session.reported("failed")).failed
    assert failed.stage == job_pb2.ATTEMPT_STAGE_RUN
    assert failed.message == wanted["message"]
    assert (failed.exit_code if failed.HasField("exit_code") else None) == wanted.get("exit_code")
    assert (failed.signal if failed.HasField("signal") else None) == wanted.get("signal")


async def test_what_a_command_printed_is_not_in_the_workers_log(bench: Bench) -> None:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    try:
        with structlog.testing.capture_logs() as records:
            bench.start()
            session = await bench.server.session()
            await session.welcome()
            await session.started(assignment(command="sh", arguments=("-c", "echo a secret; exit 3")))
            assert (await session.reported("failed")).failed.message == "a secret"
    finally:
        structlog.configure(**before)
    (finished,) = [record for record in records if record["event"] == "finished"]
    assert (finished["exit_code"], finished["outcome"]) == (3, "failed")
    assert "a secret" not in str(records)


async def test_a_failed_command_still_saves_what_it_wrote(bench: Bench) -> None:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    spec = rules(during=[rule("ck/", "ck")], after=[rule("out/", "out")])
    script = "mkdir -p ck out; echo 12 > ck/step; echo no > out/x; exit 1"
    await session.started(assignment(command="sh", arguments=("-c", script), specification=spec))
    await session.reported("failed")
    assert await bench.object("ck/step") == b"12\n"
    assert await bench.object("out/x") is None


async def test_input_that_is_refused_fails_before_the_start(bench: Bench) -> None:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    spec = rules(before=[job_pb2.SyncRule(bucket="absent", prefix="in/", local_path="in")])
    await session.assign(assignment(command="true", specification=spec))
    await session.accepted()
    failed = (await session.reported("failed")).failed
    assert failed.stage == job_pb2.ATTEMPT_STAGE_SYNC_BEFORE
    assert "absent" in failed.message


async def test_a_store_out_of_reach_releases_and_beats_go_on(bench: Bench) -> None:
    copying = bench.copying = PlayedCopying()
    copying.hold("before")
    copying.errors["before"] = SyncUnreachable("list bucket/in/: no answer for 1 h")
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    await session.assign(assignment(beat_s=0.05))
    await session.accepted()
    assert (await session.beat(more=5)).stage == job_pb2.ATTEMPT_STAGE_SYNC_BEFORE
    copying.open["before"].set()
    released = (await session.reported("released")).released
    assert released.reason == "object store unreachable: list bucket/in/: no answer for 1 h"


@pytest.mark.parametrize("step", ["finish_during", "after"])
async def test_an_upload_that_is_refused_fails_the_attempt_after_exit_0(bench: Bench, step: str) -> None:
    copying = bench.copying = PlayedCopying()
    copying.errors[step] = SyncRefused("put bucket/x: access denied")
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    await session.started(assignment())
    failed = (await session.reported("failed")).failed
    assert (failed.stage, failed.message) == (job_pb2.ATTEMPT_STAGE_SYNC_AFTER, "put bucket/x: access denied")


async def test_success_waits_for_the_uploads(bench: Bench, eventually: Eventually) -> None:
    copying = bench.copying = PlayedCopying()
    copying.hold("after")
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    await session.started(assignment(beat_s=0.05))
    await session.beat(more=4)
    assert session.beats[-1].stage == job_pb2.ATTEMPT_STAGE_SYNC_AFTER
    assert session.nothing("report")
    copying.open["after"].set()
    await session.reported("succeeded")
    await eventually(lambda: "clean" in copying.steps)
    assert copying.steps == ["before", "start_during", "finish_during", "after", "close", "close", "clean"]


async def test_a_defect_in_a_step_fails_that_attempt_alone(bench: Bench) -> None:
    copying = bench.copying = PlayedCopying()
    copying.errors["before"] = ZeroDivisionError("secret detail")
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    await session.assign(assignment("a"))
    await session.accepted()
    failed = (await session.reported("failed")).failed
    assert failed.message == "the worker met an internal error; its log has more"
    copying.errors.clear()
    await session.started(assignment("b"))
    await session.reported("succeeded")


async def test_trouble_on_the_workers_disk_is_no_failure_of_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenure.agent.attempt.TROUBLE_PAUSE_S", 0.1)
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    bench.work_dir.jobs.rmdir()
    await session.assign(assignment("a"))
    await session.accepted()
    assert "No such file or directory" in (await session.reported("released")).released.reason
    bench.work_dir.jobs.mkdir()
    await session.started(assignment("b"))
    await session.reported("succeeded")


async def test_its_own_folder_goes_also_where_another_cannot_be_emptied(bench: Bench, eventually: Eventually) -> None:
    copying = PlayedCopying()
    copying.errors["clean"] = SyncRefused("Something in the folder /data cannot be removed by the worker.")
    bench.copying = copying
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    await session.started(assignment())
    await session.reported("succeeded")
    await eventually(lambda: "clean" in copying.steps and not bench.attempts())


async def test_input_is_resumed_in_the_next_attempt(bench: Bench) -> None:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    spec = rules(before=[rule("ck/", "ck")], during=[rule("ck/", "ck")])
    script = "n=$(cat ck/n 2>/dev/null || echo 0); echo $((n+1)) > ck/n; test $n -ge 2"
    for attempt in (1, 2):
        await session.started(
            assignment(
                f"l{attempt}", job_id="j", attempt=attempt, command="sh", arguments=("-c", script), specification=spec
            )
        )
        await session.reported("failed")
    await session.started(
        assignment("l3", job_id="j", attempt=3, command="sh", arguments=("-c", script), specification=spec)
    )
    item = await session.reported("succeeded")
    assert await bench.object("ck/n") == b"3\n"
    assert item.last_beat.sync.files_downloaded == 1


async def test_left_over_processes_are_gone_when_the_outcome_is_reported(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    session = await bench.server.session()
    await session.welcome()
    pid = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {pid}; exit 0"
    await session.started(assignment(command="sh", arguments=("-c", script)))
    await session.reported("succeeded")
    assert int(pid.read_text()) not in [process.pid for process in strays.processes() if not process.zombie]
