"""The tables of the configuration file as they are written, each with what the server makes of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tenure.controlplane.catalogue import DEFAULT_QUEUE
from tenure.controlplane.pipeline import Limits
from tenure.controlplane.scrubbing import ScrubSettings
from tenure.controlplane.spans import PositiveSpan, Span, parse_span
from tenure.controlplane.webhooks.announcing import WebhookSettings
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.controlplane.webhooks.targets import Network, TargetRules
from tenure.domain import events as e

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def _basis(value: object) -> e.Basis:
    names = {"created": e.Basis.CREATED, "started": e.Basis.STARTED}
    basis = names.get(value.lower()) if isinstance(value, str) else None
    if basis is None:
        message = 'write "created" or "started"'
        raise ValueError(message)
    return basis


Basis = Annotated[e.Basis, BeforeValidator(_basis)]
Name = Annotated[str, Field(pattern=NAME)]


class Table(BaseModel):
    """A table: what it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class FeaturesTable(Table):
    """What a queue can do."""

    time_extension: bool = True
    logs: bool = True
    sync: bool = True
    compression: bool = True


class ProductTable(Table):
    """A product that a queue serves."""

    id: str = Field(min_length=1, max_length=128)
    category: str = Field(min_length=1, max_length=128)
    provider: str = Field(min_length=1, max_length=128)
    basis: Basis = e.Basis.NONE
    time_extension: bool | None = None


class QueueTable(Table):
    """A queue."""

    features: FeaturesTable = FeaturesTable()
    max_time_allocation: PositiveSpan | None = None
    default_time_allocation: PositiveSpan | None = None
    basis: Basis = e.Basis.STARTED
    products: list[ProductTable] = Field(default=[], max_length=1000)

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        most, default = self.max_time_allocation, self.default_time_allocation
        if most is not None and default is not None and default > most:
            message = "default_time_allocation is longer than max_time_allocation"
            raise ValueError(message)
        return self

    def event(self) -> e.QueueConfigured:
        """The queue as an event says it."""
        return e.QueueConfigured(
            features=e.Features(**self.features.model_dump()),
            max_time_allocation_us=self.max_time_allocation,
            default_time_allocation_us=self.default_time_allocation,
            basis=self.basis,
            products=tuple(
                e.Product(
                    id=one.id,
                    category=one.category,
                    provider=one.provider,
                    basis=one.basis,
                    time_extension=one.time_extension,
                )
                for one in self.products
            ),
            read_only=True,
        )


class ApplicationTable(Table):
    """An application: what jobs that name it run."""

    name: str = Field(min_length=1, max_length=128)
    version: str = Field(min_length=1, max_length=64)
    command: str = Field(min_length=1, max_length=4096)
    arguments: list[str] = Field(default=[], max_length=4096)
    queue: Name = DEFAULT_QUEUE


class DefaultsTable(Table):
    """What jobs live under where neither they nor their queue say."""

    heartbeat_interval: Annotated[int, BeforeValidator(parse_span), Field(ge=1_000_000, le=3_600_000_000)] = 30_000_000
    max_failures: int = Field(default=3, ge=1, le=1000)
    retry_initial: Span = 0
    retry_maximum: Span = 3_600_000_000
    termination_grace_period: Annotated[int, BeforeValidator(parse_span), Field(le=3_600_000_000)] = 30_000_000
    ban: Span = 600_000_000
    max_lost_leases: int = Field(default=5, ge=0, le=1000)
    lost_lease_window: Span = 600_000_000

    def terms(self) -> e.Terms:
        """The terms of a job that says nothing."""
        return e.Terms(
            heartbeat_interval_us=self.heartbeat_interval,
            max_failures=self.max_failures,
            retry_initial_us=self.retry_initial,
            retry_maximum_us=self.retry_maximum,
            termination_grace_period_us=self.termination_grace_period,
            ban_us=self.ban,
            max_lost_leases=self.max_lost_leases,
            lost_lease_window_us=self.lost_lease_window,
        )


class LimitsTable(Table):
    """How long calls may take and how many there may be; left out: as `--max-workers` asks for."""

    first_message: PositiveSpan | None = None
    deadline: PositiveSpan | None = None
    max_deadline: PositiveSpan | None = None
    send: PositiveSpan | None = None
    calls: int | None = Field(default=None, ge=1)
    streams: int | None = Field(default=None, ge=1)

    def applied_to(self, limits: Limits) -> Limits:
        """The limits with what is said here in place of theirs."""
        spans = {
            f"{name}_s": span / 1_000_000
            for name in ("first_message", "deadline", "max_deadline", "send")
            if (span := getattr(self, name)) is not None
        }
        counts = {name: count for name in ("calls", "streams") if (count := getattr(self, name)) is not None}
        changes: dict[str, Any] = {**spans, **counts}
        return replace(limits, **changes)


def _network(value: object) -> Network:
    try:
        if isinstance(value, str):
            return ip_network(value)
    except ValueError:
        pass
    message = 'write a network such as "10.1.0.0/16", or an address'
    raise ValueError(message)


def _ports(value: object) -> frozenset[int] | None:
    if value == "any":
        return None
    if isinstance(value, list) and value and all(type(port) is int and 0 < port < 65536 for port in value):
        return frozenset(value)
    message = 'write a list of ports such as [443, 8443], or "any"'
    raise ValueError(message)


class WebhooksTable(Table):
    """Where announcements of jobs may go, how often they are tried, and how long they are kept."""

    allow_http: bool = False
    allow_networks: list[Annotated[Network, BeforeValidator(_network)]] = []
    ports: Annotated[frozenset[int] | None, BeforeValidator(_ports)] = TargetRules().ports
    max_attempts: int = Field(default=Schedule().max_attempts, ge=1, le=1000)
    max_age: Span = Schedule().max_age_us
    retry_initial: PositiveSpan = Schedule().initial_us
    retry_maximum: PositiveSpan = Schedule().maximum_us
    keep: Span = Schedule().keep_us

    def settings(self) -> WebhookSettings:
        """What it says."""
        return WebhookSettings(
            targets=TargetRules(allow_http=self.allow_http, networks=tuple(self.allow_networks), ports=self.ports),
            schedule=Schedule(
                initial_us=self.retry_initial,
                maximum_us=self.retry_maximum,
                max_attempts=self.max_attempts,
                max_age_us=self.max_age,
                keep_us=self.keep,
            ),
        )


class ScrubTable(Table):
    """How often the whole log is read again, 0: never; and how fast, at most."""

    interval: Span = ScrubSettings().interval_us
    events_per_second: int = Field(default=ScrubSettings().events_per_second, ge=1)

    def settings(self) -> ScrubSettings:
        """What it says."""
        return ScrubSettings(interval_us=self.interval, events_per_second=self.events_per_second)


class File(Table):
    """The whole file."""

    example: bool = True
    create_queues: bool = True
    queues: dict[Name, QueueTable] = {}
    applications: list[ApplicationTable] = []
    defaults: DefaultsTable = DefaultsTable()
    limits: LimitsTable = LimitsTable()
    webhooks: WebhooksTable = WebhooksTable()
    scrub: ScrubTable = ScrubTable()
