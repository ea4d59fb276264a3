"""Signatures as Standard Webhooks wants them: HMAC-SHA256 over id, time and body, one for each secret that counts."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import UTC, datetime

from standardwebhooks import Webhook

from tenure.store.outbox import Secret

SECRET_BYTES = 32
_PREFIX = "whsec_"


def shown(secret: Secret) -> str:
    """A secret as its owner is shown it, and as libraries for receivers take it."""
    return _PREFIX + base64.b64encode(secret.value).decode("ascii")


def signing(secrets: Iterable[Secret], now_us: int) -> list[Secret]:
    """The secrets that sign now, the newest first, as receivers are most likely to have it."""
    good = [secret for secret in secrets if secret.until_us is None or secret.until_us > now_us]
    return sorted(good, key=lambda secret: secret.made_us, reverse=True)


def signed_headers(delivery_id: str, body: bytes, secrets: Iterable[Secret], now_us: int) -> list[tuple[str, str]]:
    """The headers that show receivers who announces what and when."""
    at = datetime.fromtimestamp(now_us // 1_000_000, tz=UTC)
    text = body.decode("utf-8")
    signatures = [Webhook(secret.value).sign(delivery_id, at, text) for secret in signing(secrets, now_us)]
    return [
        ("webhook-id", delivery_id),
        ("webhook-timestamp", str(now_us // 1_000_000)),
        ("webhook-signature", " ".join(signatures)),
    ]
