"""`tenure worker`: offer this machine to a control plane and run its jobs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from tenure.cli.announcing import announce
from tenure.cli.failures import EXIT_REFUSED, Problem
from tenure.cli.local_token import split_address
from tenure.cli.session import DEFAULT_SERVER, Options, read_token, read_trusted
from tenure.runtime import logs

MAX_SLOTS = 1024
MAX_QUEUES = 64


def worker(
    ctx: typer.Context,
    server: Annotated[
        str | None, typer.Option(help="Address of the server, HOST:PORT. [env var: TENURE_SERVER]")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the worker's token. Otherwise TENURE_TOKEN, or this machine's server's token."),
    ] = None,
    queue: Annotated[
        list[str] | None, typer.Option(help="Queue to serve; repeatable. [default: default]", envvar="TENURE_QUEUE")
    ] = None,
    slots: Annotated[int, typer.Option(help="Jobs to run at once.", envvar="TENURE_SLOTS", min=1, max=MAX_SLOTS)] = 1,
    work_dir: Annotated[
        Path,
        typer.Option(help="Folder for this worker alone: its id and its jobs' folders.", envvar="TENURE_WORK_DIR"),
    ] = Path("tenure-work"),
    worker_id: Annotated[
        str | None,
        typer.Option(help="Id of the worker. [default: made once, kept in the work dir]", envvar="TENURE_WORKER_ID"),
    ] = None,
    allow_root: Annotated[
        list[str] | None,
        typer.Option(
            help="Absolute folder below which jobs may sync absolute paths; repeatable.", envvar="TENURE_ALLOW_ROOT"
        ),
    ] = None,
    pass_env: Annotated[
        list[str] | None,
        typer.Option(help="Variable of this process that every job gets; repeatable.", envvar="TENURE_PASS_ENV"),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, for people and filters; repeatable.", envvar="TENURE_LABEL")
    ] = None,
    preemption_file: Annotated[
        Path | None,
        typer.Option(
            help="When this file appears the machine is about to be taken away: drain.", envvar="TENURE_PREEMPTION_FILE"
        ),
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Encrypt; trust the certificates in this PEM file.")] = None,
    tls: Annotated[bool | None, typer.Option("--tls/--no-tls", help="Encrypt; trust this machine's.")] = None,
    log_level: Annotated[
        logs.LogLevel, typer.Option(help="From which level on records are written.", envvar="TENURE_LOG_LEVEL")
    ] = logs.LogLevel.INFO,
    log_format: Annotated[
        logs.LogFormat, typer.Option(help="How records are written.", envvar="TENURE_LOG_FORMAT")
    ] = logs.LogFormat.CONSOLE,
) -> None:
    """Offer this machine to a control plane and run jobs.

    The object store's address and keys come from the usual AWS_* variables (AWS_ENDPOINT_URL_S3 included); jobs do not
    see them. SIGTERM drains: running commands are signalled, saved and given back; a second one stops at once.
    SIGUSR1, or the preemption file, drains a machine that is about to be taken away.
    """
    from tenure.agent.app import run_worker
    from tenure.agent.config import WorkerConfig
    from tenure.agent.connection import ConnectionRefused
    from tenure.agent.workdir import WorkDirUnusable

    if sys.getfilesystemencoding() != "utf-8":
        # Object keys are UTF-8: any other name of a file would come back as another one on another machine.
        raise Problem("file names are not UTF-8 with this locale", hints=["set LC_ALL=C.UTF-8"])
    options = Options(server=server, token_file=token_file, tls_ca=tls_ca, tls=tls)
    options = options.over(ctx.find_object(Options) or Options())
    address = _address(options)
    config = WorkerConfig(
        server=address,
        token=_token(options),
        tls=read_trusted(options),
        queues=_queues(queue),
        slots=slots,
        work_dir=work_dir,
        worker_id=worker_id,
        allowed_roots=tuple(_root(path) for path in allow_root or ()),
        passed={name: os.environ[name] for name in pass_env or () if name in os.environ},
        preemption_file=preemption_file,
        labels=dict(_label(text) for text in label or ()),
        environment=dict(os.environ),
    )
    logs.configure(log_level, log_format)

    def connected(name: str) -> None:
        announce(f"tenure: worker {name} connected to {address}")

    try:
        code = asyncio.run(run_worker(config, connected))
    except (ConnectionRefused, WorkDirUnusable) as error:
        raise Problem(str(error), exit_code=EXIT_REFUSED) from None
    raise typer.Exit(code)


def _address(options: Options) -> str:
    address = options.server or DEFAULT_SERVER
    try:
        split_address(address)
    except ValueError as error:
        raise Problem(f"--server: {error}") from None
    return address


def _token(options: Options) -> Callable[[], str | None]:
    """Reads the token again for every stream: its file may be replaced while the worker runs."""
    known = read_token(options)

    def read() -> str | None:
        nonlocal known
        with suppress(Problem):
            known = read_token(options) or known
        return known

    return read


def _queues(given: list[str] | None) -> tuple[str, ...]:
    queues = tuple(dict.fromkeys(given or ["default"]))
    if len(queues) > MAX_QUEUES:
        raise Problem(f"--queue: a worker serves at most {MAX_QUEUES} queues")
    return queues


def _root(path: str) -> str:
    """The folder as jobs name it: absolute, without a last slash."""
    if not os.path.isabs(path):
        raise Problem(f"--allow-root: {path!r} is not an absolute path")
    return os.path.normpath(path)


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise Problem(f"--label: {text!r} is not KEY=VALUE")
    return key, value
