"""Localisation: read a file of texts, translate what is missing, check that nothing got broken, write it back.

    formats    po  xliff  android  strings  json_  arb: bytes -> Document -> the same bytes, but for what was translated
    guard      placeholders  icu  glossary: what must survive a translation, and whether it did
    memory     what was translated before
    translate  translate_document: memory, then a model, then checks; doubtful ones are marked for review
    scores     placeholder_survival

Example: `report = translate_document(open_document("de.po"), translate)`, then `document.write(report.targets)`.
"""

from __future__ import annotations

from .checks import problems
from .document import Document, Entry, Target
from .glossary import Glossary
from .memory import Match, Memory
from .opening import extensions, open_document
from .placeholders import protect, restore
from .scores import placeholder_survival
from .solving import Cut
from .translate import LEAST, Mark, Report, translate_document

__all__ = ["LEAST", "Cut", "Document", "Entry", "Glossary", "Mark", "Match", "Memory", "Report", "Target", "extensions", "open_document",
           "placeholder_survival", "problems", "protect", "restore", "translate_document"]
