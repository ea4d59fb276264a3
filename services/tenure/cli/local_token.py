"""How the commands find the local administrator token by themselves.

`tenure serve` writes its token into its data directory and leaves, for each address it listens on, a pointer: a small
file `<host>_<port>` in the user's state folder that holds the path of the token file. The secret itself is never
copied. A pointer of a loopback or wildcard address is found from every name of this machine's loopback, and from there
only: a local token is never sent to another machine because the ports are the same.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
from contextlib import suppress
from pathlib import Path

_MAX_TOKEN_BYTES = 4096

# Where a server may be listening that answers on the key, most exact first.
_ALIASES = {
    "127.0.0.1": ("127.0.0.1", "localhost", "0.0.0.0", "::"),  # noqa: S104 - names of files, not a bind
    "::1": ("::1", "localhost", "::"),
    "localhost": ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::"),  # noqa: S104
    "0.0.0.0": ("0.0.0.0", "127.0.0.1", "localhost", "::"),  # noqa: S104
    "::": ("::", "::1", "localhost", "0.0.0.0", "127.0.0.1"),  # noqa: S104
}


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, as in `localhost:50051` and `[::1]:50051`.

    Raises:
        ValueError: it is not of that form; the text says what is expected.
    """
    match = re.fullmatch(
        r"(?:dns:///|dns:|ipv4:|ipv6:)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:/\s]+)):(?P<port>\d{1,5})", address
    )
    if match is None or int(match["port"]) > 65535:
        message = f"{address!r} is not an address: write HOST:PORT, as in 127.0.0.1:50051 or [::1]:50051"
        raise ValueError(message)
    return match["six"] or match["host"], int(match["port"])


def write_pointer(listen: str, token_path: Path) -> None:
    """Remember that the server on `listen` (HOST:PORT, the port it really has) keeps its token in `token_path`.

    Raises:
        ValueError: the address is not HOST:PORT.
        OSError: the state folder cannot be written.
    """
    pointer = _pointer(listen)
    pointer.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    draft.write_text(f"{token_path.absolute()}\n", encoding="utf-8")
    draft.replace(pointer)


def remove_pointer(listen: str, token_path: Path | None = None) -> None:
    """Forget the pointer of an address; one that is not there is fine.

    Args:
        listen: HOST:PORT, as given to `write_pointer`.
        token_path: remove it only if it still points here, so that a server that has taken over the address keeps its.

    Raises:
        ValueError: the address is not HOST:PORT.
    """
    with suppress(OSError):
        pointer = _pointer(listen)
        if token_path is None or pointer.read_text(encoding="utf-8").strip() == str(token_path.absolute()):
            pointer.unlink()


def find_local_token(server: str) -> str | None:
    """The token of the server on this address, if it runs (or ran) here and this user may read it.

    Args:
        server: HOST:PORT as a command was given it.
    """
    try:
        host, port = split_address(server)
    except ValueError:
        return None
    host = _canonical(host)
    with suppress(OSError):
        folder = _state_folder()
        for name in _ALIASES.get(host, (host,)):
            token = _read_token(folder / _file_name(name, port))
            if token is not None:
                return token
    return None


def servers_of(directory: Path) -> list[str]:
    """Addresses (HOST:PORT) of the servers of this user that have said they keep their token in this data directory.

    One that was killed has not taken it back.
    """
    token = (directory / "admin.token").absolute()
    found = []
    with suppress(OSError):
        for pointer in sorted(_state_folder().iterdir()):
            name, _, port = pointer.name.rpartition("_")
            with suppress(OSError, UnicodeDecodeError):
                if port.isdecimal() and pointer.read_text(encoding="utf-8").strip() == str(token):
                    found.append(f"{_host_of(name)}:{port}")
    return found


def is_this_machine(server: str) -> bool:
    """Whether an address (HOST:PORT) is one of this machine's loopback."""
    try:
        host = _canonical(split_address(server)[0])
    except ValueError:
        return False
    return host in _ALIASES


def _host_of(name: str) -> str:
    """The host to call by the name of a pointer: an IPv6 address was written with dashes."""
    try:
        address = ipaddress.IPv6Address(name.replace("-", ":"))
    except ValueError:
        return "127.0.0.1" if name == "0.0.0.0" else name  # noqa: S104 - what it listened on
    return "[::1]" if address.is_unspecified else f"[{address}]"


def _read_token(pointer: Path) -> str | None:
    try:
        path = Path(pointer.read_text(encoding="utf-8").strip())
        if not path.is_absolute() or not path.is_file() or path.stat().st_size > _MAX_TOKEN_BYTES:
            return None
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError, ValueError):
        return None


def _pointer(listen: str) -> Path:
    host, port = split_address(listen)
    return _state_folder() / _file_name(_canonical(host), port)


def _file_name(host: str, port: int) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", host) + f"_{port}"


def _canonical(host: str) -> str:
    """One spelling per host: lower case, shortest form of an address, 127.0.0.1 for the whole of 127/8."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".")
    return "127.0.0.1" if address.version == 4 and address.is_loopback else str(address)


def _state_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    try:
        root = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        # A user that only a container knows by its number, and no HOME.
        raise FileNotFoundError(errno.ENOENT, "this user has no home folder") from None
    return root / "tenure" / "servers"
