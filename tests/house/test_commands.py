"""Every `tenure …` that a document, the compose file or the image names can be typed: its command and options exist."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
import typer
import yaml

from tenure.cli import main as cli
from tests.house.tree import read, text_files

DOCUMENTS = [path for path in text_files() if path.endswith(".md") and path != "CHANGELOG.md"]


def _wrong(words: list[str]) -> str | None:
    """What is wrong with the words after `tenure`; None: nothing."""
    command: Any = typer.main.get_command(cli.app)
    options = set(_options(command))
    rest = list(words)
    if rest and rest[0] in cli.ENTRIES:  # it is loaded when it is called
        command = cli.load(rest.pop(0))
        options |= set(_options(command))
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
        options |= set(_options(command))
    if getattr(command, "commands", {}) and rest and not rest[0].startswith("-"):
        return f"no command {rest[0]!r} in {shlex.join(words)}"
    rest = rest[: rest.index("--")] if "--" in rest else rest  # what follows is the job's own command
    unknown = [word for word in rest if word.startswith("--") and word.split("=")[0] not in options]
    return f"no option {unknown[0]!r} in {shlex.join(words)}" if unknown else None


def _options(command: Any) -> list[str]:
    named = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    return [*named, "--help", "--install-completion", "--show-completion"]


def _in_document(path: str) -> list[list[str]]:
    """Commands at the start of a line of a code block and in `code`, up to a pipe, a bracket or a comment."""
    text = read(path).replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^ *(?:\$ )?(?:\.venv/bin/)?tenure +([^#|>&;\[<\n…]*)", blocks, re.MULTILINE)
    lines += re.findall(r"`(?:\.venv/bin/)?tenure +([^`#|>&;\[<\n…]*)[^`\n]*`", text)
    return [line.split() if line.count("'") % 2 or line.count('"') % 2 else shlex.split(line) for line in lines]


def test_documents_name_commands_that_exist() -> None:
    assert [(path, wrong) for path in DOCUMENTS for words in _in_document(path) if (wrong := _wrong(words))] == []


def test_the_compose_file_starts_commands_that_exist() -> None:
    services = yaml.safe_load(read("docker-compose.yml"))["services"]
    ours = [service for service in services.values() if service["image"] == "tenure"]
    commands = [service["command"] for service in ours]
    commands += [service["healthcheck"]["test"][2:] for service in ours if "healthcheck" in service]
    assert len(commands) >= 3
    assert [wrong for words in commands if (wrong := _wrong(words))] == []


def test_the_image_starts_a_command_that_exists() -> None:
    found = re.search(r"^CMD (\[.*\])$", read("Dockerfile"), re.MULTILINE)
    assert found is not None
    assert _wrong(json.loads(found.group(1))) is None


@pytest.mark.parametrize("line", ["conjure --now", "serve --no-such-option", "jobs conjure"])
def test_what_does_not_exist_is_noticed(line: str) -> None:
    assert _wrong(line.split()) is not None
