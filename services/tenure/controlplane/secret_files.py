"""Secrets that live in files of the data directory: the administrator's token and the servers' key.

They are written once, whole or not at all, readable by the owner only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tenure.runtime.logs import get_logger

ADMIN_TOKEN = "admin.token"
SERVER_KEY = "server.key"

_log = get_logger("secrets")


class SecretFileError(Exception):
    """A secret file cannot be used; the text is for the operator and does not hold the secret."""


def keep(path: Path, make: Callable[[], str]) -> str:
    """The secret in a file; where there is no file yet, a new one from `make`.

    Raises:
        SecretFileError: the file is empty, not text, or cannot be read or written.
    """
    try:
        secret = _read(path)
        if secret is None:
            replace(path, make())
            secret = _read(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        message = f"{path}: {reason}"
        raise SecretFileError(message) from None
    if not secret:
        message = f"{path} is empty: remove it, and the server makes a new one"
        raise SecretFileError(message)
    return secret


def replace(path: Path, secret: str) -> None:
    """Write a secret, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _read(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="ascii") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            _log.warning("secret_readable_by_others", path=str(path), remedy=f"chmod 600 {path}")
        return file.read(4096).strip()
