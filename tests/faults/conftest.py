"""The object store that some proofs share."""

from __future__ import annotations

from tests.servers.seaweedfs import seaweedfs

__all__ = ["seaweedfs"]
