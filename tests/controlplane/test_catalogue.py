"""What products, applications and queues stand for."""

from __future__ import annotations

import pytest

from tenure.controlplane.catalogue import EXAMPLE_APPLICATION, EXAMPLE_PRODUCT, Application, Catalogue
from tenure.domain import events as e
from tenure.domain.errors import Reason, Refused
from tenure.domain.queue import Queue
from tenure.v1 import job_pb2

GPU_PRODUCT = e.Product(id="a100", category="gpu", provider="here")
QUEUES = {
    name: Queue(name=name, version=1, configured=configured)
    for name, configured in {
        "default": e.QueueConfigured(products=(EXAMPLE_PRODUCT,), max_time_allocation_us=7, read_only=True),
        "gpu": e.QueueConfigured(products=(GPU_PRODUCT,)),
    }.items()
}
TRAIN = Application(name="train", version="1", command="python3", arguments=("-m", "train"), queue="gpu")


def catalogue(*, create_queues: bool = True) -> Catalogue:
    return Catalogue(lambda: QUEUES, applications=(EXAMPLE_APPLICATION, TRAIN), create_queues=create_queues)


def product(known: e.Product) -> job_pb2.ProductReference:
    return job_pb2.ProductReference(id=known.id, category=known.category, provider=known.provider)


def application(name: str, version: str = "1") -> job_pb2.NameAndVersion:
    return job_pb2.NameAndVersion(name=name, version=version)


def refused(spec: job_pb2.JobSpecification, *, create_queues: bool = True) -> tuple[Reason, str]:
    with pytest.raises(Refused) as error:
        catalogue(create_queues=create_queues).resolve(spec)
    return error.value.reason, error.value.field


def test_the_example_is_as_it_was_printed() -> None:
    spec = job_pb2.JobSpecification(
        application=application("acme-web-application", "1.0.0"),
        product=job_pb2.ProductReference(id="example-compute", category="example-compute", provider="example"),
    )
    target = catalogue().resolve(spec)
    assert (target.queue, target.command) == ("default", "python3")
    assert target.product is not None
    assert (target.product.basis, target.product.time_extension) == (e.Basis.CREATED, True)
    assert target.arguments == ("-m", "http.server", "0", "--bind", "127.0.0.1")


def test_a_command_goes_to_the_default_queue() -> None:
    target = catalogue().resolve(job_pb2.JobSpecification(command="true", arguments=["x"]))
    assert (target.queue, target.command, target.arguments, target.product) == ("default", "true", ("x",), None)


def test_an_application_brings_command_arguments_and_queue() -> None:
    target = catalogue().resolve(job_pb2.JobSpecification(application=application("train")))
    assert (target.queue, target.command, target.arguments) == ("gpu", "python3", ("-m", "train"))


def test_a_job_may_bring_its_own_arguments_or_command() -> None:
    target = catalogue().resolve(job_pb2.JobSpecification(application=application("train"), arguments=["-V"]))
    assert (target.command, target.arguments) == ("python3", ("-V",))
    target = catalogue().resolve(job_pb2.JobSpecification(application=application("train"), command="own"))
    assert (target.command, target.arguments, target.queue) == ("own", (), "gpu")


def test_the_queue_named_wins_over_the_application_and_the_product_too() -> None:
    spec = job_pb2.JobSpecification(application=application("train"), queue="other")
    assert catalogue().resolve(spec).queue == "other"
    spec = job_pb2.JobSpecification(application=application("train"), product=product(EXAMPLE_PRODUCT))
    assert catalogue().resolve(spec).queue == "default"


def test_a_product_must_be_served_by_the_queue_named() -> None:
    spec = job_pb2.JobSpecification(command="true", queue="gpu", product=product(GPU_PRODUCT))
    assert catalogue().resolve(spec).product == GPU_PRODUCT
    spec = job_pb2.JobSpecification(command="true", queue="default", product=product(GPU_PRODUCT))
    assert refused(spec) == (Reason.PRODUCT_NOT_FOUND, "product")


def test_what_is_not_known_is_refused() -> None:
    nothing = e.Product(id="x", category="y", provider="z")
    assert refused(job_pb2.JobSpecification()) == (Reason.INVALID_FIELD, "command")
    spec = job_pb2.JobSpecification(application=application("nobody"))
    assert refused(spec) == (Reason.APPLICATION_UNKNOWN, "application")
    spec = job_pb2.JobSpecification(command="true", product=product(nothing))
    assert refused(spec) == (Reason.PRODUCT_NOT_FOUND, "product")


def test_an_unknown_application_is_fine_with_a_command() -> None:
    target = catalogue().resolve(job_pb2.JobSpecification(application=application("nobody"), command="true"))
    assert (target.queue, target.command) == ("default", "true")


def test_queues_are_made_by_use_where_that_is_allowed() -> None:
    spec = job_pb2.JobSpecification(command="true", queue="new")
    assert catalogue().resolve(spec).queue == "new"
    assert catalogue().new_queue("new") == e.QueueConfigured(max_time_allocation_us=7)
    assert refused(spec, create_queues=False) == (Reason.QUEUE_NOT_FOUND, "queue")
    with pytest.raises(Refused):
        catalogue(create_queues=False).new_queue("new")
