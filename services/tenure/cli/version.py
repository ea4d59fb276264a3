"""`tenure version`."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Annotated

import typer

from tenure.cli.session import Options, Output


def version(
    ctx: typer.Context,
    output: Annotated[Output | None, typer.Option("--output", "-o", help="How the answer is written.")] = None,
) -> None:
    """Print the version."""
    number = metadata.version("tenure")
    chosen = Options(output=output).over(ctx.find_object(Options) or Options()).output
    sys.stdout.write(f"tenure {number}\n" if chosen in (None, Output.TABLE) else json.dumps({"version": number}) + "\n")
