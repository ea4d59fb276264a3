"""Which queues a start creates or changes."""

from __future__ import annotations

from dataclasses import replace

from tenure.controlplane.catalogue import EXAMPLE_PRODUCT
from tenure.controlplane.provision import wanted_queues
from tenure.domain import events as e
from tenure.domain.queue import Queue

DEFAULT = e.QueueConfigured(products=(EXAMPLE_PRODUCT,))
GPU = e.QueueConfigured(max_time_allocation_us=1, products=(e.Product(id="a", category="b", provider="c"),))


def stored(**queues: e.QueueConfigured) -> dict[str, Queue]:
    return {name: Queue(name=name, version=1, configured=configured) for name, configured in queues.items()}


def test_a_fresh_server_gets_the_default_queue_with_the_example() -> None:
    assert wanted_queues({}, {}, example=True) == {"default": DEFAULT}
    assert wanted_queues({}, {}, example=False) == {"default": e.QueueConfigured()}


def test_nothing_is_written_when_nothing_differs() -> None:
    gpu = replace(GPU, read_only=True)
    assert wanted_queues({"gpu": GPU}, stored(default=DEFAULT, gpu=gpu), example=True) == {}


def test_what_the_api_has_changed_stays() -> None:
    changed = replace(DEFAULT, max_time_allocation_us=5)
    assert wanted_queues({}, stored(default=changed), example=True) == {}


def test_queues_of_the_file_are_read_only_and_open_again_without_it() -> None:
    wanted = wanted_queues({"gpu": GPU}, stored(default=DEFAULT), example=True)
    assert wanted == {"gpu": replace(GPU, read_only=True)}
    assert wanted_queues({}, stored(default=DEFAULT, **wanted), example=True) == {"gpu": GPU}


def test_the_example_comes_and_goes() -> None:
    assert wanted_queues({}, stored(default=e.QueueConfigured()), example=True) == {"default": DEFAULT}
    assert wanted_queues({}, stored(default=DEFAULT), example=False) == {"default": e.QueueConfigured()}


def test_a_queue_of_the_file_may_serve_the_example() -> None:
    mine = e.QueueConfigured(products=(EXAMPLE_PRODUCT,))
    wanted = wanted_queues({"mine": mine}, stored(default=DEFAULT), example=True)
    assert wanted == {"default": e.QueueConfigured(), "mine": replace(mine, read_only=True)}


def test_a_product_of_the_file_is_taken_from_queues_of_the_api() -> None:
    wanted = wanted_queues({"gpu": GPU}, stored(default=DEFAULT, old=replace(GPU, read_only=False)), example=True)
    assert wanted["old"].products == ()
    assert wanted["gpu"].products == GPU.products


def test_the_order_of_products_is_no_difference() -> None:
    two = (e.Product(id="x", category="b", provider="c"), e.Product(id="y", category="b", provider="c"))
    file = e.QueueConfigured(products=two)
    there = stored(default=DEFAULT, gpu=e.QueueConfigured(products=two[::-1], read_only=True))
    assert wanted_queues({"gpu": file}, there, example=True) == {}
