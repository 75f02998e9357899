"""A tiny teacher and a tiny labelled file, made on the spot: what the tests of the workshop stand on."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

TOPICS = {
    "card": ["card", "plastic", "chip", "pin", "contactless"],
    "refund": ["refund", "money back", "reimburse", "returned", "credit note"],
    "delivery": ["parcel", "courier", "tracking", "late", "delivery"],
}
_FRAMES = ["where is my {}", "i have a problem with the {}", "please help, {} again", "what about {} today", "{} is not right",
           "can you check the {} for me", "still waiting for {}", "my {} and your {}", "tell me about {}", "{} question"]


def rows(count: int, seed: int) -> list[tuple[str, str]]:
    """Labelled sentences, all different; one in twelve carries another topic's word too."""
    rng, made = random.Random(seed), {}
    while len(made) < count:
        label = rng.choice(list(TOPICS))
        frame = rng.choice(_FRAMES)
        words = [rng.choice(TOPICS[label]) for _ in range(frame.count("{}"))]
        text = frame.format(*words) + rng.choice(["", " please", " now", " thanks", "!", f" {rng.randint(1, 999)}"])
        if rng.random() < 1 / 12:
            text += " " + rng.choice(TOPICS[rng.choice(list(TOPICS))])
        made.setdefault(text, label)
    return list(made.items())


def write_csv(path: Path, pairs: list[tuple[str, str]]) -> Path:
    """The pairs as a CSV file with the columns text and label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(pairs)
    return path


def make_teacher(folder: Path, *, family: str = "bert", labels: list[str] | None = None, narrow: bool = False) -> Path:
    """A random checkpoint of a family, saved by transformers itself, with a WordPiece tokenizer over the tests' words.

    `narrow` makes it narrower than a student, with heads that do not divide one, as TinyBERT's do.
    """
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        DistilBertConfig,
        DistilBertForSequenceClassification,
        DistilBertModel,
    )

    size = _save_tokenizer(folder)
    torch.manual_seed(0)
    if family == "bert":
        config = BertConfig(vocab_size=size, hidden_size=192, num_hidden_layers=3, num_attention_heads=6, intermediate_size=512, max_position_embeddings=64)
        plain, headed = BertModel, BertForSequenceClassification
    else:
        config = DistilBertConfig(vocab_size=size, dim=192, n_layers=3, n_heads=6, hidden_dim=512, max_position_embeddings=64)
        plain, headed = DistilBertModel, DistilBertForSequenceClassification
    if narrow:
        config.update({"hidden_size": 52, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 100, "max_position_embeddings": 40})
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    (headed if labels else plain)(config).save_pretrained(folder)
    return folder


def _save_tokenizer(folder: Path) -> int:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789!?.,", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]
    words = sorted({word for text, _ in rows(300, 9) for word in text.replace("!", " ").replace(",", " ").split() if word.isalpha()})
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys([*pieces, *words, "unusedword"]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                             special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]",
        "unk_token": "[UNK]", "mask_token": "[MASK]"}))
    return len(vocabulary)
