"""manifest.json: what a bundle is, in one page of JSON that says everything about every file beside it.

Written in one way only (`to_json`) and read strictly (`from_json`): a field too many, a type, a NaN or a changed bit
is refused by name. FORMAT.md is the same for readers without this code.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import BundleError
from .fields import SHA256, SLUG, TAG, Fields, kind_of, real
from .jsonio import canonical_json, shown, strict_json, text
from .paths import check_file_names, check_folder_name

FORMAT_VERSION = 1
KIND = "understudy-bundle"
MAX_MANIFEST = 4 * 1024 * 1024
MAX_FILE = 4 * 1024**3
MAX_FILES = 10_000
MAX_LABELS = 100_000
MAX_RUNGS = 32
MAX_NAME = 200
MEASURED_FILES = ("receipt.json", "receipt.html", "README.md")

_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class Rung:
    """One model of the cascade, cheapest first.

    Its answer has the logits Σ mix[j] · raw_logits_j over itself and earlier rungs; softmax(logits / temperature) are
    the probabilities. It answers when the highest is at least `threshold`, else the next rung is asked; the last rung
    abstains below its own (0.0 = never).
    """

    name: str
    kind: str
    path: str
    parameters: int
    precision: str
    mix: dict[str, float]
    temperature: float = 1.0
    threshold: float = 0.0
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        # An int and the float of the same value are different JSON, and the manifest must read back as it was written.
        for name in ("temperature", "threshold"):
            object.__setattr__(self, name, _floated(getattr(self, name)))
        object.__setattr__(self, "mix", {key: _floated(value) for key, value in self.mix.items()})


@dataclass(frozen=True)
class FileEntry:
    """The SHA-256 (64 lower-case hex digits) and the size in bytes of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything about a bundle but its weights. `version` is the Understudy that wrote it; `files` is filled in by
    `write_bundle`. `scores` and `provenance["measured"]` are measurements: they differ from run to run and stay out of `id`.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    rungs: tuple[Rung, ...]
    task: str = "classify"
    descriptions: dict[str, str] = field(default_factory=dict)
    certificate: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileEntry] = field(default_factory=dict)
    format: int = FORMAT_VERSION
    kind: str = KIND

    @property
    def id(self) -> str:
        """SHA-256 over everything that training decides and nothing that a clock does: same seed, same id.

        Left out: `scores`, `provenance["measured"]` and the entries of receipt.json, receipt.html and README.md.
        """
        told = asdict(self)
        del told["scores"]
        told["provenance"] = {key: value for key, value in self.provenance.items() if key != "measured"}
        told["files"] = {path: entry for path, entry in told["files"].items() if path not in MEASURED_FILES}
        return hashlib.sha256(canonical_json(told, "the manifest")).hexdigest()

    def to_json(self) -> bytes:
        """The bytes of manifest.json, checked as `from_json` checks them. Raises BundleError naming a field that does not fit."""
        data = self._written()
        Manifest.from_json(data, "the manifest to be written")
        return data

    def _written(self) -> bytes:
        body = asdict(self) | {"id": self.id}
        body["seal"] = hashlib.sha256(canonical_json(body, "the manifest")).hexdigest()
        return canonical_json(body, "the manifest")

    @staticmethod
    def from_json(data: bytes, where: str) -> Manifest:
        """The manifest in the bytes `data`; `where` names the file in errors.

        Raises BundleError for a newer format (with the version to upgrade to), for bytes that are not the one
        canonical form, for an `id` or `seal` that does not match, and naming the field for anything else.
        """
        if len(data) > MAX_MANIFEST:
            raise BundleError(f"{where} is {len(data):,} bytes (the limit is {MAX_MANIFEST:,})")
        body = strict_json(data, where)
        _check_format(body, where)
        fields = Fields(body, where)
        identity, seal = fields.string("id", 64, SHA256), fields.string("seal", 64, SHA256)
        manifest = _parse(fields, where)
        body = {key: value for key, value in body.items() if key != "seal"}
        if hashlib.sha256(canonical_json(body, where)).hexdigest() != seal:
            raise BundleError(f"{where}: the field 'seal' does not match the content, which has changed since it was written",
                              hint="fetch the bundle again, or train it again")
        if manifest.id != identity:
            raise BundleError(f"{where}: the field 'id' is {identity[:12]}… and the content has the id {manifest.id[:12]}…")
        if manifest._written() != data:
            raise BundleError(f"{where} is not in the canonical form (sorted keys, indent 1, trailing newline)")
        return manifest

    def with_files(self, files: dict[str, FileEntry]) -> Manifest:
        """The same manifest over these files."""
        return replace(self, files=files)


def _check_format(body: Any, where: str) -> None:
    if not isinstance(body, dict) or body.get("kind") != KIND:
        raise BundleError(f"{where} is not the manifest of a bundle: its 'kind' is not '{KIND}'",
                          hint="name the folder that 'understudy train --out' wrote")
    number = body.get("format")
    if isinstance(number, int) and not isinstance(number, bool) and number > FORMAT_VERSION:
        version = body.get("version")
        known = isinstance(version, str) and _VERSION.fullmatch(version)
        raise BundleError(f"{where} was written by a newer Understudy (format {number}, this reads {FORMAT_VERSION})",
                          hint=f"this bundle needs Understudy {version if known else 'in its newest version'}: pip install --upgrade understudy")


def _parse(fields: Fields, where: str) -> Manifest:
    fields.take("kind")
    task = fields.string("task", 32, SLUG)
    manifest = Manifest(
        format=fields.integer("format", 1, FORMAT_VERSION),
        task=task,
        name=_name(fields),
        version=fields.string("version", 64, _VERSION),
        labels=_labels(fields, task),
        descriptions=_descriptions(fields),
        rungs=_rungs(fields),
        certificate=fields.optional("certificate", fields.plain_mapping),
        provenance=fields.plain_mapping("provenance"),
        scores=fields.plain_mapping("scores"),
        files=_files(fields),
    )
    fields.done()
    if unknown := set(manifest.descriptions) - set(manifest.labels):
        raise BundleError(f"{where}: the field 'descriptions' describes {shown(min(unknown))}, which is not a label")
    check_file_names(manifest.files, [rung.path for rung in manifest.rungs], where)
    for rung in manifest.rungs:
        if not any(path.startswith(f"{rung.path}/") for path in manifest.files):
            raise BundleError(f"{where}: the rung '{rung.name}' has no file under {rung.path}/")
    return manifest


def is_name(name: str) -> bool:
    """Whether a bundle may be called so."""
    return bool(name.strip()) and name.isprintable() and len(name) <= MAX_NAME


def _name(fields: Fields) -> str:
    name = fields.string("name", MAX_NAME)
    if not is_name(name):
        raise BundleError(f"{fields.where}: the field 'name' is {shown(name)}, which is empty or not printable")
    return name


def _labels(fields: Fields, task: str) -> tuple[str, ...]:
    values, what = fields.items("labels", MAX_LABELS)
    seen: set[str] = set()
    for index, label in enumerate(values):
        if not isinstance(label, str) or not label or len(label) > 1000:
            raise BundleError(f"{what}: entry {index} should be text of 1 to 1000 characters and is {kind_of(label)}")
        text(label, f"{what}: entry {index}")
        if label in seen:
            raise BundleError(f"{what} has {shown(label)} twice")
        seen.add(label)
    if task == "classify" and len(values) < 2:
        raise BundleError(f"{what} has {len(values)} entries; a classifier needs 2")
    return tuple(values)


def _descriptions(fields: Fields) -> dict[str, str]:
    values, what = fields.mapping("descriptions", MAX_LABELS)
    for label, description in values.items():
        if not isinstance(description, str) or len(description) > 10_000:
            raise BundleError(f"{what}: {shown(label)} should have text of at most 10000 characters and has {kind_of(description)}")
        text(description, f"{what}: {shown(label)}")
    return values


def _rungs(fields: Fields) -> tuple[Rung, ...]:
    values, what = fields.items("rungs", MAX_RUNGS)
    if not values:
        raise BundleError(f"{what} is empty; a bundle needs a model")
    rungs: list[Rung] = []
    for index, value in enumerate(values):
        rung = _rung(Fields(value, f"{fields.where}: rungs[{index}]"), [earlier.name for earlier in rungs])
        for earlier in rungs:
            if rung.name == earlier.name:
                raise BundleError(f"{what}: two rungs have the name '{rung.name}'")
            if f"{rung.path}/".lower().startswith(f"{earlier.path}/".lower()) or f"{earlier.path}/".lower().startswith(f"{rung.path}/".lower()):
                raise BundleError(f"{what}: the rungs '{earlier.name}' and '{rung.name}' share the folder {rung.path}/")
        rungs.append(rung)
    return tuple(rungs)


def _rung(fields: Fields, earlier: list[str]) -> Rung:
    name = fields.string("name", 64, TAG)
    path = fields.string("path", 10_000)
    check_folder_name(path, fields.where)
    mix, what = fields.mapping("mix", MAX_RUNGS)
    if not mix:
        raise BundleError(f"{what} is empty; the rung would answer from nothing")
    for key in mix:
        if key != name and key not in earlier:
            raise BundleError(f"{what} names {shown(key)}, which is not this rung or an earlier one")
    rung = Rung(
        name=name, path=path,
        kind=fields.string("kind", 32, SLUG),
        parameters=fields.integer("parameters", 0, 10**12),
        precision=fields.string("precision", 64, TAG),
        mix={key: real(value, f"{what}: {shown(key)}", -1e6, 1e6) for key, value in mix.items()},
        temperature=fields.real("temperature", 1e-6, 1e6),
        threshold=fields.real("threshold", 0.0, 2.0),
        max_tokens=fields.optional("max_tokens", lambda key: fields.integer(key, 1, 1_000_000)),
    )
    fields.done()
    return rung


def _files(fields: Fields) -> dict[str, FileEntry]:
    values, _ = fields.mapping("files", MAX_FILES)
    entries: dict[str, FileEntry] = {}
    for path, value in values.items():
        entry = Fields(value, f"{fields.where}: files[{shown(path)}]")
        entries[path] = FileEntry(sha256=entry.string("sha256", 64, SHA256), bytes=entry.integer("bytes", 0, MAX_FILE))
        entry.done()
    return entries


def _floated(value: float) -> float:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
