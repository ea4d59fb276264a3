"""The configuration file: what it says, and where it is wrong."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from tenure.controlplane.catalogue import EXAMPLE_APPLICATION
from tenure.controlplane.config import ConfigError, Configuration, parse_config, parse_span, read_config
from tenure.controlplane.pipeline import Limits
from tenure.controlplane.scrubbing import ScrubSettings
from tenure.controlplane.webhooks.announcing import WebhookSettings
from tenure.controlplane.webhooks.schedule import Schedule
from tenure.controlplane.webhooks.targets import TargetRules
from tenure.domain import events as e

WHOLE = """
example = false
create_queues = false

[defaults]
heartbeat_interval = "10s"
max_failures = 5
max_lost_leases = 0
retry_initial = 1.5

[limits]
first_message = "2s"
calls = 50

[webhooks]
allow_http = true
allow_networks = ["10.1.0.0/16", "::1"]
ports = [8080, 443]
max_attempts = 3
max_age = "1h"
retry_initial = "1s"
retry_maximum = "1m"
keep = "2d"

[scrub]
interval = "12h"
events_per_second = 500

[queues.default]

[queues.gpu]
max_time_allocation = "2d"
default_time_allocation = "1h30m"
basis = "created"
features = { time_extension = false, compression = false }
products = [{ id = "a100", category = "gpu", provider = "here", basis = "Started", time_extension = true }]

[[applications]]
name = "train"
version = "2"
command = "python3"
arguments = ["-m", "train"]
queue = "gpu"
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as wrong:
        parse_config(text, "t.toml")
    return str(wrong.value).splitlines()


def test_everything_can_be_said() -> None:
    read = parse_config(WHOLE)
    assert (read.example, read.create_queues) == (False, False)
    assert read.defaults.heartbeat_interval_us == 10_000_000
    assert (read.defaults.max_failures, read.defaults.max_lost_leases) == (5, 0)
    assert read.defaults.retry_initial_us == 1_500_000
    assert read.queues["default"] == e.QueueConfigured(read_only=True)
    assert read.queues["gpu"] == e.QueueConfigured(
        features=e.Features(time_extension=False, compression=False),
        max_time_allocation_us=2 * 86_400_000_000,
        default_time_allocation_us=5_400_000_000,
        basis=e.Basis.CREATED,
        products=(e.Product(id="a100", category="gpu", provider="here", basis=e.Basis.STARTED, time_extension=True),),
        read_only=True,
    )
    (application,) = read.applications
    assert (application.name, application.arguments, application.queue) == ("train", ("-m", "train"), "gpu")
    assert read.limits(Limits(streams=7)) == Limits(first_message_s=2.0, calls=50, streams=7)
    assert read.webhooks == WebhookSettings(
        targets=TargetRules(
            allow_http=True,
            networks=(ip_network("10.1.0.0/16"), ip_network("::1/128")),
            ports=frozenset({443, 8080}),
        ),
        schedule=Schedule(
            initial_us=1_000_000,
            maximum_us=60_000_000,
            max_attempts=3,
            max_age_us=3_600_000_000,
            keep_us=172_800_000_000,
        ),
    )
    assert parse_config('webhooks.ports = "any"').webhooks.targets.ports is None
    assert read.scrub == ScrubSettings(interval_us=12 * 3_600_000_000, events_per_second=500)
    assert parse_config("scrub.interval = 0").scrub.interval_us == 0


def test_without_a_file_there_is_the_example() -> None:
    assert read_config(None) == Configuration() == parse_config("")
    assert Configuration().applications == (EXAMPLE_APPLICATION,)


def test_an_application_of_the_file_wins_over_the_example() -> None:
    name = '[[applications]]\nname = "acme-web-application"\nversion = "1.0.0"\ncommand = "mine"'
    assert [one.command for one in parse_config(name).applications] == ["mine"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("example = 1", "t.toml: example: Input should be a valid boolean"),
        ("exmaple = true", "t.toml: exmaple: there is no such key"),
        ("[queues.gpu]\nbasis = 'never'", 't.toml: [queues.gpu] basis: write "created" or "started"'),
        ("[queues.gpu]\nmax_time_allocation = '1 fortnight'", "t.toml: [queues.gpu] max_time_allocation: write a span"),
        ("[queues.gpu]\nmax_time_allocation = 0", "t.toml: [queues.gpu] max_time_allocation: Input should be greater"),
        ("[queues.gpu]\nmax_time_allocation = true", "t.toml: [queues.gpu] max_time_allocation: write a span"),
        (
            "[queues.gpu]\nmax_time_allocation = inf",
            "t.toml: [queues.gpu] max_time_allocation: a span is 0 to 366 days",
        ),
        (
            "[queues.gpu]\nmax_time_allocation = nan",
            "t.toml: [queues.gpu] max_time_allocation: a span is 0 to 366 days",
        ),
        (
            f"[queues.gpu]\nmax_time_allocation = {10**400}",
            "t.toml: [queues.gpu] max_time_allocation: a span is 0 to 366 days",
        ),
        (
            "[queues.gpu]\nmax_time_allocation = 1\ndefault_time_allocation = 2",
            "t.toml: [queues.gpu]: default_time_allocation is longer than max_time_allocation",
        ),
        (
            "[queues.gpu]\nfeatures = {suspension = true}",
            "t.toml: [queues.gpu] features.suspension: there is no such key",
        ),
        (
            "[queues.gpu]\nproducts = [{id = 'a', category = 'b'}]",
            "t.toml: [queues.gpu] products[0].provider: is missing",
        ),
        ("[queues.'no good']", "t.toml: [queues.no good]: a name is 1 to 64 characters"),
        ("queues = 3", "t.toml: queues: Input should be a valid dictionary"),
        ("[[applications]]\nname = 'a'\nversion = '1'", "t.toml: [[applications]] #1 command: is missing"),
        (
            "[[applications]]\nname = 'a'\nversion = '1'\ncommand = 'c'\narguments = 'x'",
            "t.toml: [[applications]] #1 arguments: Input should be a valid list",
        ),
        ("[defaults]\nmax_failures = 0", "t.toml: [defaults] max_failures: Input should be greater than or equal to 1"),
        ("[defaults]\nheartbeat_interval = '1ms'", "t.toml: [defaults] heartbeat_interval: Input should be greater"),
        ("[webhooks]\nports = []", 't.toml: [webhooks] ports: write a list of ports such as [443, 8443], or "any"'),
        ("[webhooks]\nports = [true]", "t.toml: [webhooks] ports: write a list of ports"),
        ("[webhooks]\nallow_networks = ['10.0.0.1/8']", "t.toml: [webhooks] allow_networks[0]: write a network"),
        ("[scrub]\nevents_per_second = 0", "t.toml: [scrub] events_per_second: Input should be greater"),
        ("[webhooks]\nmax_attempts = 0", "t.toml: [webhooks] max_attempts: Input should be greater"),
        ("[limits]\ncalls = 'many'", "t.toml: [limits] calls: Input should be a valid integer"),
        (
            "[limits]\ndeadline = '10m'",
            "t.toml: [limits] deadline is 600 s, max_deadline 300 s: a call without a deadline would get more than",
        ),
        ("a = ]", "t.toml: Invalid value (at line 1, column 5)"),
    ],
)
def test_a_mistake_is_named_with_its_table_and_key(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(problem)


def test_all_mistakes_are_named_at_once() -> None:
    assert len(problems("x = 1\ny = 2\n[queues.gpu]\nz = 3\n[limits]\ncalls = 0")) == 4


def test_what_is_said_twice_is_a_mistake() -> None:
    product = "products = [{id = 'a', category = 'b', provider = 'c'}]"
    (found,) = problems(f"[queues.one]\n{product}\n[queues.two]\n{product}")
    assert found == "t.toml: [queues.two] products[0]: the product c/b/a is served by one already"
    application = "[[applications]]\nname = 'a'\nversion = '1'\ncommand = 'c'\n"
    (found,) = problems(application * 2)
    assert found == "t.toml: [[applications]] #2: a 1 is there already"


def test_an_application_wants_a_queue_that_can_be_there() -> None:
    application = "[[applications]]\nname = 'a'\nversion = '1'\ncommand = 'c'\nqueue = 'far'\n"
    parse_config(application)
    (found,) = problems("create_queues = false\n" + application)
    assert found == "t.toml: [[applications]] #1 queue: there is no queue far, and create_queues is off"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tenure.toml"
    with pytest.raises(ConfigError, match=r"tenure\.toml: No such file"):
        read_config(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"tenure\.toml: it is not UTF-8 text"):
        read_config(path)
    path.write_text("example = false")
    assert not read_config(path).example


@pytest.mark.parametrize(
    ("value", "span_us"),
    [("1h30m", 5_400_000_000), ("90s", 90_000_000), ("200ms", 200_000), ("1.5s", 1_500_000), ("2 d", 172_800_000_000)],
)
def test_spans(value: str, span_us: int) -> None:
    assert parse_span(value) == span_us
    assert parse_span(span_us / 1_000_000) == span_us


@pytest.mark.parametrize("value", ["", "5", "1h 3", "-1s", "h", "1y", -1, "367d", "9" * 400 + "h"])
def test_no_spans(value: object) -> None:
    with pytest.raises(ValueError, match="span"):
        parse_span(value)
