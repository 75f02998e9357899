"""Chat templates of our own, as data: the markers that each family of models was trained with, and nothing else.

Jinja with the variables of Hugging Face's `chat_template`: `messages`, `bos_token`, `eos_token`, `add_generation_prompt`.
"""

from __future__ import annotations

CHAT_TEMPLATES: dict[str, str] = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llama3": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    # Gemma knows no system turn: what the system says stands at the top of the user's first turn.
    "gemma": (
        "{{ bos_token }}{% for m in messages %}{% if m.role != 'system' %}"
        "<start_of_turn>{{ 'model' if m.role == 'assistant' else 'user' }}\n"
        "{% if loop.index0 == 1 and messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}"
        "{{ m.content }}<end_of_turn>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "phi3": (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    ),
    # For models that were never taught to chat: plain words, and the model's own end of text after what the assistant says.
    "lines": (
        "{{ bos_token }}{% for m in messages %}{{ m.role | capitalize }}:\n{{ m.content }}"
        "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}"
        "{% if add_generation_prompt %}Assistant:\n{% endif %}"
    ),
    "plain": (
        "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}Assistant:{% endif %}"
    ),
}

STOPS: dict[str, tuple[str, ...]] = {
    "chatml": ("<|im_end|>",), "llama3": ("<|eot_id|>",), "gemma": ("<end_of_turn>",), "phi3": ("<|end|>",),
    "lines": ("\nUser:",), "plain": ("\nUser:",),
}  # fmt: skip
"""What ends an answer in each, for models whose end token is another one."""

_MARKERS = (("<|im_start|>", "chatml"), ("<|start_header_id|>", "llama3"), ("<start_of_turn>", "gemma"), ("<|end|>", "phi3"),
            ("capitalize }}:\n", "lines"))


def template_for(chat_template: object) -> str:
    """The name of our template that uses the markers of a model's own `tokenizer.chat_template`; 'plain' where none does.

    The model's template itself is never run.
    """
    text = chat_template if isinstance(chat_template, str) else ""
    return next((name for marker, name in _MARKERS if marker in text), "plain")


def begins(template: str) -> bool:
    """Whether a conversation by this template of ours begins with the model's beginning of text."""
    return "bos_token" in CHAT_TEMPLATES[template]
