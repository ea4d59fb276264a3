from __future__ import annotations

from pathlib import Path

import pytest

from tenure.cli.local_token import (
    find_local_token,
    is_this_machine,
    remove_pointer,
    servers_of,
    split_address,
    write_pointer,
)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "admin.token"
    path.parent.mkdir()
    path.write_text("secret\n")
    return path


@pytest.mark.parametrize(
    ("listen", "server"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("127.0.0.1:50051", "localhost:50051"),
        ("localhost:50051", "127.0.0.1:50051"),
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("0.0.0.0:50051", "localhost:50051"),
        ("[::]:50051", "localhost:50051"),
        ("[::]:50051", "127.0.0.1:50051"),
        ("[::1]:50051", "[::1]:50051"),
        ("[::1]:50051", "localhost:50051"),
        ("[0:0:0:0:0:0:0:1]:50051", "[::1]:50051"),
        ("10.1.2.3:50051", "10.1.2.3:50051"),
        ("127.0.0.1:50051", "dns:///localhost:50051"),
        ("127.0.0.1:50051", "LOCALHOST:50051"),
    ],
)
def test_a_server_of_this_machine_is_found(listen: str, server: str, token_file: Path) -> None:
    write_pointer(listen, token_file)
    assert find_local_token(server) == "secret"


@pytest.mark.parametrize(
    ("listen", "server"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50052"),
        ("127.0.0.1:50051", "[::1]:50051"),
        ("[::1]:50051", "127.0.0.1:50051"),
        ("0.0.0.0:50051", "somewhere.example:50051"),
        ("0.0.0.0:50051", "10.1.2.3:50051"),
        ("[::]:50051", "[2001:db8::1]:50051"),
        ("127.0.0.1:50051", "nonsense"),
    ],
)
def test_a_token_goes_nowhere_else(listen: str, server: str, token_file: Path) -> None:
    write_pointer(listen, token_file)
    assert find_local_token(server) is None


def test_only_a_pointer_is_kept_and_it_can_be_removed(token_file: Path, tmp_path: Path) -> None:
    write_pointer("127.0.0.1:50051", token_file)
    pointer = tmp_path / "state" / "tenure" / "servers" / "127.0.0.1_50051"
    assert pointer.read_text() == f"{token_file}\n"
    assert [each.name for each in pointer.parent.iterdir()] == [pointer.name]
    assert pointer.parent.stat().st_mode & 0o077 == 0
    remove_pointer("127.0.0.1:50051", tmp_path / "another.token")
    assert pointer.exists()
    remove_pointer("127.0.0.1:50051", token_file)
    assert not pointer.exists()
    remove_pointer("127.0.0.1:50051")
    assert find_local_token("127.0.0.1:50051") is None


@pytest.mark.parametrize("content", ["", " \n", "x" * 5000, "ü"])
def test_a_file_that_is_no_token_is_none(content: str, token_file: Path) -> None:
    write_pointer("127.0.0.1:50051", token_file)
    token_file.write_text(content)
    assert find_local_token("127.0.0.1:50051") is None


def test_a_token_that_is_gone_is_none(token_file: Path) -> None:
    write_pointer("127.0.0.1:50051", token_file)
    token_file.unlink()
    assert find_local_token("127.0.0.1:50051") is None


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:99999", "::1:50051", "a b:1", "host:1x"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="write HOST:PORT"):
        split_address(address)


def test_the_state_folder_is_the_users_without_the_variable(
    token_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    write_pointer("127.0.0.1:1", token_file)
    assert (tmp_path / "user" / ".local" / "state" / "tenure" / "servers" / "127.0.0.1_1").exists()


@pytest.mark.parametrize(
    ("listen", "found"),
    [
        *((each, each) for each in ("127.0.0.1:50051", "localhost:50051", "[::1]:50051", "10.1.2.3:50051")),
        # An address to listen on is none to call, least of all by a name that a certificate has.
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
    ],
)
def test_the_servers_of_a_data_directory_are_found(listen: str, found: str, token_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "admin.token"
    other.parent.mkdir()
    assert servers_of(token_file.parent) == []
    write_pointer(listen, token_file)
    write_pointer("127.0.0.1:50052", other)
    assert servers_of(token_file.parent) == [found]
    assert servers_of(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("server", "here"),
    [("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("10.1.2.3:1", False), ("nonsense", False)],
)
def test_whether_a_server_is_on_this_machine(server: str, here: bool) -> None:
    assert is_this_machine(server) is here


def test_a_user_without_a_home_does_without(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that was started with a number for a user."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert find_local_token("127.0.0.1:50051") is None
    assert servers_of(token_file.parent) == []
    remove_pointer("127.0.0.1:50051", token_file)
    with pytest.raises(OSError, match="no home"):
        write_pointer("127.0.0.1:50051", token_file)
