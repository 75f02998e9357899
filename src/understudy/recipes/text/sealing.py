"""The end of every text recipe: the receipt, the gate, and the bundle with receipt, card and checks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...bundle import Manifest, write_bundle
from ...bundle.text_card import text_card
from ...proof.gate import Rule, check_gate, raise_if_failed
from ...proof.text_receipt import TextReceipt, build_text_receipt


def seal(out: Path, files: Mapping[str, bytes], manifest: Manifest, entries: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, str]],
         provenance: Mapping[str, Any], rows: int, seed: int, rules: Sequence[Rule],
         notes: Sequence[str] = ()) -> tuple[Manifest, TextReceipt]:
    """Writes the rung's `files` and what was measured (`entries` on `rows` test rows) as the bundle `out`.

    Raises GateError where a rule is missed; nothing is written then.
    """
    receipt = build_text_receipt(task=manifest.task, name=out.name, entries=entries, rows=rows, data=manifest.provenance["data"], seed=seed,
                                 provenance=provenance, notes=notes)
    raise_if_failed(check_gate(rules, receipt))
    manifest = replace(manifest, name=out.resolve().name, scores=receipt.headline)
    told = json.dumps({"checks": list(checks)}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    whole = {**files, "checks.json": told.encode(), "receipt.json": receipt.to_json(), "receipt.html": receipt.html().encode(),
             "README.md": text_card(manifest, receipt.rows()).encode()}
    return write_bundle(out, whole, manifest), receipt
