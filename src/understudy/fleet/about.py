"""What a bundle says about itself without being loaded: for lists, for the page, and to find the model that a request means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..bundle.reader import read_manifest

_CODE = re.compile(r"[a-z]{2,3}", re.ASCII)
_PAIR = re.compile(r"(?:.*[-_.])?([a-z]{2,3})-([a-z]{2,3})", re.ASCII)


def about_of(path: Path, languages: tuple[str, str] | None = None) -> dict[str, Any]:
    """Task, sort (classify, summarize or write), id, labels, bytes, scores, and (source, target) of a translator. Raises BundleError."""
    manifest = read_manifest(path)
    extractive = manifest.rungs[-1].kind == "extract"
    sort = "classify" if manifest.task == "classify" else "summarize" if extractive else "write"
    told: dict[str, Any] = {
        "name": manifest.name, "id": manifest.id, "task": manifest.task, "sort": sort, "labels": list(manifest.labels), "descriptions": manifest.descriptions,
        "file_bytes": sum(entry.bytes for entry in manifest.files.values()), "scores": manifest.scores, "receipt": "receipt.json" in manifest.files,
        "rungs": [{"name": rung.name, "kind": rung.kind, "parameters": rung.parameters, "precision": rung.precision} for rung in manifest.rungs]}
    if manifest.task == "translate":
        told["languages"] = list(languages or _languages(manifest.provenance, manifest.name))
    return told


def _languages(provenance: dict[str, Any], name: str) -> tuple[str, str]:
    """(source, target), from the columns that it was trained on, else from a name like en-de; ("", "") where neither says."""
    config = provenance.get("config") if isinstance(provenance.get("config"), dict) else {}
    source, target = (str((config or {}).get(one)) for one in ("source", "target"))
    if _CODE.fullmatch(source) and _CODE.fullmatch(target):
        return source, target
    found = _PAIR.fullmatch(name)
    return (found[1], found[2]) if found else ("", "")
