from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tenure.store.sqlite_schema import BadDatabase, check_version, connect_reader, connect_writer


def test_the_installed_sqlite_is_new_enough() -> None:
    check_version(apsw.sqlite_lib_version())


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.7.0"])
def test_an_older_sqlite_is_refused(version: str) -> None:
    with pytest.raises(BadDatabase, match=version):
        check_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0"])
def test_a_newer_sqlite_is_taken(version: str) -> None:
    check_version(version)


def test_commits_of_the_writer_are_durable(tmp_path: Path) -> None:
    connection = connect_writer(tmp_path / "x.db")
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("mmap_size") in (None, 0)
    assert connection.pragma("wal_autocheckpoint") == 0
    connection.close()


def test_a_database_that_cannot_have_a_write_ahead_log_is_refused() -> None:
    with pytest.raises(BadDatabase, match="journal_mode"):
        connect_writer(Path(":memory:"))


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    writer = connect_writer(tmp_path / "x.db")
    writer.execute("CREATE TABLE t (x)")
    reader = connect_reader(tmp_path / "x.db")
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("INSERT INTO t VALUES (1)")
    reader.close()
    writer.close()
