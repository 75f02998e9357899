"""Tokenizers of the three kinds that decoders have, trained on the spot, and tiny checkpoints around them."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

_WHO = ["the baker", "my neighbour", "an engineer", "the café owner", "our teacher", "Zoë", "a sailor", "the old gardener"]
_DID = ["weighed", "repaired", "painted", "returned", "measured", "forgot", "ordered", "described", "unpacked", "rewound"]
_WHAT = ["twelve loaves", "the harbour crane", "a crate of jalapeños", "the bicycle", "45 metres of rope", "x = y[i] + 1", "the naïve plan"]
_WHEN = ["before breakfast", "on Tuesday", "twice", "without a word", "after the storm", "in 1987", "again and again", "— reluctantly"]
_WORLD = ["Стол стоит у окна.", "桌子在窗边。", "המכתב הגיע אתמול", "for (int i = 0; i < n; ++i) { total += a[i]; }", "🙂🎈", "\t\n  indented"]


def sentences(count: int, seed: int) -> list[str]:
    """Plain sentences about everyday things, different for each seed."""
    rng = random.Random(seed)
    frames = ["{} {} {} {}.", "Did {} {} {} {}?", "Yes, {} {} {} {}!"]
    return [rng.choice(frames).format(rng.choice(_WHO), rng.choice(_DID), rng.choice(_WHAT), rng.choice(_WHEN)) for _ in range(count)]


WIDE = sentences(400, 1) + _WORLD * 4
"""What the tokenizers are trained on; wider than what they are trimmed to."""
DOMAIN = [f"{one} {two}" for one, two in zip(sentences(20, 2), ["Thank you.", "Order 118 is late."] * 10, strict=True) if "baker" in one or "rope" in one]
LLAMA = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHAT = "{% for m in messages %}{{ '<|turn|>' + m.role + '\\n' + m.content }}{% endfor %}"


def _specials(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>", "<|turn|>"])
    tokenizer.add_tokens([AddedToken("<table>", normalized=False)])
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", begin)])
    return tokenizer


@cache
def byte_level() -> str:
    """Byte-level BPE as in Llama 3: words that are pieces are not merged."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA), "isolated"),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(WIDE, trainer)
    return str(_specials(tokenizer).to_str())


def _with_bytes(told: dict, pieces: list[str]) -> None:
    """Special pieces and 256 bytes in front, as SentencePiece has them."""
    front = ["<unk>", *[f"<0x{value:02X}>" for value in range(256)]]
    told["model"]["vocab"] = {piece: place for place, piece in enumerate(dict.fromkeys([*front, *pieces]))}
    told["model"].update(byte_fallback=True, unk_token="<unk>", fuse_unk=True)


@cache
def sentencepiece(gemma: bool = True) -> str:
    """BPE over characters with bytes to fall back on: as in Gemma, or as in Llama 2 with a space put in front."""
    tokenizer = Tokenizer(models.BPE())
    if gemma:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    strip = [] if gemma else [decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    tokenizer.train_from_iterator(WIDE, trainers.BpeTrainer(vocab_size=700, show_progress=False))
    told = json.loads(tokenizer.to_str())
    _with_bytes(told, sorted(told["model"]["vocab"], key=told["model"]["vocab"].get))
    if not gemma:
        told["pre_tokenizer"] = None
    return str(_specials(Tokenizer.from_str(json.dumps(told))).to_str())


@cache
def unigram(fallback: bool = True) -> str:
    """Unigram, with bytes to fall back on or with characters alone."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(WIDE, trainer)
    tokenizer.decoder = decoders.Metaspace()
    told = json.loads(tokenizer.to_str())
    if fallback:
        told["model"]["vocab"][1:1] = [[f"<0x{value:02X}>", -20.0] for value in range(256)]
        told["model"]["byte_fallback"] = True
        told["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, told["decoder"]]}
    return str(_specials(Tokenizer.from_str(json.dumps(told))).to_str())


KINDS = {"byte-level": byte_level, "gemma": sentencepiece, "llama-2": lambda: sentencepiece(False), "unigram": unigram,
         "unigram-characters": lambda: unigram(False)}


def config_of(tokenizer: str, rows: int, **more) -> dict:
    """config.json of a tiny Llama."""
    reader = Tokenizer.from_str(tokenizer)
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": rows, "hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256,
            "bos_token_id": reader.token_to_id("<|begin|>"), "eos_token_id": [reader.token_to_id("<|end|>"), reader.token_to_id("<|turn|>")],
            "pad_token_id": None, "tie_word_embeddings": False, **more}


def _tensors(config: dict, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, wide, inner = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
    shapes = {"model.embed_tokens.weight": (rows, wide), "model.norm.weight": (wide,)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}input_layernorm.weight": (wide,), f"{at}post_attention_layernorm.weight": (wide,),
                   f"{at}mlp.gate_proj.weight": (inner, wide), f"{at}mlp.up_proj.weight": (inner, wide), f"{at}mlp.down_proj.weight": (wide, inner),
                   f"{at}self_attn.q_proj.weight": (wide, wide), f"{at}self_attn.o_proj.weight": (wide, wide),
                   f"{at}self_attn.k_proj.weight": (wide // 2, wide), f"{at}self_attn.v_proj.weight": (wide // 2, wide)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (rows, wide)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], dtypes: dict[np.dtype, str] | None = None) -> None:
    """A .safetensors file by hand; `dtypes` renames, so that 16-bit integers can stand in for bfloat16."""
    names = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16", np.dtype(np.uint16): "U16", **(dtypes or {})}
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    packed = json.dumps(header).encode()
    path.write_bytes(len(packed).to_bytes(8, "little") + packed + b"".join(value.tobytes() for value in tensors.values()))


def read_safetensors(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """{name: (dtype, rows of raw bytes)}."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__")
    body = np.frombuffer(data, np.uint8, offset=8 + length)
    return {name: (one["dtype"], body[slice(*one["data_offsets"])].reshape(one["shape"][0], -1)) for name, one in header.items()}


def checkpoint(folder: Path, tokenizer: str, *, padding: int = 0, shards: bool = False, bfloat: bool = False, **config) -> Path:
    """A tiny Llama folder with random weights around a tokenizer, with `padding` rows after its pieces."""
    folder.mkdir(parents=True)
    rows = Tokenizer.from_str(tokenizer).get_vocab_size() + padding
    settings = config_of(tokenizer, rows, **config)
    tensors = _tensors(settings, 7)
    dtypes = None
    if bfloat:
        tensors = {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in tensors.items()}
        dtypes = {np.dtype(np.uint16): "BF16"}
    if shards:
        parts = [dict(list(tensors.items())[::2]), dict(list(tensors.items())[1::2])]
        files = {f"model-0000{place}-of-00002.safetensors": part for place, part in enumerate(parts, 1)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(
            {"metadata": {"total_size": 0}, "weight_map": {name: file for file, part in files.items() for name in part}}))
    else:
        files = {"model.safetensors": tensors}
    for name, part in files.items():
        write_safetensors(folder / name, part, dtypes)
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "tokenizer.json").write_text(tokenizer, "utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": settings["bos_token_id"], "eos_token_id": settings["eos_token_id"],
                                                               "suppress_tokens": [settings["bos_token_id"], rows - 1 - padding - 10],
                                                               "bad_words_ids": [[settings["bos_token_id"]], [500, 501]]}))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>", "chat_template": CHAT,
         "added_tokens_decoder": {str(settings["bos_token_id"]): {"content": "<|begin|>", "special": True}}}))
    (folder / "LICENSE").write_text("ours")
    (folder / "notes.txt").write_text("left behind")
    return folder
