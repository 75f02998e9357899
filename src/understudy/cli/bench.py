"""understudy bench: how fast a bundle is here."""

from __future__ import annotations

import json

import click

from .progress import Moving


@click.command()
@click.argument("bundle")
@click.option("--data", metavar="FILE", help="Texts to measure with; a few stock phrases when not given.")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=2.0, show_default=True, help="How long to measure.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def command(bundle: str, data: str | None, seconds: float, as_json: bool) -> None:
    """Measure latency, rows a second, memory and cold start on this machine, one thread.

    Example: understudy bench support --data tickets.csv
    """
    from ..recipes.inspecting import bench

    with Moving() as moving:
        told = bench(bundle, data=data, seconds=seconds, listen=moving.hear)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    speed = told["speed"]
    if "answer_ms" in speed:
        for key, words in (("first_ms", "ms to the first token"), ("answer_ms", "ms an answer"), ("prefill_tokens_per_s", "tokens/s of a prompt read"),
                           ("tokens_per_s", "tokens/s written"), ("rss_mb", "MB of memory")):
            if speed[key] is not None:
                click.echo(f"{speed[key]:10,.2f} {words}")
        click.echo(f"cold start  {told['cold_start_s']:.2f} s for `understudy predict`")
        return
    click.echo(f"latency     p50 {speed['p50_ms']:.3f}  p95 {speed['p95_ms']:.3f}  p99 {speed['p99_ms']:.3f}  mean {speed['mean_ms']:.3f} ms")
    click.echo(f"throughput  {speed['rows_per_s']:,.0f} rows/s on one thread")
    if speed["rss_mb"] is not None:
        click.echo(f"memory      {speed['rss_mb']:.0f} MB")
    click.echo(f"cold start  {told['cold_start_s']:.2f} s for `understudy predict`")
    click.echo("answered by " + ", ".join(f"{name} {share:.0%}" for name, share in told["answered_by"].items()) + f" of {told['texts']:,} texts")
