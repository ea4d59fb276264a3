"""The configuration file, `tenure.toml`: queues, products, applications, defaults, limits, webhooks and scrub.

It is read once, at the start. Every mistake is reported with the table and the key it is in, all of them at once.
Spans are texts such as "1h30m", "90s" or "200ms", or numbers of seconds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tenure.controlplane.catalogue import DEFAULT_QUEUE, EXAMPLE_APPLICATION, Application
from tenure.controlplane.config_tables import File, LimitsTable
from tenure.controlplane.pipeline import Limits
from tenure.controlplane.provision import key
from tenure.controlplane.scrubbing import ScrubSettings
from tenure.controlplane.spans import parse_span as parse_span
from tenure.controlplane.webhooks.announcing import WebhookSettings
from tenure.domain import events as e


class ConfigError(ValueError):
    """The configuration file is wrong; the text has one line a mistake and is fit for people."""


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
    limits_of: LimitsTable = LimitsTable()
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
        file = File.model_validate(tables)
    except ValidationError as error:
        lines = [f"{name}: {_where(one['loc'])}{_what(one['type'], one['msg'])}" for one in _errors(error)]
        raise ConfigError("\n".join(lines)) from None
    problems = [*_doubles(file), *_contradictions(file)]
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


def _contradictions(file: File) -> list[str]:
    """What cannot be true together."""
    limits = file.limits.applied_to(Limits())
    if limits.deadline_s > limits.max_deadline_s:
        what = f"deadline is {limits.deadline_s:g} s, max_deadline {limits.max_deadline_s:g} s"
        return [f"[limits] {what}: a call without a deadline would get more than one may have"]
    return []


def _doubles(file: File) -> list[str]:
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
