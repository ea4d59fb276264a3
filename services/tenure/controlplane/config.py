"""The configuration file, `tenure.toml`: queues, products, applications, defaults, limits, webhooks and scrub.

It is read once, at the start. Every mistake is reported with the table and the key it is in, all of them at once.
Spans are texts such as "1h30m", "90s" or "200ms", or numbers of seconds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tenure.controlplane.catalogue import DEFAULT_QUEUE, EXAMPLE_APPLICATION, Application
from tenure.controlplane.pipeline import Limits
from tenure.controlplane.provision import key
from tenure.controlplane.scrubbing import ScrubSettings
from tenure.controlplane.spans import PositiveSpan, Span
from tenure.controlplane.spans import parse_span as parse_span
from tenure.controlplane.webhooks.announcing import WebhookSettings
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.controlplane.webhooks.targets import Network, TargetRules
from tenure.domain import events as e

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class ConfigError(ValueError):
    """The configuration file is wrong; the text has one line a mistake and is fit for people."""


def _basis(value: object) -> e.Basis:
    names = {"created": e.Basis.CREATED, "started": e.Basis.STARTED}
    basis = names.get(value.lower()) if isinstance(value, str) else None
    if basis is None:
        message = 'write "created" or "started"'
        raise ValueError(message)
    return basis


Basis = Annotated[e.Basis, BeforeValidator(_basis)]
Name = Annotated[str, Field(pattern=NAME)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class _Features(_Table):
    time_extension: bool = True
    logs: bool = True
    sync: bool = True
    compression: bool = True


class _Product(_Table):
    id: str = Field(min_length=1, max_length=128)
    category: str = Field(min_length=1, max_length=128)
    provider: str = Field(min_length=1, max_length=128)
    basis: Basis = e.Basis.NONE
    time_extension: bool | None = None


class _Queue(_Table):
    features: _Features = _Features()
    max_time_allocation: PositiveSpan | None = None
    default_time_allocation: PositiveSpan | None = None
    basis: Basis = e.Basis.STARTED
    products: list[_Product] = Field(default=[], max_length=1000)

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        most, default = self.max_time_allocation, self.default_time_allocation
        if most is not None and default is not None and default > most:
            message = "default_time_allocation is longer than max_time_allocation"
            raise ValueError(message)
        return self

    def event(self) -> e.QueueConfigured:
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


class _Application(_Table):
    name: str = Field(min_length=1, max_length=128)
    version: str = Field(min_length=1, max_length=64)
    command: str = Field(min_length=1, max_length=4096)
    arguments: list[str] = Field(default=[], max_length=4096)
    queue: Name = DEFAULT_QUEUE


class _Defaults(_Table):
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


class _Limits(_Table):
    """How long calls may take and how many there may be; left out: as `--max-workers` asks for."""

    first_message: PositiveSpan | None = None
    deadline: PositiveSpan | None = None
    max_deadline: PositiveSpan | None = None
    send: PositiveSpan | None = None
    calls: int | None = Field(default=None, ge=1)
    streams: int | None = Field(default=None, ge=1)

    def applied_to(self, limits: Limits) -> Limits:
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


class _Webhooks(_Table):
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


class _Scrub(_Table):
    """How often the whole log is read again, 0: never; and how fast, at most."""

    interval: Span = ScrubSettings().interval_us
    events_per_second: int = Field(default=ScrubSettings().events_per_second, ge=1)

    def settings(self) -> ScrubSettings:
        return ScrubSettings(interval_us=self.interval, events_per_second=self.events_per_second)


class _File(_Table):
    example: bool = True
    create_queues: bool = True
    queues: dict[Name, _Queue] = {}
    applications: list[_Application] = []
    defaults: _Defaults = _Defaults()
    limits: _Limits = _Limits()
    webhooks: _Webhooks = _Webhooks()
    scrub: _Scrub = _Scrub()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the file says; without a file, all of it is default.

    `example` serves the example product and application; `create_queues` lets a job name a queue that is not there.
    """

    example: bool = True
    create_queues: bool = True
    queues: Mapping[str, e.QueueConfigured] = field(default_factory=dict)
    applications: tuple[Application, ...] = (EXAMPLE_APPLICATION,)
    defaults: e.Terms = e.Terms()
    limits_of: _Limits = _Limits()
    webhooks: WebhookSettings = WebhookSettings()
    scrub: ScrubSettings = ScrubSettings()

    def limits(self, usual: Limits) -> Limits:
        """The usual limits with what the file changes of them."""
        return self.limits_of.applied_to(usual)


def read_config(path: Path | None) -> Configuration:
    """The configuration in a file; None: there is no file.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or is wrong.
    """
    if path is None:
        return Configuration()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise ConfigError(message) from None
    except UnicodeDecodeError:
        message = f"{path}: it is not UTF-8 text"
        raise ConfigError(message) from None
    return parse_config(text, str(path))


def parse_config(text: str, name: str = "tenure.toml") -> Configuration:
    """The configuration in the text of a file; `name` is put before each mistake.

    Raises:
        ConfigError: it is no TOML, or is wrong.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{name}: {error}"
        raise ConfigError(message) from None
    try:
        file = _File.model_validate(tables)
    except ValidationError as error:
        lines = [f"{name}: {_where(one['loc'])}{_what(one['type'], one['msg'])}" for one in _errors(error)]
        raise ConfigError("\n".join(lines)) from None
    problems = _doubles(file)
    if problems:
        raise ConfigError("\n".join(f"{name}: {problem}" for problem in problems))
    applications = tuple(
        Application(
            name=one.name,
            version=one.version,
            command=one.command,
            arguments=tuple(one.arguments),
            queue=one.queue,
        )
        for one in file.applications
    )
    known = {(one.name, one.version) for one in applications}
    if file.example and (EXAMPLE_APPLICATION.name, EXAMPLE_APPLICATION.version) not in known:
        applications = (*applications, EXAMPLE_APPLICATION)
    return Configuration(
        example=file.example,
        create_queues=file.create_queues,
        queues={queue_name: queue.event() for queue_name, queue in file.queues.items()},
        applications=applications,
        defaults=file.defaults.terms(),
        limits_of=file.limits,
        webhooks=file.webhooks.settings(),
        scrub=file.scrub.settings(),
    )


def _doubles(file: _File) -> list[str]:
    """What is said twice."""
    problems = []
    served: dict[tuple[str, str, str], str] = {}
    for name, queue in file.queues.items():
        for index, product in enumerate(queue.event().products):
            other = served.setdefault(key(product), name)
            if other != name or any(key(one) == key(product) for one in queue.event().products[:index]):
                text = f"the product {product.provider}/{product.category}/{product.id} is served by {other} already"
                problems.append(f"[queues.{name}] products[{index}]: {text}")
    seen: set[tuple[str, str]] = set()
    for index, application in enumerate(file.applications):
        if (application.name, application.version) in seen:
            text = f"{application.name} {application.version} is there already"
            problems.append(f"[[applications]] #{index + 1}: {text}")
        seen.add((application.name, application.version))
        if not file.create_queues and application.queue not in {*file.queues, DEFAULT_QUEUE}:
            text = f"there is no queue {application.queue}, and create_queues is off"
            problems.append(f"[[applications]] #{index + 1} queue: {text}")
    return problems


def _errors(error: ValidationError) -> list[Any]:
    return list(error.errors(include_url=False, include_input=False, include_context=False))


def _where(location: tuple[int | str, ...]) -> str:
    """`("queues", "gpu", "products", 0, "id")` → `[queues.gpu] products[0].id: `."""
    parts = [part for part in location if part != "[key]"]
    match parts:
        case ["queues", name, *rest]:
            table = f"[queues.{name}]"
        case ["applications", int(index), *rest]:
            table = f"[[applications]] #{index + 1}"
        case ["defaults" | "limits" | "webhooks" | "scrub" as name, *rest]:
            table = f"[{name}]"
        case rest:
            table = ""
    path = ""
    for part in rest:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return " ".join(part for part in (table, path) if part) + ": "


def _what(kind: str, text: str) -> str:
    match kind:
        case "extra_forbidden":
            return "there is no such key"
        case "missing":
            return "is missing"
        case "string_pattern_mismatch":
            return "a name is 1 to 64 characters of [A-Za-z0-9._-] and starts with a letter or digit"
        case _:
            return text.removeprefix("Value error, ")
