"""Localisation: a student with its translation memory against the memory alone, by chrF and by what survives of placeholders.

Trains one model on the strings of a localisation set (and, to know more words, on other pairs), chooses on the validation file from
which likeness on a text of the memory is taken instead of the model, and answers the test file once.

    python bench/localise.py --data ../shared/data/localisation-ui --pair en-de --more ../shared/data/translation-tatoeba/en-de.train.tsv.gz
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from time import monotonic

import understudy
from understudy.proof.textual import bleu, chrf
from understudy.run.opening import load
from understudy.run.writing import Writer
from understudy.tasks.localise.checks import findings
from understudy.tasks.localise.memory import Memory
from understudy.tasks.localise.solving import Cut, Solver

LEASTS = (0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1.0)
"""Likenesses from which on the memory may answer instead of the model; one of them is chosen on the validation file."""


def pairs(path: Path) -> list[tuple[str, str]]:
    """(source, target) of a gzipped JSON-lines or tab-separated file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        if ".jsonl" in path.name:
            return [(row["source"], row["target"]) for row in map(json.loads, file)]
        return [(cells[0], cells[1]) for cells in (line.rstrip("\n").split("\t") for line in list(file)[1:]) if len(cells) == 2]


def grouped(rows: list[tuple[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Distinct sources with all their translations."""
    found: dict[str, list[str]] = {}
    for source, target in rows:
        found.setdefault(source, []).append(target)
    return list(found), list(found.values())


def alone(memory: Memory, texts: list[str]) -> list[str]:
    """What the memory says, the most alike text whatever the likeness; the source where it knows nothing alike at all."""
    return [match.target if (match := memory.lookup(text, 0.05)) is not None else text for text in texts]


def together(memory: Memory | None, opened: Writer, texts: list[str], least: float) -> list[str]:
    """What `understudy predict --input messages.po --memory …` writes: the memory first, then the model, then the checks."""
    def translate(asked: list[str]) -> list[str]:
        return [Cut(one.text) if one.finish == "length" else one.text for one in opened.predict(asked)]

    solver = Solver(translate, memory, None, least, 64, mends=bool(opened.prompt.mends))
    solver.want(texts)
    solver.solve()
    return [solver.answer(text).text or text for text in texts]


def survives(texts: list[str], said: list[str]) -> float:
    """Share of answers in which every placeholder, tag and number of the source is still there."""
    return sum(not any(finding.breaks for finding in findings(text, one)) for text, one in zip(texts, said, strict=True)) / len(texts)


def main() -> None:
    """Trains, chooses, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the folder of the localisation set")
    parser.add_argument("--pair", default="en-de")
    parser.add_argument("--more", action="append", default=[], help="further pairs to train on (.tsv.gz or .jsonl.gz)")
    parser.add_argument("--size", default="base")
    parser.add_argument("--epochs", default=8.0, type=float)
    parser.add_argument("--time-budget", default=7200.0, type=float, help="seconds")
    parser.add_argument("--precision", default="q8_0")
    parser.add_argument("--mend", action="store_true", help="the student learns to mend what the memory says to similar texts")
    parser.add_argument("--work", type=Path, default=Path(".cache/localise"), help="folder for the bundle")
    parser.add_argument("--bundle", help="use this bundle instead of training one")
    parser.add_argument("--test", action="store_true", help="answer the test file (once, when everything is chosen)")
    parser.add_argument("--out", help="folder for README.md and results.json")
    args = parser.parse_args()
    data = Path(args.data)
    train, val = (pairs(data / f"{args.pair}.{part}.jsonl.gz") for part in ("train", "val"))
    memory = Memory(train)
    args.work.mkdir(parents=True, exist_ok=True)
    began = monotonic()
    bundle = args.bundle or trained(args, train, val, args.work)
    seconds = monotonic() - began
    with load(bundle) as opened:
        results = measured(args, memory, opened, val, data)
    results |= {"bundle_bytes": sum(one.bytes for one in opened.manifest.files.values()), "train_seconds": round(seconds), "parameters": opened.manifest.rungs[-1].parameters}
    report(args, results)


def trained(args: argparse.Namespace, train: list[tuple[str, str]], val: list[tuple[str, str]], scratch: Path) -> Path:
    """The student. The validation sources are kept out of what it learns from, wherever they stand."""
    held = {source.casefold() for source, _ in val} | {source.casefold() for source, _ in pairs(Path(args.data) / f"{args.pair}.test.jsonl.gz")}
    others = [pair for path in args.more for pair in pairs(Path(path)) if pair[0].casefold() not in held]
    for name, some in (("train", train), ("val", val), ("more", others)):
        (scratch / f"{name}.jsonl").write_text("".join(json.dumps({"source": source, "target": target}, ensure_ascii=False) + "\n" for source, target in some), "utf-8")
    understudy.train(scratch / "train.jsonl", task="translate", out=scratch / "bundle", test=str(scratch / "val.jsonl"), source="source", target="target",
                     size=args.size, context=256, epochs=args.epochs, time_budget=args.time_budget,
                     more=str(scratch / "more.jsonl") if others else None, precision=args.precision, mend=args.mend,
                     listen=lambda event: print(f"{event.stage:>8}  {event.text}", file=sys.stderr) if event.done is None else None)
    return scratch / "bundle"


def measured(args: argparse.Namespace, memory: Memory, opened: Writer, val: list[tuple[str, str]], data: Path) -> dict:
    """chrF on the validation file for every likeness, and on the test file for the best one."""
    texts, references = grouped(val)
    tried = {least: chrf(together(memory, opened, texts, least), references).value for least in LEASTS}
    least = max(tried, key=lambda one: tried[one])
    told = {"validation": {f"{one:g}": score for one, score in tried.items()}, "least": least, "memory_texts": len(memory),
            "validation_student_alone": chrf(together(None, opened, texts, 1.0), references).value,
            "validation_memory_alone": chrf(alone(memory, texts), references).value}
    if args.test:
        texts, references = grouped(pairs(data / f"{args.pair}.test.jsonl.gz"))
        contenders = {"source, as it is": texts, "memory alone": alone(memory, texts), "student alone": together(None, opened, texts, 1.0),
                      "memory and student": together(memory, opened, texts, least)}
        told["test"] = {name: {"chrf": asdict(chrf(said, references)), "bleu": asdict(bleu(said, references)), "survives": survives(texts, said)}
                        for name, said in contenders.items()}
        told["test_sources"] = len(texts)
    return told


def report(args: argparse.Namespace, told: dict) -> None:
    """Prints, and writes where --out says."""
    lines = [f"| likeness from which the memory answers (validation) | {' | '.join(told['validation'])} |", "|---|" + "---:|" * len(told["validation"]),
             "| chrF | " + " | ".join(f"{score:.1f}" for score in told["validation"].values()) + " |", ""]
    if "test" in told:
        lines += [f"| test, {told['test_sources']:,} distinct sources | chrF | BLEU | placeholders survive |", "|---|---:|---:|---:|"]
        for name, one in told["test"].items():
            lines.append(f"| {name} | {one['chrf']['value']:.1f} [{one['chrf']['low']:.1f}, {one['chrf']['high']:.1f}] | {one['bleu']['value']:.1f} | {100 * one['survives']:.1f} % |")
    text = "\n".join(lines)
    print(text)
    if args.out:
        out = Path(args.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(told, indent=1, default=str) + "\n")
        head = (f"# Localisation {args.pair}\n\n    {shlex.join(['python', 'bench/localise.py', *sys.argv[1:]])}\n\n{platform.machine()}, Python {platform.python_version()}; "
                f"{told['parameters']:,} parameters, {told['bundle_bytes'] / 1e6:.1f} MB, {told['train_seconds']:,} s with training; {told['memory_texts']:,} texts in the memory; seed 0.\n\n")
        (out / "README.md").write_text(head + text + "\n")


if __name__ == "__main__":
    main()
