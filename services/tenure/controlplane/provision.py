"""From the configuration to the queues it asks for: which of them are to be changed when the server starts.

Queues of the file are read-only to the API and are what the file says. The queue `default` always exists; the example
product is served by it unless the example is off or another queue of the file serves it. A queue that has left the
file stays, open to the API again. Nothing is written when nothing differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tenure.controlplane.catalogue import DEFAULT_QUEUE, EXAMPLE_PRODUCT
from tenure.domain import events as e
from tenure.domain.queue import Queue


def wanted_queues(
    configured: Mapping[str, e.QueueConfigured], existing: Mapping[str, Queue], *, example: bool
) -> dict[str, e.QueueConfigured]:
    """The queues that are to be created or changed, by name.

    Args:
        configured: the queues of the configuration file.
        existing: the queues of the store.
        example: whether the example product is served.
    """
    wanted = {name: replace(queue.configured, read_only=False) for name, queue in existing.items()}
    wanted.setdefault(DEFAULT_QUEUE, e.QueueConfigured())
    wanted.update({name: replace(queue, read_only=True) for name, queue in configured.items()})
    default = wanted[DEFAULT_QUEUE]
    taken = {key(product) for queue in configured.values() for product in queue.products}
    products = tuple(product for product in default.products if product != EXAMPLE_PRODUCT)
    if example and key(EXAMPLE_PRODUCT) not in taken | {key(product) for product in products}:
        products = (*products, EXAMPLE_PRODUCT)
    wanted[DEFAULT_QUEUE] = replace(default, products=products)
    for name, queue in wanted.items():
        # What the file gives to one queue is taken from those that the API had given it to.
        if name not in configured:
            kept = tuple(product for product in queue.products if key(product) not in taken)
            wanted[name] = replace(queue, products=kept)
    return {
        name: queue
        for name, queue in wanted.items()
        if name not in existing or not _same(existing[name].configured, queue)
    }


def key(product: e.Product) -> tuple[str, str, str]:
    """What tells one product from another."""
    return product.id, product.category, product.provider


def _same(one: e.QueueConfigured, other: e.QueueConfigured) -> bool:
    # The order of products means nothing.
    return replace(one, products=()) == replace(other, products=()) and set(one.products) == set(other.products)
