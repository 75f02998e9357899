"""A decoder to start from or to learn from, as a Hugging Face folder: one on disk, on the hub, or unpacked from a bundle of ours."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...bundle import open_bundle
from ...errors import TeacherError, UsageError
from ...home import cache_dir
from ...models.checkpoint import find_checkpoint, fingerprint
from ...models.families import find_family
from ...models.pieces import size_of
from ...run.generate.chat_templates import template_for
from ...run.prompts import SPEC, Prompt, prompt_of
from ...run.writing import MODEL
from ...shrink.model_folder import read_file, read_object
from ...shrink.unpack import unpack
from ...shrink.whole_tokenizer import MAX_TOKENIZER
from ...shrink.whole_tokenizer import opened as open_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Opened:
    """A decoder's folder. `prompt` is how a bundle of ours says that prompts are made; None for any other checkpoint."""

    name: str
    folder: Path
    prompt: Prompt | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its config.json."""
        return read_object(self.folder / "config.json")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; names of its specials in a text are text."""
        where = self.folder / "tokenizer.json"
        found: Tokenizer = open_tokenizer(read_file(where, MAX_TOKENIZER), str(where))
        found.encode_special_tokens = True
        return found

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the checkpoint does."""
        return fingerprint(self.folder)

    @property
    def pieces(self) -> int:
        """How many rows of its embedding belong to pieces: those behind are padding."""
        return min(size_of(self.tokenizer), int(self.config.get("vocab_size", 1 << 30)))

    @property
    def context(self) -> int:
        """The longest sequence that it was trained for."""
        return int(self.config.get("max_position_embeddings") or 2048)

    def split(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts, without tokens around them."""
        return [one.ids for one in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def ends(self) -> tuple[int | None, int]:
        """(the id that begins a text or None, the id that ends one). Raises TeacherError where the checkpoint names no end."""
        told = self.config.get("eos_token_id")
        end = told[0] if isinstance(told, list) and told else told
        if isinstance(end, bool) or not isinstance(end, int):
            raise TeacherError(f"{self.folder}/config.json names no eos_token_id, so the model could never end an answer")
        begin = self.config.get("bos_token_id")
        return (begin if isinstance(begin, int) and not isinstance(begin, bool) else None), end

    def template(self) -> str:
        """The name of our chat template that uses the marks of the checkpoint's own, which is never run; 'plain' where none does."""
        told = read_object(self.folder / "tokenizer_config.json").get("chat_template") if (self.folder / "tokenizer_config.json").is_file() else None
        if isinstance(told, list):
            told = next((one.get("template") for one in told if isinstance(one, dict) and one.get("name") == "default"), None)
        file = self.folder / "chat_template.jinja"
        return template_for(read_file(file, 1 << 20).decode("utf-8", "replace") if told is None and file.is_file() else told)


def open_decoder(name: str) -> Opened:
    """The decoder that a name means: a Hugging Face folder or hub id of a family that is known here, a bundle of ours that writes, or
    the `.gguf` out of one.

    Raises TeacherError where it is not found, DataError for an unknown family, UsageError for a `.gguf` that cannot be unpacked.
    """
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        with path.open("rb") as file:
            return Opened(name, _unpacked(path, hashlib.file_digest(file, "sha256").hexdigest()))
    if (path / "manifest.json").is_file():
        bundle = open_bundle(path)
        rung = bundle.manifest.rungs[-1]
        if rung.kind != "gguf":
            raise UsageError(f"{name} was made for the task {bundle.manifest.task} and holds no model that writes")
        return Opened(name, _unpacked(path / rung.path / MODEL, bundle.manifest.id), prompt_of(bundle, f"{rung.path}/{SPEC}"))
    found = Opened(name, find_checkpoint(name, "model"))
    find_family(found.config, str(found.folder / "config.json"))
    return found


def _unpacked(packed: Path, key: str) -> Path:
    folder = cache_dir("unpacked") / key[:32]
    if not (folder / "config.json").is_file():
        part = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        try:
            unpack(packed, part)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder
