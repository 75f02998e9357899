"""Reads a data set of the bench: one training file, one test file, columns `text` and `label`."""

from __future__ import annotations

import csv
import gzip
import hashlib
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


class BenchError(Exception):
    """The bench was asked for something it cannot do; the message says what."""


@dataclass(frozen=True)
class DataSet:
    """A data set: the two files, and what stands in them. `fingerprint` changes when any byte of either file does."""

    name: str
    train_file: Path
    test_file: Path
    train_texts: list[str]
    train_labels: list[str]
    test_texts: list[str]
    test_labels: list[str]
    fingerprint: str

    @property
    def classes(self) -> int:
        return len(set(self.train_labels))


def open_data_set(spec: str, *, quick: bool = False, work: Path, always: str = "") -> DataSet:
    """Opens `NAME=FOLDER` or `NAME=TRAIN,TEST`; with `quick`, writes and opens a small sample of it under `work`.

    A sample has a dozen labels, the label `always` among them where the data set has it.
    """
    name, equals, where = spec.partition("=")
    if not equals or not name.replace("-", "").replace("_", "").isalnum():
        raise BenchError(f"--data {spec!r} is not NAME=FOLDER or NAME=TRAIN,TEST")
    train, test = _files(where)
    if quick:
        train = _sample(train, work / f"{name}-train.csv", rows=1200, classes=12, seed=0, always=always)
        kept = {label for _, label in read_rows(train)}
        test = _sample(test, work / f"{name}-test.csv", rows=300, only=kept, seed=1)
    train_rows, test_rows = read_rows(train), read_rows(test)
    digest = hashlib.sha256(train.read_bytes())
    digest.update(test.read_bytes())
    return DataSet(name, train, test, [t for t, _ in train_rows], [y for _, y in train_rows],
                   [t for t, _ in test_rows], [y for _, y in test_rows], digest.hexdigest()[:16])


def read_rows(path: Path) -> list[tuple[str, str]]:
    """The (text, label) pairs of a CSV file with the columns `text` and `label`, gzipped or not."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        if not {"text", "label"} <= set(reader.fieldnames or ()):
            raise BenchError(f"{path} has the columns {reader.fieldnames}, but the bench needs text and label")
        return [(row["text"], row["label"]) for row in reader]


def _files(where: str) -> tuple[Path, Path]:
    if "," in where:
        first, _, second = where.partition(",")
        found = [Path(first), Path(second)]
    else:
        found = [_one(Path(where), part) for part in ("train", "test")]
    for path in found:
        if not path.is_file():
            raise BenchError(f"{path} is not a file")
    return found[0], found[1]


def _one(folder: Path, part: str) -> Path:
    for name in (f"{part}.csv", f"{part}.csv.gz"):
        if (folder / name).is_file():
            return folder / name
    raise BenchError(f"{folder} holds neither {part}.csv nor {part}.csv.gz")


def _sample(source: Path, target: Path, *, rows: int, seed: int, classes: int | None = None,
            only: set[str] | None = None, always: str = "") -> Path:
    """Writes about `rows` rows of at most `classes` classes, the same for the same seed, spread evenly over them."""
    by_label: dict[str, list[str]] = defaultdict(list)
    for text, label in read_rows(source):
        by_label[label].append(text)
    names = sorted(by_label) if only is None else sorted(only & set(by_label))
    pick = random.Random(seed)
    if classes is not None and len(names) > classes:
        wanted = {always} & set(names)
        names = sorted(wanted | set(pick.sample(sorted(set(names) - wanted), classes - len(wanted))))
    each = max(1, rows // len(names))
    chosen = [(text, label) for label in names
              for text in pick.sample(by_label[label], min(each, len(by_label[label])))]
    pick.shuffle(chosen)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("text", "label"))
        writer.writerows(chosen)
    return target
