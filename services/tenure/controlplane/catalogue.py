"""What can be asked for: products, applications and queues, and what each stands for.

Products live in the queues that serve them, so that a queue changed through the API counts at once; applications and
the defaults come from the configuration and stay as they are while the server runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.queue import Queue
from tenure.v1 import job_pb2

DEFAULT_QUEUE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What a name and a version stand for: a program, its arguments unless the job brings some, and a queue."""

    name: str
    version: str
    command: str
    arguments: tuple[str, ...] = ()
    queue: str = DEFAULT_QUEUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a job goes and what it runs. `product` is the queue's offer that it asked for; None: it asked for none."""

    queue: str
    product: e.Product | None
    command: str
    arguments: tuple[str, ...]


EXAMPLE_PRODUCT = e.Product(
    id="example-compute", category="example-compute", provider="example", basis=e.Basis.CREATED, time_extension=True
)
EXAMPLE_APPLICATION = Application(
    name="acme-web-application",
    version="1.0.0",
    command="python3",
    # A free port: two of them on one machine do not meet.
    arguments=("-m", "http.server", "0", "--bind", "127.0.0.1"),
)


class Catalogue:
    """Resolves what a specification names.

    Args:
        queues: gives the queues as they are now.
        applications: what the configuration knows.
        create_queues: whether a queue that does not exist is made when a job names it.
        defaults: what jobs live under where neither they nor their queue say.
    """

    def __init__(
        self,
        queues: Callable[[], Mapping[str, Queue]],
        *,
        applications: Iterable[Application] = (),
        create_queues: bool = True,
        defaults: e.Terms | None = None,
    ) -> None:
        self._queues = queues
        self._applications = {(one.name, one.version): one for one in applications}
        self._create_queues = create_queues
        self.defaults = defaults or e.Terms()

    def resolve(self, spec: job_pb2.JobSpecification) -> Target:
        """Where a job of this specification goes and what it runs.

        The queue is the one it names, else its product's, else its application's, else `default`; the command its own,
        else its application's.

        Raises:
            Refused: INVALID_FIELD (neither command nor application), APPLICATION_UNKNOWN, PRODUCT_NOT_FOUND,
                QUEUE_NOT_FOUND; `field` is relative to the specification.
        """
        application = None
        if spec.HasField("application"):
            application = self._applications.get((spec.application.name, spec.application.version))
        command, arguments = self._program(spec, application)
        queue, product = spec.queue, None
        if spec.HasField("product"):
            queue, product = self._served(spec.product, queue)
        queue = queue or (application.queue if application else DEFAULT_QUEUE)
        if queue not in self._queues() and not self._create_queues:
            raise Refused(Reason.QUEUE_NOT_FOUND, f"there is no queue {queue}", field="queue")
        return Target(queue=queue, product=product, command=command, arguments=arguments)

    def new_queue(self, name: str) -> e.QueueConfigured:
        """The settings of a queue that is made because a job names it: those of `default`, less its products.

        Raises:
            Refused: QUEUE_NOT_FOUND, queues are not made by use here.
        """
        if not self._create_queues:
            raise Refused(Reason.QUEUE_NOT_FOUND, f"there is no queue {name}", field="queue")
        default = self._queues().get(DEFAULT_QUEUE)
        if default is None:
            return e.QueueConfigured()
        return replace(default.configured, products=(), read_only=False)

    def _program(self, spec: job_pb2.JobSpecification, application: Application | None) -> tuple[str, tuple[str, ...]]:
        if spec.command:
            return spec.command, tuple(spec.arguments)
        if application is not None:
            return application.command, tuple(spec.arguments) or application.arguments
        if spec.HasField("application"):
            name = f"{spec.application.name} {spec.application.version}"
            raise Refused(
                Reason.APPLICATION_UNKNOWN,
                f"the application {name} is not known here; give a command, or have it added to the configuration",
                field="application",
            )
        raise Refused(Reason.INVALID_FIELD, "a job needs a command or an application", field="command")

    def _served(self, product: job_pb2.ProductReference, queue: str) -> tuple[str, e.Product]:
        queues = self._queues()
        names = (queue,) if queue else queues
        for name in names:
            known = queues.get(name)
            for offer in known.configured.products if known else ():
                if (offer.id, offer.category, offer.provider) == (product.id, product.category, product.provider):
                    return name, offer
        who = f"queue {queue} does not serve" if queue else "no queue serves"
        raise Refused(
            Reason.PRODUCT_NOT_FOUND,
            f"{who} the product {product.provider}/{product.category}/{product.id}",
            field="product",
        )
