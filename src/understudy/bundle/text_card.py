"""README.md of a bundle that writes: the model card, from the manifest and the rows of its receipt's table."""

from __future__ import annotations

from collections.abc import Sequence

from .card import _markdown, _row, _yaml
from .manifest import Manifest

_TAGS = {"translate": "translation", "summarize": "summarization", "generate": "text-generation", "lm": "text-generation", "chat": "text-generation"}
_WORDS = {"translate": "Translates a text", "summarize": "Summarises a text", "generate": "Writes a text from attributes or a prompt",
          "lm": "Continues a text", "chat": "Answers in a conversation"}


def text_card(manifest: Manifest, table: Sequence[Sequence[str]]) -> str:
    """The Markdown text of the card, with YAML front matter; `table` is the receipt's, its head first."""
    tag = _TAGS.get(manifest.task, "text-generation")
    head, *rows = table
    scores = [_row(*head), "|" + "---|" * len(head), *(_row(*row) for row in rows)]
    data = manifest.provenance.get("data", {})
    facts = "\n".join(f"- {_markdown(str(key))}: {_markdown(str(value))}" for key, value in sorted(data.items()))
    attribution = manifest.provenance.get("attribution")
    parts = ["\n".join(["---", "library_name: understudy", f"pipeline_tag: {tag}", "license: other", "license_name: not-stated", "tags:",
                        "- understudy", "- gguf", f"model_name: {_yaml(manifest.name)}", "---"]),
             f"# {_markdown(manifest.name)}",
             f"{_WORDS.get(manifest.task, 'Writes text')}, on an ordinary CPU, without torch. "
             f"{manifest.rungs[-1].parameters:,} parameters, {_markdown(manifest.rungs[-1].precision)}.",
             "## How to use it\n\n```\npip install 'understudy[generate]'\nunderstudy predict . \"…\"\n```\n\n"
             "`writer/model.gguf` is a model that llama.cpp opens as it is; `writer/generation.json` says how its prompts are made.",
             "## Scores\n\nMeasured on test data that nothing was trained or tuned on; 95 % intervals in brackets.\n\n" + "\n".join(scores),
             "## Data\n\n" + (facts or "The manifest does not say what it was trained on.") + (f"\n\n{_markdown(str(attribution))}" if attribution else ""),
             "## Limits\n\n- It was trained on one kind of text; on others it may write nonsense, fluently.\n"
             "- It can state what is not so. Check what matters."]
    return "\n\n".join(parts) + "\n"
