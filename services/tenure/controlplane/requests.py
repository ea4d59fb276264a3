"""Which calls are the same call: the request id of a changing RPC."""

from __future__ import annotations

import hashlib

from google.protobuf.message import Message

from tenure.controlplane.changes import RequestKey
from tenure.controlplane.tokens import Identity


def request_key(rpc: str, request: Message, identity: Identity) -> RequestKey | None:
    """What makes a repeat of this call known, or None when it has no request id."""
    request_id: str = request.request_id  # type: ignore[attr-defined]
    if not request_id:
        return None
    digest = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
    return RequestKey(principal=identity.principal, rpc=rpc, request_id=request_id, digest=digest)
