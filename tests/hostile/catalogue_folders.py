"""Rows 78, 79 and 84: folders, prefixes, expressions and URLs, all looked at when the job is created."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.hostile.catalogue import HOOKS, Case, bad, bad_job, bad_web, good_job, web
from tests.hostile.catalogue_values import some

PHASES = ("before", "during", "after")


def rule(phase: str = "before", **fields: Any) -> dict[str, Any]:
    """The specification of a job with one rule."""
    return {"sync": {phase: [{"bucket": "bucket", "prefix": "a/", "local_path": "a", **fields}]}}


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
    "umlaut": "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cket",
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
# URLs that may not be called, and what is no URL.
FORBIDDEN = {
    "http": "http://example.org/",
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
    "file": "file:///etc/passwd",
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
    for turn, phase in enumerate(PHASES):
        for name, path in some(turn, NO_FOLDERS).items():
            yield bad_job(78, f"{phase}-{name}", rule(phase, local_path=path), f"sync.{phase}[0].local_path")


def _keys() -> Iterator[Case]:
    for name, prefix in NO_PREFIXES.items():
        yield bad_job(79, f"prefix-{name}", rule(prefix=prefix), "sync.before[0].prefix")
    for name, bucket in NO_BUCKETS.items():
        yield bad_job(79, f"bucket-{name}", rule("during", bucket=bucket), "sync.during[0].bucket")
    for turn, field in enumerate(("pattern", "commit_marker")):
        for name, expression in some(turn, NO_EXPRESSIONS).items():
            yield bad_job(79, f"{field}-{name}", rule("after", **{field: expression}), f"sync.after[0].{field}")
    for phase, word in (("before", "UPLOAD"), ("during", "DOWNLOAD"), ("after", "DOWNLOAD")):
        wrong = rule(phase, direction=f"SYNC_DIRECTION_{word}")
        yield bad_job(79, f"{phase}-{word}", wrong, f"sync.{phase}[0].direction")


def _urls() -> Iterator[Case]:
    for reason, urls in (("WEBHOOK_TARGET_FORBIDDEN", FORBIDDEN), ("INVALID_FIELD", NO_URLS)):
        for name, url in urls.items():
            yield bad(84, name, HOOKS, {"items": [{"url": url}]}, "items[0].url", reason=reason)
        for name, url in some(1, urls).items():
            yield bad_job(84, f"job-{name}", {"webhook": url}, "webhook", reason=reason)


def _kelpie(**more: Any) -> Any:
    return web("POST", "/jobs", {"command": "x", "container_group_id": "a", **more})


def _copied(**fields: Any) -> dict[str, Any]:
    return {"before": [{"bucket": "bucket", "prefix": "a", "local_path": "x", "direction": "download", **fields}]}


UP = "items[0].specification.sync.before[0].local_path"
TYPES = {"items": [{"url": "https://example.org/", "event_types": ["job.exploded"]}]}
UNSUPPORTED = "FEATURE_UNSUPPORTED"

CASES: list[Case] = [
    *_folders(),
    bad_web(78, "kelpie", _kelpie(sync=_copied(local_path="../x")), UP),
    *_keys(),
    bad_job(79, "marker-before", rule(commit_marker="x"), "sync.before[0].commit_marker"),
    bad_job(79, "33-rules", {"sync": {"before": rule()["sync"]["before"] * 33}}, "sync.before"),
    good_job(79, "without-its-slash", rule(prefix="data")),
    bad_job(
        79, "queue-without-compression", {"queue": "plain", "compression": True}, "compression", reason=UNSUPPORTED
    ),
    bad_job(79, "queue-without-sync", {"queue": "capped", **rule()}, "sync", reason=UNSUPPORTED),
    bad_web(79, "kelpie", _kelpie(sync=_copied(direction="sideways")), "sync.before[0].direction"),
    *_urls(),
    bad(84, "event-type", HOOKS, TYPES, "items[0].event_types[0]"),
    bad_web(84, "kelpie", _kelpie(webhook="http://169.254.169.254/"), reason="WEBHOOK_TARGET_FORBIDDEN"),
]
