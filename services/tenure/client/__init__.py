"""The Python client: `Client` for asyncio, `SyncClient` for everybody else, the same methods on both.

It knows only the wire (`tenure.v1`), so that a client of last month works with a server of today. Every refusal is a
`TenureError` with the server's reason.
"""

from tenure.client.client import Client
from tenure.client.errors import FieldViolation, TenureError
from tenure.client.retry import RetryPolicy
from tenure.client.sync_client import SyncClient

__all__ = ["Client", "FieldViolation", "RetryPolicy", "SyncClient", "TenureError"]
