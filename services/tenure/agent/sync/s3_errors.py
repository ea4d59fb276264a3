"""What boto3 raises, sorted into the store's closed set of errors.

The texts of foreign errors are left out, since they may hold addresses and signed headers; what remains is the
operation, bucket and key, the store's error code and the HTTP status.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from typing import TYPE_CHECKING

from botocore import exceptions as boto

from tenure.agent.sync.keys import escaped
from tenure.agent.sync.objects import ObjectChanged, ObjectRefused, StoreUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_TRANSIENT = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InternalError",
    "OperationAborted",
    "ConditionalRequestConflict",
    "RequestExpired",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "PriorRequestNotComplete",
    "BandwidthLimitExceeded",
    "IncompleteBody",
    # The upload was thrown away behind our back; a new one may succeed.
    "NoSuchUpload",
}
_ADVICE = {
    "AccessDenied": "the worker's credentials do not allow it",
    "403": "the worker's credentials do not allow it",
    "InvalidAccessKeyId": "the worker's credentials are not known there",
    "SignatureDoesNotMatch": "the worker's credentials are wrong",
    "RequestTimeTooSkewed": "the worker's clock is wrong",
    "NoSuchBucket": "there is no such bucket",
    "BadDigest": "the bytes arrived damaged",
    "XAmzContentChecksumMismatch": "the bytes arrived damaged",
}
_MISSING = {"NoSuchKey", "404"}


class SentTooLate(Exception):
    """The body of a request was not sent by the instant until which writing is allowed."""


@contextlib.contextmanager
def mapped(operation: str, bucket: str, key: str) -> Iterator[None]:
    """Turn whatever boto3 raises inside into one error of the port."""
    shown = f"s3://{bucket}/{escaped(key)}"
    try:
        yield
    except boto.ClientError as error:
        raise _answered(operation, shown, error.response) from None
    except (boto.NoCredentialsError, boto.PartialCredentialsError):
        raise ObjectRefused(
            f"{operation} {shown}: this worker has no credentials for the object store; "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where it runs."
        ) from None
    except boto.FlexibleChecksumError:
        raise ObjectRefused(f"{operation} {shown}: the bytes do not have the object's checksum.") from None
    except (boto.ParamValidationError, boto.InvalidDNSNameError):
        raise ObjectRefused(f"{operation} {shown}: not a valid bucket or key.") from None
    except (SentTooLate, boto.BotoCoreError, http.client.HTTPException, OSError) as error:
        # botocore wraps what the body of a request raises.
        cause = error.kwargs.get("error", error) if isinstance(error, boto.HTTPClientError) else error
        if isinstance(cause, SentTooLate):
            raise StoreUnreachable(f"{operation} {shown}: it took longer than the lease allows.") from None
        raise StoreUnreachable(f"{operation} {shown}: {type(error).__name__}.") from None


def _answered(
    operation: str, shown: str, response: Mapping[str, Any]
) -> ObjectRefused | ObjectChanged | StoreUnreachable:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"{operation} {shown}: {_ADVICE.get(code, code or 'no error code')} (HTTP status {status})"
    # An error inside a 200 is how a completed multipart upload says that it was not.
    if code in _TRANSIENT or status in {408, 429} or status >= 500 or status < 300:
        return StoreUnreachable(f"{text}.")
    if status == 412 or code in _MISSING:
        return ObjectChanged(f"{text}; the object was replaced or removed.")
    return ObjectRefused(f"{text}.")
