"""Certificates: those that a server shows, read and tried before anything is encrypted with them, and those to trust.

A pair that does not fit is worse than an old one: a TLS context that is given it serves nobody any more.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from pathlib import Path

# Of Debian and Alpine, of Red Hat (two), of SUSE, of the BSDs and macOS.
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

_OF_ANOTHER = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
_WEAK = {"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"}


class CertificateUnusable(Exception):
    """Nothing can be encrypted with these files; the text is for the operator."""


def machines_authorities() -> bytes | None:
    """Certificates (PEM) of the authorities that this machine trusts: of the file SSL_CERT_FILE names, else its own.

    None: there is no such file, or gRPC was given one of its own. It then takes that, or those it was built with.
    """
    if os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        return None
    for name in (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_AUTHORITIES):
        with suppress(OSError):
            if name and b"CERTIFICATE" in (found := Path(name).read_bytes()):
                return found
    return None


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
