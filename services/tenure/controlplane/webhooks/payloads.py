"""What is posted. It is made from the log at every try, so that nothing of it has to be kept: the same events give the
same bytes."""

from __future__ import annotations

import json

from google.protobuf.json_format import MessageToDict

from tenure.controlplane.convert import OUTCOMES, STATES, job_message
from tenure.controlplane.folds import Folds
from tenure.controlplane.times import set_timestamp
from tenure.domain import events as e
from tenure.domain.job import Job
from tenure.projections.updates import spoken_of, update_of
from tenure.store.outbox import Delivery
from tenure.store.store import JobView, Store, StoredJob
from tenure.v1 import job_pb2, job_service_pb2, webhook_service_pb2


class Gone(Exception):
    """The log does not have the event any more."""


class Payloads:
    """Makes bodies from the log of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folds = Folds(store)

    async def body(self, delivery: Delivery) -> bytes:
        """The body of a delivery.

        Raises:
            Gone: it cannot be made any more.
        """
        events = await self._store.read_stream(e.job_stream(delivery.job_id), delivery.version - 1, 1)
        stored = (await self._store.load_jobs([delivery.job_id])).get(delivery.job_id)
        if not events or stored is None or events[0].position != delivery.position:
            raise Gone
        after = await self._folds.after(delivery.job_id, events[0])
        message = _message(delivery, events[0], after, stored)
        value = MessageToDict(message, always_print_fields_with_no_presence=True)
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _message(
    delivery: Delivery, event: e.RecordedEvent, after: Job, stored: StoredJob
) -> webhook_service_pb2.WebhookPayload:
    message = webhook_service_pb2.WebhookPayload(type=delivery.type)
    set_timestamp(message.timestamp, event.time_us)
    attempt, worker_id = spoken_of(event.payload, after.attempt, after.worker_id)
    if isinstance(event.payload, e.JobAssigned):
        attempt, worker_id = after.attempt, after.worker_id
    update = update_of(event, attempt, worker_id)
    data = message.data
    data.job_id = delivery.job_id
    data.state = STATES[after.state]
    if after.outcome is not None:
        data.outcome = OUTCOMES[after.outcome]
    data.attempt, data.machine_id = attempt, worker_id
    data.update = update.text if update is not None else ""
    data.sequence, data.position = delivery.sequence, delivery.position
    data.job.CopyFrom(_job(after, stored))
    return message


def _job(after: Job, stored: StoredJob) -> job_pb2.Job:
    view = JobView(
        stored=StoredJob(job=after, specification=stored.specification, created_position=stored.created_position)
    )
    message = job_message(view, job_service_pb2.JobFlags(), histories=False)
    environment = message.specification.environment
    for name in list(environment):
        # Programs are given secrets there.
        environment[name] = ""
    return message
