"""Every dial of `understudy train` for the tasks that write text. The flags and the reference page are derived from this class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import dial

if TYPE_CHECKING:
    from ...models.decoder import DecoderShape

TASKS = ("translate", "summarize", "generate", "lm", "chat")


PRECISIONS = ("f16", "q8_0", "q4_0", "q4_k_m")
FORMS = ("gguf", "ollama", "hf", "onnx")
"""What a model can be written as for other programs."""


@dataclass(frozen=True)
class Size:
    """One setting of the dial: the decoder's shape without its vocabulary, and how many pieces to learn."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    pieces: int

    def shape(self, vocabulary: int, context: int) -> DecoderShape:
        """The decoder for a vocabulary of that many pieces."""
        from ...models.decoder import DecoderShape

        return DecoderShape(vocabulary, self.width, self.layers, self.heads, self.kv_heads, self.hidden, context)


SIZES = {"tiny": Size(128, 4, 4, 4, 384, 2000), "small": Size(192, 6, 6, 6, 512, 4000), "base": Size(288, 6, 9, 9, 768, 8000),
         "large": Size(384, 8, 12, 12, 1024, 8000)}


@dataclass(frozen=True)
class TextConfig:
    """How a writing model is made. Sizes are bytes, times seconds, shares 0–1."""

    size: str = dial("base", "The one dial: tiny (1M parameters), small (3M), base (8M) or large (16M).", choices=tuple(SIZES))
    method: str = dial("extractive", "How to summarise: extractive (chooses sentences, cannot invent) or abstractive (a decoder writes).",
                       choices=("extractive", "abstractive"))
    encoder: str = dial("auto", "Extractive: whether an encoder reads the sentences too; auto keeps it where it helps on unseen documents.",
                        choices=("auto", "no", "yes"))
    base: str | None = dial(None, "A decoder to start from (Hugging Face folder, hub id, or a bundle of ours) instead of from scratch; low-rank adapters "
                            "are trained.", metavar="MODEL")
    full: bool = dial(False, "With --base: train every weight instead of adapters.")
    keep_layers: int | None = dial(None, "With --base: start from this many of its layers, those that do most; every weight is trained then.", metavar="N")
    keep_width: float | None = dial(None, "With --base: start from this share of its channels, heads (in their groups) and neurons, those that do most; "
                                    "every weight is trained then.", metavar="SHARE")
    trim: bool = dial(False, "Cut the vocabulary of a base, or of a teacher whose pieces are used, to the texts at hand.")
    teacher: str | None = dial(None, "Who knows better: a bundle for the same task, a decoder's Hugging Face folder or hub id, or a .gguf that chats.",
                               metavar="MODEL")
    distil: str | None = dial(None, "What is learned from the teacher: the answers that it writes, beside the data's, or its probabilities (logits) of every "
                              "next piece, for which the vocabularies have to agree. Not given: logits with a --base of the same vocabulary, "
                              "and for lm and chat; else answers.", choices=("answers", "logits"))
    distil_loss: str = dial("kl", "How probabilities are compared: kl (the student covers what the teacher says) or reverse-kl (it avoids what the teacher "
                            "does not say).", choices=("kl", "reverse-kl"))
    distil_share: float = dial(0.5, "How much the teacher's probabilities count, the data's own next piece having the rest.", metavar="SHARE")
    distil_top: int = dial(64, "The teacher's likeliest pieces that are kept on disk for every token, all others as one; 0 keeps nothing and asks at every "
                           "step about all.", metavar="N")
    instruction: str | None = dial(None, "What a teacher that chats is told before each text.", metavar="TEXT")
    unlabelled: str | None = dial(None, "Texts without an answer; only the teacher answers them.", metavar="FILE")
    more: str | None = dial(None, "Further pairs, of a wider kind, to learn more words from: your own are passed more often, alone at the end, and tested on alone.", metavar="FILE")
    mend: bool = dial(False, "Translate: also learn to mend what a translation memory says to similar texts, so that near matches help "
                      "(predict --memory). The pairs are each other's memory.")
    source: str | None = dial(None, "The column that goes in (or its language); found by name when not given.", metavar="NAME")
    target: str | None = dial(None, "The column that comes out (or its language); found by name when not given.", metavar="NAME")
    test: str | None = dial(None, "A file of pairs that nothing is tuned on; otherwise a stable share of the data is kept back.", metavar="FILE")
    test_share: float = dial(0.05, "Share of the data kept back for the receipt when no test file is given.")
    encoding: str | None = dial(None, "The data file's encoding; detected when not given.", metavar="NAME")
    on_bad_row: str = dial("fail", "What to do with a row that cannot be used: fail, or skip and count it.", choices=("fail", "skip"))
    pieces: int | None = dial(None, "Pieces of the vocabulary, 1,000 to 16,000; by size when not given.", metavar="N")
    context: int = dial(512, "Longest sequence in tokens, prompt and answer together.", metavar="N")
    epochs: float = dial(20.0, "Passes over the data, unless the time budget ends the run earlier.")
    time_budget: float | None = dial(1800.0, "Seconds that training may take, e.g. 30m; the schedule ends with it.", metavar="SECONDS")
    dropout: float | None = dial(None, "Share of what a layer adds that is left out in training; 0.1 for text to text, else 0.", metavar="SHARE")
    smoothing: float | None = dial(None, "Share of the goal spread over all pieces; 0.1 for text to text, else 0: it blurs probabilities.",
                                   metavar="SHARE")
    precision: str = dial("q8_0", "The weights of the shipped model.", choices=PRECISIONS)
    gate: str | None = dial(None, "Refuse to write a bundle that misses this, e.g. 'bleu>=30,size<=10MB'.", metavar="RULES")
    seed: int = dial(0, "Same seed, same data, same steps.")
    threads: int | None = dial(None, "CPU threads for training; all cores when not given.")
    attribution: str | None = dial(None, "A sentence about the data and its licence, for the model card.", metavar="TEXT")
