"""What to copy, decided from listings alone: no file and no store is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tenure.agent.sync import keys
from tenure.agent.sync.beneath import Signature
from tenure.agent.sync.objects import ObjectInfo
from tenure.agent.sync.rules import PACKED, Rule

_GZIP = "gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What an object and a local file had in common when they last were equal.

    `sha256` is of the file's own bytes (not of the packed ones). `racy`: the file was read so soon after its last
    change that another change may have left the signature the same; only its bytes can tell.
    """

    path: str
    signature: Signature
    sha256: bytes
    etag: str
    racy: bool


Manifest = dict[tuple[str, str], Stored]
"""By bucket and key: which objects are known to equal which local files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """One object to be copied to a file; `unpack`: it is gzipped and the file is not."""

    info: ObjectInfo
    relative: str
    unpack: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One file to be copied to an object."""

    rule: Rule
    relative: str
    key: str
    marker: bool

    @property
    def address(self) -> tuple[str, str]:
        """Bucket and key of the object."""
        return self.rule.bucket, self.key

    @property
    def path(self) -> str:
        """Path of the file, as an identity and for people."""
        return str(self.rule.place.path / self.relative)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPlan:
    """What there is to do about the files of a folder.

    `changed`: every file whose object is not known to equal it. `refused`: those whose names cannot be an object's, and
    why; they keep no other file from being stored.
    """

    changed: list[tuple[Upload, Signature]]
    refused: list[tuple[str, str]]


def listed(rule: Rule, listing: Iterable[ObjectInfo]) -> dict[str, ObjectInfo]:
    """The objects of a rule by the part of their key after the prefix; folder markers and what the pattern leaves out
    are not among them.

    A key that ends in `.gz` is kept when the pattern selects it with or without that suffix: which of them counts
    depends on its encoding, which a listing does not tell.
    """
    found: dict[str, ObjectInfo] = {}
    for info in listing:
        relative = info.key.removeprefix(rule.prefix)
        if info.size == 0 and (not relative or relative.endswith("/")):
            continue
        if rule.selects(relative) or (relative.endswith(PACKED) and rule.selects(relative.removesuffix(PACKED))):
            found[relative] = info
    return found


def download_plan(rule: Rule, objects: Mapping[str, ObjectInfo], *, compression: bool) -> list[Download]:
    """Which objects become which files, in the order of their paths.

    Where a file is there both plain and packed, the one that this job's own uploads would replace is the newer state
    and is taken.

    Args:
        rule: The rule.
        objects: By the part of the key after the prefix; with `content_encoding` where that ends in `.gz`.
        compression: Whether the job stores its files packed.

    Raises:
        KeysRefused: A key cannot be the name of a file.
    """
    keys.check(objects, prefix=rule.prefix)
    plan: dict[str, Download] = {}
    for relative, info in sorted(objects.items()):
        unpack = relative.endswith(PACKED) and info.content_encoding.strip().lower() == _GZIP
        target = relative.removesuffix(PACKED) if unpack else relative
        if not rule.selects(target) or (target in plan and unpack != compression):
            continue
        plan[target] = Download(info=info, relative=target, unpack=unpack)
    # Once more: without its suffix a name may be empty, or that of a folder.
    keys.check(plan, prefix=rule.prefix)
    return [plan[target] for target in sorted(plan)]


def upload_of(rule: Rule, relative: str, *, compression: bool) -> Upload | None:
    """The upload of one file by one rule; None where the pattern leaves it out.

    Raises:
        KeysRefused: No later attempt could load an object of that name.
    """
    if not rule.selects(relative):
        return None
    why = _fault(rule, relative, compression=compression)
    if why:
        raise keys.KeysRefused([(relative, why)], 1)
    return _upload(rule, relative, compression=compression)


def _fault(rule: Rule, relative: str, *, compression: bool) -> str:
    return keys.fault(relative + (PACKED if compression else ""), prefix=rule.prefix)


def _upload(rule: Rule, relative: str, *, compression: bool) -> Upload:
    key = rule.key(relative, packed=compression)
    return Upload(rule=rule, relative=relative, key=key, marker=rule.is_marker(relative))


def unchanged(upload: Upload, signature: Signature, manifest: Manifest) -> bool:
    """Whether the object is known to equal the file without reading it."""
    stored = manifest.get(upload.address)
    return stored is not None and not stored.racy and stored.signature == signature and stored.path == upload.path


def upload_plan(rule: Rule, files: Mapping[str, Signature], manifest: Manifest, *, compression: bool) -> UploadPlan:
    """What to do about the files of a folder, in the order of their paths."""
    changed: list[tuple[Upload, Signature]] = []
    refused: list[tuple[str, str]] = []
    for relative, signature in sorted(files.items()):
        if not rule.selects(relative):
            continue
        why = _fault(rule, relative, compression=compression)
        if why:
            refused.append((relative, why))
            continue
        upload = _upload(rule, relative, compression=compression)
        if not unchanged(upload, signature, manifest):
            changed.append((upload, signature))
    return UploadPlan(changed=changed, refused=refused)
