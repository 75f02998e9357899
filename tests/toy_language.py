"""A toy language of 120 sentences, and a translator of it that is trained in seconds, once for all tests that ask one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

COLOURS = {"red": "rot", "blue": "blau", "green": "grün", "white": "weiß", "black": "schwarz"}
THINGS = {"door": "Tür", "lamp": "Lampe", "wall": "Wand", "cup": "Tasse", "bag": "Tasche", "shoe": "Schuh", "book": "Buch", "car": "Auto"}
PAIRS = [(f"The {a} {b} is {c}.", f"Die {THINGS[b]} in {COLOURS[a]} ist {e}.") for a in COLOURS for b in THINGS
         for c, e in (("new", "neu"), ("old", "alt"), ("gone", "weg"))]
QUICK: dict[str, Any] = {"size": "tiny", "threads": 1, "pieces": 400, "context": 64, "test_share": 0.1}


def write_pairs(path: Path) -> Path:
    """The sentences as TSV with the columns en and de."""
    path.write_text("en\tde\n" + "".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    return path


def retasked(bundle: Path, out: Path, task: str) -> Path:
    """The same bundle as if it had been made for another task."""
    from understudy.bundle import open_bundle, write_bundle

    opened = open_bundle(bundle)
    write_bundle(out, {name: opened.read(name) for name in opened.files()}, replace(opened.manifest, task=task, files={}))
    return out
