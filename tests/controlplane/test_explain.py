"""ExplainJob: the sentence for each thing that can be in the way, and the numbers behind it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenure.controlplane.explain import MOST_COUNTED, Circumstances, message_of, sentence
from tenure.controlplane.fitness import Fitness
from tenure.domain import events as e
from tenure.domain.job import Avoided, Job, create, evolve
from tenure.v1 import job_pb2
from tests.controlplane.fleet import job_created

T0 = 1_633_329_776_000_000
MINUTE = 60_000_000


def waiting(**changes: object) -> Job:
    return create("j", job_created(**changes), T0)


def around(job: Job | None = None, **changes: object) -> Circumstances:
    values: dict[str, object] = {"job": job or waiting(), "now_us": T0, "fitness": Fitness(fitting=1)}
    return Circumstances(**(values | changes))  # type: ignore[arg-type]


def kept(worker_id: str, minutes: int, declines: int = 0) -> Avoided:
    return Avoided(worker_id=worker_id, until_us=T0 + minutes * MINUTE, declines=declines)


SENTENCES: dict[str, tuple[Circumstances, str]] = {
    "next": (around(), "It is about to be given out: 1 worker could have it now. It is the next of queue default."),
    "in its turn": (
        around(fitness=Fitness(fitting=3), ahead=4),
        "It waits for its turn: 3 workers could have it now. It is number 5 in queue default.",
    ),
    "far back": (
        around(ahead=MOST_COUNTED),
        "It waits for its turn: 1 worker could have it now. More than 10,000 jobs of queue default come before it.",
    ),
    "no worker": (
        around(fitness=Fitness()),
        "It waits because no worker of queue default is connected. It is the next of queue default.",
    ),
    "paused": (
        around(paused="new disks"),
        "It waits because queue default is paused (new disks). It is the next of queue default.",
    ),
    "paused without a word, and nobody there": (
        around(paused="", fitness=Fitness()),
        "It waits because queue default is paused; no worker of queue default is connected. "
        "It is the next of queue default.",
    ),
    "waiting after a failure": (
        around(replace(waiting(), num_failures=1, not_before_us=T0 + MINUTE)),
        "It waits because after failure 1 of 3 it is not tried again before 2021-10-04 06:43:56Z. "
        "It is the next of queue default.",
    ),
    "that wait is over": (
        around(replace(waiting(), num_failures=1, not_before_us=T0)),
        "It is about to be given out: 1 worker could have it now. It is the next of queue default.",
    ),
    "banned": (
        around(fitness=Fitness(kept=(kept("A", 10),))),
        "It waits because an attempt failed on A, which does not get it again before 2021-10-04 06:52:56Z. "
        "It is the next of queue default.",
    ),
    "many are kept from it": (
        around(fitness=Fitness(kept=(kept("A", 1), kept("B", 2, 1), kept("C", 3), kept("D", 4), kept("E", 5)))),
        "It waits because an attempt failed on A, which does not get it again before 2021-10-04 06:43:56Z; "
        "B did not take it and is not offered it before 2021-10-04 06:44:56Z; "
        "an attempt failed on C, which does not get it again before 2021-10-04 06:45:56Z; "
        "2 more workers are kept from it like that. It is the next of queue default.",
    ),
    "a ban does not matter while another could have it": (
        around(fitness=Fitness(kept=(kept("A", 10),), fitting=1)),
        "It is about to be given out: 1 worker could have it now. It is the next of queue default.",
    ),
    "each worker has its reason": (
        around(
            waiting(absolute_paths=("/app/data",)),
            fitness=Fitness(
                full=2, draining=1, suspect=1, suspect_until_us=T0 + MINUTE, not_allowed=2, in_use=1, free_slots=3
            ),
        ),
        "It waits because 2 workers of queue default do not allow its folders (/app/data): see --allow-root; "
        "1 worker of queue default has its folders (/app/data) in use for another job; "
        "2 workers of queue default have no free slot; 1 worker of queue default takes no more jobs (draining); "
        "1 worker of queue default gets none before 2021-10-04 06:43:56Z, as several failed there in a row. "
        "It is the next of queue default.",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_what_is_in_the_way_is_said(case: str) -> None:
    circumstances, said = SENTENCES[case]
    assert sentence(circumstances) == said


def lives() -> dict[str, tuple[Job, Fitness, str]]:
    assigned = evolve(waiting(), e.JobAssigned(lease_id="l", attempt=1, worker_id="A", lease_us=MINUTE), T0 + 1000)
    beat = e.JobHeartbeat(lease_id="l", attempt=1, count=1, last_beat_us=T0 + 1000, stage=e.Stage.SYNC_BEFORE)
    syncing = evolve(assigned, beat, T0 + 1000)
    running = evolve(assigned, e.JobStarted(lease_id="l", attempt=1, worker_id="A"), T0 + 235_000)
    stopping = evolve(running, e.CancelRequested(reason="", until_us=T0 + MINUTE), T0 + 300_000)
    ended = evolve(stopping, e.JobTerminated(outcome=e.Outcome.CANCELLED, reason="no need", attempt=1), T0 + 400_000)
    has = "It has a worker: attempt 1 on A, since 2021-10-04 06:42:56.001Z; "
    told = Fitness(accepted=True)
    return {
        "offered": (assigned, Fitness(accepted=False), f"{has}the worker has not accepted it yet."),
        "accepted": (assigned, told, f"{has}its command is about to start."),
        "syncing": (syncing, told, f"{has}its input is being copied there."),
        "running": (running, told, "It does not wait: attempt 1 on A has been running since 2021-10-04 06:42:56.235Z."),
        "stopping": (
            stopping,
            told,
            "It does not wait: it is being cancelled, and attempt 1 on A has until 2021-10-04 06:43:56Z.",
        ),
        "running, its worker away": (
            running,
            Fitness(accepted=True, away_until_us=T0 + MINUTE),
            "It does not wait: attempt 1 on A has been running since 2021-10-04 06:42:56.235Z. Its worker is not "
            "connected; unless it is back by 2021-10-04 06:43:56Z, the attempt counts as lost.",
        ),
        "ended": (
            ended,
            Fitness(),
            "It does not wait: it ended at 2021-10-04 06:42:56.400Z as CANCELLED (no need).",
        ),
    }


@pytest.mark.parametrize("case", lives())
def test_what_does_not_wait_is_said_to_be_where_it_is(case: str) -> None:
    job, fit, said = lives()[case]
    message = message_of(around(job, fitness=fit))
    assert message.summary == said
    assert (message.queue_position, message.HasField("next_retry")) == (0, False)


def test_the_numbers() -> None:
    fit = Fitness(
        draining=1, suspect=2, full=3, kept=(kept("A", 10), kept("B", 20)), not_allowed=1, in_use=1, free_slots=9
    )
    message = message_of(around(fitness=fit, ahead=7, paused="x"))
    assert (message.workers_connected, message.workers_free, message.free_slots) == (10, 4, 9)
    assert (message.workers_banned, message.workers_unfit) == (2, 2)
    assert (message.workers_draining, message.workers_suspect) == (1, 2)
    assert (message.queue_position, message.queue_position_beyond, message.queue_paused) == (8, False, True)
    assert message.state == job_pb2.JOB_STATE_IN_QUEUE
    assert message.next_retry.ToMicroseconds() == T0 + 10 * MINUTE


def test_the_count_of_jobs_before_it_ends_somewhere() -> None:
    last = message_of(around(ahead=MOST_COUNTED - 1))
    assert (last.queue_position, last.queue_position_beyond) == (MOST_COUNTED, False)
    beyond = message_of(around(ahead=MOST_COUNTED))
    assert (beyond.queue_position, beyond.queue_position_beyond) == (MOST_COUNTED, True)


def test_it_waits_for_no_instant_while_somebody_could_have_it() -> None:
    assert not message_of(around(fitness=Fitness(kept=(kept("A", 10),), fitting=1))).HasField("next_retry")
    failed = replace(waiting(), num_failures=1, not_before_us=T0 + MINUTE)
    assert message_of(around(failed)).next_retry.ToMicroseconds() == T0 + MINUTE
