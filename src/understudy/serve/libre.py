"""The shapes of LibreTranslate: /translate and /languages. The pair of languages says which model is meant."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from . import answers
from .call import Call, Route
from .own import write_all
from .problems import Problem, bad

_NAMES = {"ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "fi": "Finnish", "fr": "French",
          "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian",
          "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian", "zh": "Chinese"}


class LibreRequest(Struct, forbid_unknown_fields=True):
    """`q`: a text or several; `source` and `target`: language codes. `source` may be auto where one model translates into `target`."""

    q: str | list[str]
    source: str
    target: str
    format: Literal["text"] = "text"
    alternatives: int = 0
    api_key: str | None = None


class Detected(Struct):
    """The language that was taken for the source, where it was to be found out; it is not measured, so there is no more to say."""

    language: str
    confidence: float


class LibreResponse(Struct):
    """The translation, or the list of them."""

    translatedText: str | list[str]
    detectedLanguage: Detected | UnsetType = UNSET


class Language(Struct):
    """A language that can be translated from, and into which."""

    code: str
    name: str
    targets: list[str]


async def translate(call: Call, body: LibreRequest) -> LibreResponse:
    """Translations, by the model of a pair of languages."""
    if body.alternatives:
        raise bad("there is one translation, no alternatives", param="alternatives")
    texts = answers.listed(body.q, call, "q")
    name, source = _model(call, body.source, body.target)
    async with answers.leased(call, name, texts[0], "translate") as (_, version):
        said = [one.text for one in await write_all(call, version, texts)]
    detected = Detected(source, 0.0) if body.source == "auto" else UNSET
    return LibreResponse(said[0] if isinstance(body.q, str) else said, detected)


def _model(call: Call, source: str, target: str) -> tuple[str, str]:
    pairs = [(entry.name, *entry.about["languages"]) for entry in call.service.fleet.entries.values() if "languages" in entry.about]
    found = [(name, its) for name, its, into in pairs if into == target and source in (its, "auto")]
    if not found:
        there = ", ".join(f"{its} to {into}" for _, its, into in pairs) or "none"
        raise bad(f"nothing here translates from {source[:20]!r} into {target[:20]!r}; there is {there}", param="target")
    if len(found) > 1 and source == "auto":
        raise bad(f"several models translate into {target[:20]!r}; say the source", param="source")
    return found[0]


async def languages(call: Call, body: None) -> list[Language]:
    """From which language into which can be translated."""
    targets: dict[str, list[str]] = {}
    for entry in call.service.fleet.entries.values():
        if "languages" in entry.about:
            source, target = entry.about["languages"]
            targets.setdefault(source, []).append(target)
    if not targets:
        raise Problem(404, "model_not_found", "no translator is served")
    return [Language(code, _NAMES.get(code, code), sorted(set(into))) for code, into in sorted(targets.items())]


ROUTES = [
    Route("POST", "/translate", translate, "Translations, by the model of a pair of languages (LibreTranslate).", LibreResponse, LibreRequest, shape="libre",
          errors=(404, 424)),
    Route("GET", "/languages", languages, "From which language into which (LibreTranslate).", list[Language], shape="libre", errors=(404,)),
]
