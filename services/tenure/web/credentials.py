"""Who calls: from an HTTP request to the metadata of the RPC it becomes.

Only what is meant for the services goes on: the token, the trace. A cookie counts on the native door alone, because
what the others do on GET (`GET /work` takes a job) must not be done by a link.
"""

from __future__ import annotations

from starlette.requests import Request

from tenure.runtime.calls import Metadata
from tenure.web.signin import SignIn

_TRACE = ("traceparent", "tracestate")
KELPIE_KEY = "x-kelpie-key"


def metadata_of(request: Request, sign_in: SignIn | None = None) -> Metadata:
    """The metadata of a request; with `sign_in` its cookie counts where it brings no token.

    Raises:
        Unacceptable: a change by cookie without the header that proves where it comes from.
    """
    metadata = [("authorization", value) for value in request.headers.getlist("authorization")]
    if not metadata and sign_in is not None:
        secret = sign_in.secret_of(request)
        if secret is not None:
            metadata.append(("authorization", f"Bearer {secret}"))
    return (*metadata, *_traced(request))


def kelpie_metadata_of(request: Request) -> Metadata:
    """The metadata of a request of Kelpie's API: its own header counts before a bearer token."""
    key = request.headers.get(KELPIE_KEY)
    if key is None:
        return metadata_of(request)
    return (("authorization", f"Bearer {key}"), *_traced(request))


def _traced(request: Request) -> Metadata:
    return tuple((name, request.headers[name]) for name in _TRACE if name in request.headers)
