"""What every command that calls a server has: the global options, a connection, and where its answer goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tenure.cli.failures import Problem, refusal
from tenure.cli.local_token import find_local_token, split_address

if TYPE_CHECKING:
    from rich.console import Console

    from tenure.client import RetryPolicy, SyncClient, TenureError

T = TypeVar("T")

DEFAULT_SERVER = "127.0.0.1:50051"


class Output(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The global options; None: not given."""

    server: str | None = None
    token_file: Path | None = None
    tls_ca: Path | None = None
    tls: bool | None = None
    output: Output | None = None

    def over(self, below: Options) -> Options:
        """These options, and where one is not given that of `below`."""
        return replace(
            below,
            server=self.server if self.server is not None else below.server,
            token_file=self.token_file if self.token_file is not None else below.token_file,
            tls_ca=self.tls_ca if self.tls_ca is not None else below.tls_ca,
            tls=self.tls if self.tls is not None else below.tls,
            output=self.output if self.output is not None else below.output,
        )


class Session:
    """One run of a command against one server."""

    def __init__(self, options: Options, client: SyncClient) -> None:
        self.server = options.server or DEFAULT_SERVER
        self.output = options.output or Output.TABLE
        self.client = client

    @property
    def fancy(self) -> bool:
        """Whether tables are drawn for a terminal, rather than plain lines for a file or a pipe."""
        return self.output is Output.TABLE and sys.stdout.isatty()

    def console(self) -> Console:
        """Standard output as rich draws on it; markup in data means nothing to it."""
        from rich.console import Console

        return Console(markup=False, highlight=False, emoji=False)

    def write(self, line: str = "") -> None:
        """One line of the answer."""
        sys.stdout.write(f"{line}\n")

    def flush(self) -> None:
        """Let whoever reads the answer have what was written so far."""
        sys.stdout.flush()

    def note(self, line: str) -> None:
        """A line beside the answer, for whoever sits at a terminal; scripts do not get it."""
        if self.fancy and sys.stderr.isatty():
            sys.stderr.write(f"{line}\n")

    def dropped(self, error: TenureError, wait_s: float) -> None:
        """Say on standard error that a stream is connected again; nothing is lost."""
        if sys.stderr.isatty():
            sys.stderr.write(f"tenure: lost {self.server}, connecting again in {wait_s:.1f} s\n")


@contextmanager
def open_session(options: Options, retry: RetryPolicy | None = None) -> Iterator[Session]:
    """A session with an open client; nothing is sent before the first call.

    Raises:
        Problem: the address or the token file is of no use, or a call failed.
    """
    from tenure.client import SyncClient, TenureError

    server = options.server or DEFAULT_SERVER
    try:
        split_address(server)
    except ValueError as error:
        raise Problem(f"--server: {error}") from None
    with SyncClient(server, token=read_token(options), tls_ca=read_trusted(options), retry=retry) as client:
        try:
            yield Session(options, client)
        except TenureError as error:
            raise refusal(error, server) from None


def read_token(options: Options) -> str | None:
    """The token to call with: of the file, of TENURE_TOKEN, or of the server that runs on this machine.

    Raises:
        Problem: the file cannot be read or holds no token.
    """
    if options.token_file is not None:
        token = _usable(_read(options.token_file, "--token-file", Path.read_text))
        if token is None:
            raise Problem(f"--token-file: {options.token_file} holds no token")
        return token
    if os.environ.get("TENURE_TOKEN"):
        token = _usable(os.environ["TENURE_TOKEN"])
        if token is None:
            raise Problem("TENURE_TOKEN holds something that cannot be a token")
        return token
    return find_local_token(options.server or DEFAULT_SERVER)


def _usable(text: str) -> str | None:
    """A token fit for a header; anything else would fail deep in the transport, which shows what it was given."""
    token = text.strip()
    return token if token and token.isascii() and token.isprintable() else None


def read_trusted(options: Options) -> bytes | bool:
    """The certificates to trust (PEM); True: those of this machine; False: do not encrypt.

    Raises:
        Problem: the file cannot be read or holds no certificate.
    """
    if options.tls_ca is None:
        return bool(options.tls)
    trusted = _read(options.tls_ca, "--tls-ca", Path.read_bytes)
    if b"CERTIFICATE" not in trusted:
        raise Problem(f"--tls-ca: {options.tls_ca} holds no certificate in PEM form")
    return trusted


def _read(path: Path, option: str, how: Callable[[Path], T]) -> T:
    try:
        return how(path)
    except OSError as error:
        raise Problem(f"{option}: cannot read {path}: {error.strerror or 'it is not readable'}") from None
    except UnicodeDecodeError:
        raise Problem(f"{option}: {path} is no text") from None
