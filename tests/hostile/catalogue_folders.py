"""Rows 78, 79 and 84: folders, prefixes, expressions and URLs, all looked at when the job is created."""

from __future__ import annotations

from collections.abc import Iterator

from tenure.v1 import job_pb2, webhook_service_pb2
from tests.hostile.catalogue import Case, call, web
from tests.hostile.catalogue_jobs import refused, specification, taken

PHASES = ("before", "during", "after")


def rule(phase: str = "before", **fields: object) -> job_pb2.JobSpecification:
    """A job with one rule."""
    made = job_pb2.SyncRule(**{"bucket": "bucket", "prefix": "a/", "local_path": "a", **fields})  # type: ignore[arg-type]
    return specification(sync=job_pb2.Sync(**{phase: [made]}))  # type: ignore[arg-type]


NO_FOLDERS = {
    "empty": "",
    "up": "..",
    "up-inside": "a/../b",
    "up-at-the-end": "a/..",
    "absolute-up": "/app/../etc",
    "home": "~/x",
    "home-of-another": "~root/x",
    "backslash": "a\\b",
    "nul": "a\0b",
    "newline": "a\nb",
    "right-to-left": "a\N{RIGHT-TO-LEFT OVERRIDE}b",
    "twice-a-slash": "a//b",
    "root": "/",
    "1025": "x" * 1025,
    "5000": "x" * 5000,
}
NO_PREFIXES = {
    "empty": "",
    "slash": "/",
    "slashes": "///",
    "absolute": "/a",
    "up": "a/../b",
    "dot": "a/./b",
    "only-up": "..",
    "twice-a-slash": "a//b",
    "backslash": "a\\b",
    "nul": "a\0",
    "newline": "a\nb",
    "right-to-left": "\N{RIGHT-TO-LEFT OVERRIDE}",
    "513": "x" * 513,
    "513-wide": "\N{EURO SIGN}" * 171,
}
NO_BUCKETS = {
    "empty": "",
    "short": "ab",
    "256": "b" * 256,
    "slash": "bucket/key",
    "up": "../bucket",
    "dot-first": ".bucket",
    "dash-last": "bucket-",
    "url": "s3://bucket",
    "blank": "a bucket",
    "newline": "bucket\n",
    "accent": "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cket",
    "host": "bucket?x=y",
}
NO_EXPRESSIONS = {
    "bracket": "[",
    "star": "*",
    "parenthesis": "(" * 400,
    "backreference": r"(a)\1",
    "lookahead": "(?=a)",
    "repeat": "a{100000}",
    "grown": "((a{100}){100}){100}",
    "escape": "\\",
    "513": "a" * 513,
}
# May not be called, and are no URLs.
FORBIDDEN = {
    "http": "http://example.org/",
    "file": "file:///etc/passwd",
    "ftp": "ftp://example.org/",
    "loopback": "https://127.0.0.1/",
    "loopback-6": "https://[::1]/",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "hexadecimal": "https://0x7f.1/",
    "one-number": "https://2130706433/",
    "octal": "https://0177.0.0.1/",
    "mapped": "https://[::ffff:127.0.0.1]/",
    "nat64": "https://[64:ff9b::7f00:1]/",
    "6to4": "https://[2002:7f00:1::]/",
    "private": "https://10.0.0.1/",
    "localhost": "https://localhost/",
    "one-label": "https://metadata/",
    "user": "https://user:canary@example.org/",
    "port-22": "https://example.org:22/",
    "fragment": "https://example.org/#canary",
}
NO_URLS = {
    "word": "hook",
    "script": "javascript:alert(1)",
    "no-host": "https:///path",
    "blank": "https://example.org/a b",
    "newline": "https://example.org/\nHost: inside",
    "nul": "https://example.org/\0",
    "backslash": "https://example.org\\@127.0.0.1/",
    "wide": "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/",
    "port": "https://example.org:99999/",
    "8000": "https://example.org/" + "x" * 8000,
}


def _folders() -> Iterator[Case]:
    for name, path in NO_FOLDERS.items():
        for phase in PHASES:
            yield refused(78, f"{phase}-{name}", rule(phase, local_path=path), f"sync.{phase}[0].local_path")


def _keys() -> Iterator[Case]:
    for name, prefix in NO_PREFIXES.items():
        yield refused(79, f"prefix-{name}", rule(prefix=prefix), "sync.before[0].prefix")
    for name, bucket in NO_BUCKETS.items():
        yield refused(79, f"bucket-{name}", rule("during", bucket=bucket), "sync.during[0].bucket")
    for field in ("pattern", "commit_marker"):
        for name, expression in NO_EXPRESSIONS.items():
            yield refused(79, f"{field}-{name}", rule("after", **{field: expression}), f"sync.after[0].{field}")
    for phase, direction in (("before", "UPLOAD"), ("during", "DOWNLOAD"), ("after", "DOWNLOAD")):
        number = job_pb2.SyncDirection.Value(f"SYNC_DIRECTION_{direction}")
        yield refused(79, f"{phase}-{direction}", rule(phase, direction=number), f"sync.{phase}[0].direction")
    yield refused(79, "marker-before", rule(commit_marker="x"), "sync.before[0].commit_marker")
    many = [job_pb2.SyncRule(bucket="bucket", prefix="a/", local_path="a")] * 33
    yield refused(79, "33-rules", specification(sync=job_pb2.Sync(before=many)), "sync.before")


def _urls() -> Iterator[Case]:
    for reason, urls in (("WEBHOOK_TARGET_FORBIDDEN", FORBIDDEN), ("INVALID_FIELD", NO_URLS)):
        for name, url in urls.items():
            endpoint = webhook_service_pb2.WebhookSpecification(url=url)
            request = webhook_service_pb2.UpsertWebhooksRequest(items=[endpoint])
            send = call("WebhookService.UpsertWebhooks", request)
            why = "INVALID_FIELD" if name == "no-host" else reason
            yield Case(row=84, name=name, send=send, reason=why, fields=("items[0].url",))
            yield refused(84, f"job-{name}", specification(webhook=url), "webhook", reason=why)


CASES: list[Case] = [
    *_folders(),
    *_keys(),
    taken(79, "without-its-slash", rule(prefix="data")),
    refused(79, "queue-without-compression", specification(queue="plain", compression=True), "", reason="FEATURE_UNSUPPORTED"),
    refused(79, "queue-without-sync", specification(queue="capped", sync=job_pb2.Sync(before=[job_pb2.SyncRule(bucket="bucket", prefix="a", local_path="a")])), "", reason="FEATURE_UNSUPPORTED"),
    *_urls(),
    Case(row=84, name="event-type", send=call("WebhookService.UpsertWebhooks", webhook_service_pb2.UpsertWebhooksRequest(items=[webhook_service_pb2.WebhookSpecification(url="https://example.org/", event_types=["job.exploded"])])), reason="INVALID_FIELD", fields=("items[0].event_types[0]",)),
    Case(row=84, name="web-kelpie", send=web("POST", "/jobs", json={"command": "x", "container_group_id": "a", "webhook": "http://169.254.169.254/"}), reason="WEBHOOK_TARGET_FORBIDDEN", http=400),
    Case(row=78, name="web-kelpie", send=web("POST", "/jobs", json={"command": "x", "container_group_id": "a", "sync": {"before": [{"bucket": "bucket", "prefix": "a", "local_path": "../x", "direction": "download"}]}}), reason="INVALID_FIELD", fields=("items[0].specification.sync.before[0].local_path",), http=400),
    Case(row=79, name="web-kelpie-direction", send=web("POST", "/jobs", json={"command": "x", "container_group_id": "a", "sync": {"before": [{"bucket": "bucket", "prefix": "a", "local_path": "x", "direction": "sideways"}]}}), reason="INVALID_FIELD", fields=("sync.before[0].direction",), http=400),
]  # fmt: skip
