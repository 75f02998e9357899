"""understudy score: how likely a model finds a text, and what it would say next."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("model")
@click.argument("text")
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many next pieces to show.")
@click.option("--tokens", is_flag=True, help="The probability of every token of the text as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(model: str, text: str, top: int, tokens: bool, as_json: bool) -> None:
    """Show the likeliest next pieces after a text, its perplexity and its bits per byte.

    Example: understudy score my-lm "The capital of France is"
    """
    from ..recipes.text.engines import score as scored

    said = scored(model, text, top=top)
    score, words = said.score, said.next
    if as_json:
        click.echo(json.dumps({"text": text, "perplexity": _finite(score.perplexity), "bits_per_byte": _finite(score.bits_per_byte),
                               "next": [{"piece": piece, "probability": share} for piece, share in words],
                               "tokens": [{"id": one.id, "piece": one.piece, "logprob": one.logprob} for one in score.tokens]}, ensure_ascii=False))
        return
    for piece, share in words:
        click.echo(f"{share:7.2%}  {piece!r}")
    if tokens:
        for one in score.tokens:
            click.echo(f"{'' if one.logprob is None else f'{one.logprob:8.3f}':>8}  {one.piece!r}")
    if _finite(score.perplexity) is not None:
        click.echo(f"perplexity {score.perplexity:.4g} a token, {score.bits_per_byte:.4g} bits a byte")


def _finite(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None
