"""README.md of a bundle: the model card, from the manifest and the receipt.

Labels, descriptions and names come from a stranger's data file. In the YAML they are double-quoted with every special
character escaped; in the Markdown every character that could mean something is written as a numeric entity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .manifest import Manifest

MAX_LABELS = 200
MAX_TEXT = 300

_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _,-]|\.(?=[A-Za-z0-9]))*", re.ASCII)


def model_card(manifest: Manifest, receipt: Mapping[str, Any] | None) -> str:
    """The Markdown text of the card, with YAML front matter as the Hugging Face hub reads it.

    `manifest.files` is not looked at: the card is one of the files. `receipt["entries"]` is a list of objects with name, role, precision, accuracy and macro_f1 {value, low, high},
    bytes and speed {p50_ms, p95_ms}; whatever is missing or of another type is left out of the table.
    """
    entries = _entries(receipt)
    parts = [_front_matter(manifest, entries), f"# {_markdown(manifest.name)}", _summary(manifest), _usage(), _labels(manifest)]
    if entries:
        parts.append(_scores(entries))
    parts += [_data(manifest), _limits(manifest), _provenance(manifest)]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: Manifest, entries: list[Mapping[str, Any]]) -> str:
    lines = ["---", "library_name: understudy", "pipeline_tag: text-classification", "license: other", "license_name: not-stated",
             "tags:", "- understudy", "- text-classification", "- onnx"]
    if not any(rung.kind == "encoder" for rung in manifest.rungs):
        lines.pop()
    data = manifest.provenance.get("data")
    language = data.get("language") if isinstance(data, dict) else None
    if isinstance(language, str) and re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})?", language, re.ASCII):
        lines.append(f"language: {_yaml(language)}")
    metrics = _metrics(entries)
    if metrics:
        lines += ["model-index:", f"- name: {_yaml(manifest.name)}", "  results:", "  - task:", "      type: text-classification", "    dataset:",
                  f"      name: {_yaml(_data_name(manifest))}", "      type: private", "      split: test", "    metrics:", *metrics]
    return "\n".join([*lines, "---"])


def _metrics(entries: list[Mapping[str, Any]]) -> list[str]:
    lines = []
    for key, kind, name in (("accuracy", "accuracy", "Accuracy"), ("macro_f1", "f1", "Macro F1")):
        value = _number(_part(_whole(entries), key).get("value"))
        if value is not None:
            lines += [f"    - type: {kind}", f"      name: {name}", f"      value: {value:.4f}"]
    return lines


def _summary(manifest: Manifest) -> str:
    rungs = manifest.rungs
    lines = [f"Sorts a text into one of {len(manifest.labels)} labels, on an ordinary CPU, without torch."]
    if len(rungs) > 1:
        lines.append(f"It asks {len(rungs)} models in order, cheapest first, until one is sure:")
    lines.append("")
    lines += [_row("Model", "Kind", "Precision", "Parameters", "Answers when its confidence is"), "|---|---|---|---:|---|"]
    for at, rung in enumerate(rungs):
        sure = "anything" if rung.threshold == 0 else "never, it only adds to later ones" if rung.threshold > 1 else f"at least {rung.threshold:.3g}"
        lines.append(_row(rung.name, rung.kind, rung.precision, f"{rung.parameters:,}", sure + (", else it abstains" if rung.threshold and at == len(rungs) - 1 else "")))
    return "\n".join(lines)


def _usage() -> str:
    return """## How to use it

```
pip install understudy
understudy show . --verify
understudy predict . "a text to sort"
```

```python
import understudy

model = understudy.load(".")
print(model.predict("a text to sort"))
```"""


def _labels(manifest: Manifest) -> str:
    lines = ["## Labels", "", "| Label | Meaning |", "|---|---|"]
    lines += [f"| {_markdown(label)} | {_markdown(manifest.descriptions.get(label, ''))} |" for label in manifest.labels[:MAX_LABELS]]
    if len(manifest.labels) > MAX_LABELS:
        lines += ["", f"And {len(manifest.labels) - MAX_LABELS} more, in `manifest.json`."]
    return "\n".join(lines)


def _scores(entries: list[Mapping[str, Any]]) -> str:
    lines = ["## Scores", "", "Measured on test data that nothing was trained or tuned on; 95 % intervals in brackets. `receipt.html` has the rest.", "",
             "| Model | Role | Precision | Accuracy | Macro F1 | Size | p50 | p95 |", "|---|---|---|---|---|---:|---:|---:|"]
    for entry in entries:
        speed = _part(entry, "speed")
        size = _number(entry.get("bytes"))
        lines.append("| " + " | ".join([
            *(_markdown(entry[key]) if isinstance(entry.get(key), str) else "" for key in ("name", "role", "precision")),
            _interval(_part(entry, "accuracy")), _interval(_part(entry, "macro_f1")),
            "" if size is None else f"{size / 1e6:.2f} MB", *(_milliseconds(speed.get(key)) for key in ("p50_ms", "p95_ms"))]) + " |")
    return "\n".join(lines)


def _data(manifest: Manifest) -> str:
    data = manifest.provenance.get("data")
    if not isinstance(data, dict) or not data:
        return "## Data\n\nThe manifest does not say what it was trained on."
    return "## Data\n\n" + _facts(data)


def _limits(manifest: Manifest) -> str:
    lines = ["## Limits", "", "- It knows its labels and nothing else: a text that belongs to none of them still gets the nearest one, unless it abstains.",
             "- The scores hold for texts like its test data; other texts, languages or times need a measurement of their own: `understudy prove . --data FILE`."]
    lengths = {rung.max_tokens for rung in manifest.rungs if rung.max_tokens}
    if lengths:
        lines.append(f"- Longer texts are cut: a transformer reads at most {max(lengths):,} tokens.")
    if manifest.certificate is None:
        lines.append("- No bound on its error is certified; the scores are estimates.")
    return "\n".join(lines)


def _provenance(manifest: Manifest) -> str:
    facts: dict[str, Any] = {"written by": f"Understudy {manifest.version}", "format": manifest.format}
    for key, value in manifest.provenance.items():
        if key not in ("data", "measured"):
            facts[key] = value
    return ("## Provenance\n\n" + _facts(facts)
            + "\n\nThe licence is for whoever trained it to state; it depends on the data and the teacher.")


def _facts(facts: Mapping[str, Any]) -> str:
    lines = []
    for key, value in sorted(facts.items()):
        if isinstance(value, dict):
            inner = ", ".join(f"{_markdown(name)} {_markdown(str(entry))}" for name, entry in sorted(value.items()) if not isinstance(entry, (dict, list)))
            lines.append(f"- {_markdown(key)}: {inner}")
        elif not isinstance(value, list) and value is not None:
            lines.append(f"- {_markdown(key)}: {_markdown(str(value))}")
    return "\n".join(lines)


def _data_name(manifest: Manifest) -> str:
    data = manifest.provenance.get("data")
    name = (data.get("name") or data.get("file")) if isinstance(data, dict) else None
    return name[:MAX_TEXT] if isinstance(name, str) and name else "the owner's data"


def _entries(receipt: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    entries = receipt.get("entries") if receipt else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _whole(entries: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The entry that stands for the bundle: the cascade, or the last one that is not the teacher."""
    for entry in entries:
        if entry.get("role") in ("cascade", "bundle"):
            return entry
    students = [entry for entry in entries if entry.get("role") != "teacher"]
    return students[-1] if students else {}


def _part(entry: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = entry.get(key)
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or abs(value) > 1e300:
        return None
    return float(value)


def _interval(metric: Mapping[str, Any]) -> str:
    value, low, high = (_number(metric.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return ""
    return f"{value:.2%}" if low is None or high is None else f"{value:.2%} [{low:.2%}, {high:.2%}]"


def _milliseconds(value: Any) -> str:
    number = _number(value)
    return "" if number is None else f"{number:.3g} ms"


def _row(*cells: str) -> str:
    return "| " + " | ".join(map(_markdown, cells)) + " |"


def _markdown(text: str) -> str:
    """Text as Markdown shows it letter by letter: in a cell, a heading or a sentence, on one line."""
    text = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"
    text = " ".join(text.split())
    if _PLAIN.fullmatch(text) and "--" not in text and "www." not in text.lower():
        return text
    return "".join(_entity(letter) for letter in text)


def _entity(letter: str) -> str:
    if letter.isascii() and not letter.isalnum() and letter not in " ,;'%/=":
        return f"&#{ord(letter)};"
    return letter if letter.isprintable() else "\ufffd"


def _yaml(text: str) -> str:
    """A double-quoted YAML scalar (YAML 1.2, 5.7), which no text can leave."""
    return '"' + "".join(_yaml_letters(text)) + '"'


def _yaml_letters(text: str) -> Iterable[str]:
    for letter in text:
        if letter in '"\\':
            yield "\\" + letter
        elif letter.isprintable():
            yield letter
        else:
            yield f"\\U{ord(letter):08x}"
