"""Documents and files of commands do not lie: links lead somewhere, and every command named exists."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace

from pydantic import BaseModel

from tenure.controlplane import config_tables as tables
from tenure.controlplane.config import Configuration, parse_config
from tenure.controlplane.pipeline import Limits
from tenure.v1 import errors_pb2
from tests.house.tree import ROOT, read, text_files

DOCUMENTS = [path for path in text_files() if path.endswith(".md")]
TARGETS = {"help", "setup", "demo", "test", "check", "generate", "bench", "prove"}


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))


def test_relative_links_lead_to_files() -> None:
    assert {path: broken for path in DOCUMENTS if (broken := _broken_links(path))} == {}


def _broken_links(path: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", read(path), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose)
    here = (ROOT / path).parent
    return [link for link in links if not re.match(r"[a-z]+:", link) and not (here / link).exists()]


def test_links_within_a_document_lead_to_headings() -> None:
    assert {path: broken for path in DOCUMENTS if (broken := _broken_anchors(path))} == {}


def _broken_anchors(path: str) -> list[str]:
    headings = re.findall(r"^#+ +(.+)$", read(path), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return [link for link in re.findall(r"\]\(#([^)]+)\)", read(path)) if link not in anchors]


def test_every_make_target_that_is_named_exists() -> None:
    """In `code` and at the start of a line, several targets in one command included."""
    command = re.compile(r"(?:^ *|`)make((?: [a-z][a-z-]*)+)(?: *#.*| [^a-z].*|`.*)?$", re.MULTILINE)
    named = {
        (path, target)
        for path in [*DOCUMENTS, ".ci/run"]
        for targets in command.findall(read(path))
        for target in targets.split()
    }
    assert named
    assert {one for one in named if one[1] not in _targets()} == set()


# Where docs/configuration.md tells of a table: its heading, and which of the lists of keys below it.
TABLES: dict[type[BaseModel], tuple[str, int]] = {
    tables.File: ("At the top", 0),
    tables.QueueTable: ("`[queues.NAME]`", 0),
    tables.FeaturesTable: ("`[queues.NAME]`", 1),
    tables.ProductTable: ("`[queues.NAME]`", 2),
    tables.ApplicationTable: ("`[[applications]]`", 0),
    tables.DefaultsTable: ("`[defaults]`", 0),
    tables.LimitsTable: ("`[limits]`", 0),
    tables.WebhooksTable: ("`[webhooks]`", 0),
    tables.ScrubTable: ("`[scrub]`", 0),
}


def test_every_key_of_the_configuration_is_explained() -> None:
    """Each table, and of each its keys; those of the file that are tables have a heading instead."""
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", read("docs/configuration.md"), re.MULTILINE | re.DOTALL))
    assert set(TABLES) == set(tables.Table.__subclasses__())
    for table, (heading, number) in TABLES.items():
        explained = re.findall(r"(?:^\|.*\n)+", sections[heading], re.MULTILINE)[number]
        keys = list(table.model_fields)
        if table is tables.File:
            keys = [key for key in keys if not any(re.fullmatch(rf"`\[+{key}\b.*`", each) for each in sections)]
        found = re.findall(r"^\| `(\w+)` \| \S.* \| \S.* \|$", explained, re.MULTILINE)
        assert sorted(found) == sorted(keys), table.__name__


def test_the_configuration_that_is_shown_is_what_the_server_reads() -> None:
    defaults, example = re.findall(r"^```toml\n(.*?)^```", read("docs/configuration.md"), re.MULTILINE | re.DOTALL)
    shown, usual = parse_config(defaults), Limits(calls=10_000, streams=21_000)
    assert replace(shown, limits_of=Configuration().limits_of) == Configuration()
    assert (
        shown.limits(Limits(first_message_s=1, deadline_s=1, max_deadline_s=1, send_s=1, calls=1, streams=1)) == usual
    )
    for table in (tables.DefaultsTable, tables.LimitsTable, tables.WebhooksTable, tables.ScrubTable):
        assert [key for key in table.model_fields if f"\n{key} = " not in defaults] == []
    queue = parse_config(example).queues["gpu"]
    assert (len(queue.products), queue.features.compression) == (2, False)


def test_every_reason_of_an_error_is_explained() -> None:
    """What it means, and what its user or the operator does about it."""
    reasons = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    lines = re.findall(r"^\| `([A-Z_]+)` \|(.*)\|(.*)\|(.*)\|$", read("docs/operations.md"), re.MULTILINE)
    assert sorted(reason for reason, *_ in lines) == sorted(reasons - {"UNSPECIFIED"})
    assert [reason for reason, meaning, *doing in lines if not meaning.strip() or not "".join(doing).strip()] == []


def test_make_alone_lists_what_there_is() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    result = subprocess.run(["make"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=True)
    listed = set(re.findall(r"^ +make ([a-z-]+) +\S", result.stdout, re.MULTILINE))
    assert listed >= TARGETS
    assert listed <= _targets()


def test_readme_names_the_two_commands() -> None:
    assert {"make demo", "make test"} <= set(re.findall(r"^(make [a-z]+)", read("README.md"), re.MULTILINE))


def test_ci_runs_the_checks_and_the_test_command_of_the_readme() -> None:
    lines = [line.strip() for line in read(".ci/run").splitlines()]
    assert "make check" in lines
    assert "make test" in lines
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_licence_is_whole() -> None:
    licence = read("LICENSE")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_changelog_knows_this_version() -> None:
    version = re.search(r'^version = "([^"]+)"', read("pyproject.toml"), re.MULTILINE)
    assert version is not None
    assert f"## [{version.group(1)}]" in read("CHANGELOG.md")
