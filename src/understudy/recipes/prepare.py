"""From files to clean, split examples, and what was found on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, UsageError
from ..tasks.reading import Dataset, check_labels, check_singles, clean, read_examples, read_label_map, split
from ..tasks.reading.problems import counted
from ..tasks.types import Example
from .config import TrainConfig
from .memory import room_for_text

CERTIFY_SHARE = 0.2


@dataclass(frozen=True)
class Prepared:
    """Training, certification and test examples, the label set, and the lines a person should read."""

    train: list[Example]
    certify: list[Example]
    test: list[Example]
    extra: list[str]
    labels: tuple[str, ...]
    descriptions: dict[str, str]
    lines: list[str]
    provenance: dict[str, Any]

    def gold(self, examples: list[Example]) -> np.ndarray:
        """Label numbers of labelled examples, (n,)."""
        number = {label: index for index, label in enumerate(self.labels)}
        return np.array([number[str(example.label)] for example in examples], np.int64)


def _read(path: str | Path, config: TrainConfig, need_label: bool = True) -> Dataset:
    return read_examples(path, text_column=config.text_column, label_column=config.label_column if need_label else None,
                         encoding=config.encoding, on_bad_row=config.on_bad_row, need_label=need_label, most=room_for_text())


def prepare(data: str | Path, config: TrainConfig) -> Prepared:
    """Reads, cleans and splits. Raises DataError or UsageError naming file, line and a way out."""
    _check(config)
    dataset = _read(data, config)
    lines = dataset.report.lines()
    given = _read(config.test, config) if config.test else None
    cleaned = check_singles(clean(dataset.examples, given.examples if given else ()), str(data), config.on_bad_row)
    check_labels(cleaned, str(data))
    train, test = (cleaned.train, cleaned.test) if given else split(cleaned.train, config.test_share)
    if given:
        lines += given.report.lines()
    lines += cleaned.lines()
    certify: list[Example] = []
    if config.max_error is not None:
        train, certify = split(train, CERTIFY_SHARE, salt="certify")
    labels = tuple(sorted({example.label for example in train if example.label is not None}))
    test = _known(test, labels, lines)
    certify = [example for example in certify if example.label in set(labels)]
    _enough(train, test, labels, data)
    extra: list[str] = []
    if config.unlabelled:
        more = _read(config.unlabelled, config, need_label=False)
        seen = {example.text for example in [*train, *test, *certify]}
        extra = list(dict.fromkeys(e.text for e in more.examples if e.text not in seen))
        lines += [*more.report.lines(), f"{len(extra):,} new texts for the teacher to label"]
    lines.append(f"{len(labels):,} labels; {len(train):,} rows to train on"
                 + (f", {len(certify):,} to certify with" if certify else "") + f", {len(test):,} to test on")
    provenance = {"data": {"file": Path(data).name, "sha256": dataset.report.sha256, "rows": dataset.report.rows,
                           "train": len(train), "certify": len(certify), "test": len(test), "unlabelled": len(extra),
                           "test_file": Path(config.test).name if config.test else None,
                           "duplicates": cleaned.duplicates, "conflicts": len(cleaned.conflicts), "leaks": cleaned.leaks}}
    return Prepared(train, certify, test, extra, labels, _descriptions(config, labels, lines), lines, provenance)


def _check(config: TrainConfig) -> None:
    if config.size not in ("tiny", "small", "base"):
        raise UsageError(f"size is {config.size!r}", hint="one of tiny, small, base")
    for name, low, high, usual in (("test_share", 0.0, 0.9, "20%; or --test FILE with rows of your own"), ("max_error", 0.0, 1.0, "5%")):
        value = getattr(config, name)
        if value is not None and not low < value < high:
            raise UsageError(f"{name} is {value:g}, which is not between {low:g} and {high:g}", hint=f"usual is {usual}")
    for name, usual in (("max_size", "5MB"), ("max_latency", "1ms"), ("time_budget", "10m")):
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise UsageError(f"{name} is {value:g}, which is not above zero", hint=f"write it like {usual}")
    if config.threads is not None and config.threads < 1:
        raise UsageError(f"threads is {config.threads}, which is below 1", hint="leave it out for all cores")


def _known(test: list[Example], labels: tuple[str, ...], lines: list[str]) -> list[Example]:
    """Test rows whose label no training row has cannot be answered; they are left out loudly."""
    kept = [example for example in test if example.label in set(labels)]
    if len(kept) < len(test):
        strange = sorted({str(example.label) for example in test} - set(labels))
        lines.append(f"note: left out {counted(len(test) - len(kept), 'test row')} with a label that no training row has: {', '.join(strange[:5])}")
    return kept


def _enough(train: list[Example], test: list[Example], labels: tuple[str, ...], data: str | Path) -> None:
    if len(labels) < 2:
        raise DataError(f"{data}: after cleaning and splitting the training rows have {len(labels)} label", hint="a classifier needs two labels with examples of each")
    if len(train) < 10:
        raise DataError(f"{data}: {len(train)} training rows are left, and a classifier needs at least 10", hint="bring more labelled rows")
    if not test:
        raise DataError(f"{data}: no row is left to test on", hint="bring more rows, or pass --test FILE with labelled rows")


def _descriptions(config: TrainConfig, labels: tuple[str, ...], lines: list[str]) -> dict[str, str]:
    if not config.labels:
        return {}
    told = read_label_map(config.labels)
    missing, unused = [label for label in labels if label not in told], [label for label in told if label not in labels]
    if missing:
        raise UsageError(f"{config.labels} has no entry for the label {missing[0]!r}" + (f" and {len(missing) - 1} others" if len(missing) > 1 else ""),
                         hint="name every label of the data, or leave the file out")
    if unused:
        lines.append(f"note: {config.labels} describes labels that no training row has: {', '.join(unused[:5])}")
    return {label: told[label] for label in labels}
