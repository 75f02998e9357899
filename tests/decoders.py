"""Tiny random decoders of every family with tokenizers trained on the spot: what the tests of the GGUF rooms stand on."""

from __future__ import annotations

import json
from pathlib import Path

SPACE = "\u2581"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CORPUS = ["The quick brown fox jumps over the lazy dog; it's 12,345 metres away, isn't it? They'LL see.",
          "def add(a, b):\n    return a + b  # 3.14159\n\n\nfor i in range(100):\n\tprint(i)\n",
          "Äpfel und Öl kosten 9,99 €. Über Größe spricht man nicht. Где находится библиотека?",
          "你好，世界。今天天气很好。 こんにちは。 안녕하세요 שלום עולם مرحبا بالعالم", "Hello hello HELLO world World, worlds; the the theatre thesis."]
NASTY = ["hello world", " leading and  double   spaces ", "tabs\tand\nnew lines\r\n\r\n  mixed \t \n x", "emoji 😀👩‍👩‍👧‍👦🏳️‍🌈 é e\u0301",
         "你好，世界。12345678",
         "שלום עולם and مرحبا بالعالم 42", "def f(x):\n        return x**2 != 3.14e-10;  // it's They'LL we'Ve",
         "</s> <s> <|end|> <pad> text that looks special",
         "a\u00a0b\u3000c\u2003d\u200be\ufefff", "ÀÉÎÕÜ ß ﬁ Ⅷ ½ ² ٣",
         "\x00\x01\x7f control \x1b[0m", "the" * 30, SPACE + " underscore " + SPACE, "."]


def byte_level(folder: Path, kind: str = "gpt-2", *, size: int = 400, ends: bool = False) -> int:
    """A byte-level BPE whose pre-tokenizer is the one of `kind`; returns how many tokens it has."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = {"llama-bpe": LLAMA3, "smaug-bpe": LLAMA3, "qwen2": QWEN2, "gpt-4o": GPT4O}.get(kind)
    if split:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"),
                                                           pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, plain]) if kind == "smollm" else plain
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "<|end|>", "<pad>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.add_tokens([AddedToken("    ", normalized=False), AddedToken("<tool>", normalized=False)])
    if kind in ("llama-bpe", "gpt-4o"):
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A <|end|>" if ends else "<s> $A",
                                                                 special_tokens=[("<s>", 0), ("<|end|>", 1)])
    return _save(tokenizer, folder, ("<s>", "<|end|>", "<pad>"))


def pieces(folder: Path, kind: str = "llama", *, size: int = 600, complete: bool = True) -> int:
    """A BPE with byte fallback and ▁ for spaces, as SentencePiece models are saved: `llama` puts a space first, `gemma` does not,
    `phi` has a Metaspace pre-tokenizer. complete: list every pair of tokens that makes a token, as SentencePiece conversions do.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    special = ["<pad>", "<eos>", "<bos>", "<unk>"] if kind == "gemma" else ["<unk>", "<s>", "</s>"]
    plain = Tokenizer(models.BPE())
    plain.normalizer = normalizers.Replace(" ", SPACE)
    plain.pre_tokenizer = pre_tokenizers.Split(Regex(f"{SPACE}+"), "merged_with_next")
    plain.train_from_iterator(CORPUS * 4, trainers.BpeTrainer(vocab_size=size - 260, show_progress=False))
    trained = json.loads(plain.to_str())["model"]
    texts = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(trained["vocab"], key=trained["vocab"].__getitem__)]
    vocab = {text: token for token, text in enumerate(dict.fromkeys(texts))}
    merges = [tuple(pair) for pair in trained["merges"]]
    if complete:
        order = dict.fromkeys(left + right for left, right in merges)
        merges = [(text[:at], text[at:]) for text in order for at in range(1, len(text)) if text[:at] in vocab and text[at:] in vocab]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    _spaces(tokenizer, kind)
    tokenizer.add_special_tokens(special)
    return _save(tokenizer, folder, ("<bos>", "<eos>", "<pad>") if kind == "gemma" else ("<s>", "</s>", "<unk>"))


def _spaces(tokenizer, kind: str) -> None:
    from tokenizers import decoders, normalizers, pre_tokenizers, processors

    first = "<bos>" if kind == "gemma" else "<s>"
    replace = normalizers.Replace(" ", SPACE)
    if kind == "phi":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="first", split=False)
    elif kind == "gemma":
        tokenizer.normalizer = replace
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), replace])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))])


def _save(tokenizer, folder: Path, special: tuple[str, str, str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
        **dict(zip(("bos_token", "eos_token", "pad_token"), special, strict=True))}))
    return tokenizer.get_vocab_size()


FAMILIES = {
    "llama": ("Llama", "smollm", {}),
    "llama-2": ("Llama", "llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
    "llama-3": ("Llama", "llama-bpe", {"tie_word_embeddings": True, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}}),
    "llama-linear": ("Llama", "gpt-2", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "phi3": ("Phi3", "llama", {}),
    "phi3-long": ("Phi3", "gpt-4o", {"max_position_embeddings": 1024, "original_max_position_embeddings": 256, "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "original_max_position_embeddings": 256,
        "factor": 4.0, "short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.0, 2.0, 4.0, 8.0]}}),
    "gemma": ("Gemma", "gemma", {"head_dim": 32}),
    "gemma2": ("Gemma2", "gemma", {"head_dim": 32, "query_pre_attn_scalar": 24, "sliding_window": 16, "attn_logit_softcapping": 3.0,
                                   "final_logit_softcapping": 5.0, "num_hidden_layers": 4}),
    "gemma3_text": ("Gemma3Text", "gemma", {"head_dim": 32, "query_pre_attn_scalar": 24, "sliding_window": 16, "num_hidden_layers": 7,
                                            "rope_parameters": {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                                                                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}}),
    "qwen2": ("Qwen2", "qwen2", {}),
    "qwen3": ("Qwen3", "qwen2", {"head_dim": 32, "tie_word_embeddings": True}),
}


def make_decoder(folder: Path, name: str, **changes) -> Path:
    """A random checkpoint of a family in FAMILIES, saved by transformers itself, with its tokenizer. `changes` go into the config."""
    import torch
    import transformers

    prefix, tokens, settings = FAMILIES[name]
    maker = pieces if tokens in ("llama", "gemma", "phi") else byte_level
    size = maker(folder, tokens)
    first, last = (2, 1) if tokens == "gemma" else (1, 2) if maker is pieces else (0, 1)
    config = getattr(transformers, f"{prefix}Config")(**{
        "vocab_size": size + 3, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.25, "bos_token_id": first, "eos_token_id": last,
        "pad_token_id": None, **settings, **changes})
    torch.manual_seed(0)
    model = getattr(transformers, f"{prefix.removesuffix('Text')}ForCausalLM")(config)
    with torch.no_grad():
        for label, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.add_(torch.randn_like(weight) * 0.2 * (1 if "norm" in label else 2))
    model.save_pretrained(folder)
    return folder
