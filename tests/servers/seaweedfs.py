"""A real S3 object store for tests: one for each test process, started when the first test asks for it.

Use it by `from tests.servers.seaweedfs import seaweedfs` in a conftest; `SeaweedFS(directory)` with `start` and `stop`
is for tests that need one of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tenure.cli.seaweedfs import SeaweedFS

__all__ = ["READER", "SeaweedFS", "seaweedfs"]

READER = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret"}
"""Credentials of somebody who may list buckets, and reads only `open/*` and `input/a*` in the bucket `guarded`."""

_READER = {
    "name": "reader",
    "credentials": [{"accessKey": READER["AWS_ACCESS_KEY_ID"], "secretKey": READER["AWS_SECRET_ACCESS_KEY"]}],
    "actions": ["List", "Read:guarded/open/*", "Read:guarded/input/a*"],
}


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs"), identities=[_READER]) as server:
        yield server
