"""The certificate of a server: what can be used, and what is said of what cannot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tenure.runtime import certificates
from tenure.runtime.certificates import CertificateUnusable, machines_authorities, read_pair

TLS = Path(__file__).parent.parent / "data" / "tls"
NONSENSE = "-----BEGIN {0}-----\nnonsense\n-----END {0}-----\n"


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_pair_that_belongs_together_is_read(name: str) -> None:
    certificate, key = TLS / f"{name}.pem", TLS / f"{name}.key"
    assert read_pair(certificate, key) == (certificate.read_bytes(), key.read_bytes())


def test_the_key_of_another_certificate() -> None:
    with pytest.raises(CertificateUnusable, match=r"first\.key is not the key of .*second\.pem"):
        read_pair(TLS / "second.pem", TLS / "first.key")


@pytest.mark.parametrize("gone", ["x.pem", "x.key"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, gone: str) -> None:
    shutil.copy(TLS / "first.pem", tmp_path / "x.pem")
    shutil.copy(TLS / "first.key", tmp_path / "x.key")
    (tmp_path / gone).unlink()
    with pytest.raises(CertificateUnusable, match=f"cannot read .*{gone}: No such file"):
        read_pair(tmp_path / "x.pem", tmp_path / "x.key")


@pytest.mark.parametrize(
    ("certificate", "key", "problem"),
    [
        ("", None, r"x\.pem holds no certificate in PEM form"),
        (None, "", r"x\.key holds no private key in PEM form"),
        (NONSENSE.format("CERTIFICATE"), None, "cannot be used: one of them is not whole"),
        (None, NONSENSE.format("PRIVATE KEY"), "cannot be used: one of them is not whole"),
    ],
)
def test_what_is_not_what_it_should_be(tmp_path: Path, certificate: str | None, key: str | None, problem: str) -> None:
    (tmp_path / "x.pem").write_text((TLS / "first.pem").read_text() if certificate is None else certificate)
    (tmp_path / "x.key").write_text((TLS / "first.key").read_text() if key is None else key)
    with pytest.raises(CertificateUnusable, match=problem):
        read_pair(tmp_path / "x.pem", tmp_path / "x.key")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")
@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["rsa:2048", "-passout", "pass:open sesame"], r"x\.key is encrypted"),
        (["rsa:512", "-nodes"], r"x\.pem is too weak"),
    ],
)
def test_what_nobody_can_start_with(tmp_path: Path, more: list[str], problem: str) -> None:
    """An encrypted key would have the terminal asked for its password; a key of 512 bits protects nothing."""
    subprocess.run(
        ["openssl", "req", "-x509", "-subj", "/CN=x", "-keyout", "x.key", "-out", "x.pem", "-newkey", *more],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=30,
    )
    with pytest.raises(CertificateUnusable, match=problem):
        read_pair(tmp_path / "x.pem", tmp_path / "x.key")


def test_the_authorities_of_the_machine_are_those_it_was_told_to_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = tmp_path / "company.pem"
    company.write_text("-----BEGIN CERTIFICATE-----")
    monkeypatch.setenv("SSL_CERT_FILE", str(company))
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    assert machines_authorities() == b"-----BEGIN CERTIFICATE-----"
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "/etc/grpc.pem")
    assert machines_authorities() is None


def test_a_machine_without_any_leaves_it_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    monkeypatch.setattr(certificates, "_AUTHORITIES", (str(empty), str(tmp_path / "absent.pem")))
    monkeypatch.setenv("SSL_CERT_FILE", str(empty))
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    assert machines_authorities() is None
