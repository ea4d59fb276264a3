"""The certificate of a server and its key: read, and tried, before anything is encrypted with them.

A pair that does not fit is worse than an old one: a TLS context that is given it serves nobody any more.
"""

from __future__ import annotations

import ssl
from pathlib import Path

_OF_ANOTHER = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
_WEAK = {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"}


class CertificateUnusable(Exception):
    """Nothing can be encrypted with these files; the text is for the operator."""


def read_pair(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """Certificate chain and private key, both PEM, of files that can be used together.

    Raises:
        CertificateUnusable: they cannot be read, are not what they should be, or do not belong together.
    """
    try:
        chain, secret = certificate.read_bytes(), key.read_bytes()
        for path, content, word in ((certificate, chain, b"CERTIFICATE"), (key, secret, b"PRIVATE KEY")):
            if word not in content:
                message = f"{path} holds no {word.decode().lower()} in PEM form"
                raise CertificateUnusable(message)
        _try(certificate, key)
    except ssl.SSLError as error:
        raise CertificateUnusable(_wrong(certificate, key, error.reason)) from None
    except OSError as error:
        message = f"cannot read {error.filename}: {error.strerror}"
        raise CertificateUnusable(message) from None
    return chain, secret


def _try(certificate: Path, key: Path) -> None:
    def password() -> bytes:
        # Asked for where the key is encrypted. Without this function a terminal would be asked, and the start wait.
        message = f"{key} is encrypted: write it without a password, readable by the server's user alone"
        raise CertificateUnusable(message)

    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=password)


def _wrong(certificate: Path, key: Path, reason: str | None) -> str:
    if reason in _OF_ANOTHER:
        return f"{key} is not the key of {certificate}"
    if reason in _WEAK:
        return f"{certificate} is too weak: make one with a longer key, or with a newer digest"
    return f"{certificate} and {key} cannot be used: one of them is not whole, or not in PEM form"
