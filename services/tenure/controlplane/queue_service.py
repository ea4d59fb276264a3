"""QueueService: where jobs wait, how full it is, what its terms are, and whether it gives them out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from tenure.controlplane.call import Call
from tenure.controlplane.handler import Executed, Handler, RequestKey
from tenure.controlplane.pages import Pages
from tenure.controlplane.provision import key
from tenure.controlplane.requests import request_key
from tenure.controlplane.resume import ResumeTokens
from tenure.controlplane.times import from_duration, set_duration
from tenure.controlplane.tokens import Identity
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.queue import Queue
from tenure.runtime.clock import Clock
from tenure.store.store import QueueDepth, Store
from tenure.v1 import job_pb2, queue_service_pb2

PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

_BASIS = {
    job_pb2.TIME_ALLOCATION_BASIS_UNSPECIFIED: e.Basis.NONE,
    job_pb2.TIME_ALLOCATION_BASIS_CREATED: e.Basis.CREATED,
    job_pb2.TIME_ALLOCATION_BASIS_STARTED: e.Basis.STARTED,
}
_BASIS_MESSAGES = {basis: number for number, basis in _BASIS.items()}


class QueueService:
    """The servicer.

    Args:
        handler: changes queues and knows them.
        store: knows how full they are.
        clock: for the age of what waits.
        resume: makes resume tokens.
        pages: makes page tokens.
        workers: gives, for the name of a queue, its connected workers and their free slots.
        given_out: returns when what was being given out at that instant has been, or will not be.
    """

    def __init__(
        self,
        *,
        handler: Handler,
        store: Store,
        clock: Clock,
        resume: ResumeTokens,
        pages: Pages,
        workers: Callable[[str], tuple[int, int]],
        given_out: Callable[[], Awaitable[None]],
    ) -> None:
        self._handler = handler
        self._store = store
        self._clock = clock
        self._resume = resume
        self._pages = pages
        self._workers = workers
        self._given_out = given_out

    async def upsert_queues(
        self, request: queue_service_pb2.UpsertQueuesRequest, call: Call
    ) -> queue_service_pb2.UpsertQueuesResponse:
        """Creates or changes queues, all or none."""
        asked = request_key("UpsertQueues", request, call.identity)
        executed = await self._configure(lambda: self._changes(request.items), call.identity, asked)
        return queue_service_pb2.UpsertQueuesResponse(resume_token=await self._resume.make(executed.position))

    async def browse_queues(
        self, request: queue_service_pb2.BrowseQueuesRequest, call: Call
    ) -> queue_service_pb2.BrowseQueuesResponse:
        """A page of the queues, by name."""
        after = self._pages.read_text(request, call.identity.principal)
        size = min(request.page_size or PAGE_SIZE, MAX_PAGE_SIZE)
        depths = await self._store.queue_depths()
        queues = self._handler.queues
        names = sorted(name for name in queues if after is None or name > after)
        response = queue_service_pb2.BrowseQueuesResponse()
        for name in names[:size]:
            self._fill(response.queues.add(), queues[name], depths.get(name, QueueDepth()))
        if len(names) > size:
            response.next_page_token = self._pages.make((names[size - 1],), request, call.identity.principal)
        return response

    async def pause_queues(
        self, request: queue_service_pb2.PauseQueuesRequest, call: Call
    ) -> queue_service_pb2.PauseQueuesResponse:
        """Stops or starts giving out the jobs of queues, all or none; after the answer nothing more is given out."""
        asked = request_key("PauseQueues", request, call.identity)
        executed = await self._configure(lambda: self._pauses(request.items), call.identity, asked)
        await self._given_out()
        return queue_service_pb2.PauseQueuesResponse(resume_token=await self._resume.make(executed.position))

    async def _configure(
        self, changes: Callable[[], Mapping[str, e.QueueEvent]], identity: Identity, asked: RequestKey | None
    ) -> Executed:
        try:
            wanted = changes()
        except Refused:
            # What the queues of today forbid may be a repeat of what those of before allowed.
            if known := await self._handler.answered(asked):
                return known
            raise
        return await self._handler.configure_queues(wanted, actor=identity.principal, request=asked)

    def _pauses(
        self, items: Sequence[queue_service_pb2.PauseQueuesRequest.Item]
    ) -> dict[str, e.QueuePaused | e.QueueResumed]:
        changes: dict[str, e.QueuePaused | e.QueueResumed] = {}
        for index, item in enumerate(items):
            path = f"items[{index}].name"
            if item.name in changes:
                raise Refused(Reason.INVALID_FIELD, f"{item.name} is there twice", field=path)
            if item.name not in self._handler.queues:
                raise Refused(Reason.QUEUE_NOT_FOUND, f"there is no queue {item.name}", field=path)
            changes[item.name] = e.QueuePaused(reason=item.reason) if item.paused else e.QueueResumed()
        return changes

    def _fill(self, message: queue_service_pb2.Queue, queue: Queue, depth: QueueDepth) -> None:
        fill_specification(message.specification, queue)
        message.read_only = queue.configured.read_only
        message.paused = queue.paused
        message.depth = depth.waiting
        message.active = depth.active
        if depth.oldest_us is not None:
            set_duration(message.oldest_age, max(0, self._clock.wall_us() - depth.oldest_us))
        message.workers, message.free_slots = self._workers(queue.name)

    def _changes(self, items: Sequence[queue_service_pb2.QueueSpecification]) -> dict[str, e.QueueConfigured]:
        changes: dict[str, e.QueueConfigured] = {}
        for index, item in enumerate(items):
            path = f"items[{index}]"
            if item.name in changes:
                raise Refused(Reason.INVALID_FIELD, f"{item.name} is there twice", field=f"{path}.name")
            known = self._handler.queues.get(item.name)
            if known is not None and known.configured.read_only:
                raise Refused(
                    Reason.QUEUE_READ_ONLY,
                    f"queue {item.name} comes from the server's configuration file; change it there",
                    field=f"{path}.name",
                )
            changes[item.name] = configured_of(item, path)
        self._check_products(changes, list(changes))
        return changes

    def _check_products(self, changes: dict[str, e.QueueConfigured], order: list[str]) -> None:
        after = {name: queue.configured for name, queue in self._handler.queues.items()} | changes
        served = {
            key(product): name
            for name, configured in after.items()
            if name not in changes
            for product in configured.products
        }
        for index, name in enumerate(order):
            for place, product in enumerate(changes[name].products):
                other = served.get(key(product))
                if other is not None:
                    raise Refused(
                        Reason.INVALID_FIELD,
                        f"the product {product.provider}/{product.category}/{product.id} is served by {other} already",
                        field=f"items[{index}].products[{place}].product",
                    )
                served[key(product)] = name


def configured_of(item: queue_service_pb2.QueueSpecification, path: str) -> e.QueueConfigured:
    """The event that makes a queue what a message says; `path` is the message's own.

    Raises:
        Refused: INVALID_FIELD, UNSUPPORTED_FIELD.
    """
    features = e.Features()
    if item.HasField("features"):
        if item.features.suspension:
            text = "suspending jobs: not supported yet"
            raise Refused(Reason.UNSUPPORTED_FIELD, text, field=f"{path}.features.suspension")
        features = e.Features(
            time_extension=item.features.time_extension,
            logs=item.features.logs,
            sync=item.features.sync,
            compression=item.features.compression,
        )
    most = _span(item, "max_time_allocation", path)
    default = _span(item, "default_time_allocation", path)
    if most is not None and default is not None and default > most:
        text = "is longer than max_time_allocation"
        raise Refused(Reason.INVALID_FIELD, text, field=f"{path}.default_time_allocation")
    return e.QueueConfigured(
        features=features,
        max_time_allocation_us=most,
        default_time_allocation_us=default,
        basis=_BASIS[item.basis] or e.Basis.STARTED,
        products=tuple(
            e.Product(
                id=one.product.id,
                category=one.product.category,
                provider=one.product.provider,
                basis=_BASIS[one.basis],
                time_extension=one.time_extension if one.HasField("time_extension") else None,
            )
            for one in item.products
        ),
    )


def fill_specification(message: queue_service_pb2.QueueSpecification, queue: Queue) -> None:
    """Write what a queue is into its message."""
    configured = queue.configured
    message.name = queue.name
    message.features.time_extension = configured.features.time_extension
    message.features.suspension = configured.features.suspension
    message.features.logs = configured.features.logs
    message.features.sync = configured.features.sync
    message.features.compression = configured.features.compression
    if configured.max_time_allocation_us is not None:
        set_duration(message.max_time_allocation, configured.max_time_allocation_us)
    if configured.default_time_allocation_us is not None:
        set_duration(message.default_time_allocation, configured.default_time_allocation_us)
    message.basis = _BASIS_MESSAGES[configured.basis]
    for product in configured.products:
        offer = message.products.add(basis=_BASIS_MESSAGES[product.basis], time_extension=product.time_extension)
        offer.product.id = product.id
        offer.product.category = product.category
        offer.product.provider = product.provider


def _span(item: queue_service_pb2.QueueSpecification, field: str, path: str) -> int | None:
    return from_duration(getattr(item, field), f"{path}.{field}") if item.HasField(field) else None  # type: ignore[arg-type]
