"""`tenure serve`: a control plane in this process."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated

import typer

from tenure.cli.announcing import announce
from tenure.cli.failures import EXIT_REFUSED, Problem
from tenure.cli.local_token import remove_pointer, write_pointer
from tenure.runtime import garbage, logs

if TYPE_CHECKING:
    from tenure.controlplane.app import ControlPlane, ServerSettings

EXIT_STORE_FAILED = 70
EXIT_AT_ONCE = 130
LAST_RECORDS_S = 0.5


def serve(
    store: Annotated[
        str,
        typer.Option(help="Where everything is kept: sqlite:///DIR, sqlite:DIR or memory:.", envvar="TENURE_STORE"),
    ] = "sqlite:tenure-data",
    listen: Annotated[
        str, typer.Option(help="Address to listen on, HOST:PORT; port 0: any free one.", envvar="TENURE_LISTEN")
    ] = "127.0.0.1:50051",
    http: Annotated[
        str | None,
        typer.Option(help="Address for HTTP, HOST:PORT; without it there is none.", envvar="TENURE_HTTP"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="File with queues, products, applications, defaults, limits.", envvar="TENURE_CONFIG"),
    ] = None,
    max_workers: Annotated[
        int,
        typer.Option(help="Workers to be ready for; limits follow.", envvar="TENURE_MAX_WORKERS", min=1, max=1_000_000),
    ] = 10_000,
    reflection: Annotated[
        bool | None,
        typer.Option(
            "--reflection/--no-reflection",
            help="Tell anybody what the services look like. [default: on for a loopback address only]",
            envvar="TENURE_REFLECTION",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate chain, PEM; read again when it changes.", envvar="TENURE_TLS_CERT")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", envvar="TENURE_TLS_KEY")] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Listen without TLS where other machines can connect.", envvar="TENURE_INSECURE"
        ),
    ] = False,
    log_level: Annotated[
        logs.LogLevel, typer.Option(help="From which level on records are written.", envvar="TENURE_LOG_LEVEL")
    ] = logs.LogLevel.INFO,
    log_format: Annotated[
        logs.LogFormat, typer.Option(help="How records are written.", envvar="TENURE_LOG_FORMAT")
    ] = logs.LogFormat.AUTO,
) -> None:
    """Start a control plane and serve until SIGTERM or Ctrl-C.

    The first start makes the data directory, with the database and admin.token, an administrator's token that the
    commands on this machine find by themselves. SIGTERM drains and ends with 0; a second one ends at once.
    """
    from tenure.controlplane.app import ServerSettings
    from tenure.controlplane.config import ConfigError, read_config
    from tenure.controlplane.listening import CannotListen, Encryption, WrongAddress
    from tenure.controlplane.secret_files import SecretFileError
    from tenure.runtime.certificates import CertificateUnusable, read_pair
    from tenure.store.open import BadAddress
    from tenure.store.store import StoreError

    logs.configure(log_level, log_format)
    if (tls_cert is None) != (tls_key is None):
        raise Problem("give --tls-cert and --tls-key together")
    encryption = None
    if tls_cert is not None and tls_key is not None:
        encryption = Encryption(certificate=tls_cert, key=tls_key)
    with ExitStack() as ending:
        data_dir = None
        if store.startswith("memory:"):
            # Nothing of it is to stay, but the commands on this machine are to find the token all the same.
            data_dir = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="tenure-")))
        try:
            settings = ServerSettings(
                store=store,
                listen=listen,
                data_dir=data_dir,
                configuration=read_config(config),
                max_workers=max_workers,
                reflection=reflection,
                encryption=encryption,
                insecure=insecure,
            )
            opened = ending.enter_context(_http_socket(http, settings)) if http is not None else None
            if encryption is not None:
                # Both ports use it: what is wrong with it is said before anything else begins.
                read_pair(encryption.certificate, encryption.key)
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_serve(settings, opened))
        except (ConfigError, BadAddress) as error:
            first, *rest = str(error).splitlines()
            raise Problem(first, details=rest) from None
        except WrongAddress as error:
            raise Problem(str(error)) from None
        except (CannotListen, CertificateUnusable, SecretFileError, StoreError) as error:
            raise Problem(str(error), exit_code=EXIT_REFUSED) from None


def _http_socket(address: str, settings: ServerSettings) -> socket:
    """The socket for HTTP; under the same rule as the other one.

    Raises:
        CannotListen: it cannot be had, or would be open without encryption.
    """
    from tenure.controlplane import listening
    from tenure.web.serving import CannotServe, bind

    host, port = listening.split(address)
    listening.check_open(host, settings.encryption, insecure=settings.insecure)
    try:
        return bind(host, port)
    except CannotServe as error:
        raise listening.CannotListen(str(error)) from None


async def _serve(settings: ServerSettings, opened: socket | None) -> None:
    from tenure.controlplane import app
    from tenure.controlplane.observing import measure_calls
    from tenure.runtime import tracing
    from tenure.runtime.clock import SystemClock
    from tenure.runtime.ids import Uuid7Ids
    from tenure.runtime.stop import stop_on_signals

    clock, ids = SystemClock(), Uuid7Ids()
    end_tracing = tracing.configure(os.environ)
    tracer = tracing.tracer() if end_tracing is not None else None

    @asynccontextmanager
    async def beside(plane: ControlPlane) -> AsyncIterator[None]:
        if opened is None:
            if tracer is not None:
                measure_calls(plane.host, clock, None, tracer)
            yield
            return
        from tenure.cli.door import DoorSettings, open_door

        encryption = settings.encryption
        door = DoorSettings(
            opened=opened,
            certificate=encryption.certificate if encryption is not None else None,
            key=encryption.key if encryption is not None else None,
        )
        async with open_door(plane, door, clock=clock, ids=ids, random=os.urandom, tracer=tracer):
            yield

    pointed: list[tuple[str, Path]] = []

    def ready(plane: ControlPlane) -> None:
        secrets_dir = settings.secrets_dir
        if secrets_dir is not None:
            token = secrets_dir / "admin.token"
            # A machine without a home for it does without: the token file can still be named.
            with suppress(OSError):
                write_pointer(plane.address, token)
                pointed.append((plane.address, token))
        garbage.settle()
        announce(f"tenure: listening on {plane.address}")
        if opened is not None:
            from tenure.web.serving import address_of

            announce(f"tenure: http on {address_of(opened)}")

    # The second signal means now: what was acknowledged is on disk.
    with stop_on_signals(on_second=lambda: _end_at_once(EXIT_AT_ONCE)) as stop:
        try:
            await app.serve(
                settings, clock=clock, ids=ids, stop=stop, ready=ready, on_fatal=_store_failed, beside=beside
            )
        finally:
            if end_tracing is not None:
                end_tracing()
            for address, token in pointed:
                remove_pointer(address, token)


def _store_failed(error: BaseException) -> None:
    """Nothing may be said any more of what was stored: end at once, whatever else is going on."""
    try:
        logs.get_logger("server").error("store_failed", error=str(error), remedy="start the server again")
    finally:
        _end_at_once(EXIT_STORE_FAILED)


def _end_at_once(code: int) -> None:
    """End without another step of anything, but for the last records, which may have half a second."""
    try:
        logs.flush(LAST_RECORDS_S)
    finally:
        os._exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
