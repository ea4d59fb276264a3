from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from tenure.agent.sync.beneath import Place, Signature
from tenure.agent.sync.keys import KeysRefused
from tenure.agent.sync.objects import ObjectInfo
from tenure.agent.sync.plan import Manifest, Stored, download_plan, listed, upload_of, upload_plan
from tenure.agent.sync.rules import Rule, RuleRefused, parse
from tenure.v1.job_pb2 import SyncRule

PLACE = Place(root=Path("/scratch"), relative="data")
SIGNATURE = Signature(inode=1, size=2, mtime_ns=3)


def rule(prefix: str = "p/", pattern: str = "", commit_marker: str = "") -> Rule:
    message = SyncRule(bucket="bucket", prefix=prefix, local_path="data", pattern=pattern, commit_marker=commit_marker)
    [parsed] = parse([message], lambda _: PLACE)
    return parsed


def info(key: str, *, size: int = 1, encoding: str = "") -> ObjectInfo:
    return ObjectInfo(key=key, size=size, etag='"e"', content_encoding=encoding)


def planned(objects: list[ObjectInfo], *, pattern: str = "", compression: bool = False) -> list[tuple[str, str, bool]]:
    found = listed(rule(pattern=pattern), objects)
    plan = download_plan(rule(pattern=pattern), found, compression=compression)
    return [(each.info.key, each.relative, each.unpack) for each in plan]


@pytest.mark.parametrize(("prefix", "whole"), [("p", "p/"), ("p/", "p/"), ("a/b", "a/b/"), ("", "")])
def test_a_prefix_gets_its_last_slash(prefix: str, whole: str) -> None:
    assert rule(prefix).prefix == whole


def test_quiet_period_and_longest_wait_have_defaults() -> None:
    assert (rule().quiet_ns, rule().max_wait_ns) == (200_000_000, 5_000_000_000)
    message = SyncRule(quiet_period=Duration(), max_wait=Duration(seconds=1, nanos=5))
    [parsed] = parse([message], lambda _: PLACE)
    assert (parsed.quiet_ns, parsed.max_wait_ns) == (0, 1_000_000_005)


@pytest.mark.parametrize("expression", ["(", r"(?=ahead)", r"(a)\1"])
def test_only_re2_is_accepted(expression: str) -> None:
    with pytest.raises(RuleRefused, match="not an RE2 expression"):
        rule(pattern=expression)
    with pytest.raises(RuleRefused, match="commit_marker"):
        rule(commit_marker=expression)


def test_everything_under_the_prefix_is_loaded_in_order() -> None:
    assert planned([info("p/b"), info("p/a/c"), info("p/a.txt")]) == [
        ("p/a.txt", "a.txt", False),
        ("p/a/c", "a/c", False),
        ("p/b", "b", False),
    ]


def test_folder_markers_are_passed_over() -> None:
    assert planned([info("p/", size=0), info("p/sub/", size=0), info("p/sub/x", size=0)]) == [
        ("p/sub/x", "sub/x", False)
    ]
    with pytest.raises(KeysRefused):
        planned([info("p/sub/", size=1)])


def test_the_pattern_is_searched_after_the_prefix() -> None:
    objects = [info("p/x.pt"), info("p/deep/y.pt"), info("p/pt/z")]
    assert [relative for _, relative, _ in planned(objects, pattern=r"\.pt$")] == ["deep/y.pt", "x.pt"]
    assert planned(objects, pattern=r"^p/") == []


def test_a_hostile_key_that_is_not_selected_does_no_harm() -> None:
    assert [relative for _, relative, _ in planned([info("p/../x"), info("p/a.pt")], pattern=r"\.pt$")] == ["a.pt"]
    with pytest.raises(KeysRefused):
        planned([info("p/../x"), info("p/a.pt")])


def test_only_what_says_it_is_gzipped_is_unpacked() -> None:
    objects = [info("p/a.txt.gz", encoding="gzip"), info("p/own.gz"), info("p/b.txt", encoding="gzip")]
    assert planned(objects, compression=True) == [
        ("p/a.txt.gz", "a.txt", True),
        ("p/b.txt", "b.txt", False),
        ("p/own.gz", "own.gz", False),
    ]
    assert planned(objects) == planned(objects, compression=True)


def test_the_pattern_sees_the_name_of_the_file() -> None:
    objects = [info("p/a.txt.gz", encoding="gzip"), info("p/own.txt.gz"), info("p/c.bin")]
    assert [relative for _, relative, _ in planned(objects, pattern=r"\.txt$")] == ["a.txt"]
    assert [relative for _, relative, _ in planned(objects, pattern=r"\.gz$")] == ["own.txt.gz"]


@pytest.mark.parametrize(("compression", "key"), [(True, "p/state.txt.gz"), (False, "p/state.txt")])
def test_of_two_forms_of_a_file_the_jobs_own_is_taken(compression: bool, key: str) -> None:
    objects = [info("p/state.txt.gz", encoding="gzip"), info("p/state.txt")]
    assert [each for each, _, _ in planned(objects, compression=compression)] == [key]
    assert [each for each, _, _ in planned(objects[::-1], compression=compression)] == [key]


def test_an_unpacked_name_is_checked_again() -> None:
    with pytest.raises(KeysRefused):
        planned([info("p/.gz", encoding="gzip")])
    with pytest.raises(KeysRefused, match="is a file, too"):
        planned([info("p/a.gz", encoding="gzip"), info("p/a/b")])


def uploads(files: list[str], rule: Rule, manifest: Manifest, *, compression: bool = False) -> list[tuple[str, bool]]:
    plan = upload_plan(rule, dict.fromkeys(files, SIGNATURE), manifest, compression=compression)
    assert plan.refused == []
    return [(upload.key, upload.marker) for upload, _ in plan.changed]


def test_files_become_keys_below_the_prefix() -> None:
    assert uploads(["b", "a/c"], rule(), {}) == [("p/a/c", False), ("p/b", False)]
    assert uploads(["b", "own.gz"], rule(), {}, compression=True) == [("p/b.gz", False), ("p/own.gz.gz", False)]


def test_commit_markers_are_known() -> None:
    marking = rule(commit_marker=r"(^|/)DONE$", pattern="^[^x]")
    assert uploads(["ckpt/DONE", "ckpt/data", "x/DONE"], marking, {}) == [("p/ckpt/DONE", True), ("p/ckpt/data", False)]


@pytest.mark.parametrize("name", ["back\\slash", "new\nline", "not\udcffutf8", "n" * 255])
def test_a_file_that_no_attempt_could_load_again_is_refused(name: str) -> None:
    with pytest.raises(KeysRefused):
        upload_of(rule(), name, compression=True)
    files = dict.fromkeys(["a", name, "z"], SIGNATURE)
    plan = upload_plan(rule(), files, {}, compression=True)
    assert [refused for refused, _ in plan.refused] == [name]
    assert [upload.relative for upload, _ in plan.changed] == ["a", "z"]


@pytest.mark.parametrize(
    ("path", "signature", "racy", "sent"),
    [
        ("/scratch/data/a", SIGNATURE, False, False),
        ("/scratch/data/a", Signature(inode=1, size=2, mtime_ns=4), False, True),
        ("/scratch/data/a", Signature(inode=2, size=2, mtime_ns=3), False, True),
        ("/scratch/data/a", SIGNATURE, True, True),
        ("/scratch/other/a", SIGNATURE, False, True),
    ],
)
def test_only_what_is_known_to_be_equal_is_left_out(path: str, signature: Signature, racy: bool, sent: bool) -> None:
    known = Stored(path=path, signature=signature, sha256=b"", etag="", racy=racy)
    assert bool(uploads(["a"], rule(), {("bucket", "p/a"): known})) == sent
